/* loop.h - one event loop per process: descriptors, timers, signals and deferred calls.
 *
 * epoll below, and libevent where signals or HTTP need it; nobody outside lib/net sees either. Callbacks run from
 * loop_run() only. */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"

struct loop;
struct watch;
struct loop_signal;

struct loop *loop_new(void);
void loop_free(struct loop **l); /* after every watch, timer and stream is gone */
void loop_run(struct loop *l);   /* until loop_stop() */
void loop_stop(struct loop *l);
bool loop_step(struct loop *l, uint64_t wait_ms); /* one round, for tests: false when nothing ran */
uint64_t loop_now_ms(const struct loop *l);       /* monotonic, cached once a round */

/* In a child after fork(): lets go of the parent's loop without touching the parent's descriptors
 * and signal handling. Watches and timers on it are dead; do not free them. Nulls *l. */
void loop_after_fork(struct loop **l);

/* Timers: embed one, init once. O(log n), and O(1) when one that is armed is put off, as deadlines are; 64 bytes,
 * one kernel timer for all. Precision is a millisecond; a timer never fires early. */
struct timer {
	struct heap_node node; /* placed by the first time said, or an earlier one since */
	uint64_t due;
	struct loop *loop;
	void (*fn)(void *arg);
	void *arg;
};
void timer_init(struct timer *t, struct loop *l, void (*fn)(void *arg), void *arg);
void timer_set(struct timer *t, uint64_t delay_ms); /* arm, or move */
void timer_clear(struct timer *t);                  /* fine when not armed */
bool timer_armed(const struct timer *t);

/* Deferred call: fn runs once, from the loop, in the next round. For answers that are known at once
 * but must not be given inside the asking call. */
struct soon {
	struct list_node link;
	void (*fn)(void *arg);
	void *arg;
};
void soon_init(struct soon *s, void (*fn)(void *arg), void *arg);
void soon_set(struct loop *l, struct soon *s); /* fine when set already */
void soon_clear(struct soon *s);

/* Descriptors, level-triggered. The watch does not own the descriptor. One watch has it at a time: that which was set
 * last. WATCH_LAST comes with WATCH_READ, unasked: the peer of a TCP connection had finished sending before this
 * round, so that a read which does not fill its buffer was the last one. */
enum { WATCH_READ = 1, WATCH_WRITE = 2, WATCH_LAST = 4 };
struct watch *watch_new(struct loop *l, int fd, void (*fn)(void *arg, unsigned events), void *arg);
void watch_set(struct watch *w, unsigned events); /* 0 = none; cheap when unchanged */
void watch_free(struct watch **w);                /* before the descriptor is closed */

struct loop_signal *loop_signal_new(struct loop *l, int signo, void (*fn)(void *arg), void *arg);
void loop_signal_free(struct loop_signal **s);

#endif
