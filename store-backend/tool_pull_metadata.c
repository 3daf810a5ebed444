/* tool_pull_metadata.c - the annotations of a mailbox, or of a user at the server, are made what they are at the other store.
 * Before: tool_pull.c, tool_pull_box.c. Owns the names that were heard of for the length of a call. */
#include "base/map.h"
#include "store-backend/tool_pull.h"

enum { ROWS_MAX = 100000, ROW_NAME_MAX = STORE_USER_MAX + 1 + STORE_ENTRY_NAME_MAX };

struct metadata {
	struct pull *x;
	uint64_t here;
	struct map *there; /* whose NUL name */
};

static struct span row_name(struct span whose, struct span name, struct buf *b)
{
	buf_clear(b);
	buf_add_span(b, whose);
	buf_add_char(b, '\0');
	buf_add_span(b, name);
	return buf_span(b);
}

static void adopt(struct metadata *m, struct span whose, const struct op_entry *e)
{
	struct operation op = pull_operation(m->x, OP_ADOPT_METADATA);
	op.mailbox = m->here;
	op.name = whose;
	op.entries = e;
	op.entry_n = 1;
	tool_link_send(&m->x->link, &op);
	m->x->differs = true;
}

static bool is_here(const struct metadata *m, struct span whose, const struct op_entry *e)
{
	struct index_view *v = index_view_begin(m->x->p.index);
	struct span value;
	bool same = v != NULL && index_metadata_get(v, m->here, whose, e->name, &value) &&
		    span_eq(value, e->value);
	index_view_end(&v);
	return same;
}

static bool take(struct metadata *m, struct wire_in w)
{
	struct buf b = BUF_INIT(ROW_NAME_MAX);
	struct span whose = wire_get_string(&w, STORE_USER_MAX);
	struct op_entry e = { .name = wire_get_string(&w, STORE_ENTRY_NAME_MAX) };
	e.value = wire_get_string(&w, STORE_ENTRY_VALUE_MAX);
	bool ok = !w.bad && w.rest.n == 0 && operation_entry_ok(e.name) &&
		  (whose.n == 0 || operation_user_ok(whose)) &&
		  map_set(m->there, row_name(whose, e.name, &b), m, NULL);
	buf_end(&b);
	if (ok && !is_here(m, whose, &e))
		adopt(m, whose, &e);
	return ok;
}

/* What is here and was not heard of goes. */
static bool drop_row(void *arg, struct span whose, struct span name, struct span value)
{
	struct metadata *m = arg;
	struct buf b = BUF_INIT(ROW_NAME_MAX);
	if (map_get(m->there, row_name(whose, name, &b)) == NULL)
		adopt(m, whose, &(struct op_entry){ .name = name, .nil = true });
	buf_end(&b);
	return true;
}

static bool drop_own_row(void *arg, struct span name, struct span value)
{
	struct metadata *m = arg;
	return drop_row(m, m->x->user, name, value);
}

static bool drop_rest(struct metadata *m)
{
	struct index_view *v = index_view_begin(m->x->p.index);
	if (v == NULL)
		return pull_fail(m->x, "the index here cannot be read");
	if (m->here != 0)
		index_metadata_all(v, m->here, drop_row, m);
	else
		index_metadata(v, 0, m->x->user, drop_own_row, m);
	index_view_end(&v);
	return true;
}

bool pull_metadata(struct pull *x, uint64_t there, uint64_t here)
{
	struct metadata m = { .x = x, .here = here };
	enum move_frame kind = MOVE_METADATA;
	struct wire_in w;
	m.there = map_new(ROWS_MAX);
	buf_clear(&x->ask);
	wire_put_u64(&x->ask, there);
	bool ok = pull_ask(x, MOVE_ASK_METADATA);
	while (ok && kind != MOVE_END) {
		ok = pull_next(x, &kind, &w);
		if (ok && kind != MOVE_END && (kind != MOVE_METADATA || !take(&m, w)))
			ok = pull_fail(x, "the other store sent nonsense");
	}
	ok = ok && drop_rest(&m);
	tool_link_drain(&x->link);
	map_free(&m.there);
	return ok;
}
