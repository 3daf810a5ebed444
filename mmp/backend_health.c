/* backend_health.c - which stores are worth a connection attempt (step 4 of 5, beside route.c).
 *
 * Owns: one small record for each store that failed lately. No clock of its own. */
#include "mmp/backend_health.h"

#include "base/map.h"
#include "base/mem.h"

enum { FIRST_PER_S = 10, DOUBLED_MS = 1000, DOUBLINGS_MAX = 12 };

struct record {
	uint64_t pause_ms;
	uint64_t again_ms;    /* no attempt before this */
	uint64_t grown_ms;    /* when the pause was set: failures of one moment count once */
	unsigned trials;      /* half-open: that have gone since again_ms */
	uint64_t back_ms;     /* returning: since then; 0: it does not */
	uint64_t returned_ms; /* returning: until then */
	uint64_t turn_us;     /* returning: of the next login */
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

/* Is it over and forgotten? */
static bool forget_returned(
    struct backend_health *h, struct span key, struct record *r, uint64_t now_ms)
{
	if (r->back_ms == 0 || now_ms < r->returned_ms)
		return false;
	mem_free(map_remove(h->records, key));
	return true;
}

/* The next turn of a store that returns: its rate is that of the moment it is given away in. */
static bool take_turn(struct record *r, uint64_t now_ms, uint64_t wait_max_ms, uint64_t *wait_ms)
{
	uint64_t doublings = (now_ms - r->back_ms) / DOUBLED_MS;
	uint64_t per_s = (uint64_t)FIRST_PER_S
			 << (doublings < DOUBLINGS_MAX ? doublings : DOUBLINGS_MAX);
	uint64_t now_us = now_ms * 1000;
	if (r->turn_us < now_us)
		r->turn_us = now_us;
	*wait_ms = (r->turn_us - now_us) / 1000;
	if (*wait_ms > wait_max_ms)
		return false;
	r->turn_us += 1000000 / per_s;
	return true;
}

/* A record is stale when its store has not been asked for since twice the pause. */
static bool sweep_record(void *arg, struct span key, void *value)
{
	struct backend_health *h = arg;
	struct record *r = value;
	if (r->again_ms + 2 * r->pause_ms < h->now_ms && r->returned_ms < h->now_ms) {
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

bool backend_health_try(struct backend_health *h, struct span key, uint64_t now_ms,
    uint64_t wait_max_ms, uint64_t *wait_ms_out)
{
	struct record *r = map_get(h->records, key);
	*wait_ms_out = 0;
	if (r == NULL || forget_returned(h, key, r, now_ms))
		return true;
	if (r->back_ms != 0)
		return take_turn(r, now_ms, wait_max_ms, wait_ms_out);
	if (now_ms >= r->again_ms) {
		r->again_ms = now_ms + r->pause_ms;
		r->trials = 0;
	} else if (r->trials == 0 || r->trials >= BACKEND_TRIALS) {
		return false; /* open, or others are trying */
	}
	r->trials++;
	return true;
}

const char *backend_health_look(
    const struct backend_health *h, struct span key, uint64_t now_ms, uint64_t *ms_out)
{
	const struct record *r = map_get(h->records, key);
	*ms_out = 0;
	if (r == NULL || (r->back_ms != 0 && now_ms >= r->returned_ms))
		return "good";
	if (r->back_ms != 0) {
		*ms_out = r->returned_ms - now_ms;
		return "returning";
	}
	*ms_out = now_ms < r->again_ms ? r->again_ms - now_ms : 0;
	return *ms_out > 0 && r->trials == 0 ? "dead" : "being tried";
}

bool backend_health_good(
    struct backend_health *h, struct span key, uint64_t return_ms, uint64_t now_ms)
{
	struct record *r = map_get(h->records, key);
	if (r == NULL || r->back_ms != 0)
		return false;
	r->back_ms = now_ms;
	r->returned_ms = now_ms + return_ms;
	r->turn_us = now_ms * 1000;
	forget_returned(h, key, r, now_ms);
	return true;
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
	r->trials = 0;
	r->back_ms = 0;
	if (now_ms - r->grown_ms < r->pause_ms)
		return;
	r->pause_ms = r->pause_ms == 0 ? pause.min_ms : 2 * r->pause_ms;
	if (r->pause_ms > pause.max_ms)
		r->pause_ms = pause.max_ms;
	r->grown_ms = now_ms;
	r->again_ms = now_ms + r->pause_ms;
}
