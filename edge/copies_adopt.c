/* copies_adopt.c - copies become messages of this host: their owner is gone. Beside: copies.c.
 *
 * In batches: each copy is written to the queue's log under its own id, one sync makes them durable, and only then the
 * ward's log says that they were adopted. A crash in between adopts some once more, and the queue knows their ids. */
#include "edge/copies_internal.h"
#include "edge/unit.h"

enum { AGAIN_MS = 1000, PAYLOAD_MAX = SPOOL_RECORD_MAX + SPOOL_INLINE_MAX };

/* The chunks of c as chunks of the queue's log. */
static err_t carry_chunks(
    struct ward *w, const struct copy *c, struct spool *to, log_pos *out, size_t *n_out)
{
	struct buf bytes = BUF_INIT(SPOOL_CHUNK);
	err_t err = ERR_OK;
	for (*n_out = 0; err == ERR_OK && *n_out < c->chunk_n; (*n_out)++) {
		err = spool_load_chunk(w->spool, c->chunks[*n_out], &bytes);
		if (err == ERR_OK)
			err = spool_append_chunk(to, buf_span(&bytes), &out[*n_out]);
		if (err)
			break;
	}
	buf_end(&bytes);
	return err;
}

static err_t carry_message(
    struct ward *w, const struct copy *c, struct spool_message *m, struct span payload)
{
	struct queue *q = w->copies->queue;
	struct spool *to = queue_spool(q);
	log_pos *chunks = c->chunk_n > 0 ? mem_array(c->chunk_n, sizeof(*chunks)) : NULL;
	uint64_t *old = m->chunks;
	size_t n = 0;
	log_pos pos = 0;
	err_t err = carry_chunks(w, c, to, chunks, &n);
	struct span tail = chunks == NULL ? span_from(payload, m->body_at) : SPAN_NONE;
	m->chunks = chunks;
	if (err == ERR_OK)
		err = spool_append_message(to, m, tail, &pos);
	if (err == ERR_OK)
		queue_add(q, pos, m);
	for (size_t i = 0; err != ERR_OK && i < n; i++)
		spool_forget(to, chunks[i]);
	m->chunks = old;
	mem_free(chunks);
	return err;
}

/* Into the queue's log. ERR_CORRUPT: it cannot be read, and is no copy any more. */
static err_t carry(struct ward *w, struct copy *c)
{
	struct queue *q = w->copies->queue;
	struct buf payload = BUF_INIT(PAYLOAD_MAX);
	struct spool_message m;
	if (queue_knows(q, c->id))
		return ERR_OK;
	err_t err = spool_load_message(w->spool, c->pos, &payload, &m);
	if (err == ERR_OK && !queue_has_room(q, unit_recipients(&m)))
		err = ERR_BUSY;
	if (err == ERR_OK)
		err = carry_message(w, c, &m, buf_span(&payload));
	spool_message_end(&m);
	buf_end(&payload);
	return err;
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

static void on_synced(void *arg, err_t err)
{
	struct ward *w = OBJ(ward, arg);
	w->sync = NULL;
	if (err) {
		ward_adopt_stop(w);
		return; /* the queue opens its log anew */
	}
	for (size_t i = 0; i < w->batch_n; i++)
		mark(w, w->batch[i]);
	w->batch_n = 0;
	if (w->owes_list)
		ward_say_list(w);
	w->owes_list = false;
	if (w->adopts)
		timer_set(&w->next, 0);
}

static void take_out(struct ward *w, struct copy *c)
{
	list_remove(&c->link);
	w->held_n--;
	c->adopting = true;
	w->batch[w->batch_n++] = c;
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
	size_t left = w->held_n;
	while (err == ERR_OK && w->batch_n < ADOPT_BATCH && left-- > 0) {
		struct copy *c = LIST_OF(struct copy, link, w->held.next);
		err = carry(w, c);
		if (err == ERR_OK) {
			take_out(w, c);
		} else if (err == ERR_CORRUPT) {
			list_remove(&c->link);
			list_add_tail(&w->held, &c->link);
			err = ERR_OK;
		}
	}
	if (w->batch_n > 0)
		w->sync = spool_sync(queue_spool(q), on_synced, w);
	else
		timer_set(&w->next, AGAIN_MS);
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
	w->owes_list = w->sync != NULL;
	return !w->owes_list;
}

void ward_adopt_stop(struct ward *w)
{
	timer_clear(&w->next);
	ticket_cancel(&w->sync);
	for (size_t i = 0; i < w->batch_n; i++) {
		struct copy *c = w->batch[i];
		c->adopting = false;
		list_add_head(&w->held, &c->link);
		w->held_n++;
	}
	w->batch_n = 0;
	w->adopts = false;
	if (w->owes_list)
		ward_say_list(w);
	w->owes_list = false;
}
