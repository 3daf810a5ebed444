/* cache.c - entries in a map and in order of use; flights for questions on their way.
 *
 * Owns entries, flights and the back end's tickets. A flight ends with the last one who waits for it. */
#include "directory/cache.h"

#include "base/check.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

#include "directory/name.h"
#include "directory/tables.h"

#define flight_MAGIC 0xcac4ef17u
#define waiter_MAGIC 0xcac4e3a1u

enum { KEY_SIZE = 1 + CACHE_KEY_MAX };

struct key {
	size_t n;
	char p[KEY_SIZE];
};

struct cached {
	struct list_node used; /* in cache.used, most recent first */
	struct record *record; /* owned reference; NULL: absent */
	uint64_t since_ms;
	size_t key_n;
	char key[];
};

struct flight {
	uint32_t magic;
	struct cache *cache;
	struct ticket *ask; /* owned: the back end's */
	struct list_node waiters;
	bool forgotten; /* the answer is not to be remembered, and nobody joins any more */
	struct key key;
};

struct waiter {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct flight *flight;
	struct list_node link;
	answer_fn *fn;
	void *arg;
};

struct cache {
	struct backend_env env;
	struct backend *back;
	struct map *entries; /* key -> struct cached, owned */
	struct map *flights; /* key -> struct flight, owned by their waiters */
	struct list_node used;
	bool stale; /* the last answer of the back end was AWAY and something was served */
	uint64_t stale_count; /* served since then */
};

static struct key make_key(enum record_kind kind, struct span name)
{
	struct key k;
	CHECK(name.n < KEY_SIZE);
	k.p[0] = (char)('0' + kind);
	memcpy(k.p + 1, name.p, name.n);
	k.n = name.n + 1;
	return k;
}

static struct span key_span(const struct key *k)
{
	return span_of(k->p, k->n);
}

static struct span cached_key(const struct cached *e)
{
	return span_of(e->key, e->key_n);
}

/* ---- entries ---- */

static void entry_drop(struct cache *c, struct cached *e)
{
	map_remove(c->entries, cached_key(e));
	list_remove(&e->used);
	record_unref(&e->record);
	mem_free(e);
}

static void entry_put(struct cache *c, const struct key *key, struct record *record)
{
	struct cached *e = map_get(c->entries, key_span(key));
	if (e == NULL) {
		if (map_count(c->entries) >= (size_t)c->env.conf->cache_size)
			entry_drop(c, LIST_OF(struct cached, used, c->used.prev));
		e = mem_alloc(sizeof *e + key->n);
		e->key_n = key->n;
		memcpy(e->key, key->p, key->n);
		CHECK(map_set(c->entries, key_span(key), e, NULL));
	}
	record_unref(&e->record);
	e->record = record == NULL ? NULL : record_ref(record);
	e->since_ms = loop_now_ms(c->env.loop);
	list_remove(&e->used);
	list_add_head(&c->used, &e->used);
}

static uint64_t age_ms(const struct cache *c, const struct cached *e)
{
	return loop_now_ms(c->env.loop) - e->since_ms;
}

bool cache_get(struct cache *c, enum record_kind kind, struct span key, enum answer *answer_out,
    struct record **record_out)
{
	struct key k = make_key(kind, key);
	struct cached *e = map_get(c->entries, key_span(&k));
	const struct directory_conf *conf = c->env.conf;
	*record_out = NULL;
	if (e == NULL || age_ms(c, e) >= (e->record != NULL ? conf->cache_ttl : conf->negative_ttl))
		return false;
	list_remove(&e->used);
	list_add_head(&c->used, &e->used);
	directory_count(CACHE_HITS);
	*answer_out = e->record != NULL ? ANSWER_FOUND : ANSWER_ABSENT;
	*record_out = e->record != NULL ? record_ref(e->record) : NULL;
	return true;
}

static bool is_active(const struct record *r)
{
	return (r->kind != RECORD_USER || r->account.status == ACCOUNT_ACTIVE) &&
	       (r->kind != RECORD_GROUP || r->group.status == ACCOUNT_ACTIVE) &&
	       (r->kind != RECORD_DOMAIN || r->domain_status == ACCOUNT_ACTIVE);
}

/* Last known good. Absent is no good for a user: somebody may have been given that name meanwhile. */
static enum answer stale_answer(struct cache *c, const struct key *key, struct record **record_out)
{
	struct cached *e = map_get(c->entries, key_span(key));
	bool user = key->p[0] != '0' + RECORD_DOMAIN && key->p[0] != '0' + RECORD_STORE;
	if (e == NULL || age_ms(c, e) > c->env.conf->stale_max ||
	    (e->record == NULL ? user : !is_active(e->record)))
		return ANSWER_AWAY;
	if (!c->stale)
		directory_log(STALE, LOG_U64("age_ms", age_ms(c, e)));
	c->stale = true;
	c->stale_count++;
	directory_count(STALE_SERVED);
	*record_out = e->record == NULL ? NULL : record_ref(e->record);
	return e->record == NULL ? ANSWER_WAS_ABSENT : ANSWER_FOUND;
}

static void stale_over(struct cache *c)
{
	if (c->stale)
		directory_log(FRESH, LOG_U64("served", c->stale_count));
	c->stale = false;
	c->stale_count = 0;
}

/* ---- flights ---- */

static void flight_leave_map(struct flight *f)
{
	if (!f->forgotten)
		map_remove(f->cache->flights, key_span(&f->key));
	f->forgotten = true;
}

static void flight_free(struct flight *f)
{
	flight_leave_map(f);
	ticket_cancel(&f->ask);
	f->magic = 0;
	mem_free(f);
}

static void on_cancel(struct ticket *t)
{
	struct waiter *w = OBJ(waiter, t);
	struct flight *f = w->flight;
	list_remove(&w->link);
	w->magic = 0;
	mem_free(w);
	if (f != NULL && list_empty(&f->waiters))
		flight_free(f);
}

/* The back end's answer. Waiters' callbacks may cancel other waiters and ask anew: the flight is out of the
 * map by then, and freed only here. */
static void on_answer(void *arg, enum answer answer, struct record *record)
{
	struct flight *f = OBJ(flight, arg);
	struct cache *c = f->cache;
	struct list_node waiters, *n;
	struct record *own = record != NULL ? record_ref(record) : NULL;
	f->ask = NULL;
	if (!f->forgotten && (answer == ANSWER_FOUND || answer == ANSWER_ABSENT))
		entry_put(c, &f->key, own);
	if (answer == ANSWER_AWAY)
		answer = stale_answer(c, &f->key, &own);
	else
		stale_over(c);
	list_init(&waiters);
	while ((n = list_pop(&f->waiters)) != NULL) {
		LIST_OF(struct waiter, link, n)->flight = NULL;
		list_add_tail(&waiters, n);
	}
	flight_free(f);
	while ((n = list_pop(&waiters)) != NULL) {
		struct waiter *w = LIST_OF(struct waiter, link, n);
		answer_fn *fn = w->fn;
		void *fn_arg = w->arg;
		w->magic = 0;
		mem_free(w);
		fn(fn_arg, answer, own);
	}
	record_unref(&own);
}

static struct flight *flight_start(struct cache *c, const struct key *key, enum record_kind kind)
{
	struct flight *f = MEM_NEW(struct flight);
	f->magic = flight_MAGIC;
	f->cache = c;
	f->key = *key;
	list_init(&f->waiters);
	directory_count(CACHE_MISSES);
	CHECK(map_set(c->flights, key_span(&f->key), f, NULL));
	f->ask = c->back->ops->fetch(c->back, kind, span_from(key_span(&f->key), 1), on_answer, f);
	return f;
}

struct ticket *cache_fetch(
    struct cache *c, enum record_kind kind, struct span key, answer_fn *fn, void *arg)
{
	struct key k = make_key(kind, key);
	struct flight *f = map_get(c->flights, key_span(&k));
	struct waiter *w = MEM_NEW(struct waiter);
	w->ticket.cancel = on_cancel;
	w->magic = waiter_MAGIC;
	w->fn = fn;
	w->arg = arg;
	w->flight = f != NULL ? f : flight_start(c, &k, kind);
	list_add_tail(&w->flight->waiters, &w->link);
	return &w->ticket;
}

struct record *cache_forget(struct cache *c, enum record_kind kind, struct span key)
{
	struct key k = make_key(kind, key);
	struct cached *e = map_get(c->entries, key_span(&k));
	struct flight *f = map_get(c->flights, key_span(&k));
	struct record *was = e != NULL && e->record != NULL ? record_ref(e->record) : NULL;
	if (f != NULL)
		flight_leave_map(f);
	if (e != NULL)
		entry_drop(c, e);
	return was;
}

/* ---- life ---- */

struct cache *cache_new(const struct backend_env *env, struct backend *back)
{
	struct cache *c = MEM_NEW(struct cache);
	c->env = *env;
	c->back = back;
	c->entries = map_new((size_t)env->conf->cache_size);
	c->flights = map_new(SIZE_MAX / 2);
	list_init(&c->used);
	return c;
}

void cache_free(struct cache **c)
{
	if (*c == NULL)
		return;
	CHECK(map_count((*c)->flights) == 0);
	while (!list_empty(&(*c)->used))
		entry_drop(*c, LIST_OF(struct cached, used, (*c)->used.next));
	map_free(&(*c)->entries);
	map_free(&(*c)->flights);
	MEM_FREE(c);
}
