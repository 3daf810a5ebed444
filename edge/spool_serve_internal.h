/* spool_serve_internal.h - the objects of spool_serve.c, for it alone. */
#ifndef EDGE_SPOOL_SERVE_INTERNAL_H
#define EDGE_SPOOL_SERVE_INTERNAL_H

#include "base/list.h"
#include "edge/spool_serve.h"
#include "net/listen.h"
#include "net/stream.h"

#define spool_serve_MAGIC 0x5e53e001u
#define serve_link_MAGIC 0x5e53e002u
#define serve_wait_MAGIC 0x5e53e003u
#define serve_copy_MAGIC 0x5e53e004u

enum {
	LINKS_MAX = 512,
	WAITS_MAX = 4000, /* answers that one link may be owed; more wait in the kernel */
	LISTENERS_MAX = 8,
	IN_MAX = SPOOL_FRAME_MAX + 64 * 1024,
	OUT_MAX = 16 * 1024 * 1024, /* a list of copies goes there at once */
	COPYING_MAX = 16 * 1024 * 1024,
	STRANGERS_MAX = 16, /* links that have to say first whose they are */
	STRANGER_MS = 10 * 1000,
};

struct spool_serve {
	uint32_t magic;
	struct loop *loop;
	struct queue_kicks *kicks; /* owned; NULL: there are none here */
	const struct spool_taker *taker;
	void *arg;
	struct spool_copier copier; /* ask NULL: none */
	struct listener *listeners[LISTENERS_MAX];
	size_t listener_count;
	struct list_node links;
	size_t link_count;
};

/* What comes in on a link now. */
enum incoming_state {
	IN_NONE,   /* a PUT is next */
	IN_TAKE,   /* its bytes are kept */
	IN_SWALLOW /* they are thrown away: known, or refused */
};

/* A message that is not in the log yet. */
struct incoming {
	struct buf envelope; /* copy of the PUT frame; message points here */
	struct spool_message message;
	struct buf bytes; /* of the body: all of it, or the chunk that is filling */
	log_pos *chunks;
	size_t chunk_count;
};

struct serve_link {
	uint32_t magic;
	struct spool_serve *serve;
	const struct spool_taker *taker;
	void *arg; /* the taker's */
	struct list_node link;
	struct stream *io;
	enum incoming_state state;
	const char *refusal; /* IN_SWALLOW: why, NULL: the message is known */
	struct incoming in;
	uint64_t got;
	struct timer hello; /* until it has said whose it is */
	struct list_node waits, copying;
	size_t wait_count; /* in both */
	size_t copying_bytes;
};

/* An answer that waits for a sync, or for a kick. */
struct serve_wait {
	uint32_t magic;
	struct serve_link *owner;
	struct list_node link;
	struct ident id;
	struct ticket *ask;
};

/* A message that waits for its copy. */
struct serve_copy {
	uint32_t magic;
	struct serve_link *owner;
	struct list_node link;
	struct incoming in;
	struct ticket *ask;
};

#endif
