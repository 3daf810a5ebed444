/* mmp_conf.h - the multiplexor's settings, and what is derived from them once per load.
 *
 * A setup is an immutable snapshot with a reference count: settings and TLS contexts. A session
 * keeps the one it began with until its login is done. */
#ifndef MMP_MMP_CONF_H
#define MMP_MMP_CONF_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/ip.h"
#include "net/tls_ctx.h"

#define CONF_BLOCK mmp_listener
#define CONF_DEF "mmp/mmp_listener.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK mmp_store
#define CONF_DEF "mmp/mmp_store.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK mmp
#define CONF_DEF "mmp/mmp.params.def"
#include "conf/params_struct.h"

enum mmp_protocol {
	MMP_IMAP,
	MMP_POP3,
	MMP_SIEVE,
	MMP_SUBMISSION,
	MMP_PROTOCOLS
}; /* words of mmp_listener.protocol */
struct store_policy;
struct sasl_offer;
enum mmp_tls { MMP_TLS_NONE, MMP_TLS_STARTTLS, MMP_TLS_IMPLICIT };

struct mmp_setup {
	unsigned refs;
	struct conf *conf;                     /* referenced */
	const struct mmp_conf *mmp;            /* of conf */
	const char *hostname;                  /* of conf */
	uint64_t prelogin_share;               /* of prelogin_memory_max: this worker's */
	struct tls_ctx *server[MMP_PROTOCOLS]; /* owned; NULL: no certificate */
	struct sasl_offer *sasl;               /* owned: mechanisms on offer */
	struct store_policy *stores;           /* owned: store_policy.h */
};

/* Conditions over several options: names of listeners, TLS without certificates. */
void mmp_conf_check(const struct conf *c, struct conf_diag *d);

/* NULL: the TLS settings cannot be used; a sentence is in why. */
struct mmp_setup *mmp_setup_new(const struct conf *conf, struct buf *why);
struct mmp_setup *mmp_setup_ref(struct mmp_setup *s);
void mmp_setup_unref(struct mmp_setup **s);

/* What is shown before login: the words of the protocol's option. */
const struct conf_strings *mmp_conf_words(const struct mmp_conf *m, enum mmp_protocol protocol);

/* Is a client not to be told of this capability of a store? */
bool mmp_conf_masks(const struct mmp_conf *m, struct span capability);

/* The listener block with this title; NULL: not (any more) configured. */
const struct mmp_listener_conf *mmp_setup_listener(const struct mmp_setup *s, const char *name);

/* Has one of our own listeners this port? Only then can a connection come back to us. */
bool mmp_setup_has_port(const struct mmp_setup *s, uint16_t port);

/* Would a connection whose ends are local and remote come back to one of our own listeners? */
bool mmp_setup_is_own(const struct mmp_setup *s, struct ip_port local, struct ip_port remote);

#endif
