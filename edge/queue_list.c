/* queue_list.c - the queue as the operator sees it. */
#include <inttypes.h>

#include "base/clock.h"
#include "base/fmt.h"
#include "edge/queue_internal.h"

static void put_string(struct buf *out, const char *key, struct span value)
{
	buf_printf(out, "\"%s\":", key);
	fmt_json_string(out, value);
	buf_add_char(out, ',');
}

static struct span destination_of(const struct q_item *it)
{
	if (it->dest != NULL)
		return span_str(it->dest->name);
	struct span address = span_str(it->address);
	size_t at = span_rfind(address, '@');
	return at == SIZE_MAX ? SPAN_NONE : span_from(address, at + 1);
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

static void put_item(struct buf *out, const struct q_item *it, uint64_t now_us)
{
	const struct q_entry *e = it->entry;
	buf_add_char(out, '{');
	put_string(out, "id", span_str(e->id.s));
	put_string(out, "sender", span_str(e->sender));
	put_string(out, "recipient", span_str(it->address));
	put_string(out, "destination", destination_of(it));
	buf_printf(out, "\"age_s\":%" PRIu64 ",\"attempts\":%" PRIu32 ",\"next_s\":%" PRIu64 ",",
	    now_us > e->arrived_us ? (now_us - e->arrived_us) / 1000000 : 0, it->attempts,
	    next_s(it));
	put_string(out, "reason", span_str(it->reason));
	buf_printf(out, "\"bytes\":%" PRIu64 "}", e->body.bytes);
}

void queue_list(struct queue *q, size_t rows_max, struct buf *out)
{
	uint64_t now_us = clock_wall_us();
	size_t rows = 0;
	buf_add_char(out, '[');
	for (struct list_node *n = q->entries.next; n != &q->entries && rows < rows_max;
	     n = n->next) {
		const struct q_entry *e = LIST_OF(struct q_entry, link, n);
		for (size_t i = 0; i < e->item_count && rows < rows_max; i++) {
			if (e->items[i].state == Q_FINAL)
				continue;
			if (rows++ > 0)
				buf_add_char(out, ',');
			put_item(out, &e->items[i], now_us);
		}
	}
	buf_add_char(out, ']');
}
