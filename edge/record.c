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
	struct buf line = BUF_INIT(RECORD_MAX);
	r->checks.max = RECORD_MAX;
	buf_printf(
	    &line, "%s{\"check\":\"%s\",\"answer\":", buf_len(&r->checks) > 0 ? "," : "", check);
	fmt_json_string(&line, answer);
	buf_printf(&line, ",\"ms\":%llu}", (unsigned long long)ms);
	if (buf_ok(&line) && buf_len(&line) + buf_len(&r->checks) <= RECORD_MAX)
		buf_add_span(&r->checks, buf_span(&line));
	buf_end(&line);
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

static void drop_oldest(struct record_shelf *s)
{
	drop(s, LIST_OF(struct kept, link, s->oldest_first.next));
}

void record_shelf_free(struct record_shelf **s)
{
	struct record_shelf *gone = *s;
	*s = NULL;
	if (gone == NULL)
		return;
	while (!list_empty(&gone->oldest_first))
		drop_oldest(gone);
	map_free(&gone->by_id);
	mem_free(gone);
}

void record_keep(struct record_shelf *s, struct ident id, struct span head, const struct record *r)
{
	struct span checks = buf_span(&r->checks);
	struct buf json = BUF_INIT(2 * RECORD_MAX);
	struct kept *old = map_get(s->by_id, span_str(id.s));
	buf_printf(
	    &json, "{\"id\":\"%s\",%.*s\"checks\":[%.*s]}", id.s, SPAN_ARG(head), SPAN_ARG(checks));
	size_t n = buf_len(&json);
	if (old != NULL)
		drop(s, old);
	while (s->bytes + n + OVERHEAD > s->bytes_max && !list_empty(&s->oldest_first))
		drop_oldest(s);
	while (map_count(s->by_id) >= RECORDS_MAX)
		drop_oldest(s);
	if (buf_ok(&json) && n + OVERHEAD <= s->bytes_max) {
		struct kept *k = mem_alloc(sizeof *k + n);
		k->id = id;
		k->n = n;
		memcpy(k->json, buf_span(&json).p, n);
		list_add_tail(&s->oldest_first, &k->link);
		map_set(s->by_id, span_str(k->id.s), k, NULL);
		s->bytes += n + OVERHEAD;
	}
	buf_end(&json);
}

bool record_put(const struct record_shelf *s, struct span id, struct buf *out)
{
	const struct kept *k = map_get(s->by_id, id);
	return k != NULL && buf_add(out, k->json, k->n);
}
