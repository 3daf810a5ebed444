/* hot.c - a small set-associative cache, private to a worker; see hot.h. */
#include <string.h>

#include "base/mem.h"
#include "metermaid/hot.h"

enum { SETS = 1024, WAYS = 4, WINDOW_US = 100000, HOT_ASKS = 4 };

struct hot {
	struct hot_cell cells[SETS * WAYS];
};

struct hot *hot_new(void)
{
	return MEM_NEW(struct hot);
}

void hot_free(struct hot **h)
{
	MEM_FREE(h);
}

void hot_forget(struct hot *h)
{
	memset(h->cells, 0, sizeof h->cells);
}

static struct hot_cell *set_of(struct hot *h, struct key_id id)
{
	return &h->cells[(id.h1 & (SETS - 1)) * WAYS];
}

struct hot_cell *hot_find(struct hot *h, struct key_id id)
{
	struct hot_cell *set = set_of(h, id);
	for (size_t i = 0; i < WAYS; i++)
		if (set[i].h1 == id.h1)
			return &set[i];
	return NULL;
}

/* The cell with the least to lose: asked about longest ago, then least often. */
static struct hot_cell *least_of(struct hot_cell *set)
{
	struct hot_cell *least = &set[0];
	for (size_t i = 1; i < WAYS; i++)
		if (set[i].window < least->window ||
		    (set[i].window == least->window && set[i].asks < least->asks))
			least = &set[i];
	return least;
}

struct hot_cell *hot_touch(struct hot *h, struct key_id id, uint64_t now_us)
{
	struct hot_cell *c = hot_find(h, id);
	uint64_t window = now_us / WINDOW_US;
	if (c == NULL) {
		c = least_of(set_of(h, id));
		*c = (struct hot_cell){ .h1 = id.h1, .window = window };
	}
	if (c->window != window) {
		c->before = c->window + 1 == window ? c->asks : 0;
		c->asks = 0;
		c->window = window;
	}
	c->asks++;
	return c;
}

static bool denies(const struct hot_cell *c, const struct op *op, uint64_t now_us)
{
	return c != NULL && op->over == OVER_REFUSES && c->denied_until_us > now_us &&
	       op->cost >= c->denied_cost;
}

static bool has_tokens(const struct hot_cell *c, const struct op *op, uint64_t now_us)
{
	return c != NULL && op->kind == OP_RATE && c->tokens_until_us > now_us &&
	       c->tokens >= op->cost;
}

bool hot_decide(struct hot_cell *const *cells, const struct op *ops, size_t n, struct op_now now,
    struct op_answer *out)
{
	bool all = now.mode == OP_TAKE;
	*out = (struct op_answer){ .index = n };
	for (size_t i = 0; i < n; i++) {
		if (denies(cells[i], &ops[i], now.us)) {
			out->index = i;
			out->hard = true;
			out->wait_us = cells[i]->passes_at_us - now.us;
			out->over = UINT32_C(1) << i;
			return true;
		}
		all = all && (ops[i].kind == OP_USERS || has_tokens(cells[i], &ops[i], now.us));
	}
	for (size_t i = 0; all && i < n; i++)
		if (cells[i] != NULL)
			cells[i]->tokens -= ops[i].cost;
	return all;
}

uint64_t hot_want(struct hot_cell *c, const struct op *op, uint64_t workers, uint64_t now_us)
{
	bool has = c->tokens_until_us > now_us && c->tokens > 0;
	uint64_t asks = c->asks > c->before ? c->asks : c->before;
	if (op->kind != OP_RATE || workers == 0 || has || asks < HOT_ASKS ||
	    c->wanted_until_us > now_us)
		return 0;
	uint64_t most = op->rate.tolerance_us / op->rate.interval_us / HOT_PART / workers;
	uint64_t want = asks * op->cost;
	want = want < most ? want : most;
	want = want < HOT_TOKENS_MAX ? want : HOT_TOKENS_MAX;
	if (want > 0)
		c->wanted_until_us = now_us + HOT_TOKEN_US;
	return want;
}

void hot_learn(struct hot_cell *c, const struct op *op, struct hot_answer of, uint64_t now_us)
{
	bool keeps = op->kind == OP_RATE || op->kind == OP_COUNTER;
	if (op->extra > 0)
		c->wanted_until_us = 0;
	if ((of.a->extra & UINT32_C(1) << of.i) != 0) {
		c->tokens = op->extra;
		c->tokens_until_us = now_us + HOT_TOKEN_US;
	}
	if (keeps && of.a->hard && of.a->index == of.i) {
		c->denied_until_us =
		    now_us + (of.a->wait_us < HOT_DENY_US ? of.a->wait_us : HOT_DENY_US);
		c->passes_at_us = now_us + of.a->wait_us;
		c->denied_cost = op->cost;
	}
}
