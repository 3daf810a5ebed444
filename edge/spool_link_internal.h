/* spool_link_internal.h - the objects of a link and of its questions, for spool_link.c and spool_put.c only. */
#ifndef EDGE_SPOOL_LINK_INTERNAL_H
#define EDGE_SPOOL_LINK_INTERNAL_H

#include "base/check.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "edge/queue_tables.h"
#include "edge/spool_link.h"
#include "edge/spool_wire.h"
#include "net/stream.h"

#define spool_link_MAGIC 0x5b001101u
#define spool_put_MAGIC 0x5b001102u

enum link_state { LK_DOWN, LK_DIAL, LK_UP };

struct spool_link {
	uint32_t magic;
	struct loop *loop;
	char *path;                  /* or a host's name */
	struct spool_link_peer peer; /* of another host: frame is set, and hello is owned */
	struct tls_ctx *tls;         /* owned reference; NULL: plaintext */
	char unreached[200];         /* why, as it was told; of a peer */
	struct timer ping;
	enum link_state state;
	struct ticket *dialing;
	struct stream *io;  /* LK_UP */
	struct timer retry; /* LK_DOWN, while something waits */
	uint64_t retry_ms;
	struct list_node unsent, sent; /* questions; the first of unsent may be half sent */
	struct list_node refused;      /* their answer comes in the next round */
	struct list_node withdrawn;
	size_t sent_n;
	struct map *by_id;
};

enum put_state { /* the list that it is in */
	PUT_UNSENT,
	PUT_SENT,
	PUT_REFUSED,
	PUT_WITHDRAWN /* what counts now is the answer to WITHDRAW */
};

struct spool_put {
	struct ticket ticket;
	uint32_t magic;
	struct spool_link *owner;
	enum put_state state; /* only put_set_state() and link_down() write this */
	struct list_node link;
	struct ident id;
	struct buf head; /* the PUT frame */
	struct mail_source body;
	bool head_sent;
	uint64_t sent_bytes; /* of the body */
	bool doubtful;       /* an earlier link had all of it */
	struct timer deadline;
	struct soon refuse;
	err_t refusal;
	spool_put_fn *fn;       /* NULL: nobody waits */
	spool_kick_fn *kick_fn; /* in its place: it is no message but a KICK */
	size_t kicked;
	bool kicked_more;
	void *arg;
};

/* ---- spool_link.c ---- */

/* Everything without an answer is to be asked again, in the old order. */
void link_down(struct spool_link *k, const char *why);
void link_retry(struct spool_link *k); /* when it is down and something waits */

/* ---- spool_put.c ---- */

struct spool_put *put_new(
    struct spool_link *k, struct ident id, void *arg); /* PUT_UNSENT, in no list */
void put_free(struct spool_put *p);
void put_set_state(struct spool_put *p, enum put_state to);
/* Sent, and to be asked again. */
void put_unsend(struct spool_put *p);
void put_refuse(struct spool_put *p, err_t why); /* in the next round */
/* The queue has said so, or it could not be asked. Last statement of whoever calls it. */
void put_said(struct spool_put *p, err_t err);
void put_say_withdraw(const struct spool_put *p);

#endif
