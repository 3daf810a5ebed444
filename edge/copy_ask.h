/* copy_ask.h - "have a copy of this made first": what spool_serve.c (messages of workers) and queue_move.c (what the queue
 * makes itself) ask of copier.c before a message is written here. */
#ifndef EDGE_COPY_ASK_H
#define EDGE_COPY_ASK_H

#include "edge/spool.h"
#include "net/ticket.h"

/* Where the message's bytes are until the answer or ticket_cancel(): in chunks of the queue's log, or, without any, here. */
struct copy_body {
	struct span bytes;
	log_pos *chunks;
	size_t chunk_count;
};

/* ERR_OK: the message may be taken, with a copy, or without one where copy_loss accepts that. ERR_NO_COPY: not now. */
typedef void copied_fn(void *arg, err_t err);

struct spool_copier {
	/* m: for the call; what it says of its parent stays here. NULL: no copy is to be made. It takes no longer than
	 * copy_timeout. */
	struct ticket *(*ask)(void *arg, const struct spool_message *m,
	    const struct copy_body *body, copied_fn *fn, void *fn_arg);
	/* A message that has a copy is not taken after all. */
	void (*drop)(void *arg, struct ident id);
	void *arg;
};

#endif
