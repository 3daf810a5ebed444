/* copies_internal.h - the objects behind copies.h, for copies.c and copies_adopt.c only. */
#ifndef EDGE_COPIES_INTERNAL_H
#define EDGE_COPIES_INTERNAL_H

#include <stdio.h>

#include "base/check.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "edge/copies.h"
#include "edge/edge_conf.h"
#include "edge/queue_move.h"
#include "edge/queue_tables.h"
#include "edge/spool_serve.h"

#define copies_MAGIC 0xc0b1e101u
#define ward_MAGIC 0xc0b1e102u

enum {
	WARDS_MAX = 16,
	COPIES_MAX = 100000,
	COPIES_PATH = 1024,
	COPY_BYTES_MIN =
	    1024, /* a small one takes that much, with its envelope and what is known of it */
	ADOPT_BATCH = 32,
};

struct copy {
	struct ident id;
	log_pos pos; /* MESSAGE, or DONE of one that was adopted */
	log_pos *chunks;
	size_t chunk_n;
	uint64_t bytes;
	bool adopted;
	bool adopting;         /* it stands in the queue's log, and that is not durable yet */
	struct list_node link; /* held, and not adopting */
};

/* One that is on its way into this host's queue. */
struct adopting {
	struct ward *ward;
	struct copy *copy; /* NULL: it is held again */
	struct buf payload;
	struct spool_message m; /* into payload */
	struct spool_body body;
	struct spool_reader *reader; /* owned: of body */
	struct ticket *move;         /* owned */
	bool alone;                  /* no copy is asked for */
	bool taken;                  /* it is in the queue's log */
};

/* A spool of a host that leaves copies here. */
struct ward {
	uint32_t magic;
	struct copies *copies;
	char *name;          /* the host's */
	uint64_t owned;      /* identity of its spool */
	struct spool *spool; /* NULL: cannot be used now */
	struct map *by_id;   /* struct copy, owned */
	struct list_node held;
	size_t held_n;
	uint64_t bytes;
	struct serve_link *link; /* NULL: it is away */
	uint64_t heard_ms;
	bool broken; /* the log is to be opened anew */
	struct adopting batch[ADOPT_BATCH];
	size_t batch_n;
	bool adopts, owes_list; /* its owner is back and waits for the batch's end */
	struct ticket *sync;
	struct timer next;
};

struct copies {
	uint32_t magic;
	struct loop *loop;
	struct queue *queue;
	struct conf *conf;            /* owned reference */
	const struct edge_conf *edge; /* of conf */
	struct tls_ctx *tls;          /* owned; NULL: none is due, or none can be made */
	bool unsafe_no_sync;
	struct spool_serve *serve;
	struct ward *wards[WARDS_MAX]; /* owned */
	size_t ward_n;
	size_t count;   /* copies of all */
	uint64_t bytes; /* of them */
	struct timer look;
};

struct copy *copy_find(const struct ward *w, struct ident id);
/* Its records are of no use any more; it is in no list then. */
void copy_let_go(struct ward *w, struct copy *c);
void ward_say_list(struct ward *w); /* to its owner, when that is here */

/* ---- copies_adopt.c ---- */

void ward_adopt_init(struct ward *w);
void ward_adopt(struct ward *w,
    const char *why); /* what is held becomes this host's; nothing held: nothing happens */
/* Its owner is back. False: a batch is under way, and the list is said at its end. */
bool ward_adopt_end(struct ward *w);
void ward_adopt_stop(
    struct ward *w); /* a log is closed: what is not known to be durable stays held */
bool ward_adopts(const struct ward *w);
size_t ward_holds(const struct ward *w); /* with those that are being adopted */

#endif
