/* sort.c - SORT and UID SORT (RFC 5256): what a search finds, in order.
 *
 * Before: search.c finds the messages, sort_key.c makes their keys. Owns the keys. The merge runs in steps, as long
 * ones of many messages would hold up other sessions. */
#include "base/check.h"
#include "base/mem.h"

#include "store-backend/imap/search_sink.h"
#include "store-backend/imap/sort_key.h"

enum { KEYS_MAX = 64 * 1024 * 1024, ROWS_FIRST = 64, STEP_ROWS = 20000, TELL_BYTES = 16 * 1024 };

struct sort_row {
	uint32_t name;
	uint32_t key_at, key_n; /* in keys */
};

struct sorter {
	struct search_sink sink; /* first member */
	struct sort_request req;
	struct buf keys;             /* owned */
	struct sort_row *v, *merged; /* owned */
	size_t n, cap;
	size_t width, at; /* runs of so many rows are in order; the next two to merge */
	size_t told;
};

static struct sorter *sorter_of(struct search_sink *k)
{
	return LIST_OF(struct sorter, sink, k);
}

static void end_sorter(struct search_sink *k)
{
	struct sorter *t = sorter_of(k);
	buf_end(&t->keys);
	mem_free(t->v);
	mem_free(t->merged);
	mem_free(t);
}

static bool on_found(struct search_sink *k, struct search_subject *of, uint32_t name)
{
	struct sorter *t = sorter_of(k);
	size_t at = buf_len(&t->keys);
	if (t->n == t->cap) {
		t->cap = t->cap == 0 ? ROWS_FIRST : t->cap * 2;
		t->v = mem_grow(t->v, t->cap, sizeof t->v[0]);
	}
	if (!sort_put_key(&t->req, of, &t->keys))
		return false;
	t->v[t->n++] = (struct sort_row){ name, (uint32_t)at, (uint32_t)(buf_len(&t->keys) - at) };
	return true;
}

/* ---- merging ---------------------------------------------------------------------------------------- */

static struct span key_of(const struct sorter *t, const struct sort_row *r)
{
	return span_first(span_from(buf_span(&t->keys), r->key_at), r->key_n);
}

/* Two runs beside each other become one; equal ones keep their order, which is that of the mailbox. */
static void merge_runs(struct sorter *t)
{
	size_t a = t->at, mid = a + t->width < t->n ? a + t->width : t->n;
	size_t b = mid, end = mid + t->width < t->n ? mid + t->width : t->n;
	for (size_t out = t->at; out < end; out++) {
		bool left = b == end ||
			    (a < mid && span_cmp(key_of(t, &t->v[a]), key_of(t, &t->v[b])) <= 0);
		t->merged[out] = left ? t->v[a++] : t->v[b++];
	}
	t->at = end;
}

/* False: there is more to do. */
static bool merge_some(struct sorter *t)
{
	if (t->width == 0) {
		t->width = 1;
		t->merged = mem_array(t->n, sizeof t->v[0]);
	}
	for (size_t work = 0; t->width < t->n && work < STEP_ROWS; work += 2 * t->width) {
		merge_runs(t);
		if (t->at < t->n)
			continue;
		struct sort_row *swap = t->v;
		t->v = t->merged;
		t->merged = swap;
		t->width *= 2;
		t->at = 0;
	}
	return t->width >= t->n;
}

/* ---- telling ------------------------------------------------------------------------------------------ */

static enum verdict tell(struct imap_session *s, struct search_sink *k, bool *done_out)
{
	struct sorter *t = sorter_of(k);
	if (!merge_some(t))
		return imap_yield(s);
	for (; t->told < t->n && buf_len(&s->text) < TELL_BYTES; t->told++)
		imap_say(s, " %u", t->v[t->told].name);
	*done_out = t->told == t->n;
	return V_NEXT;
}

enum verdict cmd_sort(struct imap_session *s)
{
	struct sorter *t = MEM_NEW(struct sorter);
	struct imap_cursor *c = &s->cmd.args;
	t->sink = (struct search_sink){ on_found, tell, end_sorter, true };
	t->keys = BUF_INIT(KEYS_MAX);
	imap_read_sp(c);
	sort_parse(c, &t->req);
	imap_read_sp(c);
	return imap_start_search(s, &t->sink);
}
