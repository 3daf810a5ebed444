/* watch.h - decisions for people who look on: `postern meter watch`.
 *
 * Bounded: WATCHERS_MAX at a time, each with WATCH_BYTES of decisions it has not fetched yet; those beyond are
 * counted, not kept. Who has not asked for WATCH_IDLE_MS is forgotten. */
#ifndef METERMAID_WATCH_H
#define METERMAID_WATCH_H

#include "metermaid/decision.h"
#include "net/loop.h"

enum { WATCHERS_MAX = 8, WATCH_BYTES = 128 * 1024, WATCH_IDLE_MS = 10000, WATCH_FILTERS_MAX = 8 };

struct watchers;
struct watchers *watchers_new(struct loop *l);
void watchers_free(struct watchers **w);
bool watchers_are_here(const struct watchers *w);
void watchers_tell(struct watchers *w, const struct decision *d);

/* Appends a JSON array: what has been decided since the last question of the same id, which a first
 * question begins. words: id, then filters that must all hold: "rule=NAME", "on=MOMENT", "client=NET",
 * "user=NAME", "action=ACTION", "limited". An object {"error"} when there are too many, or one is no filter. */
bool watchers_ask(struct watchers *w, const char *const *words, size_t n, struct buf *out);

#endif
