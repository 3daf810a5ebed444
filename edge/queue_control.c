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
#include "edge/queue_internal.h"

enum {
	LIST_MAX = 5000,
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
	item_outcome(it, &o);
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

/* May free e. Returns how many of its recipients the order met. */
static size_t order_entry(
    struct q_entry *e, const struct order *order, const struct queue_filter *f, uint64_t now_us)
{
	struct q_item **met = mem_array(e->item_count, sizeof(struct q_item *));
	size_t n = 0;
	for (size_t i = 0; i < e->item_count; i++) {
		struct q_item *it = &e->items[i];
		struct queue_facts facts = item_facts(it, now_us);
		if (it->state == Q_FINAL || !queue_filter_matches(f, &facts) ||
		    !order->apply(it, f))
			continue;
		log_write(&queue_events[QUEUE_EV_QUEUE_ORDER], e->id.s,
		    LOG_FIELDS(LOG_STR("order", order->name), LOG_STR("recipient", it->address)));
		met[n++] = it;
	}
	if (n > 0 && order->apply != apply_retry)
		entry_save(e, met, n);
	mem_free(met);
	if (n > 0)
		entry_settle(e);
	return n;
}

static size_t order_all(
    struct queue *q, const struct order *order, const struct queue_filter *f, bool *more_out)
{
	uint64_t now_us = clock_wall_us();
	size_t n = 0;
	struct list_node *at = q->entries.next, *last = q->entries.prev, *next;
	*more_out = false;
	for (bool end = at == &q->entries; !end; at = next) {
		next = at->next;
		end = at == last;
		if (order->ends && n >= ENDS_MAX) {
			*more_out = true;
			break;
		}
		n += order_entry(LIST_OF(struct q_entry, link, at), order, f, now_us);
	}
	return n;
}

/* ---- words -------------------------------------------------------------------------------------- */

static void put_error(struct buf *out, struct span why)
{
	buf_clear(out);
	buf_add_str(out, "{\"error\":");
	fmt_json_string(out, why);
	buf_add_char(out, '}');
}

static void run_order(
    struct queue *q, const struct order *order, const struct queue_filter *f, struct buf *out)
{
	bool more;
	char host[ROUTE_HOST_SIZE];
	uint16_t port;
	if (q->spool == NULL) {
		put_error(out, SPAN("the spool cannot be used now"));
	} else if (order->needs_filter && !queue_filter_given(f)) {
		put_error(out, SPAN("say which: an ID, a condition, or \"all\""));
	} else if ((order->apply == apply_reroute) != (f->to.p != NULL)) {
		put_error(out, SPAN("to= says where reroute sends mail, and nothing else"));
	} else if (f->to.p != NULL && !span_eq_str(f->to, "-") &&
		   !route_split(f->to, host, &port)) {
		put_error(out, SPAN("to= is HOST, HOST:PORT, or - for the usual way"));
	} else {
		size_t n = order_all(q, order, f, &more);
		buf_printf(out, "{\"order\":\"%s\",\"recipients\":%zu,\"more\":%s}", order->name, n,
		    more ? "true" : "false");
	}
}

static struct q_entry *find(struct queue *q, const char *id, struct buf *out)
{
	struct q_entry *e = map_get(q->by_id, span_str(id));
	if (e == NULL || q->spool == NULL)
		put_error(out, SPAN("there is no such message in the queue"));
	return q->spool != NULL ? e : NULL;
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

bool queue_control(struct queue *q, const char *const *words, size_t n, struct buf *out)
{
	struct queue_filter f;
	struct buf why = BUF_INIT(1000);
	struct q_entry *e;
	if (n == 0)
		return false;
	struct span word = span_str(words[0]);
	bool good = true, is_cat = span_eq_str(word, "cat"), is_show = span_eq_str(word, "show");
	const struct order *order = NULL;
	for (size_t i = 0; i < COUNT_OF(orders); i++)
		if (span_eq_str(word, orders[i].name))
			order = &orders[i];
	if (is_cat && n >= 2)
		run_cat(q, words + 1, n - 1, out);
	else if (is_show && n == 2 && (e = find(q, words[1], out)) != NULL)
		queue_show(e, out);
	else if (is_cat || is_show || (order == NULL && !span_eq_str(word, "list")))
		good = buf_len(out) > 0;
	else if (!queue_filter_parse(words + 1, n - 1, &f, &why))
		put_error(out, buf_span(&why));
	else if (order != NULL)
		run_order(q, order, &f, out);
	else
		queue_list(q, &f, LIST_MAX, out);
	buf_end(&why);
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
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] <= ' ' || name.p[i] >= 0x7f || name.p[i] == '/')
			return false;
	if (name.n == 0 || name.n >= ROUTE_HOST_SIZE)
		return false;
	snprintf(host, ROUTE_HOST_SIZE, "%.*s", SPAN_ARG(name));
	*port_out = (uint16_t)port;
	return true;
}
