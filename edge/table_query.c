/* table_query.c - one look into a table for an operator. Owns each query until it answers. */
#include "edge/table_query.h"

#include "base/check.h"
#include "base/fmt.h"
#include "base/mem.h"

#define table_query_MAGIC 0x7ab1e9edu

enum { JSON_MAX = 32 * 1024 };

struct table_query {
	uint32_t magic;
	struct list_node link; /* in edge->table_queries */
	struct ticket *ask;    /* owned */
	struct table_query_opts opts;
	char *table;
};

static void query_free(struct table_query *q)
{
	ticket_cancel(&q->ask);
	list_remove(&q->link);
	mem_free(q->table);
	q->magic = 0;
	mem_free(q);
}

static void put(struct buf *out, const char *name, struct span value)
{
	buf_printf(out, "%s\"%s\":", buf_len(out) > 2 ? "," : "", name);
	fmt_json_string(out, value);
}

static void on_found(void *arg, const struct table_found *found)
{
	static const char *const words[] = { "found", "absent", "cannot be looked at" };
	struct table_query *q = OBJ(table_query, arg);
	struct table_query_opts o = q->opts;
	struct buf json = BUF_INIT(JSON_MAX);
	bool unknown = found->answer == TABLE_UNKNOWN;
	q->ask = NULL;
	buf_add_str(&json, "[{");
	put(&json, "table", span_str(q->table));
	put(&json, "answer", span_str(words[found->answer]));
	put(&json, "key", found->key);
	put(&json, "value", unknown ? span_str(found->why) : found->value);
	buf_add_str(&json, "}]");
	query_free(q);
	o.fn(o.arg, o.id, buf_span(&json));
	buf_end(&json);
}

bool table_query_start(
    struct edge *e, const char *const *words, size_t n, const struct table_query_opts *o)
{
	enum table_use use = n == 3 ? table_use_of(span_str(words[2])) : TABLE_WORD;
	if (n < 2 || n > 3 || use == TABLE_USES)
		return false;
	struct table_query *q = MEM_NEW(struct table_query);
	q->magic = table_query_MAGIC;
	q->opts = *o;
	q->table = mem_str(words[0]);
	list_add_tail(&e->table_queries, &q->link);
	struct table_question ask = { .table = q->table, .use = use, .what = span_str(words[1]) };
	q->ask = tables_find(e->tables, &ask, on_found, q);
	return true;
}

void table_query_free_all(struct edge *e)
{
	while (!list_empty(&e->table_queries))
		query_free(LIST_OF(struct table_query, link, e->table_queries.next));
}
