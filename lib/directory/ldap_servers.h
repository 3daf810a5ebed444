/* ldap_servers.h - the replicas of the `uri` option and what is known of their health: shared by the pools.
 *
 * A server that failed is down until a connection to it is ready again; tries are spaced by a growing, jittered
 * pause. The pause is reset by an answer, not by a connection: a server may accept and still never answer. */
#ifndef DIRECTORY_LDAP_SERVERS_H
#define DIRECTORY_LDAP_SERVERS_H

#include "directory/backend.h"
#include "directory/ldap_url.h"
#include "net/tls_ctx.h"

struct ldap_server {
	size_t index; /* rank: 0 is the best */
	const char *uri;
	struct ldap_url url;
	unsigned failures;  /* in a row */
	uint64_t down_ms;   /* since when it is down */
	uint64_t failed_ms; /* the last failure */
	uint64_t retry_ms;
	bool down;
	bool told; /* that it is down, or (never yet connected) nothing */
	bool seen; /* it was up once */
};

struct ldap_servers {
	struct backend_env env;
	struct tls_ctx *tls; /* owned; NULL when no server needs it */
	size_t n;
	struct ldap_server v[LDAP_URLS_MAX];
};

/* From the options. What cannot work is logged and leaves no server. */
void ldap_servers_init(struct ldap_servers *s, const struct backend_env *env);
void ldap_servers_end(struct ldap_servers *s);

/* Rank of the best server that is not known to be down, or s->n. */
size_t ldap_servers_best(const struct ldap_servers *s);

/* When a server that is down is to be tried again (loop time). urgent: somebody waits and there is no other. */
uint64_t ldap_server_due_ms(const struct ldap_server *v, bool urgent);

/* It failed; began_ms: when the connection was begun that failed. Failures of connections that were begun
 * before the last failure are the same failure. */
struct ldap_failure {
	uint64_t began_ms;
	const char *pool, *why;
	struct span text; /* words of the server or of the system */
};
void ldap_server_failed(
    struct ldap_servers *s, struct ldap_server *v, const struct ldap_failure *f);
void ldap_server_ready(struct ldap_server *v, const char *pool); /* a connection is */
void ldap_server_answered(struct ldap_server *v);                /* a question was */

#endif
