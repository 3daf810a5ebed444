/* map.c - chained hash table, SipHash keyed per process, grown step by step. */
#include "base/check.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"

enum { BUCKETS_FIRST = 16, MOVE_PER_CALL = 4 };

struct entry {
	struct entry *next;
	uint64_t hash;
	void *value;
	size_t key_len;
	char key[];
};

struct map {
	struct entry **cur, **old;  /* old != NULL while its buckets move to cur */
	size_t cur_n, old_n, moved; /* buckets; old buckets below `moved` are empty */
	size_t count, max;
};

struct map *map_new(size_t entries_max)
{
	struct map *m = MEM_NEW(struct map);
	m->max = entries_max;
	m->cur_n = BUCKETS_FIRST;
	m->cur = mem_array(m->cur_n, sizeof(struct entry *));
	return m;
}

static void free_buckets(struct entry **b, size_t n)
{
	for (size_t i = 0; b != NULL && i < n; i++)
		while (b[i] != NULL) {
			struct entry *e = b[i];
			b[i] = e->next;
			mem_free(e);
		}
	mem_free(b);
}

void map_free(struct map **m)
{
	if (*m == NULL)
		return;
	free_buckets((*m)->cur, (*m)->cur_n);
	free_buckets((*m)->old, (*m)->old_n);
	MEM_FREE(m);
}

static struct entry **find_in(struct entry **b, size_t n, struct span key, uint64_t h)
{
	struct entry **pp = &b[h & (n - 1)];
	for (; *pp != NULL; pp = &(*pp)->next)
		if ((*pp)->hash == h && span_eq(span_of((*pp)->key, (*pp)->key_len), key))
			return pp;
	return NULL;
}

static struct entry **find(const struct map *m, struct span key, uint64_t h)
{
	struct entry **pp = find_in(m->cur, m->cur_n, key, h);
	return pp != NULL || m->old == NULL ? pp : find_in(m->old, m->old_n, key, h);
}

static void link_entry(struct map *m, struct entry *e)
{
	struct entry **head = &m->cur[e->hash & (m->cur_n - 1)];
	e->next = *head;
	*head = e;
}

static void move_some(struct map *m)
{
	for (int i = 0; m->old != NULL && i < MOVE_PER_CALL; i++) {
		struct entry *e = m->old[m->moved], *next;
		m->old[m->moved++] = NULL;
		for (; e != NULL; e = next) {
			next = e->next;
			link_entry(m, e);
		}
		if (m->moved == m->old_n)
			MEM_FREE(&m->old);
	}
}

static void grow(struct map *m)
{
	if (m->old != NULL || m->count < m->cur_n)
		return;
	m->old = m->cur;
	m->old_n = m->cur_n;
	m->moved = 0;
	m->cur_n *= 2;
	m->cur = mem_array(m->cur_n, sizeof(struct entry *));
}

void *map_get(const struct map *m, struct span key)
{
	struct entry **pp = find(m, key, hash_keyed(key));
	return pp == NULL ? NULL : (*pp)->value;
}

bool map_set(struct map *m, struct span key, void *value, void **old_out)
{
	uint64_t h = hash_keyed(key);
	struct entry **pp = find(m, key, h);
	CHECK(value != NULL);
	if (old_out != NULL)
		*old_out = pp == NULL ? NULL : (*pp)->value;
	if (pp != NULL) {
		(*pp)->value = value;
		return true;
	}
	if (m->count >= m->max)
		return false;
	move_some(m);
	grow(m);
	struct entry *e = mem_alloc(sizeof *e + key.n);
	e->hash = h;
	e->value = value;
	e->key_len = key.n;
	if (key.n > 0)
		memcpy(e->key, key.p, key.n);
	link_entry(m, e);
	m->count++;
	return true;
}

void *map_remove(struct map *m, struct span key)
{
	struct entry **pp = find(m, key, hash_keyed(key));
	if (pp == NULL)
		return NULL;
	struct entry *e = *pp;
	void *value = e->value;
	*pp = e->next;
	mem_free(e);
	m->count--;
	return value;
}

size_t map_count(const struct map *m)
{
	return m->count;
}

static bool each_in(struct entry **b, size_t n, bool (*fn)(void *, struct span, void *), void *arg)
{
	for (size_t i = 0; b != NULL && i < n; i++)
		for (struct entry *e = b[i], *next; e != NULL; e = next) {
			next = e->next;
			if (!fn(arg, span_of(e->key, e->key_len), e->value))
				return false;
		}
	return true;
}

void map_each(struct map *m, bool (*fn)(void *arg, struct span key, void *value), void *arg)
{
	if (each_in(m->cur, m->cur_n, fn, arg))
		each_in(m->old, m->old_n, fn, arg);
}
