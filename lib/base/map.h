/* map.h - hash table from byte strings to pointers, with a keyed hash and a cap.
 *
 * Keys are copied; values are the caller's. Growth moves a few buckets per call, so no single
 * insert stalls. Iteration order is arbitrary. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

struct map;

struct map *map_new(size_t entries_max);
void map_free(struct map **m);                       /* values are not touched */
void *map_get(const struct map *m, struct span key); /* NULL when absent */
/* Sets key to a non-NULL value. *old_out (may be NULL) gets the value replaced, or NULL. False:
 * the table is full and key is new; nothing changed. */
bool map_set(struct map *m, struct span key, void *value, void **old_out);
void *map_remove(struct map *m, struct span key); /* the value, or NULL */
size_t map_count(const struct map *m);

/* Calls fn for each entry; fn returning false stops. fn may remove the entry it is given, and
 * nothing else. */
void map_each(struct map *m, bool (*fn)(void *arg, struct span key, void *value), void *arg);

#endif
