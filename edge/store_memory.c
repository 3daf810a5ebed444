/* store_memory.c - what stores have said lately (part of step 3; asked by store_ask.c).
 *
 * Owns its entries: a map finds them, a list has them in the order of noting. */
#include "edge/store_memory.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

#include "edge/outcome.h"

enum { KEY_MAX = 1500 };

struct store_memory {
	struct map *entries;
	struct list_node order; /* noted first: first */
	size_t entries_max;
};

struct entry {
	struct list_node link;
	struct span key; /* owned bytes */
	uint64_t size, until_ms;
	unsigned code;
	char enhanced[12];
	char *text; /* owned; NULL: nothing was said */
};

/* The parts have no NUL in them. False: too long. */
static bool put_key(struct buf *out, enum store_fact fact, const struct store_key *key)
{
	buf_add_char(out, (char)('a' + (int)fact));
	buf_add_span(out, key->store);
	if (fact != STORE_FACT_SILENT) {
		buf_add_char(out, '\0');
		buf_add_span(out, key->address);
		buf_add_char(out, '\0');
		buf_add_span(out, key->sender);
	}
	return buf_ok(out);
}

static void entry_free(struct store_memory *m, struct entry *e)
{
	map_remove(m->entries, e->key);
	list_remove(&e->link);
	mem_free((void *)(uintptr_t)e->key.p);
	mem_free(e->text);
	mem_free(e);
}

static struct entry *entry_new(struct store_memory *m, struct span key)
{
	struct entry *old = map_get(m->entries, key);
	if (old != NULL)
		entry_free(m, old);
	else if (map_count(m->entries) >= m->entries_max)
		entry_free(m, LIST_OF(struct entry, link, m->order.next));
	struct entry *e = MEM_NEW(struct entry);
	e->key = span_of(mem_copy(key.p, key.n), key.n);
	CHECK(map_set(m->entries, e->key, e, NULL));
	list_add_tail(&m->order, &e->link);
	return e;
}

/* ---- public ------------------------------------------------------------------------------------ */

struct store_memory *store_memory_new(size_t entries_max)
{
	struct store_memory *m = MEM_NEW(struct store_memory);
	m->entries = map_new(entries_max);
	m->entries_max = entries_max;
	list_init(&m->order);
	return m;
}

void store_memory_free(struct store_memory **pm)
{
	struct store_memory *m = *pm;
	if (m == NULL)
		return;
	while (!list_empty(&m->order))
		entry_free(m, LIST_OF(struct entry, link, m->order.next));
	map_free(&m->entries);
	MEM_FREE(pm);
}

void store_memory_put(struct store_memory *m, enum store_fact fact, const struct store_key *key,
    uint64_t until_ms, const struct outcome *said)
{
	struct buf bytes = BUF_INIT(KEY_MAX);
	if (put_key(&bytes, fact, key)) {
		struct entry *e = entry_new(m, buf_span(&bytes));
		e->size = key->size;
		e->until_ms = until_ms;
		if (said != NULL) {
			e->code = said->code;
			memcpy(e->enhanced, said->enhanced, sizeof e->enhanced);
			e->text = mem_str(said->text);
		}
	}
	buf_end(&bytes);
}

static bool speaks_of(const struct entry *e, enum store_fact fact, uint64_t size)
{
	switch (fact) {
	case STORE_FACT_TAKES:
		return size <= e->size;
	case STORE_FACT_REFUSES:
		return size >= e->size;
	case STORE_FACT_SILENT:
		break;
	}
	return true;
}

bool store_memory_find(const struct store_memory *m, enum store_fact fact,
    const struct store_key *key, uint64_t now_ms, struct outcome *said_out)
{
	struct buf bytes = BUF_INIT(KEY_MAX);
	const struct entry *e = NULL;
	if (put_key(&bytes, fact, key))
		e = map_get(m->entries, buf_span(&bytes));
	buf_end(&bytes);
	if (e == NULL || now_ms >= e->until_ms || !speaks_of(e, fact, key->size))
		return false;
	if (said_out != NULL && e->text != NULL)
		outcome_set(said_out, e->code < 500 ? FATE_LATER : FATE_REFUSED, e->code,
		    e->enhanced, span_str(e->text));
	return true;
}

size_t store_memory_count(const struct store_memory *m)
{
	return map_count(m->entries);
}
