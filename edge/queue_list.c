/* queue_list.c - the queue as the operator sees it: rows of JSON. */
#include <inttypes.h>
#include <stdio.h>

#include "base/base64.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "edge/queue_scan.h"

enum { CAT_PIECE = 512 * 1024, LIST_MAX = 5000 };

static const char *state_of(const struct q_item *it)
{
	static const char *const names[] = {
		[Q_NEW] = "new",
		[Q_WAIT] = "waiting",
		[Q_HELD] = "held",
		[Q_LOOKUP] = "lookup",
		[Q_READY] = "ready",
		[Q_RUNNING] = "running",
		[Q_FINAL] = "ended",
	};
	static const char *const ends[SPOOL_FATES] = {
		[SPOOL_WAITING] = "ended",
		[SPOOL_DELIVERED] = "delivered",
		[SPOOL_SENT] = "delivered",
		[SPOOL_REFUSED] = "failed",
		[SPOOL_TOLD] = "reported",
	};
	return it->state == Q_FINAL ? ends[it->fate] : names[it->state];
}

static struct span destination_of(const struct q_item *it)
{
	if (it->route != NULL && !span_starts(span_str(it->route), SPAN(ROUTE_PAST)))
		return span_str(it->route);
	if (it->dest != NULL)
		return span_str(it->dest->name);
	struct span address = span_str(it->address);
	size_t at = span_rfind(address, '@');
	return at == SIZE_MAX ? SPAN_NONE : span_from(address, at + 1);
}

struct queue_facts item_facts(const struct q_item *it, uint64_t now_us)
{
	const struct q_entry *e = it->entry;
	return (struct queue_facts){
		.id = span_str(e->id.s),
		.sender = span_str(e->sender),
		.recipient = span_str(it->address),
		.destination = destination_of(it),
		.reason = span_str(it->reason),
		.state = span_str(state_of(it)),
		.age_s = now_us > e->arrived_us ? (now_us - e->arrived_us) / 1000000 : 0,
	};
}

static void put_string(struct buf *out, const char *key, struct span value)
{
	buf_printf(out, "\"%s\":", key);
	fmt_json_string(out, value);
	buf_add_char(out, ',');
}

static uint64_t next_s(const struct q_item *it)
{
	uint64_t now = loop_now_ms(it->entry->queue->loop), due = it->due.due;
	if (it->state != Q_WAIT)
		return 0;
	if (it->link.next != NULL && it->dest->down_until_ms < due)
		due = it->dest->down_until_ms;
	return due > now ? (due - now) / 1000 : 0;
}

static void put_item(struct buf *out, const struct q_item *it, const struct queue_facts *is)
{
	buf_add_char(out, '{');
	put_string(out, "id", is->id);
	put_string(out, "sender", is->sender);
	put_string(out, "recipient", is->recipient);
	put_string(out, "state", is->state);
	put_string(out, "destination", is->destination);
	buf_printf(out, "\"age_s\":%" PRIu64 ",\"attempts\":%" PRIu32 ",\"next_s\":%" PRIu64 ",",
	    is->age_s, it->attempts, next_s(it));
	buf_printf(out, "\"priority\":%d,", it->entry->priority);
	put_string(out, "reason", is->reason);
	buf_printf(out, "\"bytes\":%" PRIu64, it->entry->body.bytes);
}

static void begin_list(struct scan_job *j, struct buf *out)
{
	buf_add_char(out, '[');
}

/* The last row is no recipient when there is more: with the word after= the list goes on there. */
static void end_list(struct scan_job *j, struct buf *out)
{
	if (j->more)
		buf_printf(out, "%s{\"more\":true,\"after\":\"%s\"}", j->n > 0 ? "," : "", j->at.s);
	buf_add_char(out, ']');
}

static bool list_is_full(const struct scan_job *j)
{
	return j->n >= LIST_MAX;
}

/* Does the id alone say that it is not meant? */
bool queue_scan_skims(const struct scan_job *j, const struct queue *q, uint32_t row)
{
	struct ident id;
	if (j->filter.id.p == NULL)
		return false;
	return !ident_parse(j->filter.id, &id) || !shelf_is(q->shelf, row, id);
}

static bool skim(struct scan_job *j, struct queue *q, uint32_t row)
{
	return queue_scan_skims(j, q, row);
}

static void list_entry(struct scan_job *j, struct q_entry *e, struct buf *out)
{
	uint64_t now_us = queue_now_us(e->queue);
	for (size_t i = 0; i < e->item_count; i++) {
		struct queue_facts facts = item_facts(&e->items[i], now_us);
		if (e->items[i].state == Q_FINAL || !queue_filter_matches(&j->filter, &facts))
			continue;
		if (j->n++ > 0)
			buf_add_char(out, ',');
		put_item(out, &e->items[i], &facts);
		buf_add_char(out, '}');
	}
}

struct scan_job queue_list_job(void)
{
	return (struct scan_job){ .begin = begin_list,
		.skim = skim,
		.visit = list_entry,
		.is_full = list_is_full,
		.end = end_list };
}

const char *delays_text(const struct q_delays *d, char out[DELAYS_SIZE])
{
	const uint64_t ms[] = { d->before, d->queued, d->setup, d->talk };
	size_t n = 0;
	out[0] = '\0';
	for (size_t i = 0; d->total > 0 && i < COUNT_OF(ms); i++)
		n += (size_t)snprintf(out + n, DELAYS_SIZE - n, "%s%" PRIu64 ".%03u",
		    i > 0 ? "/" : "", ms[i] / 1000, (unsigned)(ms[i] % 1000));
	return out;
}

void queue_show(const struct q_entry *e, struct buf *out)
{
	uint64_t now_us = queue_now_us(e->queue);
	static const char *const rets[] = { "", "FULL", "HDRS" };
	for (size_t i = 0; i < e->item_count; i++) {
		const struct q_item *it = &e->items[i];
		struct queue_facts facts = item_facts(it, now_us);
		struct buf notify = BUF_INIT(64);
		char date[CLOCK_RFC3339_SIZE], delays[DELAYS_SIZE];
		smtp_notify_put(&notify, it->notify);
		buf_add_char(out, i == 0 ? '[' : ',');
		put_item(out, it, &facts);
		buf_printf(out, ",\"code\":%u,", it->code);
		put_string(out, "enhanced", span_str(it->enhanced));
		put_string(out, "remote", span_str(it->remote));
		put_string(out, "session", span_str(e->session.s));
		put_string(out, "arrived", span_str(clock_rfc3339(e->arrived_us, date)));
		put_string(out, "delays", span_str(delays_text(&it->delays, delays)));
		put_string(out, "notify", buf_span(&notify));
		put_string(out, "orcpt", span_str(it->orcpt));
		put_string(out, "envid", span_str(e->envid));
		put_string(out, "ret", span_str(rets[e->ret]));
		buf_printf(out, "\"trusted\":%s,\"aligned\":%s,\"disowned\":%s}",
		    e->trusted ? "true" : "false", e->aligned ? "true" : "false",
		    e->disowned ? "true" : "false");
		buf_end(&notify);
	}
	buf_add_char(out, ']');
}

bool queue_cat(const struct q_entry *e, uint64_t from, struct buf *out)
{
	struct spool_reader *r = spool_reader_new(e->queue->spool, &e->body);
	struct mail_source src = spool_reader_source(r);
	struct buf bytes = BUF_INIT(2 * CAT_PIECE);
	err_t err = ERR_OK;
	while (from < src.size && buf_len(&bytes) < CAT_PIECE && err == ERR_OK) {
		struct span piece = src.read(src.arg, from, CAT_PIECE, &err);
		buf_add_span(&bytes, piece);
		from += piece.n;
	}
	buf_printf(
	    out, "{\"bytes\":%" PRIu64 ",\"next\":%" PRIu64 ",\"base64\":\"", src.size, from);
	base64_put(out, buf_span(&bytes));
	buf_add_str(out, "\"}");
	buf_end(&bytes);
	spool_reader_free(&r);
	return err == ERR_OK;
}
