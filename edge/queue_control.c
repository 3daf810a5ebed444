/* queue_control.c - what an operator says to the queue: list, show, cat, and orders to many recipients.
 *
 * Owns nothing. What an order changes is in the log before the answer is given, and durable with the next
 * sync; a recipient that is being delivered at this moment keeps its course, and only that attempt. */
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "edge/outcome.h"
#include "edge/queue_census.h"

enum {
	ENDS_MAX = 10000, /* recipients that one order may end: each may need a report */
};

struct order {
	const char *name;
	bool needs_filter; /* not to be said of the whole queue by a slip */
	bool ends;
	/* false: it does not apply to this recipient now */
	bool (*apply)(struct q_item *it, const struct queue_filter *f);
};

/* ---- orders ------------------------------------------------------------------------------------- */

static bool apply_hold(struct q_item *it, const struct queue_filter *f)
{
	if (it->on_hold)
		return false;
	it->on_hold = true;
	if (it->state == Q_WAIT || it->state == Q_LOOKUP || it->state == Q_READY)
		item_set_state(it, Q_HELD);
	return true;
}

static bool apply_release(struct q_item *it, const struct queue_filter *f)
{
	if (!it->on_hold)
		return false;
	it->on_hold = false;
	if (item_has_hold_channel(it)) /* or it would be held at once */
		item_set_past(it, CHANNEL_HOLD);
	if (it->state == Q_HELD)
		item_wait(it, 0);
	return true;
}

static bool apply_retry(struct q_item *it, const struct queue_filter *f)
{
	if (it->state != Q_WAIT)
		return false;
	if (it->dest != NULL)
		it->dest->down_until_ms = 0;
	item_wait(it, 0);
	return true;
}

static bool apply_reroute(struct q_item *it, const struct queue_filter *f)
{
	mem_free(it->route);
	it->route = span_eq_str(f->to, "-") ? NULL : mem_span_str(f->to);
	if (it->state == Q_WAIT || it->state == Q_LOOKUP || it->state == Q_READY)
		item_wait(it, 0);
	return true;
}

static bool is_busy(const struct q_item *it)
{
	return it->state == Q_RUNNING || it->state == Q_NEW;
}

static bool apply_bounce(struct q_item *it, const struct queue_filter *f)
{
	struct outcome o;
	if (is_busy(it))
		return false;
	outcome_set(
	    &o, FATE_REFUSED, 554, "5.3.0", SPAN("returned by the administrator of this host"));
	item_outcome(it, &o, NULL);
	return true;
}

static bool apply_delete(struct q_item *it, const struct queue_filter *f)
{
	if (is_busy(it))
		return false;
	it->fate = SPOOL_TOLD;
	item_set_state(it, Q_FINAL);
	return true;
}

static const struct order orders[] = {
	{ "hold", true, false, apply_hold },
	{ "release", true, false, apply_release },
	{ "retry", false, false, apply_retry },
	{ "reroute", true, false, apply_reroute },
	{ "bounce", true, true, apply_bounce },
	{ "delete", true, true, apply_delete },
};

static void order_entry(struct scan_job *j, struct q_entry *e, struct buf *out)
{
	const struct order *order = j->order;
	struct q_item **met = mem_array(e->item_count, sizeof(struct q_item *));
	uint64_t now_us = queue_now_us(e->queue);
	size_t n = 0;
	for (size_t i = 0; i < e->item_count; i++) {
		struct q_item *it = &e->items[i];
		struct queue_facts facts = item_facts(it, now_us);
		if (it->state == Q_FINAL || !queue_filter_matches(&j->filter, &facts) ||
		    !order->apply(it, &j->filter))
			continue;
		log_write(&queue_events[QUEUE_EV_QUEUE_ORDER], e->id.s,
		    LOG_FIELDS(LOG_STR("order", order->name), LOG_STR("recipient", it->address)));
		met[n++] = it;
	}
	if (n > 0 && order->apply != apply_retry)
		entry_save(e, met, n);
	mem_free(met);
	j->n += n;
	if (n > 0)
		entry_settle(e);
}

static bool order_is_full(const struct scan_job *j)
{
	return j->order->ends && j->n >= ENDS_MAX;
}

/* What waits for its time has none any more. What waits for a destination waits on: that is asked now. */
static bool retry_row(struct queue *q, uint32_t row)
{
	struct shelf_row *r = shelf_row(q->shelf, row);
	if (r->place == SHELF_DUE) {
		r->urgent = 1;
		shelf_idle(q->shelf, row, NULL);
		shelf_due(q->shelf, row, loop_now_ms(q->loop));
		timer_set(&q->due_timer, 0);
	} else if (r->place == SHELF_LISTED) {
		struct q_dest *d = q->numbered[r->owner];
		d->down_until_ms = 0;
		dest_call(d);
	}
	return r->place != SHELF_LOADED;
}

static bool skim_order(struct scan_job *j, struct queue *q, uint32_t row)
{
	if (j->order->apply == apply_retry && !queue_filter_given(&j->filter)) {
		size_t open = shelf_row(q->shelf, row)->open;
		bool done = retry_row(q, row);
		j->n += done ? open : 0;
		return done;
	}
	return queue_scan_skims(j, q, row);
}

/* What waits for one destination alone need not be loaded to know whether it is meant. */
static bool skim_kick(struct scan_job *j, struct queue *q, uint32_t row)
{
	const struct shelf_row *r = shelf_row(q->shelf, row);
	if (r->place != SHELF_LISTED || q->numbered[r->owner]->kind != DEST_DOMAIN)
		return false;
	if (!queue_filter_domain_is(j->filter.domain, span_str(q->numbered[r->owner]->name)))
		return true;
	j->n += r->open;
	return retry_row(q, row);
}

static void begin_order(struct scan_job *j, struct buf *out)
{
}

static void end_order(struct scan_job *j, struct buf *out)
{
	buf_printf(out, "{\"order\":\"%s\",\"recipients\":%zu,\"more\":%s}", j->order->name, j->n,
	    j->more ? "true" : "false");
}

static void end_kick(struct scan_job *j, struct buf *out)
{
	buf_printf(out, "%zu%s", j->n, j->more ? "+" : "");
}

/* ---- words -------------------------------------------------------------------------------------- */

static void put_error(struct buf *out, struct span why)
{
	buf_clear(out);
	buf_add_str(out, "{\"error\":");
	fmt_json_string(out, why);
	buf_add_char(out, '}');
}

/* What is wrong with the order as a whole; NULL: nothing. */
static const char *order_mistake(
    const struct queue *q, const struct order *order, const struct queue_filter *f)
{
	char host[ROUTE_HOST_SIZE];
	uint16_t port;
	if (q->spool == NULL)
		return "the spool cannot be used now";
	if (order->needs_filter && !queue_filter_given(f))
		return "say which: an ID, a condition, or \"all\"";
	if ((order->apply == apply_reroute) != (f->to.p != NULL))
		return "to= says where reroute sends mail, and nothing else";
	if (f->after.p != NULL)
		return "after= is for list";
	if (channel_of_place(f->to).p != NULL)
		return channel_named(q->edge, channel_of_place(f->to)) != NULL
			   ? NULL
			   : "to=channel:NAME: there is no such channel";
	if (f->to.p != NULL && !span_eq_str(f->to, "-") && !route_split(f->to, host, &port))
		return "to= is HOST, HOST:PORT, channel:NAME, or - for the usual way";
	return NULL;
}

static struct scan_job order_job(const struct order *order)
{
	return (struct scan_job){ .begin = begin_order,
		.skim = skim_order,
		.visit = order_entry,
		.is_full = order_is_full,
		.end = end_order,
		.order = order };
}

static struct q_entry *find(struct queue *q, const char *id, struct buf *out)
{
	struct ident known;
	uint32_t row =
	    q->spool != NULL && ident_parse(span_str(id), &known) ? shelf_find(q->shelf, known) : 0;
	struct q_entry *e = row != 0 && !shelf_row(q->shelf, row)->done ? row_load(q, row) : NULL;
	if (e == NULL)
		put_error(out, SPAN("there is no such message in the queue"));
	return e;
}

static void run_cat(struct queue *q, const char *const *words, size_t n, struct buf *out)
{
	uint64_t from = 0;
	struct q_entry *e = find(q, words[0], out);
	if (e == NULL)
		return;
	if (n > 1 && !span_u64(span_str(words[1]), UINT64_MAX, &from))
		put_error(out, SPAN("cat ID OFFSET"));
	else if (!queue_cat(e, from, out))
		put_error(out, SPAN("the message cannot be read"));
}

/* One that has ended is remembered for a while. */
static uint32_t row_after(const struct queue *q, struct span id)
{
	struct ident after;
	return ident_parse(id, &after) ? shelf_find(q->shelf, after) : 0;
}

static void start_scan(struct queue *q, const struct scan_words *said, const struct order *order,
    const struct queue_late *late, struct buf *out)
{
	struct queue_filter f;
	struct buf why = BUF_INIT(1000);
	bool sums = span_eq_str(span_str(said->v[0]), "summary");
	struct scan_job job = order != NULL ? order_job(order)
			      : sums        ? queue_summary_job()
					    : queue_list_job();
	const char *mistake = NULL;
	if (said->n > SCAN_WORDS_MAX)
		mistake = "too many words";
	else if (!queue_filter_parse(said->v + 1, said->n - 1, &f, &why))
		mistake = buf_cstr(&why);
	else if (order != NULL)
		mistake = order_mistake(q, order, &f);
	else if (q->spool == NULL)
		mistake = "the spool cannot be used now";
	else if (f.after.p != NULL && row_after(q, f.after) == 0)
		mistake = "after= names no message that the queue remembers: begin anew";
	if (mistake != NULL)
		put_error(out, span_str(mistake));
	else
		queue_scan_start(q, said, &job, late, out);
	buf_end(&why);
}

void queue_control_kick(
    struct queue *q, struct span node, const struct queue_late *late, struct buf *out)
{
	const struct order *retry = NULL;
	char word[QUEUE_FILTER_WORD_MAX];
	const char *const words[] = { "retry", word };
	for (size_t i = 0; i < COUNT_OF(orders); i++)
		if (orders[i].apply == apply_retry)
			retry = &orders[i];
	struct scan_job job = order_job(retry);
	job.skim = skim_kick;
	job.end = end_kick;
	snprintf(word, sizeof word, "domain=%.*s", SPAN_ARG(node));
	if (q->spool != NULL)
		queue_scan_start(q, &(struct scan_words){ words, 2 }, &job, late, out);
}

bool queue_control(struct queue *q, const char *const *words, size_t n,
    const struct queue_late *late, struct buf *out)
{
	struct q_entry *e;
	if (n == 0)
		return false;
	struct span word = span_str(words[0]);
	bool good = true, is_cat = span_eq_str(word, "cat"), is_show = span_eq_str(word, "show");
	const struct order *order = NULL;
	for (size_t i = 0; i < COUNT_OF(orders); i++)
		if (span_eq_str(word, orders[i].name))
			order = &orders[i];
	if (span_eq_str(word, "tlsrpt-send") && n == 1)
		buf_printf(out, "{\"order\":\"send\",\"policies\":%zu}", tlsrpt_send(q->tlsrpt));
	else if (span_eq_str(word, "tlsrpt-show") && n == 1)
		tlsrpt_show(q->tlsrpt, out);
	else if (is_cat && n >= 2)
		run_cat(q, words + 1, n - 1, out);
	else if (is_show && n == 2 && (e = find(q, words[1], out)) != NULL)
		queue_show(e, out);
	else if (is_cat || is_show ||
		 (order == NULL && !span_eq_str(word, "list") && !span_eq_str(word, "summary")))
		good = buf_len(out) > 0;
	else
		start_scan(q, &(struct scan_words){ words, n }, order, late, out);
	return good;
}

/* ---- routes ------------------------------------------------------------------------------------- */

bool route_split(struct span route, char host[ROUTE_HOST_SIZE], uint16_t *port_out)
{
	size_t colon = span_rfind(route, ':');
	struct span name = route;
	uint64_t port = 0;
	bool bracket = route.n > 2 && route.p[0] == '[';
	if (colon != SIZE_MAX && (!bracket || route.p[colon - 1] == ']')) {
		if (!span_u64(span_from(route, colon + 1), 65535, &port) || port == 0)
			return false;
		name = span_first(route, colon);
	}
	if (bracket && (name.n < 3 || name.p[name.n - 1] != ']'))
		return false;
	if (bracket)
		name = span_first(span_from(name, 1), name.n - 2);
	if (name.n == 0 || name.n >= ROUTE_HOST_SIZE || !span_is_visible(name) ||
	    span_find(name, '/') != SIZE_MAX)
		return false;
	snprintf(host, ROUTE_HOST_SIZE, "%.*s", SPAN_ARG(name));
	*port_out = (uint16_t)port;
	return true;
}
