/* backend_health.h - circuit breakers: a short memory of stores that could not be reached, one per worker.
 *
 *	closed     no record: everybody goes
 *	open       it failed: nobody goes for a pause that doubles with each failure
 *	half-open  the pause is over: a few trials go, the others wait for what they find, and without a report the
 *	           next few go after another pause
 *	returning  a trial came back well: ten logins a second go, twice as many with each second, so that all who
 *	           were turned away do not fall on it at once; after return_ms the record is forgotten
 *
 * A failure leads back to open from everywhere. No clock of its own. */
#ifndef MMP_BACKEND_HEALTH_H
#define MMP_BACKEND_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

enum { BACKEND_TRIALS = 3 };

struct backend_health;

struct backend_health *backend_health_new(size_t stores_max);
void backend_health_free(struct backend_health **h);

/* May store `key` ("host:port") be tried? True: after *wait_ms_out, which is 0 or, for a store that returns, at
 * most wait_max_ms; the caller's turn is kept for it and it does not ask again. */
bool backend_health_try(struct backend_health *h, struct span key, uint64_t now_ms,
    uint64_t wait_max_ms, uint64_t *wait_ms_out);

/* What backend_health_try() would find, for people: "good", "dead", "being tried", "returning"; *ms_out: until the
 * next try, or until it counts as good. */
const char *backend_health_look(
    const struct backend_health *h, struct span key, uint64_t now_ms, uint64_t *ms_out);

/* It has answered well. True: it had failed, and begins to return (return_ms 0: is back). */
bool backend_health_good(
    struct backend_health *h, struct span key, uint64_t return_ms, uint64_t now_ms);

/* It failed: next try after a pause between min_ms and max_ms. A full memory forgets the stores
 * whose pause is long over, or remembers nothing new. */
struct backend_pause {
	uint64_t min_ms, max_ms;
};
void backend_health_bad(
    struct backend_health *h, struct span key, struct backend_pause pause, uint64_t now_ms);

#endif
