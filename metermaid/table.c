/* table.c - set-associative tables of key states under one robust lock. */
#include <sys/mman.h>

#include "base/check.h"
#include "metermaid/shared.h"
#include "metermaid/table.h"

enum { WAYS = 8, LEASE_WAYS = 64 }; /* more workers than LEASE_WAYS are not on one host */

struct cell {
	struct key_id id; /* both 0: free; the last 16 bits of h2: the rule */
	struct op_state state;
};
_Static_assert(sizeof(struct cell) == 64, "a cell is a cache line");

struct region {
	struct cell *cells;
	size_t sets, ways;
};

struct table {
	pthread_mutex_t lock; /* a dead owner leaves whole words, as good as any */
	struct region keys, leases;
	size_t bytes;
	uint32_t asked; /* questions so far */
	struct cell cells[] __attribute__((aligned(64)));
};

static size_t sets_for(size_t keys_max, size_t ways)
{
	size_t sets = 1;
	while (sets * ways < keys_max)
		sets *= 2;
	return sets;
}

static size_t table_bytes(size_t keys_max)
{
	return sizeof(struct table) +
	       (sets_for(keys_max, WAYS) * WAYS + sets_for(keys_max, LEASE_WAYS) * LEASE_WAYS) *
		   sizeof(struct cell);
}

static struct table *table_new(size_t keys_max, bool shared)
{
	size_t bytes = table_bytes(keys_max);
	struct table *t = shared_map(bytes, shared);
	shared_lock_init(&t->lock, shared);
	t->keys = (struct region){ t->cells, sets_for(keys_max, WAYS), WAYS };
	t->leases = (struct region){ t->cells + t->keys.sets * WAYS, sets_for(keys_max, LEASE_WAYS),
		LEASE_WAYS };
	t->bytes = bytes;
	return t;
}

struct table *table_new_shared(size_t keys_max)
{
	return table_new(keys_max, true);
}

struct table *table_new_private(size_t keys_max)
{
	return table_new(keys_max, false);
}

void table_free(struct table **t)
{
	struct table *gone = *t;
	*t = NULL;
	if (gone != NULL)
		munmap(gone, gone->bytes);
}

static bool is_lease(const struct op *op)
{
	return op->kind == OP_LEASE || op->kind == OP_LEASE_SET;
}

static bool is_only_read(const struct op *op)
{
	return op->kind == OP_USERS && op->who == 0;
}

static struct key_id cell_id(const struct op *op)
{
	struct key_id id = op->id;
	id.h2 = is_lease(op) ? id.h2 ^ (op->who * UINT64_C(0x9e3779b97f4a7c15)) : id.h2;
	id.h2 = (id.h2 & ~(uint64_t)UINT16_MAX) | op->rule; /* not 0 */
	return id;
}

static uint16_t rule_of(const struct cell *c)
{
	return (uint16_t)c->id.h2;
}

/* A rule that may have less than the table uses so many of its sets: a power of 2, at least 1. */
static size_t sets_of(const struct region *r, uint64_t keys_max)
{
	size_t sets = r->sets;
	while (sets > 1 && sets * r->ways > keys_max)
		sets /= 2;
	return sets;
}

static struct cell *set_of(const struct table *t, const struct op *op, size_t *ways_out)
{
	const struct region *r = is_lease(op) ? &t->leases : &t->keys;
	*ways_out = r->ways;
	return &r->cells[(op->id.h1 & (sets_of(r, op->keys_max) - 1)) * r->ways];
}

static bool is_taken(struct cell *const *taken, size_t n, const struct cell *c)
{
	for (size_t i = 0; i < n; i++)
		if (taken[i] == c)
			return true;
	return false;
}

static struct cell *find_cell(const struct table *t, const struct op *op)
{
	size_t ways;
	struct key_id id = cell_id(op);
	struct cell *set = set_of(t, op, &ways);
	for (size_t i = 0; i < ways; i++)
		if (set[i].id.h1 == id.h1 && set[i].id.h2 == id.h2)
			return &set[i];
	return NULL;
}

static uint64_t worth_of(const struct cell *c)
{
	return c->state.t > c->state.until ? c->state.t : c->state.until;
}

/* How many cells of the set the rule of one of them has. */
static size_t share_of(const struct cell *set, size_t ways, const struct cell *one)
{
	size_t n = 0;
	for (size_t i = 0; i < ways; i++)
		n += rule_of(&set[i]) == rule_of(one);
	return n;
}

/* Is a rather to be given away than b? Of the rule that has more of the set, then what is worth less: a
 * flood under one rule takes nothing from the others. */
static bool is_lesser(
    const struct cell *set, size_t ways, const struct cell *a, const struct cell *b)
{
	if (rule_of(a) != rule_of(b)) {
		size_t has_a = share_of(set, ways, a), has_b = share_of(set, ways, b);
		if (has_a != has_b)
			return has_a > has_b;
	}
	return worth_of(a) < worth_of(b);
}

/* Cells of the same question are never given away: taken, n. NULL: there is no other. */
static struct cell *find_place(
    struct cell *set, size_t ways, uint64_t now_us, struct cell *const *taken, size_t n)
{
	struct cell *least = NULL;
	for (size_t i = 0; i < ways; i++) {
		if (is_taken(taken, n, &set[i]))
			continue;
		if (set[i].state.until <= now_us)
			return &set[i];
		if (least == NULL || is_lesser(set, ways, &set[i], least))
			least = &set[i];
	}
	return least;
}

/* Made when it is new. */
static struct cell *make_cell(
    struct table *t, const struct op *op, uint64_t now_us, struct cell *const *taken, size_t n)
{
	size_t ways;
	struct cell *found = find_cell(t, op), *set = set_of(t, op, &ways);
	if (found != NULL)
		return found;
	found = find_place(set, ways, now_us, taken, n);
	if (found != NULL)
		*found = (struct cell){ .id = cell_id(op) };
	return found;
}

/* What others hold of a lease's key. */
static uint64_t held_by_others(
    const struct table *t, const struct op *op, const struct cell *own, uint64_t now_us)
{
	uint64_t sum = 0;
	size_t ways;
	const struct cell *set = set_of(t, op, &ways);
	for (size_t i = 0; i < ways; i++)
		if (&set[i] != own && set[i].id.h1 == op->id.h1 && set[i].state.until > now_us)
			sum += set[i].state.n;
	return sum;
}

struct op_answer table_question(struct table *t, const struct op *ops, size_t n, struct op_now now)
{
	struct cell *cells[OPS_MAX] = { NULL };
	struct op_look looks[OPS_MAX];
	struct op_answer out = { .index = n };
	CHECK(n <= OPS_MAX);
	shared_lock(&t->lock);
	for (size_t i = 0; i < n; i++) {
		cells[i] = is_only_read(&ops[i]) ? find_cell(t, &ops[i])
						 : make_cell(t, &ops[i], now.us, cells, i);
		struct op_state had = cells[i] != NULL ? cells[i]->state : (struct op_state){ 0 };
		if (is_lease(&ops[i]))
			had.t = held_by_others(t, &ops[i], cells[i], now.us);
		op_look(&ops[i], &had, now, i > 0 ? &looks[i - 1] : NULL, &looks[i]);
		op_weigh(&ops[i], i, &looks[i], &out);
	}
	out.us = now.us;
	out.seq = ++t->asked;
	bool charged = now.mode == OP_FORCE || (now.mode == OP_TAKE && !out.hard);
	for (size_t i = 0; i < n; i++)
		if (cells[i] != NULL && (charged || looks[i].always))
			cells[i]->state = looks[i].next;
	pthread_mutex_unlock(&t->lock);
	return out;
}

bool table_show(struct table *t, const struct op *op, uint64_t now_us, struct op_state *out)
{
	*out = (struct op_state){ .n = 0 };
	shared_lock(&t->lock);
	if (is_lease(op)) {
		out->n = held_by_others(t, op, NULL, now_us);
		out->until = out->n > 0 ? now_us + op->span_us : 0;
	} else {
		const struct cell *c = find_cell(t, op);
		*out = c != NULL ? c->state : *out;
	}
	pthread_mutex_unlock(&t->lock);
	return out->until > now_us;
}

void table_reset(struct table *t, const struct op *op)
{
	size_t ways;
	struct key_id id = cell_id(op);
	shared_lock(&t->lock);
	struct cell *set = set_of(t, op, &ways);
	for (size_t i = 0; i < ways; i++)
		if (set[i].id.h1 == id.h1 && (is_lease(op) || set[i].id.h2 == id.h2))
			set[i] = (struct cell){ .id = { 0, 0 } };
	pthread_mutex_unlock(&t->lock);
}
