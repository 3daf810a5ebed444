/* record.c - decision records, kept in memory (beside all steps; read by `postern explain`).
 *
 * Owns: struct record_shelf, bounded in bytes: the oldest records give way. */
#include "edge/record.h"

#include "base/fmt.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

enum { RECORDS_MAX = 65536, OVERHEAD = 128 };

struct kept {
	struct list_node link; /* in shelf->oldest_first */
	struct ident id;
	size_t n;
	char json[];
};

struct record_shelf {
	struct map *by_id;
	struct list_node oldest_first;
	size_t bytes, bytes_max;
};

void record_note(struct record *r, uint64_t ms, const char *check, struct span answer)
{
	struct buf *b = &r->checks;
	b->max = RECORD_MAX;
	size_t before = buf_len(b);
	buf_add_str(b, before > 0 ? ",{\"check\":\"" : "{\"check\":\"");
	buf_add_str(b, check);
	buf_add_str(b, "\",\"answer\":");
	fmt_json_string(b, answer);
	buf_add_str(b, ",\"ms\":");
	buf_add_number(b, ms);
	buf_add_char(b, '}');
	if (!buf_ok(b))
		buf_cut(b, before);
}

void record_end(struct record *r)
{
	buf_end(&r->checks);
}

struct record_shelf *record_shelf_new(size_t bytes_max)
{
	struct record_shelf *s = MEM_NEW(struct record_shelf);
	s->by_id = map_new(RECORDS_MAX);
	s->bytes_max = bytes_max;
	list_init(&s->oldest_first);
	return s;
}

static void drop(struct record_shelf *s, struct kept *k)
{
	map_remove(s->by_id, span_str(k->id.s));
	list_remove(&k->link);
	s->bytes -= k->n + OVERHEAD;
	mem_free(k);
}

void record_shelf_free(struct record_shelf **s)
{
	struct record_shelf *gone = *s;
	*s = NULL;
	if (gone == NULL)
		return;
	while (!list_empty(&gone->oldest_first))
		drop(gone, LIST_OF(struct kept, link, gone->oldest_first.next));
	map_free(&gone->by_id);
	mem_free(gone);
}

void record_keep(struct record_shelf *s, struct ident id, const struct record *r)
{
	struct span checks = buf_span(&r->checks);
	struct kept *old = map_get(s->by_id, span_str(id.s));
	if (old != NULL)
		drop(s, old);
	if (checks.n == 0 || checks.n + OVERHEAD > s->bytes_max)
		return;
	while (s->bytes + checks.n + OVERHEAD > s->bytes_max || map_count(s->by_id) >= RECORDS_MAX)
		drop(s, LIST_OF(struct kept, link, s->oldest_first.next));
	struct kept *k = mem_alloc(sizeof *k + checks.n);
	k->id = id;
	k->n = checks.n;
	memcpy(k->json, checks.p, checks.n);
	list_add_tail(&s->oldest_first, &k->link);
	map_set(s->by_id, span_str(k->id.s), k, NULL);
	s->bytes += checks.n + OVERHEAD;
}

struct span record_find(const struct record_shelf *s, struct span id)
{
	const struct kept *k = map_get(s->by_id, id);
	return k == NULL ? SPAN_NONE : span_of(k->json, k->n);
}
