/* op.c - see op.h. meter.lua must say the same. */
#include <string.h>

#include "base/check.h"
#include "metermaid/op.h"

enum { WORTH_MAX = 1024 };

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t op_life_us(const struct op *op)
{
	switch (op->kind) {
	case OP_RATE:
		return op->rate.tolerance_us + op->rate.interval_us;
	case OP_PENALTY:
		return later(op->rate.tolerance_us + op->span_us, op->remember_us);
	case OP_GREY:
		return later(op->window_us, op->remember_us);
	case OP_GREY_NET:
	case OP_USERS:
		return op->remember_us;
	case OP_COUNTER:
	case OP_LEASE:
	case OP_LEASE_SET:
	case OP_KINDS:
		break;
	}
	return op->span_us;
}

static void look_rate(
    const struct op *op, const struct op_state *had, struct op_now now, struct op_look *out)
{
	uint64_t tat;
	out->wait_us = bucket_wait_us(op->rate, had->t, now.us, op->cost, &tat);
	if (out->wait_us > 0) {
		tat = bucket_forced_tat(op->rate, had->t, now.us, op->cost);
	} else if (op->extra > 0 && now.mode == OP_TAKE) {
		uint64_t more = tat + op->rate.interval_us * op->extra;
		out->extra = more <= now.us + op->rate.tolerance_us;
		tat = out->extra ? more : tat;
	}
	out->next.t = out->next.until = tat;
}

static bool is_known(const struct op_state *s, uint32_t secret)
{
	for (size_t i = 0; i < OP_RING; i++)
		if (secret != 0 && s->ring[i] == secret)
			return true;
	return false;
}

static void look_penalty(
    const struct op *op, const struct op_state *had, struct op_now now, struct op_look *out)
{
	uint32_t secret = (uint32_t)op->who;
	bool known = is_known(had, secret);
	uint64_t cost = known ? 0 : op->cost, from = later(had->t, now.us), tat;
	out->wait_us = bucket_wait_us(op->rate, had->t, now.us, cost, &tat);
	out->always = out->wait_us > 0;
	out->next.t = lesser(from + op->rate.interval_us * cost,
	    later(from, now.us + op->rate.tolerance_us + op->span_us));
	out->next.until = later(out->next.t, now.us + op->remember_us);
	if (secret == 0 || known)
		return;
	memmove(&out->next.ring[1], had->ring, sizeof had->ring - sizeof had->ring[0]);
	out->next.ring[0] = secret;
}

/* What has counted much is worth more than what began later: one of its lives for each. */
static uint64_t worth(const struct op *op, const struct op_state *s)
{
	return s->until + op->span_us * lesser(s->n, WORTH_MAX);
}

static void look_counter(
    const struct op *op, const struct op_state *had, struct op_now now, struct op_look *out)
{
	bool fresh = had->until <= now.us;
	uint64_t cost = lesser(op->cost, op->count), n = fresh ? 0 : had->n;
	out->next.until = fresh ? now.us + op->span_us : had->until;
	out->wait_us = n + cost > op->count ? out->next.until - now.us : 0;
	out->next.n = n + cost;
	out->next.t = worth(op, &out->next);
}

static void look_grey(const struct op *op, const struct op_state *had, struct op_now now,
    struct op_look *net, struct op_look *out)
{
	enum { GREY, PASSED };
	bool fresh = had->until <= now.us;
	if (op->count > 0 && net->next.n >= op->count) { /* its network is trusted */
		net->next.until = now.us + op->remember_us;
		return;
	}
	if (fresh) {
		out->next = (struct op_state){ .t = now.us + op->span_us, .n = GREY };
		out->next.until = now.us + op->window_us;
		out->wait_us = op->span_us;
		out->always = true;
		return;
	}
	if (had->n == GREY && now.us < had->t) {
		out->wait_us = had->t - now.us;
		return;
	}
	if (had->n == GREY) {
		net->next.n++;
		net->next.until = now.us + op->remember_us;
	}
	out->next.n = PASSED;
	out->next.until = now.us + op->remember_us;
}

static void look_lease(
    const struct op *op, const struct op_state *had, struct op_now now, struct op_look *out)
{
	uint64_t own = had->until > now.us ? had->n : 0;
	out->wait_us = had->t + own + op->cost > op->count ? LEASE_RETRY_US : 0;
	out->next.n = own + op->cost;
	out->next.until = now.us + op->span_us;
	out->next.t = worth(op, &out->next);
}

static void look_lease_set(
    const struct op *op, const struct op_state *had, struct op_now now, struct op_look *out)
{
	uint64_t own = had->until > now.us ? had->n : 0;
	out->next.n = op->keep ? later(own, op->cost) : op->cost;
	out->next.until = out->next.n > 0 ? now.us + op->span_us : 0;
	out->next.t = worth(op, &out->next);
	out->always = true;
}

/* Bits of users that are set, as the number of users who would set so many: each new bit is met after
 * bits / free of them. Exact where no two share a bit. */
static uint64_t estimate(const uint32_t *ring)
{
	enum { WORDS = OP_RING / 2, BITS = 32 * WORDS };
	uint64_t sum = 0, set = 0;
	for (size_t i = 0; i < WORDS; i++)
		set += (uint64_t)__builtin_popcount(ring[i] | ring[i + WORDS]);
	for (uint64_t i = 0; i < set; i++)
		sum += 1000 * BITS / (BITS - i);
	return (sum + 500) / 1000;
}

static void look_users(
    const struct op *op, const struct op_state *had, struct op_now now, struct op_look *out)
{
	enum { WORDS = OP_RING / 2, BITS = 32 * WORDS };
	struct op_state *s = &out->next;
	uint64_t generation = now.us / op->remember_us + 1;
	if (had->until <= now.us)
		*s = (struct op_state){ .n = generation };
	if (s->n != generation) {
		for (size_t i = 0; i < WORDS; i++) {
			s->ring[i + WORDS] = s->n + 1 == generation ? s->ring[i] : 0;
			s->ring[i] = 0;
		}
		s->n = generation;
	}
	if (op->who != 0) {
		s->ring[op->who % BITS / 32] |= UINT32_C(1) << op->who % 32;
		s->until = (generation + 1) * op->remember_us;
		out->always = true;
	}
	out->users = lesser(estimate(s->ring), op->grow_max);
}

uint64_t op_users(const struct op *op, const struct op_state *s, uint64_t now_us)
{
	struct op ask = *op;
	struct op_look look = { .next = *s };
	ask.who = 0;
	look_users(&ask, s, (struct op_now){ now_us, OP_PEEK }, &look);
	return look.users;
}

struct op op_grown(const struct op *op, uint64_t users)
{
	struct op g = *op;
	if (op->grow == 0 || users == 0)
		return g;
	uint64_t count = op->count + op->grow * users;
	if (op->kind == OP_RATE || op->kind == OP_PENALTY)
		g.rate.interval_us = later(op->rate.interval_us * op->count / count, 1);
	else
		g.count = count;
	return g;
}

void op_look(const struct op *op, const struct op_state *had, struct op_now now,
    struct op_look *net, struct op_look *out)
{
	struct op grown;
	*out = (struct op_look){ .next = *had };
	if (op->grow > 0 && net != NULL && op->kind != OP_USERS) {
		grown = op_grown(op, net->users);
		op = &grown;
	}
	switch (op->kind) {
	case OP_RATE:
		look_rate(op, had, now, out);
		break;
	case OP_PENALTY:
		look_penalty(op, had, now, out);
		break;
	case OP_COUNTER:
		look_counter(op, had, now, out);
		break;
	case OP_GREY_NET:
		if (had->until <= now.us)
			out->next = (struct op_state){ .n = 0 };
		break;
	case OP_GREY:
		CHECK(net != NULL);
		look_grey(op, had, now, net, out);
		break;
	case OP_LEASE:
		look_lease(op, had, now, out);
		break;
	case OP_LEASE_SET:
		look_lease_set(op, had, now, out);
		break;
	case OP_USERS:
		look_users(op, had, now, out);
		break;
	case OP_KINDS:
		break;
	}
}

void op_weigh(const struct op *op, size_t i, const struct op_look *look, struct op_answer *out)
{
	bool hard = op->over == OVER_REFUSES;
	if (look->extra)
		out->extra |= UINT32_C(1) << i;
	if (look->wait_us == 0)
		return;
	out->over |= UINT32_C(1) << i;
	if (op->over == OVER_NOTED || (!hard && out->hard))
		return;
	if (hard == out->hard && look->wait_us <= out->wait_us)
		return;
	out->index = i;
	out->wait_us = look->wait_us;
	out->hard = hard;
}
