/* slots.c - counters in shared memory, one writer a slot, summed for /metrics. */
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "daemon/slots.h"

enum { EVENTS_MAX = 512 };

/* Events are found by the address of their name: the same in every process of the daemon, since all
 * are forked from the master. */
struct event_cell {
	const char *name;
	uint64_t count;
};

struct slot {
	uint64_t unhealthy;
	struct event_cell events[EVENTS_MAX];
	uint64_t metrics[];
};

static struct {
	char *base;
	size_t size, stride, count;
	struct slot *mine;
	char *taken
	    [EVENTS_MAX]; /* owned: names of slots_take_totals(); here, since leak checkers of a
	                            worker that is forked afterwards do not look into shared memory */
} shared;

static struct slot *slot_at(size_t i)
{
	CHECK(shared.base != NULL && i < shared.count);
	return (struct slot *)(void *)(shared.base + i * shared.stride);
}

void slots_create(size_t count)
{
	size_t stride = sizeof(struct slot) + metric_count() * sizeof(uint64_t);
	shared.stride = (stride + 63) & ~(size_t)63;
	shared.count = count;
	shared.size = shared.stride * count;
	shared.base =
	    mmap(NULL, shared.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, 0, 0);
	CHECK(shared.base != MAP_FAILED);
}

void slots_destroy(void)
{
	log_set_counter(NULL);
	metric_attach(NULL);
	for (size_t e = 0; e < EVENTS_MAX; e++)
		mem_free(shared.taken[e]);
	if (shared.base != NULL)
		munmap(shared.base, shared.size);
	memset(&shared, 0, sizeof shared);
}

static void count_event(const struct log_event *ev)
{
	size_t at = ((uintptr_t)ev->name >> 3) % EVENTS_MAX;
	for (size_t tries = 0; tries < EVENTS_MAX; tries++, at = (at + 1) % EVENTS_MAX) {
		struct event_cell *cell = &shared.mine->events[at];
		if (cell->name == NULL)
			cell->name = ev->name;
		if (cell->name == ev->name) {
			__atomic_fetch_add(&cell->count, 1, __ATOMIC_RELAXED);
			return;
		}
	}
}

void slots_attach(size_t i)
{
	shared.mine = slot_at(i);
	metric_attach(shared.mine->metrics);
	log_set_counter(count_event);
}

void slots_reset_gauges(size_t i)
{
	struct slot *s = slot_at(i);
	size_t n = metric_count();
	s->unhealthy = 0;
	for (size_t m = 0; m < n; m++)
		if (metric_at(m)->kind == METRIC_GAUGE)
			__atomic_store_n(&s->metrics[m], 0, __ATOMIC_RELAXED);
}

void slots_set_healthy(size_t i, bool healthy)
{
	__atomic_store_n(&slot_at(i)->unhealthy, !healthy, __ATOMIC_RELAXED);
}

bool slots_healthy(size_t i)
{
	return __atomic_load_n(&slot_at(i)->unhealthy, __ATOMIC_RELAXED) == 0;
}

/* "family" or "family{label=...}": rows of a family stand together, its head is put once. */
static struct span family_of(const struct metric *row)
{
	struct span name = span_str(row->name);
	return span_cut(&name, '{');
}

static uint64_t metric_sum(size_t m)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < shared.count; i++)
		sum += __atomic_load_n(&slot_at(i)->metrics[m], __ATOMIC_RELAXED);
	return sum;
}

uint64_t slots_sum(struct metric *m)
{
	/* Two workers that write their own cell and then read the other's: at least one sees what was written. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (shared.mine == NULL || m->cell == NULL)
		return metric_get(m);
	return metric_sum((size_t)(m->cell - shared.mine->metrics));
}

static void put_metric(struct buf *out, size_t m, struct span *family)
{
	const struct metric *row = metric_at(m);
	struct span mine = family_of(row);
	if (mine.n == 0)
		return; /* its name is not known yet */
	if (!span_eq(mine, *family))
		buf_printf(out, "# HELP %.*s %s\n# TYPE %.*s %s\n", SPAN_ARG(mine), row->help,
		    SPAN_ARG(mine), row->kind == METRIC_COUNTER ? "counter" : "gauge");
	buf_printf(out, "%s %" PRIu64 "\n", row->name, metric_sum(m));
	*family = mine;
}

/* Names of events are found by their address, save those of another binary (slots_take_totals()). */
static bool same_name(const char *a, const char *b)
{
	return a == b || (a != NULL && strcmp(a, b) == 0);
}

static uint64_t event_sum(const char *name)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < shared.count; i++)
		for (size_t e = 0; e < EVENTS_MAX; e++)
			if (same_name(slot_at(i)->events[e].name, name))
				sum +=
				    __atomic_load_n(&slot_at(i)->events[e].count, __ATOMIC_RELAXED);
	return sum;
}

/* Was the name listed by a slot before slot i? */
static bool seen_before(const char *name, size_t i)
{
	for (size_t k = 0; k < i; k++)
		for (size_t e = 0; e < EVENTS_MAX; e++)
			if (same_name(slot_at(k)->events[e].name, name))
				return true;
	return false;
}

bool slots_put_totals(struct buf *out)
{
	size_t n = metric_count();
	for (size_t m = 0; m < n; m++)
		if (metric_at(m)->name[0] != '\0')
			buf_printf(out, "%s %" PRIu64 "\n", metric_at(m)->name, metric_sum(m));
	for (size_t i = 0; i < shared.count; i++)
		for (size_t e = 0; e < EVENTS_MAX; e++) {
			const char *name = slot_at(i)->events[e].name;
			if (name != NULL && !seen_before(name, i))
				buf_printf(out, "!%s %" PRIu64 "\n", name, event_sum(name));
		}
	return buf_ok(out);
}

static void take_event(struct slot *s, struct span name, uint64_t value)
{
	size_t e = 0;
	while (e < EVENTS_MAX && s->events[e].name != NULL && !span_eq_str(name, s->events[e].name))
		e++;
	if (e == EVENTS_MAX)
		return;
	if (s->events[e].name == NULL)
		s->events[e].name = shared.taken[e] = mem_span_str(name);
	s->events[e].count = value;
}

void slots_take_totals(size_t i, struct span text)
{
	struct slot *s = slot_at(i);
	size_t n = metric_count();
	while (text.n > 0) {
		struct span line = span_cut(&text, '\n');
		size_t space = span_rfind(line, ' ');
		uint64_t value;
		if (space == SIZE_MAX || !span_u64(span_from(line, space + 1), UINT64_MAX, &value))
			continue;
		struct span name = span_first(line, space);
		if (span_starts(name, SPAN("!")))
			take_event(s, span_from(name, 1), value);
		for (size_t m = 0; m < n; m++)
			if (span_eq_str(name, metric_at(m)->name))
				s->metrics[m] = value;
	}
}

bool slots_put_metrics(struct buf *out)
{
	size_t n = metric_count();
	struct span family = SPAN_NONE;
	for (size_t m = 0; m < n; m++)
		put_metric(out, m, &family);
	buf_add_str(out, "# HELP postern_log_events_total Log events by name.\n"
			 "# TYPE postern_log_events_total counter\n");
	for (size_t i = 0; i < shared.count; i++)
		for (size_t e = 0; e < EVENTS_MAX; e++) {
			const char *name = slot_at(i)->events[e].name;
			if (name != NULL && !seen_before(name, i))
				buf_printf(out,
				    "postern_log_events_total{event=\"%s\"} %" PRIu64 "\n", name,
				    event_sum(name));
		}
	return buf_ok(out);
}
