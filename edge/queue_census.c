/* queue_census.c - counts of what waits, by channel, and for an operator by destination and reason, too.
 *
 * Beside: queue_scan.c (which goes over the messages for an operator), queue_gauge.c (the metrics). What rests
 * in the list of a destination is counted by its row alone. Owns the sums while it counts. */
#include "edge/queue_census.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "edge/queue_gauge.h"

#define queue_census_MAGIC 0xce450001u

enum { CENSUS_MS = 10 * 1000, ROUND_ROWS = 20000, GROUPS_MAX = 2000, GROUP_KEY_MAX = 1200 };

/* ---- as it happens ------------------------------------------------------------------------------ */

void entry_count_arrival(const struct q_entry *e)
{
	for (size_t i = 0; i < e->item_count; i++)
		if (e->items[i].state != Q_FINAL)
			queue_gauge_add(item_gauge(&e->items[i]), GAUGE_ARRIVED, 1);
}

void item_count_outcome(const struct q_item *it, enum fate fate)
{
	size_t gauge = item_gauge(it);
	enum cause why = cause_of(it->code, it->enhanced);
	if (it->dest != NULL)
		it->dest->reason = fate == FATE_DELIVERED ? CAUSE_NONE : why;
	if (fate != FATE_DELIVERED) {
		queue_gauge_ended(gauge, fate == FATE_REFUSED ? GAUGE_FAILED : GAUGE_LATER, why);
		return;
	}
	queue_gauge_add(gauge, GAUGE_SENT, 1);
	queue_gauge_delay(gauge, PHASE_BEFORE, it->delays.before);
	queue_gauge_delay(gauge, PHASE_QUEUED, it->delays.queued);
	queue_gauge_delay(gauge, PHASE_SETUP, it->delays.setup);
	queue_gauge_delay(gauge, PHASE_TALK, it->delays.talk);
}

/* ---- of the metrics ----------------------------------------------------------------------------- */

struct tally {
	uint64_t recipients, bytes, oldest_us; /* 0: none seen */
	log_pos first;                         /* of those at rest; 0: none */
};

struct queue_census {
	uint32_t magic;
	struct queue *queue;
	struct timer next;
	uint32_t at; /* the last row that was counted; 0: it begins anew */
	size_t mixed;
	struct tally by[GAUGES_MAX];
};

static void count_item(struct queue_census *c, const struct q_item *it)
{
	const struct q_entry *e = it->entry;
	size_t slot = item_gauge(it);
	if (it->state == Q_FINAL || slot >= GAUGES_MAX)
		return;
	struct tally *t = &c->by[slot];
	t->recipients++;
	t->bytes += e->body.bytes;
	if (t->oldest_us == 0 || e->arrived_us < t->oldest_us)
		t->oldest_us = e->arrived_us;
}

static void count_row(struct queue_census *c, const struct shelf_row *r)
{
	const struct queue *q = c->queue;
	if (r->place == SHELF_LOADED) {
		const struct q_entry *e = r->entry;
		for (size_t i = 0; i < e->item_count; i++)
			count_item(c, &e->items[i]);
		return;
	}
	size_t slot = c->mixed;
	if (r->place == SHELF_LISTED)
		slot = q->channels[q->numbered[r->owner]->kind].gauge;
	if (slot >= GAUGES_MAX)
		return;
	struct tally *t = &c->by[slot];
	t->recipients += r->open;
	t->bytes += r->open * shelf_size(r->size);
	if (t->first == 0 || r->message < t->first)
		t->first = r->message;
}

/* What came first stands first in the log, nearly always. */
static uint64_t arrival_of(struct queue *q, log_pos pos)
{
	struct buf payload = BUF_INIT(SPOOL_RECORD_MAX + SPOOL_INLINE_MAX);
	struct spool_message m;
	err_t err = spool_load_message(q->spool, pos, &payload, &m);
	uint64_t us = err == ERR_OK ? m.arrived_us : 0;
	spool_message_end(&m);
	buf_end(&payload);
	return us;
}

static void publish(struct queue_census *c)
{
	uint64_t now = queue_now_us(c->queue);
	for (size_t s = 0; s < GAUGES_MAX; s++) {
		struct tally *t = &c->by[s];
		uint64_t rest = t->first != 0 ? arrival_of(c->queue, t->first) : 0;
		uint64_t oldest = t->oldest_us;
		if (rest != 0 && (oldest == 0 || rest < oldest))
			oldest = rest;
		queue_gauge_set(s, GAUGE_DEPTH, t->recipients);
		queue_gauge_set(s, GAUGE_BYTES, t->bytes);
		queue_gauge_set(
		    s, GAUGE_OLDEST, oldest != 0 && now > oldest ? (now - oldest) / 1000000 : 0);
		*t = (struct tally){ 0 };
	}
}

static void on_census(void *arg)
{
	struct queue_census *c = OBJ(queue_census, arg);
	const struct queue *q = c->queue;
	if (q->spool == NULL) { /* rows get other numbers */
		c->at = 0;
		memset(c->by, 0, sizeof c->by);
		timer_set(&c->next, CENSUS_MS);
		return;
	}
	for (size_t i = 0; i < ROUND_ROWS; i++) {
		c->at = shelf_next(q->shelf, c->at);
		if (c->at == 0) {
			publish(c);
			timer_set(&c->next, CENSUS_MS);
			return;
		}
		if (!shelf_row(q->shelf, c->at)->done)
			count_row(c, shelf_row(q->shelf, c->at));
	}
	timer_set(&c->next, 1);
}

struct queue_census *queue_census_new(struct queue *q)
{
	struct queue_census *c = MEM_NEW(struct queue_census);
	c->magic = queue_census_MAGIC;
	c->queue = q;
	c->mixed = queue_gauge_slot(SPAN("mixed"));
	timer_init(&c->next, q->loop, on_census, c);
	timer_set(&c->next, 1000);
	return c;
}

void queue_census_free(struct queue_census **pc)
{
	if (*pc == NULL)
		return;
	timer_clear(&(*pc)->next);
	MEM_FREE(pc);
}

/* ---- of an operator ----------------------------------------------------------------------------- */

struct group {
	char *channel, *destination; /* owned */
	enum cause reason;
	uint64_t recipients, bytes, oldest_s;
};

struct queue_sums {
	struct group v[GROUPS_MAX + 1]; /* the last one: all for which there was no place */
	size_t n;
	struct map *by_key; /* number of the group + 1 */
};

static struct group *find_group(
    struct queue_sums *s, struct span channel, struct span destination, enum cause why, bool make)
{
	struct buf key = BUF_INIT(GROUP_KEY_MAX);
	buf_printf(&key, "%s %.*s %.*s", cause_word(why), SPAN_ARG(channel), SPAN_ARG(destination));
	size_t at = (size_t)(uintptr_t)map_get(s->by_key, buf_span(&key));
	if (at == 0 && make && s->n < GROUPS_MAX) {
		s->v[s->n++] = (struct group){ mem_span_str(channel), mem_span_str(destination),
			why, 0, 0, 0 };
		at = s->n;
		map_set(s->by_key, buf_span(&key), (void *)(uintptr_t)at, NULL);
	}
	buf_end(&key);
	if (at == 0)
		return make ? &s->v[GROUPS_MAX] : NULL;
	return &s->v[at - 1];
}

static void begin_summary(struct scan_job *j, struct buf *out)
{
	j->sums = MEM_NEW(struct queue_sums);
	j->sums->by_key = map_new(GROUPS_MAX);
}

/* What rests for a destination is like those of it that were looked at: their reason is its own. */
static bool skim_summary(struct scan_job *j, struct queue *q, uint32_t row)
{
	const struct shelf_row *r = shelf_row(q->shelf, row);
	if (queue_filter_given(&j->filter) && !j->filter.all)
		return queue_scan_skims(j, q, row);
	if (r->place != SHELF_LISTED)
		return false;
	const struct q_dest *d = q->numbered[r->owner];
	struct group *g =
	    find_group(j->sums, queue_kind_name(q, d->kind), span_str(d->name), d->reason, false);
	if (g == NULL)
		return false;
	g->recipients += r->open;
	g->bytes += r->open * shelf_size(r->size);
	j->n += r->open;
	return true;
}

static void visit_summary(struct scan_job *j, struct q_entry *e, struct buf *out)
{
	const struct queue *q = e->queue;
	uint64_t now_us = queue_now_us(q);
	for (size_t i = 0; i < e->item_count; i++) {
		const struct q_item *it = &e->items[i];
		struct queue_facts facts = item_facts(it, now_us);
		if (it->state == Q_FINAL || !queue_filter_matches(&j->filter, &facts))
			continue;
		struct group *g = find_group(j->sums, item_channel_name(it), facts.destination,
		    cause_of(it->code, it->enhanced), true);
		g->recipients++;
		g->bytes += e->body.bytes;
		if (facts.age_s > g->oldest_s)
			g->oldest_s = facts.age_s;
		j->n++;
	}
}

static bool summary_is_full(const struct scan_job *j)
{
	return false;
}

static int by_recipients(const void *a, const void *b)
{
	const struct group *x = a, *y = b;
	return (x->recipients < y->recipients) - (x->recipients > y->recipients);
}

static void put_group(struct buf *out, const struct group *g, bool first)
{
	buf_add_str(out, first ? "{\"channel\":" : ",{\"channel\":");
	fmt_json_string(out, span_str(g->channel != NULL ? g->channel : "*"));
	buf_add_str(out, ",\"destination\":");
	fmt_json_string(out, span_str(g->destination != NULL ? g->destination : "*"));
	buf_printf(out,
	    ",\"reason\":\"%s\",\"recipients\":%" PRIu64 ",\"bytes\":%" PRIu64
	    ",\"oldest_s\":%" PRIu64 "}",
	    g->channel != NULL ? cause_word(g->reason) : "*", g->recipients, g->bytes, g->oldest_s);
}

static void end_summary(struct scan_job *j, struct buf *out)
{
	struct queue_sums *s = j->sums;
	const struct group *rest = &s->v[GROUPS_MAX];
	qsort(s->v, s->n, sizeof s->v[0], by_recipients);
	buf_add_char(out, '[');
	for (size_t i = 0; i < s->n; i++)
		put_group(out, &s->v[i], i == 0);
	if (rest->recipients > 0)
		put_group(out, rest, s->n == 0);
	if (j->more)
		buf_printf(out, "%s{\"more\":true,\"recipients\":%zu}", s->n > 0 ? "," : "", j->n);
	buf_add_char(out, ']');
	for (size_t i = 0; i < s->n; i++) {
		mem_free(s->v[i].channel);
		mem_free(s->v[i].destination);
	}
	map_free(&s->by_key);
	MEM_FREE(&j->sums);
}

struct scan_job queue_summary_job(void)
{
	return (struct scan_job){ .begin = begin_summary,
		.skim = skim_summary,
		.visit = visit_summary,
		.is_full = summary_is_full,
		.end = end_summary };
}
