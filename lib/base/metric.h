/* metric.h - counters and gauges, declared as rows and summed over workers by the master.
 *
 *	METRIC(LOGINS, "postern_mmp_logins_total", COUNTER, "Logins handed to a store.")
 * in NAME.metrics.def, instantiated once:
 *	struct metric mmp_metrics[] = { #define METRIC METRIC_TABLE_ROW ... };
 * and registered before the master forks with metric_register(). Until lib/daemon attaches a
 * worker's slot of shared memory a metric counts in its own field, so libraries and unit tests
 * need no set-up. No label ever carries a user, a domain or an address. */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include <stddef.h>
#include <stdint.h>

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE };

struct metric {
	const char *name; /* may end in {label="x"}, rows of one family together; "": not shown */
	enum metric_kind kind;
	const char *help;
	uint64_t *cell; /* NULL: own is used */
	uint64_t own;
};

#define METRIC_TABLE_ROW(id, name, kind, help) { (name), METRIC_##kind, (help), NULL, 0 },

static inline uint64_t *metric_cell(struct metric *m)
{
	return m->cell != NULL ? m->cell : &m->own;
}

/* One writer per cell (the worker), many readers: relaxed atomics are enough. */
static inline void metric_add(struct metric *m, uint64_t n)
{
	uint64_t *c = metric_cell(m);
	__atomic_store_n(c, __atomic_load_n(c, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline void metric_sub(struct metric *m, uint64_t n)
{
	metric_add(m, (uint64_t)0 - n);
}

static inline void metric_set(struct metric *m, uint64_t v)
{
	__atomic_store_n(metric_cell(m), v, __ATOMIC_RELAXED);
}

static inline uint64_t metric_get(struct metric *m)
{
	return __atomic_load_n(metric_cell(m), __ATOMIC_RELAXED);
}

/* Adds a table of rows that lives for ever; the same table twice is ignored. At most 64 tables. */
void metric_register(struct metric *table, size_t rows);
size_t metric_count(void);           /* rows of all tables */
struct metric *metric_at(size_t i);  /* i < metric_count(), in order of tables */
void metric_attach(uint64_t *cells); /* metric_count() cells; NULL detaches */

#endif
