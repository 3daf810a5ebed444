/* bucket.h - the arithmetic of a rate limit: GCRA (the virtual scheduling form of a token bucket).
 *
 * State of a key is one number: the theoretical arrival time (TAT), in microseconds. With emission
 * interval T (one unit each T) and tolerance tau = T * burst, a question of cost c at `now` would move
 * the TAT to max(TAT, now) + T * c; it conforms while that is at most now + tau. meter.lua computes the
 * same on the server. */
#ifndef METERMAID_BUCKET_H
#define METERMAID_BUCKET_H

#include <stdint.h>

struct bucket_limit {
	uint64_t interval_us;  /* T, at least 1 */
	uint64_t tolerance_us; /* tau, at least T */
};

/* burst 0: count. Costs larger than a burst count as one burst, else they could never pass. */
struct bucket_limit bucket_limit_make(uint64_t count, uint64_t per_ms, uint64_t burst);
/* The part of a limit that one of n workers may use alone. */
struct bucket_limit bucket_limit_share(struct bucket_limit l, uint64_t n);

/* How long until the question would conform: 0 = it conforms now. *tat_out: the TAT if charged. */
uint64_t bucket_wait_us(
    struct bucket_limit l, uint64_t tat_us, uint64_t now_us, uint64_t cost, uint64_t *tat_out);

/* The TAT after a forced charge: at most now + tau + T, so that a flood is not punished for ever. */
uint64_t bucket_forced_tat(struct bucket_limit l, uint64_t tat_us, uint64_t now_us, uint64_t cost);

#endif
