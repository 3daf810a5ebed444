/* backend_health.c - which stores are worth a connection attempt (step 4 of 5, beside route.c).
 *
 * Owns: one small record for each store that failed lately. No clock of its own. */
#include "mmp/backend_health.h"

#include "base/map.h"
#include "base/mem.h"

struct record {
	uint64_t pause_ms;
	uint64_t again_ms; /* no attempt before this */
	uint64_t grown_ms; /* when the pause was set: failures of one moment count once */
};

struct backend_health {
	struct map *records; /* key to struct record, owned */
	uint64_t now_ms;     /* for sweep() */
};

static bool free_record(void *arg, struct span key, void *value)
{
	mem_free(value);
	return true;
}

/* A record is stale when its store has not been asked for since twice the pause. */
static bool sweep_record(void *arg, struct span key, void *value)
{
	struct backend_health *h = arg;
	struct record *r = value;
	if (r->again_ms + 2 * r->pause_ms < h->now_ms) {
		map_remove(h->records, key);
		mem_free(r);
	}
	return true;
}

struct backend_health *backend_health_new(size_t stores_max)
{
	struct backend_health *h = MEM_NEW(struct backend_health);
	h->records = map_new(stores_max);
	return h;
}

void backend_health_free(struct backend_health **h)
{
	if (*h == NULL)
		return;
	map_each((*h)->records, free_record, NULL);
	map_free(&(*h)->records);
	MEM_FREE(h);
}

bool backend_health_try(struct backend_health *h, struct span key, uint64_t now_ms)
{
	struct record *r = map_get(h->records, key);
	if (r == NULL)
		return true;
	if (now_ms < r->again_ms)
		return false;
	r->again_ms = now_ms + r->pause_ms;
	return true;
}

void backend_health_good(struct backend_health *h, struct span key)
{
	mem_free(map_remove(h->records, key));
}

void backend_health_bad(
    struct backend_health *h, struct span key, struct backend_pause pause, uint64_t now_ms)
{
	struct record *r = map_get(h->records, key);
	if (r == NULL) {
		r = MEM_NEW(struct record);
		if (!map_set(h->records, key, r, NULL)) {
			h->now_ms = now_ms;
			map_each(h->records, sweep_record, h);
			if (!map_set(h->records, key, r, NULL)) {
				mem_free(r);
				return;
			}
		}
	}
	if (now_ms - r->grown_ms < r->pause_ms)
		return;
	r->pause_ms = r->pause_ms == 0 ? pause.min_ms : 2 * r->pause_ms;
	if (r->pause_ms > pause.max_ms)
		r->pause_ms = pause.max_ms;
	r->grown_ms = now_ms;
	r->again_ms = now_ms + r->pause_ms;
}
