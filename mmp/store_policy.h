/* store_policy.h - how to deal with a store: the `store` blocks and the store_* options, resolved once
 * per load. */
#ifndef MMP_STORE_POLICY_H
#define MMP_STORE_POLICY_H

#include "base/buf.h"
#include "conf/conf.h"
#include "net/stream_bind.h"
#include "net/tls_ctx.h"

#include "mmp/mmp_conf.h"

enum store_facts { FACTS_NONE, FACTS_COMMAND, FACTS_PROXY }; /* words of store_facts */

enum store_login {
	LOGIN_PASSWORD,
	LOGIN_PROXY,
	LOGIN_MASTER,
	LOGIN_CERTIFICATE,
	LOGIN_XCLIENT
}; /* of store_login */

enum { STORE_PINS_MAX = 8, STORE_SECRET_MAX = 512 };

struct store_policy {
	const char *name; /* of conf */
	bool others;      /* the last one, which fits every store */
	bool multiplexor; /* it may be one, of another site */
	enum store_facts facts;
	enum mmp_tls tls;
	struct tls_ctx *ctx;    /* owned; NULL unless tls */
	size_t connections_max; /* 0: any number */
	size_t pin_n;           /* 0: any key */
	uint8_t pins[STORE_PINS_MAX][STREAM_BIND_LEN];
	enum store_login login;
	/* Users of this domain are known there without it; NULL: all are USER@DOMAIN. */
	const char *short_in;
	const char *user;      /* of conf, as the next two; "" unless proxy or master */
	struct span secret;    /* empty unless proxy or master */
	const char *separator; /* between the user's name and ours: master */
};

/* Blocks that cannot be meant: names, pins, logins without a secret, or that the protocols have not. */
void store_policies_check(const struct mmp_conf *m, struct conf_diag *d);

/* One for each block, in order, and one for all other stores. NULL: TLS settings cannot be used; a
 * sentence is in why. conf must live as long. */
struct store_policy *store_policies_new(
    const struct conf *conf, const struct mmp_conf *m, struct buf *why);
void store_policies_free(struct store_policy **list); /* fine on NULL */

/* The first that fits the name, which is a value of mailHost. */
const struct store_policy *store_policy_of(const struct store_policy *list, const char *store);

/* Under which name is the user with this login name known at the store? A part of it. */
struct span store_policy_user(const struct store_policy *p, struct span user);

/* Is the key at the other end of a TLS stream one of the pinned ones? */
bool store_policy_key_fits(const struct store_policy *p, const struct stream *s);

#endif
