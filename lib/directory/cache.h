/* cache.h - answers remembered before a back end that must ask: positive and negative age, one question in
 * flight per key, bounded, least recently used out first, last known good while the servers are away. */
#ifndef DIRECTORY_CACHE_H
#define DIRECTORY_CACHE_H

#include "directory/backend.h"

struct cache;

enum { CACHE_KEY_MAX = 1024 };

/* back, and the settings it was opened with, are borrowed. */
struct cache *cache_new(const struct backend_env *env, struct backend *back);
void cache_free(struct cache **c); /* every ticket must be gone */

/* Is the answer known and young enough? *record_out: a reference for the caller when found. */
bool cache_get(struct cache *c, enum record_kind kind, struct span key, enum answer *answer_out,
    struct record **record_out);

/* Asks the back end, or joins those who wait for the same key. An answer AWAY becomes FOUND when a record
 * is remembered that is not older than stale_max and whose user or domain was active, and WAS_ABSENT when
 * it is remembered that there was no such domain or store. */
struct ticket *cache_fetch(
    struct cache *c, enum record_kind kind, struct span key, answer_fn *fn, void *arg);

/* Forgets a key; who waits for it still gets the answer that is on its way, the next one asks anew.
 * Returns the record that was remembered (a reference for the caller), or NULL. */
struct record *cache_forget(struct cache *c, enum record_kind kind, struct span key);

#endif
