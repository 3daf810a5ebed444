/* edge_conf.h - the edge's settings, and what is derived from them once per load.
 *
 * A setup is an immutable snapshot with a reference count: settings and the TLS context. A session
 * keeps the one it began with. */
#ifndef EDGE_EDGE_CONF_H
#define EDGE_EDGE_CONF_H

#include <stdbool.h>

#include "base/buf.h"
#include "directory/table.h"
#include "edge/srs.h"
#include "net/tls_ctx.h"

#define CONF_BLOCK edge_listener
#define CONF_DEF "edge/edge_listener.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK edge_access
#define CONF_DEF "edge/edge_access.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK edge_rewrite
#define CONF_DEF "edge/edge_rewrite.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK edge_dnsbl
#define CONF_DEF "edge/edge_dnsbl.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK edge_milter
#define CONF_DEF "edge/edge_milter.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK edge_policy
#define CONF_DEF "edge/edge_policy.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK edge_verdict
#define CONF_DEF "edge/edge_verdict.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK edge_scanner
#define CONF_DEF "edge/edge_scanner.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK edge_part
#define CONF_DEF "edge/edge_part.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK edge_channel
#define CONF_DEF "edge/edge_channel.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK edge_next_hop
#define CONF_DEF "edge/edge_next_hop.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK edge
#define CONF_DEF "edge/edge.params.def"
#include "conf/params_struct.h"

/* Words of edge_listener.role, .tls and .auth. */
enum edge_role { EDGE_MX, EDGE_SUBMISSION, EDGE_SUBMISSIONS, EDGE_INTERNAL };
enum edge_tls { EDGE_TLS_NONE, EDGE_TLS_STARTTLS, EDGE_TLS_IMPLICIT };
/* Words of edge.dsn. */
enum edge_dsn { EDGE_DSN_NONE, EDGE_DSN_TRUSTED, EDGE_DSN_ALL };
enum edge_auth { EDGE_AUTH_AUTO, EDGE_AUTH_YES, EDGE_AUTH_NO };

/* Words of edge.pipelining_early. */
enum pipelining_early { PIPELINING_EARLY_REFUSE, PIPELINING_EARLY_ALLOW };

/* Words of edge.dnsbl_action and .dnsbl_at. */
enum dnsbl_action { DNSBL_REFUSE, DNSBL_DEFER, DNSBL_TAG };
enum dnsbl_at { DNSBL_AT_CONNECT, DNSBL_AT_RECIPIENT };

/* Words of edge.sender_owner, .sender_domain and .spf. */
enum sender_owner { SENDER_OWNER_OFF, SENDER_OWNER_REFUSE };
enum sender_domain { SENDER_DOMAIN_OFF, SENDER_DOMAIN_REFUSE };
enum spf_policy { SPF_OFF, SPF_MARK, SPF_ENFORCE };

struct access;
struct sasl_offer;
struct rewrite;

/* Words of edge.copy_loss. */
enum edge_copy_loss { EDGE_COPY_ACCEPT, EDGE_COPY_REFUSE };
/* Words of edge.copy_tls. */
enum edge_copy_tls { EDGE_COPY_TLS_AUTO, EDGE_COPY_TLS_YES, EDGE_COPY_TLS_NO };

/* Words of edge_scanner.type, .method and .command. */
enum edge_scanner_type { EDGE_SCANNER_SPAMD, EDGE_SCANNER_CLAMD, EDGE_SCANNER_ICAP };
enum edge_icap_method { EDGE_ICAP_RESPMOD, EDGE_ICAP_REQMOD };
enum edge_spamd_command {
	EDGE_SPAMD_CHECK,
	EDGE_SPAMD_SYMBOLS,
	EDGE_SPAMD_HEADERS,
	EDGE_SPAMD_PROCESS
};

/* Words of .on_failure, and of edge_milter.on_quarantine, edge_scanner.on_hit and edge_verdict.action. */
enum edge_on_failure { EDGE_FAIL_TEMPFAIL, EDGE_FAIL_ACCEPT, EDGE_FAIL_REJECT };
enum edge_on_verdict {
	EDGE_VERDICT_REFUSE,
	EDGE_VERDICT_TAG,
	EDGE_VERDICT_DISCARD,
	EDGE_VERDICT_HOLD,
	EDGE_VERDICT_FOLDER
};

struct edge_setup {
	unsigned refs;
	struct conf *conf;            /* referenced */
	const struct edge_conf *edge; /* of conf */
	const char *hostname;         /* of conf */
	struct access *access;        /* owned */
	struct rewrite *rewrite;      /* owned; NULL: no rules */
	struct srs srs;               /* into conf */
	struct tls_ctx *tls;          /* owned; NULL: no listener wants TLS */
	struct tls_ctx *tls_auth;  /* owned; the same that asks for certificates; NULL: none does */
	struct sasl_offer *sasl;   /* owned: mechanisms of AUTH */
	struct tls_ctx *tls_relay; /* owned; for listeners that relay by certificate, or NULL */
};

/* Conditions over several options: names of listeners, TLS without certificates. */
void edge_conf_check(const struct conf *c, struct conf_diag *d);

/* NULL: the TLS settings cannot be used; a sentence is in why. */
struct edge_setup *edge_setup_new(const struct conf *conf, struct buf *why);
struct edge_setup *edge_setup_ref(struct edge_setup *s);
void edge_setup_unref(struct edge_setup **s);

/* For connections to this listener; NULL: no listener wants TLS. */
const struct tls_ctx *edge_setup_tls(
    const struct edge_setup *s, const struct edge_listener_conf *listener);

/* The listener block with this title; NULL: not (any more) configured. */
const struct edge_listener_conf *edge_listener(const struct edge_conf *c, const char *name);
const struct edge_listener_conf *edge_setup_listener(const struct edge_setup *s, const char *name);
/* Does an option that names listeners mean this one? Yes when it names none. */
bool edge_names_listener(const struct conf_strings *names, const char *name);

/* The options srs_*; false: they cannot be used. s points into e. */
bool edge_srs(struct srs *s, const struct edge_conf *e);

static inline bool edge_is_submission(const struct edge_listener_conf *l)
{
	return l->role == EDGE_SUBMISSION || l->role == EDGE_SUBMISSIONS;
}

static inline bool edge_has_auth(const struct edge_listener_conf *l)
{
	return l->auth == EDGE_AUTH_YES || (l->auth == EDGE_AUTH_AUTO && edge_is_submission(l));
}

#endif
