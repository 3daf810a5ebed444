/* backend_health.h - short memory of stores that could not be reached.
 *
 * A store that failed is left alone for a pause that doubles with each failure; when the pause is
 * over one attempt goes through, and the others wait for what it finds. One memory per worker. */
#ifndef MMP_BACKEND_HEALTH_H
#define MMP_BACKEND_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

struct backend_health;

struct backend_health *backend_health_new(size_t stores_max);
void backend_health_free(struct backend_health **h);

/* May store `key` ("host:port") be tried now? True for a store without a bad record. True for a
 * dead store whose pause is over: the caller is its probe, and the next one goes after another
 * pause, whether or not the caller ever reports. */
bool backend_health_try(struct backend_health *h, struct span key, uint64_t now_ms);

void backend_health_good(struct backend_health *h, struct span key);

/* It failed: next try after a pause between min_ms and max_ms. A full memory forgets the stores
 * whose pause is long over, or remembers nothing new. */
struct backend_pause {
	uint64_t min_ms, max_ms;
};
void backend_health_bad(
    struct backend_health *h, struct span key, struct backend_pause pause, uint64_t now_ms);

#endif
