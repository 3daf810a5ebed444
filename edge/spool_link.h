/* spool_link.h - a worker's link to the queue process: "make this durable" as a ticket.
 *
 * When the link breaks before the answer (the queue was killed), it is made again and everything that
 * has no answer is asked again, until its deadline; the queue knows what it has already.
 *
 * What the queue has got in full and has not answered by its deadline is withdrawn: the answer comes when the queue has
 * said whether it is gone or was durable all the same, or after SPOOL_WITHDRAW_MS. The queue hears of that also when nobody
 * waits for the answer any more (ticket_cancel(), a link that broke), as long as this process lives. */
#ifndef EDGE_SPOOL_LINK_H
#define EDGE_SPOOL_LINK_H

#include "edge/smtp_out.h"
#include "edge/spool_record.h"
#include "edge/spool_wire.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/ticket.h"
#include "net/tls_ctx.h"

struct spool_link;

enum { SPOOL_WITHDRAW_MS = 2000 };

struct spool_link *spool_link_new(struct loop *l, const char *socket_path);

/* To the queue process of another host: the link is made at once and kept, each time with `hello` first, and a PING
 * every ping_ms. frame gets HELD and LISTED, down hears that the link is broken; neither may free the link. */
struct spool_link_peer {
	const char *host;
	uint16_t port;
	struct dns *dns;
	const struct tls_ctx
	    *tls; /* referenced; NULL: plaintext. Else hello is said behind the handshake */
	struct span hello; /* copied */
	uint64_t ping_ms;
	void (*frame)(void *arg, const struct spool_frame *f);
	void (*down)(void *arg);
	void *arg;
};
struct spool_link *spool_link_to_peer(struct loop *l, const struct spool_link_peer *peer);
/* From the next time that it is made; not NULL. */
void spool_link_renew(struct spool_link *k, const struct tls_ctx *tls);
void spool_link_tell(
    struct spool_link *k, struct span frame); /* when the link is up, else nobody hears it */
bool spool_link_asks(
    const struct spool_link *k, struct ident id); /* a question with this id has no answer */
void spool_link_reset(
    struct spool_link *k, const char *why);  /* breaks the link, so that it is made anew */
void spool_link_free(struct spool_link **k); /* tickets are cancelled */

/* ERR_OK: durable. Else nothing was promised: ERR_TIMEOUT, ERR_NO_SPACE (the queue said no), ERR_TOO_MANY
 * (too many questions wait here). */
typedef void spool_put_fn(void *arg, err_t err);

struct spool_put_opts {
	const struct spool_message *message; /* only for the call; body_bytes is body.size */
	struct mail_source body;             /* until the answer or ticket_cancel() */
	uint64_t deadline_ms;                /* the answer may take SPOOL_WITHDRAW_MS longer */
};
struct ticket *spool_put(
    struct spool_link *k, const struct spool_put_opts *opts, spool_put_fn *fn, void *arg);

/* The queue starts what waits for a node (queue_kick.h). more: there are recipients that it did not reach. Error:
 * it cannot now (ERR_BUSY), or did not answer. */
typedef void spool_kick_fn(void *arg, err_t err, size_t recipients, bool more);
struct ticket *spool_kick(
    struct spool_link *k, struct span node, uint64_t deadline_ms, spool_kick_fn *fn, void *arg);

#endif
