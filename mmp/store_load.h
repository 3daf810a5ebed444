/* store_load.h - how many connections this worker has to each store, and who waits for one.
 *
 * A connection is counted from before it is dialled until its end after the login; until its login is over it is a try. */
#ifndef MMP_STORE_LOAD_H
#define MMP_STORE_LOAD_H

#include <stddef.h>

#include "net/loop.h"
#include "net/ticket.h"

struct store_load;
struct store_slot; /* one counted connection */

struct store_load *store_load_new(struct loop *l);
void store_load_free(struct store_load **load); /* every slot and ticket must be gone */

/* NULL: the store has `most` already (0: any number), or others wait for it. */
struct store_slot *store_load_take(struct store_load *load, const char *store, size_t most);

/* The tries under way at a store that has answered none of them for so long; else 0. */
size_t store_load_silent(const struct store_load *load, const char *store, uint64_t ms);

/* How many connections there are to it, and who waits for one. */
size_t store_load_look(const struct store_load *load, const char *store, size_t *waiting_out);

/* A connection that is there already, whatever the most is. NULL: there are too many stores. */
struct store_slot *store_load_add(struct store_load *load, const char *store);

/* Waits in line for a connection to a store that is full. fn comes with the slot, which is then the caller's; the
 * caller has a deadline of its own. NULL: queue_max wait already. */
struct store_wait {
	const char *store;
	size_t most, queue_max;
};
struct ticket *store_load_wait(struct store_load *load, const struct store_wait *ask,
    void (*fn)(void *arg, struct store_slot *take_slot), void *arg);

void store_slot_heard(struct store_slot *slot); /* the store has answered a try, whatever it said */
void store_slot_settle(struct store_slot *slot);   /* ... with yes: a try no more */
void store_slot_give_up(struct store_slot **slot); /* a try has come to nothing. Fine on NULL */

/* The store has gone away from a counted connection, whose client is idle: how long may the client wait to hear
 * of it? The first few of a moment 0; of more each its share of the window, at most all of it. *crowd_out: they
 * have just become many; else 0. */
uint64_t store_slot_lost(struct store_slot *slot, uint64_t window_ms, size_t *crowd_out);

/* The connection has ended, after its login: whoever waits first gets it. Fine on NULL. */
void store_slot_drop(struct store_slot **slot);

#endif
