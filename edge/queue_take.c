/* queue_take.c - what others ask of the queue: workers' messages come in (spool_serve.c), and with a second host that keeps
 * copies (copier.c): wait before you deliver, do you have this one, it is the other host's now.
 *
 * Beside: queue.c, queue_spool.c. Owns nothing. */
#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"
#include "edge/queue_internal.h"
#include "edge/spool_serve.h"
#include "edge/unit.h"

/* ---- messages come in ------------------------------------------------------------------------- */

static struct spool *take_spool(void *arg)
{
	return queue_spool(arg);
}

static bool take_knows(void *arg, struct ident id)
{
	bool knows = queue_knows(arg, id) && !queue_withdrew(arg, id);
	if (knows)
		metric_add(&queue_metrics[QUEUE_M_KNOWN], 1);
	return knows;
}

static const char *take_refuses(void *arg, const struct spool_message *m)
{
	if (queue_withdrew(arg, m->id))
		return "it was withdrawn";
	return queue_has_room(arg, unit_recipients(m)) ? NULL : "the queue is full";
}

static bool take_withdraw(void *arg, struct ident id)
{
	return queue_withdraw(arg, id);
}

static void take_arrives(void *arg, struct spool_message *m)
{
	m->arrived_us = queue_arrival_us(arg, m->arrived_us);
}

static void take_add(void *arg, log_pos pos, const struct spool_message *m)
{
	queue_add(arg, pos, m);
}

static void take_broke(void *arg, err_t err)
{
	queue_spool_broke(arg, err);
}

static void take_end(void *arg)
{
	queue_on_close(arg, QUEUE_SERVE, NULL, NULL);
}

static const struct spool_taker taker = {
	.spool = take_spool,
	.knows = take_knows,
	.refuses = take_refuses,
	.arrives = take_arrives,
	.add = take_add,
	.withdraw = take_withdraw,
	.broke = take_broke,
	.end = take_end,
};

static void on_close(void *arg)
{
	spool_serve_close_links(arg);
}

struct spool_serve *spool_serve_new(struct loop *l, struct queue *q)
{
	struct spool_serve *s = spool_serve_of(l, &taker, q);
	spool_serve_kicks(s, queue_kicks_new(q));
	queue_on_close(q, QUEUE_SERVE, on_close, s);
	return s;
}

/* ---- and are withdrawn ------------------------------------------------------------------------ */

/* Nobody is told, but what the log has of it. */
static void end_withdrawn(struct q_entry *e)
{
	ticket_cancel(&e->sync);
	e->withdrawn = true;
	for (size_t i = 0; i < e->item_count; i++) {
		e->items[i].fate = SPOOL_TOLD;
		item_set_state(&e->items[i], Q_FINAL);
	}
	entry_settle(e);
}

static bool is_open(const struct queue *q, uint32_t row)
{
	return row != 0 && !shelf_row(q->shelf, row)->done;
}

/* What is not durable is in memory. */
static struct q_entry *fresh_entry(const struct queue *q, uint32_t row)
{
	const struct shelf_row *r = shelf_row(q->shelf, row);
	struct q_entry *e = r->place == SHELF_LOADED ? OBJ(q_entry, r->entry) : NULL;
	return e != NULL && e->sync != NULL ? e : NULL;
}

bool queue_withdraw(struct queue *q, struct ident id)
{
	uint32_t row = shelf_find(q->shelf, id);
	struct q_entry *e = is_open(q, row) ? fresh_entry(q, row) : NULL;
	if (row != 0 && e == NULL)
		return queue_withdrew(q, id);
	withdrawn_add(q->withdrawn, id);
	if (e != NULL) {
		log_write(&queue_events[QUEUE_EV_WITHDRAWN], id.s, NULL);
		end_withdrawn(e);
	}
	return true;
}

bool queue_withdrew(const struct queue *q, struct ident id)
{
	return withdrawn_has(q->withdrawn, id);
}

static void end_replayed(void *arg, struct ident id)
{
	struct queue *q = OBJ(queue, arg);
	uint32_t row = shelf_find(q->shelf, id);
	struct q_entry *e = is_open(q, row) ? row_load(q, row) : NULL;
	if (e == NULL)
		return;
	log_write(&queue_events[QUEUE_EV_WITHDRAWN], id.s, NULL);
	end_withdrawn(e);
}

void queue_end_withdrawn(struct queue *q)
{
	withdrawn_each(q->withdrawn, end_replayed, q);
}

/* ---- a second host ---------------------------------------------------------------------------- */

void queue_copy_to(struct queue *q, const struct spool_copier *c)
{
	q->copier = *c;
}

void queue_hold_all(struct queue *q, bool hold)
{
	bool go = q->still && !hold;
	q->still = hold;
	if (!go || q->spool == NULL)
		return;
	timer_set(&q->due_timer, 0);
	for (uint32_t i = 1; i < q->numbered_n; i++)
		if (q->numbered[i] != NULL)
			dest_run(q->numbered[i]);
}

void queue_set_copied(struct queue *q, struct ident id)
{
	uint32_t row = shelf_find(q->shelf, id);
	if (is_open(q, row))
		shelf_row(q->shelf, row)->copied = 1;
}

void queue_forget_copies(struct queue *q)
{
	for (uint32_t row = shelf_next(q->shelf, 0); row != 0; row = shelf_next(q->shelf, row))
		shelf_row(q->shelf, row)->copied = 0;
}

static int by_place(const void *a, const void *b)
{
	const log_pos *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* When there is no room the younger half goes, and what is not older than that is not looked at any more. */
size_t queue_uncopied(const struct queue *q, log_pos after, log_pos *out, size_t max)
{
	log_pos below = UINT64_MAX;
	size_t n = 0;
	for (uint32_t i = shelf_next(q->shelf, 0); i != 0; i = shelf_next(q->shelf, i)) {
		const struct shelf_row *r = shelf_row(q->shelf, i);
		if (r->done || r->copied || r->message <= after || r->message >= below)
			continue;
		out[n++] = r->message;
		if (n < max)
			continue;
		qsort(out, n, sizeof *out, by_place);
		n /= 2;
		below = out[n];
	}
	qsort(out, n, sizeof *out, by_place);
	return n;
}

const struct q_entry *queue_uncopied_entry(struct queue *q, struct ident id, log_pos pos)
{
	uint32_t row = shelf_find(q->shelf, id);
	if (!is_open(q, row))
		return NULL;
	const struct shelf_row *r = shelf_row(q->shelf, row);
	return r->message == pos && !r->copied ? row_load(q, row) : NULL;
}

void queue_on_done(struct queue *q, void (*fn)(void *arg, struct ident id), void *arg)
{
	q->on_done = fn;
	q->on_done_arg = arg;
}

bool queue_owes(const struct queue *q, struct ident id)
{
	uint32_t row = shelf_find(q->shelf, id);
	return row != 0 && !shelf_row(q->shelf, row)->done;
}

static bool is_busy(const struct q_item *it)
{
	return it->state == Q_RUNNING || it->state == Q_NEW;
}

bool queue_hand_over(struct queue *q, struct ident id, const char *host)
{
	uint32_t row = q->spool != NULL ? shelf_find(q->shelf, id) : 0;
	struct q_entry *e = row != 0 && !shelf_row(q->shelf, row)->done ? row_load(q, row) : NULL;
	if (e == NULL)
		return q->spool != NULL && row == 0;
	for (size_t i = 0; i < e->item_count; i++) {
		struct q_item *it = &e->items[i];
		if (is_busy(it))
			continue;
		it->fate = SPOOL_TOLD;
		item_set_state(it, Q_FINAL);
	}
	log_write(&queue_events[QUEUE_EV_HANDED_OVER], id.s, LOG_FIELDS(LOG_STR("host", host)));
	entry_settle(e);
	return true;
}
