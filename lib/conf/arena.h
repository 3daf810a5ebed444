/* arena.h - memory of a snapshot: many small pieces, freed (and wiped) together. */
#ifndef CONF_ARENA_H
#define CONF_ARENA_H

#include <stddef.h>

#include "base/span.h"

struct arena;

struct arena *arena_new(void);
void arena_free(struct arena **a);            /* wipes: secrets live in it */
void *arena_alloc(struct arena *a, size_t n); /* zeroed, aligned for anything */
void *arena_array(struct arena *a, size_t count, size_t size);
const char *arena_str(struct arena *a, struct span s);  /* NUL-terminated copy */
struct span arena_span(struct arena *a, struct span s); /* copy, NUL behind it */

#endif
