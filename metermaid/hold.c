/* hold.c - see hold.h. Owns holds and leases; talks to Redis through batches of its own, or to the
 * host's table. */
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "metermaid/batch.h"
#include "metermaid/meter_internal.h"

enum { TICK_MS = 100 /* at least, between two looks */, RENEW_MAX = 8192, RENEW_PART = 3 };

#define holds_MAGIC 0x3e7e401du

struct hold {
	struct holds *all;
	struct heap_node renew;
	struct list_node doubt; /* in all->doubts: to be set */
	struct op op;           /* OP_LEASE_SET */
	uint64_t n;             /* held */
	size_t expected;        /* questions under way */
	struct span key;
	char text[];
};

struct holds {
	uint32_t magic;
	struct metermaid *m;
	struct map *by_key;
	struct heap renewals;
	struct list_node doubts, leases;
	struct timer tick; /* armed while there are renewals, for the first of them */
	struct soon flush;
};

struct meter_lease {
	struct holds *all; /* NULL: the meter is gone */
	struct list_node link;
	uint64_t id; /* in records; 0: not recorded */
	size_t n;
	struct hold *v[LEASE_KEYS_MAX];
};

/* ---- setting what is held ---- */

static void look_at(struct holds *h, uint64_t due)
{
	uint64_t now = loop_now_ms(h->m->loop), soonest = now + TICK_MS;
	uint64_t at = due > soonest ? due : soonest;
	if (!timer_armed(&h->tick) || at < h->tick.due)
		timer_set(&h->tick, at - now);
}

/* Said again when a part of its lease has passed. */
static void renew_later(struct hold *h)
{
	uint64_t due = loop_now_ms(h->all->m->loop) + h->op.span_us / 1000 / RENEW_PART;
	heap_put(&h->all->renewals, &h->renew, due);
	look_at(h->all, due);
}

static void hold_end_if_idle(struct hold *h)
{
	if (h->n > 0 || h->expected > 0 || h->doubt.next != NULL)
		return;
	heap_remove(&h->all->renewals, &h->renew);
	map_remove(h->all->by_key, h->key);
	mem_free(h);
}

static void on_set(void *arg, const struct op_answer *answers)
{
	/* lost: everything is set again when the link is up */
}

static void prepare_set(struct hold *h)
{
	h->op.cost = h->n;
	h->op.keep = h->expected > 0;
	renew_later(h);
}

/* One batch of holds in doubt. */
static void send_some(struct holds *h)
{
	struct batch *b = batch_begin(h->m->redis);
	struct list_node *n;
	while (!list_empty(&h->doubts) && batch_has_room(b, OPS_MAX)) {
		struct hold *v[OPS_MAX];
		size_t count = 0;
		while (count < OPS_MAX && (n = list_pop(&h->doubts)) != NULL)
			v[count++] = LIST_OF(struct hold, doubt, n);
		batch_question(b, OP_FORCE, count);
		for (size_t i = 0; i < count; i++) {
			prepare_set(v[i]);
			batch_op(b, &v[i]->op, v[i]->key);
			hold_end_if_idle(v[i]);
		}
	}
	batch_send(&b, on_set, h);
}

/* Without a batch: in the host's table, or nowhere. */
static void set_here(struct holds *h, struct table *t)
{
	struct list_node *n;
	struct op_now now = { meter_host_now_us(), OP_FORCE };
	while ((n = list_pop(&h->doubts)) != NULL) {
		struct hold *one = LIST_OF(struct hold, doubt, n);
		prepare_set(one);
		if (t != NULL)
			table_question(t, &one->op, 1, now);
		hold_end_if_idle(one);
	}
}

static void on_flush(void *arg)
{
	struct holds *h = OBJ(holds, arg);
	if (h->m->redis == NULL)
		set_here(h, meter_host_table());
	else if (!redis_link_is_up(h->m->redis))
		set_here(h, NULL); /* all are in doubt again when it is back */
	while (!list_empty(&h->doubts))
		send_some(h);
}

void hold_doubt(struct hold *h)
{
	if (h->doubt.next == NULL)
		list_add_tail(&h->all->doubts, &h->doubt);
	soon_set(h->all->m->loop, &h->all->flush);
}

static void on_tick(void *arg)
{
	struct holds *h = OBJ(holds, arg);
	uint64_t now = loop_now_ms(h->m->loop);
	struct heap_node *n;
	for (size_t i = 0; i < RENEW_MAX && (n = heap_first(&h->renewals)) != NULL; i++) {
		if (n->due > now)
			break;
		struct hold *one = LIST_OF(struct hold, renew, n);
		renew_later(one);
		hold_doubt(one);
	}
	if ((n = heap_first(&h->renewals)) != NULL)
		look_at(h, n->due);
}

static bool doubt_one(void *arg, struct span key, void *value)
{
	hold_doubt(value);
	return true;
}

void holds_doubt_all(struct holds *h)
{
	map_each(h->by_key, doubt_one, NULL);
}

/* ---- holding ---- */

struct hold *hold_get(struct holds *h, const struct op *op, struct span key)
{
	struct hold *one = map_get(h->by_key, key);
	if (one != NULL)
		return one;
	one = mem_alloc(sizeof *one + key.n);
	*one = (struct hold){ .all = h, .op = *op };
	memcpy(one->text, key.p, key.n);
	one->key = span_of(one->text, key.n);
	one->op.kind = OP_LEASE_SET;
	one->op.over = OVER_NOTED;
	if (map_set(h->by_key, one->key, one, NULL))
		return one;
	mem_free(one);
	return NULL;
}

uint64_t holds_count(const struct holds *h, struct span key)
{
	const struct hold *one = map_get(h->by_key, key);
	return one != NULL ? one->n : 0;
}

void hold_expect(struct hold *h, bool begins)
{
	h->expected += begins ? 1 : (size_t)0 - 1;
	if (!begins)
		hold_end_if_idle(h);
}

struct meter_lease *holds_lease(struct holds *h, struct hold *const *v, size_t n)
{
	if (n == 0)
		return NULL;
	CHECK(n <= LEASE_KEYS_MAX);
	struct meter_lease *l = MEM_NEW(struct meter_lease);
	l->all = h;
	l->n = n;
	list_add_tail(&h->leases, &l->link);
	for (size_t i = 0; i < n; i++) {
		struct hold *one = l->v[i] = v[i];
		if (one->n++ == 0)
			renew_later(one);
	}
	return l;
}

void hold_lease_name(struct meter_lease *l, uint64_t id)
{
	l->id = id;
}

void meter_release(struct meter_lease **l)
{
	struct meter_lease *gone = *l;
	*l = NULL;
	if (gone == NULL)
		return;
	list_remove(&gone->link);
	if (gone->id != 0 && gone->all != NULL && gone->all->m->witness != NULL)
		witness_lease_ended(gone->all->m->witness, gone->id);
	for (size_t i = 0; gone->all != NULL && i < gone->n; i++) {
		CHECK(gone->v[i]->n > 0);
		gone->v[i]->n--;
		hold_doubt(gone->v[i]);
	}
	mem_free(gone);
}

/* ---- life ---- */

struct holds *holds_new(struct metermaid *m)
{
	struct holds *h = MEM_NEW(struct holds);
	h->magic = holds_MAGIC;
	h->m = m;
	h->by_key = map_new(HOLDS_MAX);
	list_init(&h->doubts);
	list_init(&h->leases);
	soon_init(&h->flush, on_flush, h);
	timer_init(&h->tick, m->loop, on_tick, h);
	return h;
}

static bool free_one(void *arg, struct span key, void *value)
{
	struct hold *h = value;
	map_remove(h->all->by_key, key);
	heap_remove(&h->all->renewals, &h->renew);
	mem_free(h);
	return true;
}

void holds_free(struct holds **h)
{
	struct holds *gone = *h;
	struct list_node *n;
	*h = NULL;
	if (gone == NULL)
		return;
	while ((n = list_pop(&gone->leases)) != NULL)
		LIST_OF(struct meter_lease, link, n)->all = NULL;
	map_each(gone->by_key, free_one, NULL);
	map_free(&gone->by_key);
	heap_end(&gone->renewals);
	timer_clear(&gone->tick);
	soon_clear(&gone->flush);
	gone->magic = 0;
	mem_free(gone);
}
