/* table.c - set-associative table of arrival times under one robust lock. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"
#include "metermaid/table.h"

enum { WAYS = 8 };

struct cell {
	uint64_t h1, h2; /* both 0: free */
	uint64_t tat_us;
};

struct table {
	pthread_mutex_t lock;
	struct hash_key key1, key2;
	size_t sets, bytes;
	bool shared;
	struct cell cells[];
};

static size_t table_bytes(size_t sets)
{
	return sizeof(struct table) + sets * WAYS * sizeof(struct cell);
}

static void table_init(struct table *t, size_t sets, bool shared)
{
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, shared ? PTHREAD_PROCESS_SHARED : PTHREAD_PROCESS_PRIVATE);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	CHECK(pthread_mutex_init(&t->lock, &a) == 0);
	pthread_mutexattr_destroy(&a);
	rand_bytes(&t->key1, sizeof t->key1);
	rand_bytes(&t->key2, sizeof t->key2);
	t->sets = sets;
	t->bytes = table_bytes(sets);
	t->shared = shared;
}

static size_t sets_for(size_t keys_max)
{
	size_t sets = 1;
	while (sets * WAYS < keys_max)
		sets *= 2;
	return sets;
}

struct table *table_new_shared(size_t keys_max)
{
	size_t sets = sets_for(keys_max);
	void *p =
	    mmap(NULL, table_bytes(sets), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, 0, 0);
	CHECK(p != MAP_FAILED);
	table_init(p, sets, true);
	return p;
}

struct table *table_new_private(size_t keys_max)
{
	size_t sets = sets_for(keys_max);
	struct table *t = mem_alloc(table_bytes(sets));
	table_init(t, sets, false);
	return t;
}

void table_free(struct table **t)
{
	struct table *gone = *t;
	*t = NULL;
	if (gone == NULL)
		return;
	if (gone->shared) {
		munmap(gone, gone->bytes);
		return;
	}
	pthread_mutex_destroy(&gone->lock);
	mem_free(gone);
}

static void lock(struct table *t)
{
	/* arrival times are whole words: what a dead owner left is as good as any */
	int e = pthread_mutex_lock(&t->lock);
	CHECK(e == 0 || (e == EOWNERDEAD && pthread_mutex_consistent(&t->lock) == 0));
}

static bool is_taken(struct cell *const *taken, size_t n, const struct cell *c)
{
	for (size_t i = 0; i < n; i++)
		if (taken[i] == c)
			return true;
	return false;
}

/* The key's cell, made when it is new. Cells of the same question are never given away. */
static struct cell *find_cell(struct table *t, struct span key, struct cell *const *taken, size_t n)
{
	uint64_t h1 = hash_sip(&t->key1, key), h2 = hash_sip(&t->key2, key) | 1;
	struct cell *set = &t->cells[(h1 & (t->sets - 1)) * WAYS], *least = NULL;
	for (size_t i = 0; i < WAYS; i++) {
		struct cell *c = &set[i];
		if (c->h1 == h1 && c->h2 == h2)
			return c;
		if (!is_taken(taken, n, c) && (least == NULL || c->tat_us < least->tat_us))
			least = c;
	}
	if (least == NULL)
		return NULL;
	*least = (struct cell){ h1, h2, 0 };
	return least;
}

static void weigh(const struct table_ask *a, size_t i, uint64_t wait, struct table_answer *out)
{
	bool stronger =
	    a->soft ? !out->hard && wait > out->wait_us : !out->hard || wait > out->wait_us;
	if (wait > 0 && stronger)
		*out = (struct table_answer){ .index = i, .wait_us = wait, .hard = !a->soft };
}

struct table_answer table_question(
    struct table *t, const struct table_ask *asks, size_t n, enum bucket_mode mode, uint64_t now_us)
{
	struct cell *cells[KEYS_PER_QUESTION_MAX] = { NULL };
	uint64_t tats[KEYS_PER_QUESTION_MAX];
	struct table_answer out = { .index = n };
	CHECK(n <= KEYS_PER_QUESTION_MAX);
	lock(t);
	for (size_t i = 0; i < n; i++) {
		cells[i] = find_cell(t, asks[i].key, cells, i);
		uint64_t had = cells[i] == NULL ? 0 : cells[i]->tat_us;
		uint64_t wait = bucket_wait_us(asks[i].limit, had, now_us, asks[i].cost, &tats[i]);
		if (wait > 0 && (mode == BUCKET_FORCE || asks[i].soft))
			tats[i] = bucket_forced_tat(asks[i].limit, had, now_us, asks[i].cost);
		weigh(&asks[i], i, wait, &out);
	}
	for (size_t i = 0; i < n; i++)
		if (cells[i] != NULL &&
		    (mode == BUCKET_FORCE || (mode == BUCKET_TAKE && !out.hard)))
			cells[i]->tat_us = tats[i];
	pthread_mutex_unlock(&t->lock);
	return out;
}
