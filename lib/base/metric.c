/* metric.c - registry of metric tables and their attachment to a worker's cells. */
#include "base/check.h"
#include "base/metric.h"

enum { TABLES_MAX = 64 };

static struct {
	struct metric *rows;
	size_t n;
} tables[TABLES_MAX];
static size_t table_count;

void metric_register(struct metric *table, size_t rows)
{
	for (size_t i = 0; i < table_count; i++)
		if (tables[i].rows == table)
			return;
	CHECK(table_count < TABLES_MAX);
	tables[table_count].rows = table;
	tables[table_count++].n = rows;
}

size_t metric_count(void)
{
	size_t n = 0;
	for (size_t i = 0; i < table_count; i++)
		n += tables[i].n;
	return n;
}

struct metric *metric_at(size_t i)
{
	size_t t = 0;
	for (; t < table_count && i >= tables[t].n; t++)
		i -= tables[t].n;
	CHECK(t < table_count);
	return &tables[t].rows[i];
}

void metric_attach(uint64_t *cells)
{
	size_t n = metric_count();
	for (size_t i = 0; i < n; i++)
		metric_at(i)->cell = cells == NULL ? NULL : &cells[i];
}
