/* out_pool.h - outgoing connections of one process: kept for the next mail, capped for each host, with
 * a short memory of hosts that do not answer.
 *
 * A host that could not be reached is left alone for a second, then two, four ... up to dead_ms; mail
 * for it meanwhile is answered at once (OUT_UNREACHED), so that a dead store does not cost every
 * message its deadline. When the time is over one mail tries; the first success clears the memory. That a name has no
 * address is not remembered here: the DNS answers at once. */
#ifndef EDGE_OUT_POOL_H
#define EDGE_OUT_POOL_H

#include "edge/smtp_out.h"

struct out_pool;

struct out_pool_opts {
	const char *helo;
	size_t per_host_max;
	uint64_t connect_ms, reply_ms, final_ms, idle_ms, dead_ms;
	const struct tls_ctx *tls[OUT_TLS_KINDS]; /* NULL: no TLS of that kind */
};

struct out_target {
	enum out_kind kind;
	const char *host;
	uint16_t port;
	enum out_tls tls;
	const struct out_dane *dane; /* OUT_TLS_DANE */
	bool foreign;                /* see out_opts */
};

struct out_pool *out_pool_new(struct loop *l, struct dns *dns, const struct out_pool_opts *opts);
/* For connections made from now on. */
void out_pool_set(struct out_pool *p, const struct out_pool_opts *opts);
void out_pool_free(struct out_pool **p); /* tickets are cancelled */

/* The target is copied; mail must live until the answer or ticket_cancel(). Never answers OUT_STALE: such
 * a mail is sent again over a new connection. */
struct ticket *out_pool_send(struct out_pool *p, const struct out_target *to, struct out_mail *mail,
    out_done_fn *fn, void *arg);

/* See smtp_out_in_doubt(); t is a ticket of out_pool_send(). */
bool out_pool_in_doubt(const struct ticket *t);

/* Connections, open or being opened. */
size_t out_pool_connections(const struct out_pool *p);

#endif
