/* store_policy.h - how to deal with a store: the `store` blocks and the store_* options, resolved once
 * per load. */
#ifndef MMP_STORE_POLICY_H
#define MMP_STORE_POLICY_H

#include "base/buf.h"
#include "conf/conf.h"
#include "net/tls_ctx.h"

#include "mmp/mmp_conf.h"

enum store_facts { FACTS_NONE, FACTS_COMMAND, FACTS_PROXY }; /* words of store_facts */

struct store_policy {
	const char *name; /* of conf */
	bool others;      /* the last one, which fits every store */
	enum store_facts facts;
	enum mmp_tls tls;
	struct tls_ctx *ctx; /* owned; NULL unless tls */
};

/* Names of blocks that can be none, or are there twice. */
void store_policies_check(const struct mmp_conf *m, struct conf_diag *d);

/* One for each block, in order, and one for all other stores. NULL: TLS settings cannot be used; a
 * sentence is in why. conf must live as long. */
struct store_policy *store_policies_new(
    const struct conf *conf, const struct mmp_conf *m, struct buf *why);
void store_policies_free(struct store_policy **list); /* fine on NULL */

/* The first that fits the name, which is a value of mailHost. */
const struct store_policy *store_policy_of(const struct store_policy *list, const char *store);

#endif
