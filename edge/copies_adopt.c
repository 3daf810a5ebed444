/* copies_adopt.c - copies become messages of this host: their owner is gone. Beside: copies.c.
 *
 * In batches: each copy is written to the queue's log under its own id, as what the queue makes itself (queue_move.c), so
 * that it has a copy again where this host leaves some; one sync makes them durable, and only then the
 * ward's log says that they were adopted. A crash in between adopts some once more, and the queue knows their ids. */
#include "edge/copies_internal.h"
#include "edge/unit.h"

enum {
	AGAIN_MS = 1000,
	PAYLOAD_MAX = SPOOL_RECORD_MAX + SPOOL_INLINE_MAX,
	BATCH_BYTES = 1024 * 1024, /* of records in memory, and one more */
};

static void adopting_end(struct adopting *a)
{
	ticket_cancel(&a->move);
	spool_reader_free(&a->reader);
	spool_message_end(&a->m);
	buf_end(&a->payload);
	*a = (struct adopting){ 0 };
}

/* ---- into the queue's log ------------------------------------------------------------------------ */

static void batch_next(struct ward *w);
static void on_moved(void *arg, err_t err);

static void start_move(struct adopting *a, bool alone)
{
	struct queue *q = a->ward->copies->queue;
	struct spool_message bare = a->m;
	struct mail_source body = spool_reader_source(a->reader);
	bare.chunks = NULL;
	bare.chunk_count = 0;
	a->alone = alone;
	a->move = alone ? move_message_alone(q, &bare, body, on_moved, a)
			: move_message(q, &bare, body, on_moved, a);
}

/* That no third host takes one of it is no reason to let it wait here. */
static void on_moved(void *arg, err_t err)
{
	struct adopting *a = arg;
	struct ward *w = a->ward;
	a->move = NULL;
	if (err == ERR_NO_COPY && !a->alone) {
		start_move(a, true);
		return;
	}
	a->taken = err == ERR_OK;
	if (!a->taken) { /* its turn comes again */
		a->copy->adopting = false;
		list_add_tail(&w->held, &a->copy->link);
		w->held_n++;
		a->copy = NULL;
	}
	batch_next(w);
}

/* ERR_CORRUPT: it cannot be read, and is no copy any more. */
static err_t adopt_one(struct ward *w, struct copy *c, struct adopting *a)
{
	struct queue *q = w->copies->queue;
	*a = (struct adopting){ .ward = w, .copy = c, .payload = BUF_INIT(PAYLOAD_MAX) };
	a->taken = queue_knows(q, c->id);
	if (a->taken)
		return ERR_OK;
	err_t err = spool_load_message(w->spool, c->pos, &a->payload, &a->m);
	if (err == ERR_OK && !queue_has_room(q, unit_recipients(&a->m)))
		err = ERR_BUSY;
	if (err != ERR_OK) {
		adopting_end(a);
		return err;
	}
	a->body =
	    (struct spool_body){ a->m.body_bytes, c->pos, a->m.body_at, c->chunks, c->chunk_n };
	a->reader = spool_reader_new(w->spool, &a->body);
	start_move(a, false);
	return ERR_OK;
}

static void log_adopted(const struct ward *w, const struct copy *c)
{
	metric_add(&queue_metrics[QUEUE_M_ADOPTED], 1);
	log_write(&queue_events[QUEUE_EV_ADOPTED], c->id.s, LOG_FIELDS(LOG_STR("owner", w->name)));
}

static void mark(struct ward *w, struct copy *c)
{
	struct spool_done d = { .id = c->id, .at_us = queue_arrival_us(w->copies->queue, 0) };
	log_pos pos;
	c->adopting = false;
	if (spool_append_done(w->spool, &d, &pos) != ERR_OK) {
		w->broken =
		    true; /* opened anew it is held, and adopted again: the queue knows it */
		return;
	}
	copy_let_go(w, c);
	c->pos = pos;
	c->adopted = true;
	log_adopted(w, c);
}

/* ---- batches ------------------------------------------------------------------------------------- */

static void batch_end(struct ward *w)
{
	for (size_t i = 0; i < w->batch_n; i++)
		adopting_end(&w->batch[i]);
	w->batch_n = 0;
	if (w->owes_list)
		ward_say_list(w);
	w->owes_list = false;
}

static void on_synced(void *arg, err_t err)
{
	struct ward *w = OBJ(ward, arg);
	w->sync = NULL;
	if (err) {
		ward_adopt_stop(w);
		return; /* the queue opens its log anew */
	}
	for (size_t i = 0; i < w->batch_n; i++)
		if (w->batch[i].taken)
			mark(w, w->batch[i].copy);
	batch_end(w);
	if (w->adopts)
		timer_set(&w->next, 0);
}

/* All of it is in the queue's log, or held again: then it is made durable. */
static void batch_next(struct ward *w)
{
	size_t taken = 0;
	for (size_t i = 0; i < w->batch_n; i++) {
		if (w->batch[i].move != NULL)
			return;
		taken += w->batch[i].taken;
	}
	if (taken > 0) {
		w->sync = spool_sync(queue_spool(w->copies->queue), on_synced, w);
		return;
	}
	batch_end(w);
	if (w->adopts)
		timer_set(&w->next, AGAIN_MS);
}

static void take_out(struct ward *w, struct copy *c)
{
	list_remove(&c->link);
	w->held_n--;
	c->adopting = true;
	w->batch_n++;
}

/* The first that cannot be read is let lie at the end of the list. */
static void run(struct ward *w)
{
	struct queue *q = w->copies->queue;
	if (list_empty(&w->held) || w->broken) {
		w->adopts = false;
		return;
	}
	err_t err = queue_spool(q) == NULL ? ERR_BUSY : ERR_OK;
	size_t left = w->held_n, bytes = 0;
	while (err == ERR_OK && w->batch_n < ADOPT_BATCH && bytes < BATCH_BYTES && left-- > 0) {
		struct copy *c = LIST_OF(struct copy, link, w->held.next);
		err = adopt_one(w, c, &w->batch[w->batch_n]);
		if (err == ERR_OK) {
			bytes += buf_len(&w->batch[w->batch_n].payload);
			take_out(w, c);
		} else if (err == ERR_CORRUPT) {
			list_remove(&c->link);
			list_add_tail(&w->held, &c->link);
			err = ERR_OK;
		}
	}
	batch_next(w);
}

static void on_next(void *arg)
{
	run(OBJ(ward, arg));
}

void ward_adopt_init(struct ward *w)
{
	timer_init(&w->next, w->copies->loop, on_next, w);
}

bool ward_adopts(const struct ward *w)
{
	return w->adopts;
}

size_t ward_holds(const struct ward *w)
{
	size_t n = w->held_n;
	for (size_t i = 0; i < w->batch_n; i++)
		n += w->batch[i].copy != NULL;
	return n;
}

void ward_adopt(struct ward *w, const char *why)
{
	if (w->adopts || w->spool == NULL || w->held_n == 0)
		return;
	log_write(&queue_events[QUEUE_EV_ADOPTING], NULL,
	    LOG_FIELDS(
		LOG_STR("owner", w->name), LOG_U64("copies", w->held_n), LOG_STR("why", why)));
	w->adopts = true;
	timer_set(&w->next, 0);
}

bool ward_adopt_end(struct ward *w)
{
	timer_clear(&w->next);
	w->adopts = false;
	w->owes_list = w->batch_n > 0;
	return !w->owes_list;
}

void ward_adopt_stop(struct ward *w)
{
	timer_clear(&w->next);
	ticket_cancel(&w->sync);
	for (size_t i = 0; i < w->batch_n; i++) {
		struct copy *c = w->batch[i].copy;
		if (c == NULL)
			continue;
		c->adopting = false;
		list_add_head(&w->held, &c->link);
		w->held_n++;
	}
	w->adopts = false;
	batch_end(w);
}
