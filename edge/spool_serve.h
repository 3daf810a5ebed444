/* spool_serve.h - the queue process's side of the links on which messages come in and become durable: from the workers
 * into the queue, or from another host as copies (copies.c).
 *
 * Who takes them is a table of functions. A link belongs to one taker at a time: that of the listener, until another one
 * is named by spool_serve_become(). */
#ifndef EDGE_SPOOL_SERVE_H
#define EDGE_SPOOL_SERVE_H

#include "edge/copy_ask.h"
#include "edge/queue.h"
#include "edge/queue_kick.h"
#include "edge/smtp_out.h"
#include "edge/spool_link.h"
#include "net/loop.h"
#include "net/tls_ctx.h"

struct spool_serve;
struct serve_link;

/* add NULL: one that takes no messages, and whose links have 10 s to say to whom they want. */
struct spool_taker {
	struct spool *(*spool)(void *arg); /* NULL: it cannot be used now */
	bool (*knows)(void *arg, struct ident id);
	const char *(*refuses)(void *arg, const struct spool_message *m); /* NULL: it is taken */
	void (*arrives)(void *arg, struct spool_message *m);              /* before it is written */
	void (*add)(void *arg, log_pos pos, const struct spool_message *m);
	void (*broke)(void *arg, err_t err); /* the log, by something else than a full disk */
	/* As queue_withdraw(); NULL: nobody may say WITHDRAW. */
	bool (*withdraw)(void *arg, struct ident id);
	/* A frame that is neither PUT nor DATA; false: it makes no sense. NULL: none does. */
	bool (*other)(void *arg, struct serve_link *k, const struct spool_frame *f);
	void (*gone)(void *arg, struct serve_link *k); /* the link ends; NULL: nobody minds */
	/* Before a link that came to local (none: a unix socket) has said a word: *tls_out is what it has to begin
	 * with, NULL: plaintext. False: it is not let in. NULL: plaintext. */
	bool (*guard)(void *arg, struct ip_addr local, const struct tls_ctx **tls_out);
	void (*end)(void *arg); /* spool_serve_free(); NULL: nobody minds */
};

/* Workers' messages for the queue. */
struct spool_serve *spool_serve_new(struct loop *l, struct queue *q);
struct spool_serve *spool_serve_of(struct loop *l, const struct spool_taker *t, void *arg);
/* Accepts on fd (a listening socket), which stays the caller's. */
void spool_serve_listen(struct spool_serve *s, int fd);
void spool_serve_free(struct spool_serve **s);
void spool_serve_close_links(struct spool_serve *s);

/* Of messages for the queue: a copy of each is made elsewhere before it is written here. c is copied; ask NULL: no more. */
void spool_serve_copy_to(struct spool_serve *s, const struct spool_copier *c);

/* Of workers' links, too: what ETRN starts. */
void spool_serve_kicks(struct spool_serve *s, struct queue_kicks *take_kicks);

void spool_serve_become(struct serve_link *k, const struct spool_taker *t, void *arg);
void spool_serve_say(struct serve_link *k, struct span frame);
void spool_serve_end(struct serve_link *k); /* not from within its own `other` */

#endif
