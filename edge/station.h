/* station.h - what a station does with some recipients of a message (part of step 6; before and after: deliver.c). */
#ifndef EDGE_STATION_H
#define EDGE_STATION_H

#include "edge/outcome.h"
#include "net/ticket.h"

struct q_dest;
struct queue;
struct q_item;
struct mail_source;

enum station_end {
	STATION_MOVED,   /* another message has these recipients now */
	STATION_PAST,    /* they go on as they are */
	STATION_HELD,    /* an operator is to look at them: outcome.text says why */
	STATION_DROPPED, /* nobody gets it, and nobody is told */
	STATION_WAIT,    /* they come again in wait_ms, which is no attempt */
	STATION_OUTCOME  /* refused, or tried again */
};

struct station_result {
	enum station_end end;
	struct outcome outcome;
	uint64_t wait_ms;
};

typedef void station_fn(void *arg, const struct station_result *r);

/* The recipients are of one entry; body: its bytes, until the answer. */
struct station_ask {
	struct q_dest *dest;
	struct q_item *const *items;
	size_t n;
	const struct mail_source *body;
};

/* reprocess.c: one recipient is looked up anew, as where it came in. */
struct ticket *reprocess_start(const struct station_ask *a, station_fn *fn, void *arg);

/* defragment.c: one recipient of a message that may be a piece of another. */
struct ticket *defragment_start(const struct station_ask *a, station_fn *fn, void *arg);
void defragment_end(struct queue *q); /* entries are gone */

/* unpack.c: one part of a mail becomes a message of its own. */
struct ticket *unpack_start(const struct station_ask *a, station_fn *fn, void *arg);

/* conversion.c: programs may change the message. */
struct ticket *conversion_start(const struct station_ask *a, station_fn *fn, void *arg);

#endif
