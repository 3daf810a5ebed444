/* store_load.c - connections counted for each store, and a line in front of those that are full (step 4 of 5,
 * beside route.c).
 *
 * Owns: one record for each store that has a connection or is waited for. */
#include "mmp/store_load.h"

#include "base/check.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/span.h"

#define waiter_MAGIC 0x6d6d7036u

enum { STORES_MAX = 65536, LOST_AT_ONCE = 10 };

struct store_slot { /* all connections to a store share its record */
	struct store_load *load;
	char *store;       /* owned: its key */
	size_t count;      /* connections */
	size_t tries;      /* those that have not logged in yet */
	uint64_t heard_ms; /* when the store last answered one, or the first of them began */
	size_t most;       /* as the last one who waited was told; 0: any number */
	size_t waiting;
	struct list_node waiters; /* struct waiter, the first come first */
	struct list_node due;     /* in load->due while it may serve somebody */
	uint64_t lost_ms; /* when connections began to get lost; a window later all is forgotten */
	size_t lost, lost_of; /* how many since then; how many there were */
};

struct waiter {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct list_node link;
	struct store_slot *slot;
	void (*fn)(void *arg, struct store_slot *take_slot);
	void *arg;
};

struct store_load {
	struct loop *loop;
	struct map *stores; /* name to struct store_slot, owned */
	struct list_node due;
	struct soon serve;
};

/* ---- records ---------------------------------------------------------------------------------- */

static struct store_slot *record_of(struct store_load *load, const char *store)
{
	struct store_slot *r = map_get(load->stores, span_str(store));
	if (r != NULL)
		return r;
	r = MEM_NEW(struct store_slot);
	r->load = load;
	r->store = mem_str(store);
	list_init(&r->waiters);
	if (map_set(load->stores, span_str(store), r, NULL))
		return r;
	mem_free(r->store);
	mem_free(r);
	return NULL;
}

static void forget_idle(struct store_slot *r)
{
	if (r->count > 0 || r->waiting > 0)
		return;
	map_remove(r->load->stores, span_str(r->store));
	list_remove(&r->due);
	mem_free(r->store);
	mem_free(r);
}

static bool has_room(const struct store_slot *r)
{
	return r->most == 0 || r->count < r->most;
}

static void begin_try(struct store_slot *r)
{
	if (r->tries == 0)
		r->heard_ms = loop_now_ms(r->load->loop);
	r->tries++;
	r->count++;
}

static void serve_later(struct store_slot *r)
{
	if (r->waiting == 0 || !has_room(r))
		return;
	list_remove(&r->due);
	list_add_tail(&r->load->due, &r->due);
	soon_set(r->load->loop, &r->load->serve);
}

/* ---- waiting ---------------------------------------------------------------------------------- */

static void waiter_end(struct waiter *w)
{
	list_remove(&w->link);
	w->slot->waiting--;
	w->magic = 0;
	mem_free(w);
}

static void on_cancel(struct ticket *t)
{
	struct waiter *w = OBJ(waiter, t);
	struct store_slot *r = w->slot;
	waiter_end(w);
	forget_idle(r);
}

static void serve_first(struct store_slot *r)
{
	struct waiter *w = LIST_OF(struct waiter, link, r->waiters.next);
	void (*fn)(void *, struct store_slot *) = w->fn;
	void *arg = w->arg;
	waiter_end(w);
	begin_try(r);
	fn(arg, r); /* r may be gone when it returns: it is looked up in `due` again */
}

static void on_serve(void *arg)
{
	struct store_load *load = arg;
	while (!list_empty(&load->due)) {
		struct store_slot *r = LIST_OF(struct store_slot, due, load->due.next);
		if (r->waiting > 0 && has_room(r))
			serve_first(r);
		else
			list_remove(&r->due);
	}
}

/* ---- public ----------------------------------------------------------------------------------- */

struct store_slot *store_load_take(struct store_load *load, const char *store, size_t most)
{
	struct store_slot *r = record_of(load, store);
	if (r == NULL)
		return NULL;
	r->most = most;
	if (r->waiting > 0 || !has_room(r)) {
		serve_later(r);
		forget_idle(r);
		return NULL;
	}
	begin_try(r);
	return r;
}

size_t store_load_silent(const struct store_load *load, const char *store, uint64_t ms)
{
	const struct store_slot *r = map_get(load->stores, span_str(store));
	return r != NULL && loop_now_ms(load->loop) - r->heard_ms >= ms ? r->tries : 0;
}

size_t store_load_look(const struct store_load *load, const char *store, size_t *waiting_out)
{
	const struct store_slot *r = map_get(load->stores, span_str(store));
	*waiting_out = r != NULL ? r->waiting : 0;
	return r != NULL ? r->count : 0;
}

struct store_slot *store_load_add(struct store_load *load, const char *store)
{
	struct store_slot *r = record_of(load, store);
	if (r != NULL)
		r->count++;
	return r;
}

struct ticket *store_load_wait(struct store_load *load, const struct store_wait *ask,
    void (*fn)(void *arg, struct store_slot *take_slot), void *arg)
{
	struct store_slot *r = record_of(load, ask->store);
	if (r == NULL || r->waiting >= ask->queue_max) {
		if (r != NULL)
			forget_idle(r);
		return NULL;
	}
	struct waiter *w = MEM_NEW(struct waiter);
	w->ticket.cancel = on_cancel;
	w->magic = waiter_MAGIC;
	w->slot = r;
	w->fn = fn;
	w->arg = arg;
	list_add_tail(&r->waiters, &w->link);
	r->waiting++;
	r->most = ask->most;
	serve_later(r);
	return &w->ticket;
}

/* Evenly over the window, each somewhere within its share. What gets lost more slowly than that is not held up. */
uint64_t store_slot_lost(struct store_slot *slot, uint64_t window_ms, size_t *crowd_out)
{
	uint64_t now = loop_now_ms(slot->load->loop);
	*crowd_out = 0;
	if (slot->lost == 0 || now - slot->lost_ms >= window_ms) {
		slot->lost = 0;
		slot->lost_of = slot->count;
		slot->lost_ms = now;
	}
	size_t n = slot->lost++;
	if (n < LOST_AT_ONCE || window_ms == 0)
		return 0;
	*crowd_out = n == LOST_AT_ONCE ? slot->lost_of : 0;
	size_t of = slot->lost_of > n ? slot->lost_of : n + 1;
	uint64_t at = slot->lost_ms + window_ms * n / of + rand_below(window_ms / of + 1);
	uint64_t end = slot->lost_ms + window_ms;
	at = at < end ? at : end;
	return at > now ? at - now : 0;
}

void store_slot_heard(struct store_slot *slot)
{
	slot->heard_ms = loop_now_ms(slot->load->loop);
}

void store_slot_settle(struct store_slot *slot)
{
	CHECK(slot->tries > 0);
	slot->tries--;
	store_slot_heard(slot);
}

void store_slot_give_up(struct store_slot **slot)
{
	if (*slot == NULL)
		return;
	CHECK((*slot)->tries > 0);
	(*slot)->tries--;
	store_slot_drop(slot);
}

void store_slot_drop(struct store_slot **slot)
{
	struct store_slot *r = *slot;
	*slot = NULL;
	if (r == NULL)
		return;
	CHECK(r->count > 0);
	r->count--;
	serve_later(r);
	forget_idle(r);
}

struct store_load *store_load_new(struct loop *l)
{
	struct store_load *load = MEM_NEW(struct store_load);
	load->loop = l;
	load->stores = map_new(STORES_MAX);
	list_init(&load->due);
	soon_init(&load->serve, on_serve, load);
	return load;
}

void store_load_free(struct store_load **load)
{
	if (*load == NULL)
		return;
	CHECK(map_count((*load)->stores) == 0);
	soon_clear(&(*load)->serve);
	map_free(&(*load)->stores);
	MEM_FREE(load);
}
