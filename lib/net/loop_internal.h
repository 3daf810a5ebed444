/* loop_internal.h - what the rest of lib/net needs of the loop beyond loop.h. */
#ifndef NET_LOOP_INTERNAL_H
#define NET_LOOP_INTERNAL_H

#include <stdint.h>

#include "base/list.h"
#include "net/loop.h"

#define watch_MAGIC 0x3a7c40f1u

/* Open so that it can be embedded: a pipe counts its bytes of memory. */
struct watch {
	uint32_t magic;
	int fd;
	unsigned events; /* asked for; 0 also when another watch has taken the descriptor over */
	unsigned turn;   /* in the batch that is being dispatched, from 1; 0: none waits for it */
	struct loop *loop;
	void (*fn)(void *arg, unsigned events);
	void *arg;
};
void watch_init(
    struct watch *w, struct loop *l, int fd, void (*fn)(void *arg, unsigned events), void *arg);
void watch_end(struct watch *w); /* fine when never initialised (all zero) */
/* The same when the descriptor is closed next and no other process has it: then the kernel need not be told. */
void watch_forget(struct watch *w);

/* Like soon_set(), but runs when the round ends, after watches, timers and soons: output is
 * flushed and interest settled there, once however often it changed. Set while the round ends: the
 * next round does not wait. */
void loop_at_end(struct loop *l, struct soon *s);

/* Things that finish on their own after their owner let go (a closing stream). loop_free() ends
 * those that are left. */
struct orphan {
	struct list_node link;
	void (*end)(struct orphan *o);
};
void loop_adopt(struct loop *l, struct orphan *o);
void orphan_leave(struct orphan *o);

/* For those who need libevent: from the first call on it waits for the whole loop. */
struct event_base;
struct event_base *loop_base(struct loop *l);

#endif
