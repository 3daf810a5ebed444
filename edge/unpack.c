/* unpack.c - the station unpack: a part of a mail that stands in the spool with the others as one message (unit.h) becomes a
 * message of its own (part of step 6; before and after: deliver.c).
 *
 * What became of the part is in the unit's progress, behind the part's own record: a crash between the two leaves a message
 * whose id is found here. With a second host that keeps copies the part has its copy there first, as a message that comes in
 * has: the unit's is given up when all parts are messages. What the disk has not room for now waits here; a part that cannot
 * be read is held for an operator. Owns the part's head while it is under way. */
#include "edge/station.h"

#include "base/check.h"
#include "base/mem.h"
#include "edge/queue_internal.h"
#include "edge/queue_move.h"
#include "edge/unit.h"

#define unpack_MAGIC 0x90e0e014u

enum { AGAIN_WAIT_MS = 2000 };

struct unpack {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct queue *queue;
	struct q_item *it;
	struct mail_source unit;
	struct unit_part part;
	struct buf head;        /* of the part, and its fields */
	struct spool_message m; /* in head */
	struct ticket *ask;     /* owned */
	struct soon soon;
	station_fn *fn;
	void *arg;
};

static void unpack_free(struct unpack *x)
{
	ticket_cancel(&x->ask);
	soon_clear(&x->soon);
	spool_message_end(&x->m);
	buf_end(&x->head);
	x->magic = 0;
	mem_free(x);
}

static void cancel(struct ticket *t)
{
	unpack_free(OBJ(unpack, t));
}

static void give(struct unpack *x, enum station_end end)
{
	struct station_result r = { .end = end, .wait_ms = AGAIN_WAIT_MS };
	station_fn *fn = x->fn;
	void *arg = x->arg;
	if (end == STATION_HELD)
		outcome_set(&r.outcome, FATE_LATER, 451, "4.3.0",
		    SPAN("the part cannot be read from the spool"));
	unpack_free(x);
	fn(arg, &r);
}

static void give_failed(struct unpack *x, err_t err)
{
	give(x, err == ERR_CORRUPT || err == ERR_NOT_FOUND ? STATION_HELD : STATION_WAIT);
}

/* ---- the message ------------------------------------------------------------------------------- */

static struct span read_part(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	const struct unpack *x = arg;
	struct span fields = span_from(buf_span(&x->head), x->part.head_bytes);
	*err_out = ERR_OK;
	if (at < fields.n)
		return span_first(span_from(fields, (size_t)at), n);
	uint64_t from = at - fields.n;
	uint64_t left = from < x->part.body_bytes ? x->part.body_bytes - from : 0;
	if (left == 0)
		return SPAN_NONE;
	n = n < left ? n : (size_t)left;
	return span_first(x->unit.read(x->unit.arg, x->part.body_at + from, n, err_out), n);
}

static struct mail_source part_source(struct unpack *x)
{
	return (struct mail_source){ read_part, x, x->m.body_bytes };
}

static void on_moved(void *arg, err_t err)
{
	struct unpack *x = OBJ(unpack, arg);
	x->ask = NULL;
	if (err)
		give_failed(x, err);
	else
		give(x, STATION_MOVED);
}

static void move(struct unpack *x)
{
	x->ask = move_message(x->queue, &x->m, part_source(x), on_moved, x);
}

/* ---- begin ------------------------------------------------------------------------------------- */

static void on_soon(void *arg)
{
	struct unpack *x = OBJ(unpack, arg);
	struct ident unit = x->it->entry->id;
	err_t err = unit_find(&x->unit, item_index(x->it), &x->part);
	if (err == ERR_OK)
		err = unit_load(&x->unit, &x->part, unit, &x->head, &x->m);
	x->m.arrived_us = x->it->entry->arrived_us;
	if (err)
		give_failed(x, err);
	else if (queue_knows(x->queue, x->m.id))
		give(x, STATION_MOVED); /* before a crash, or it was adopted with its copy */
	else
		move(x);
}

struct ticket *unpack_start(const struct station_ask *a, station_fn *fn, void *arg)
{
	struct unpack *x = MEM_NEW(struct unpack);
	CHECK(a->n == 1);
	x->ticket.cancel = cancel;
	x->magic = unpack_MAGIC;
	x->queue = a->dest->queue;
	x->it = a->items[0];
	x->unit = *a->body;
	x->head = BUF_INIT(UNIT_HEAD_MAX);
	x->fn = fn;
	x->arg = arg;
	soon_init(&x->soon, on_soon, x);
	soon_set(x->queue->loop, &x->soon);
	return &x->ticket;
}
