/* bucket.c - GCRA in integers; see bucket.h. */
#include "metermaid/bucket.h"

static uint64_t at_least_1(uint64_t v)
{
	return v > 0 ? v : 1;
}

static uint64_t times(uint64_t a, uint64_t b)
{
	uint64_t v;
	/* 2^53 microseconds are 285 years, and exact in Lua's numbers too */
	return __builtin_mul_overflow(a, b, &v) || v > (UINT64_C(1) << 53) ? UINT64_C(1) << 53 : v;
}

struct bucket_limit bucket_limit_make(uint64_t count, uint64_t per_ms, uint64_t burst)
{
	struct bucket_limit l;
	l.interval_us = at_least_1(times(per_ms, 1000) / at_least_1(count));
	l.tolerance_us = times(l.interval_us, at_least_1(burst > 0 ? burst : count));
	return l;
}

struct bucket_limit bucket_limit_share(struct bucket_limit l, uint64_t n)
{
	uint64_t burst = l.tolerance_us / l.interval_us;
	struct bucket_limit s;
	n = at_least_1(n);
	s.interval_us = times(l.interval_us, n);
	s.tolerance_us = times(s.interval_us, at_least_1(burst / n));
	return s;
}

static uint64_t cost_us(struct bucket_limit l, uint64_t cost)
{
	uint64_t us = times(l.interval_us, cost);
	return us < l.tolerance_us ? us : l.tolerance_us;
}

uint64_t bucket_wait_us(
    struct bucket_limit l, uint64_t tat_us, uint64_t now_us, uint64_t cost, uint64_t *tat_out)
{
	uint64_t from = tat_us > now_us ? tat_us : now_us;
	*tat_out = from + cost_us(l, cost);
	return *tat_out - now_us <= l.tolerance_us ? 0 : *tat_out - now_us - l.tolerance_us;
}

uint64_t bucket_forced_tat(struct bucket_limit l, uint64_t tat_us, uint64_t now_us, uint64_t cost)
{
	uint64_t tat, cap = now_us + l.tolerance_us + l.interval_us;
	bucket_wait_us(l, tat_us, now_us, cost, &tat);
	return tat < cap ? tat : cap;
}
