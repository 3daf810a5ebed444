/* spool_serve.c - takes messages from the workers into the spool.
 *
 * One link for each worker. Of a message that is coming in it holds the envelope and at most one chunk;
 * larger bodies go to the log as they come, and exist only when the MESSAGE record that names them is
 * written. Every answer waits for its own sync, which the log shares among all that wait. */
#include "edge/spool_serve.h"

#include <stdio.h>

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"
#include "edge/queue_kick.h"
#include "edge/queue_tables.h"
#include "edge/spool_wire.h"
#include "net/listen.h"
#include "net/stream.h"

#define spool_serve_MAGIC 0x5e53e001u
#define serve_link_MAGIC 0x5e53e002u
#define serve_wait_MAGIC 0x5e53e003u

enum {
	LINKS_MAX = 512,
	WAITS_MAX = 4000, /* answers that one link may be owed; more wait in the kernel */
	LISTENERS_MAX = 8,
	IN_MAX = SPOOL_FRAME_MAX + 64 * 1024,
	OUT_MAX = 1024 * 1024,
};

struct spool_serve {
	uint32_t magic;
	struct loop *loop;
	struct queue *queue;
	struct queue_kicks *kicks; /* owned */
	struct listener *listeners[LISTENERS_MAX];
	size_t listener_count;
	struct list_node links;
	size_t link_count;
};

/* What comes in on a link now. */
enum incoming_state {
	IN_NONE,   /* a PUT is next */
	IN_TAKE,   /* its bytes are kept */
	IN_SWALLOW /* they are thrown away: known, or refused */
};

struct serve_link {
	uint32_t magic;
	struct spool_serve *serve;
	struct list_node link;
	struct stream *io;
	enum incoming_state state;
	const char *refusal; /* IN_SWALLOW: why, NULL: the message is known */
	struct buf envelope; /* copy of the PUT frame; message points here */
	struct spool_message message;
	struct buf bytes; /* of the body: all of it, or the chunk that is filling */
	uint64_t got;
	log_pos *chunks;
	size_t chunk_count;
	struct list_node waits;
	size_t wait_count;
};

/* An answer that waits for a sync, or for a kick. */
struct serve_wait {
	uint32_t magic;
	struct serve_link *owner;
	struct list_node link;
	struct ident id;
	struct ticket *ask;
};

static void link_read(struct serve_link *k);

/* ---- one message ------------------------------------------------------------------------------ */

static void incoming_reset(struct serve_link *k)
{
	spool_message_end(&k->message);
	buf_clear(&k->envelope);
	buf_shrink(&k->envelope);
	buf_clear(&k->bytes);
	buf_shrink(&k->bytes);
	MEM_FREE(&k->chunks);
	k->chunk_count = 0;
	k->got = 0;
	k->state = IN_NONE;
	k->refusal = NULL;
}

/* What was appended for a message that will not become whole. */
static void incoming_drop(struct serve_link *k)
{
	struct spool *spool = queue_spool(k->serve->queue);
	for (size_t i = 0; i < k->chunk_count && spool != NULL; i++)
		spool_forget(spool, k->chunks[i]);
	MEM_FREE(&k->chunks);
	k->chunk_count = 0;
}

static void answer(
    struct serve_link *k, enum spool_frame_type type, struct ident id, const char *why)
{
	struct buf frame = BUF_INIT(2048);
	struct spool_answer a = { id, span_str(why) };
	if (type == SPOOL_FRAME_FAILED)
		log_write(
		    &queue_events[QUEUE_EV_QUEUE_REFUSED], id.s, LOG_FIELDS(LOG_STR("why", why)));
	spool_answer_put(&frame, type, &a);
	stream_write_span(k->io, buf_span(&frame));
	buf_end(&frame);
}

static void wait_free(struct serve_wait *w)
{
	ticket_cancel(&w->ask);
	list_remove(&w->link);
	w->owner->wait_count--;
	w->magic = 0;
	mem_free(w);
}

static void answered(struct serve_wait *w)
{
	struct serve_link *k = w->owner;
	bool was_full = k->wait_count == WAITS_MAX;
	wait_free(w);
	if (was_full)
		link_read(k);
}

static void on_synced(void *arg, err_t err)
{
	struct serve_wait *w = OBJ(serve_wait, arg);
	struct serve_link *k = w->owner;
	w->ask = NULL;
	if (err == ERR_OK)
		answer(k, SPOOL_FRAME_DURABLE, w->id, "");
	else
		answer(k, SPOOL_FRAME_FAILED, w->id, err_text(err));
	answered(w);
}

static void on_kicked(void *arg, const struct queue_kicked *r)
{
	struct serve_wait *w = OBJ(serve_wait, arg);
	char said[32];
	w->ask = NULL;
	snprintf(said, sizeof said, "%zu%s", r->recipients, r->more ? "+" : "");
	if (r->later)
		answer(w->owner, SPOOL_FRAME_FAILED, w->id, "not now");
	else
		answer(w->owner, SPOOL_FRAME_KICKED, w->id, said);
	answered(w);
}

static struct serve_wait *wait_new(struct serve_link *k, struct ident id)
{
	struct serve_wait *w = MEM_NEW(struct serve_wait);
	w->magic = serve_wait_MAGIC;
	w->owner = k;
	w->id = id;
	list_add_tail(&k->waits, &w->link);
	k->wait_count++;
	return w;
}

static void answer_when_durable(struct serve_link *k, struct ident id)
{
	struct serve_wait *w = wait_new(k, id);
	w->ask = spool_sync(queue_spool(k->serve->queue), on_synced, w);
}

/* False: the frame makes no sense. */
static bool on_kick(struct serve_link *k, struct span payload)
{
	struct spool_answer a;
	if (!spool_answer_get(payload, &a))
		return false;
	struct serve_wait *w = wait_new(k, a.id);
	w->ask = queue_kick(k->serve->kicks, a.why, on_kicked, w);
	return true;
}

/* Swallows the rest of the message that is coming in. */
static void refuse(struct serve_link *k, const char *why)
{
	incoming_drop(k);
	buf_clear(&k->bytes);
	k->state = IN_SWALLOW;
	k->refusal = why;
}

/* The log's errors: clean ones refuse this message, others also make the queue open it anew. */
static void failed(struct serve_link *k, err_t err)
{
	refuse(k, err_text(err));
	if (err != ERR_NO_SPACE && err != ERR_BUSY && err != ERR_TOO_LONG)
		queue_spool_broke(k->serve->queue, err);
}

static err_t append_chunk(struct serve_link *k)
{
	log_pos pos;
	err_t err = spool_append_chunk(queue_spool(k->serve->queue), buf_span(&k->bytes), &pos);
	if (err)
		return err;
	buf_clear(&k->bytes);
	k->chunks[k->chunk_count++] = pos;
	return ERR_OK;
}

static err_t append_message(struct serve_link *k)
{
	struct queue *q = k->serve->queue;
	struct spool_message *m = &k->message;
	log_pos pos = 0;
	err_t err = ERR_OK;
	if (k->chunks != NULL && buf_len(&k->bytes) > 0)
		err = append_chunk(k);
	if (err)
		return err;
	m->arrived_us = queue_arrival_us(q, m->arrived_us);
	m->chunks = k->chunks;
	m->chunk_count = k->chunk_count;
	struct span tail = k->chunks == NULL ? buf_span(&k->bytes) : SPAN_NONE;
	err = spool_append_message(queue_spool(q), m, tail, &pos);
	if (err == ERR_OK)
		queue_add(q, pos, m);
	m->chunks = NULL; /* k's, not the message's */
	m->chunk_count = 0;
	return err;
}

/* All bytes are here. */
static void incoming_end(struct serve_link *k)
{
	struct ident id = k->message.id;
	if (k->state == IN_TAKE) {
		err_t err = append_message(k);
		if (err)
			failed(k, err);
		else
			k->chunk_count = 0; /* the message's now */
	}
	if (k->refusal != NULL)
		answer(k, SPOOL_FRAME_FAILED, id, k->refusal);
	else
		answer_when_durable(k, id);
	incoming_reset(k);
}

static void on_data(struct serve_link *k, struct span bytes)
{
	err_t err = ERR_OK;
	k->got += bytes.n;
	while (k->state == IN_TAKE && bytes.n > 0) {
		size_t room = k->chunks == NULL ? bytes.n : SPOOL_CHUNK - buf_len(&k->bytes);
		struct span some = span_first(bytes, room);
		buf_add_span(&k->bytes, some);
		bytes = span_from(bytes, some.n);
		if (k->chunks != NULL && buf_len(&k->bytes) == SPOOL_CHUNK)
			err = append_chunk(k);
		if (err)
			failed(k, err);
	}
	if (k->got == k->message.body_bytes)
		incoming_end(k);
}

/* False: the frame makes no sense. */
static bool on_put(struct serve_link *k, struct span payload)
{
	struct queue *q = k->serve->queue;
	buf_add_span(&k->envelope, payload);
	if (spool_message_get(buf_span(&k->envelope), &k->message) ||
	    k->message.body_at != payload.n || k->message.chunk_count > 0 ||
	    k->message.parent.s[0] != '\0')
		return false;
	uint64_t n = k->message.body_bytes;
	k->state = IN_TAKE;
	if (queue_spool(q) == NULL) {
		refuse(k, "the spool cannot be used");
	} else if (queue_knows(q, k->message.id)) {
		metric_add(&queue_metrics[QUEUE_M_KNOWN], 1);
		refuse(k, NULL);
	} else if (!queue_has_room(q, k->message.recipient_count)) {
		refuse(k, "the queue is full");
	} else if (n > SPOOL_INLINE_MAX) {
		k->chunks =
		    mem_array((size_t)((n + SPOOL_CHUNK - 1) / SPOOL_CHUNK), sizeof(*k->chunks));
	}
	return true;
}

/* ---- links ------------------------------------------------------------------------------------ */

static void link_free(struct serve_link *k)
{
	while (!list_empty(&k->waits))
		wait_free(LIST_OF(struct serve_wait, link, k->waits.next));
	incoming_drop(k);
	incoming_reset(k);
	buf_end(&k->envelope);
	buf_end(&k->bytes);
	stream_free(&k->io);
	list_remove(&k->link);
	k->serve->link_count--;
	k->magic = 0;
	mem_free(k);
}

/* False: the frame makes no sense here. */
static bool serve_frame(struct serve_link *k, const struct spool_frame *f)
{
	if (k->state == IN_NONE && f->type == SPOOL_FRAME_KICK)
		return on_kick(k, f->payload);
	if (k->state == IN_NONE) {
		if (f->type != SPOOL_FRAME_PUT || !on_put(k, f->payload))
			return false;
		if (k->message.body_bytes == 0)
			incoming_end(k);
		return true;
	}
	if (f->type != SPOOL_FRAME_DATA || f->payload.n > k->message.body_bytes - k->got)
		return false;
	on_data(k, f->payload);
	return true;
}

/* May free k. */
static void link_read(struct serve_link *k)
{
	struct spool_frame f;
	size_t eat;
	while (k->wait_count < WAITS_MAX) {
		enum spool_frame_rx rx = spool_frame_take(stream_input(k->io), &f, &eat);
		if (rx == SPOOL_FRAME_MORE)
			return;
		if (rx == SPOOL_FRAME_BAD || !serve_frame(k, &f)) {
			log_write(&queue_events[QUEUE_EV_SPOOL_LINK], NULL,
			    LOG_FIELDS(LOG_STR("why", "a worker sent a bad frame")));
			link_free(k);
			return;
		}
		stream_eat(k->io, eat);
	}
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct serve_link *k = OBJ(serve_link, arg);
	if (ev == STREAM_INPUT)
		link_read(k);
	else if (ev == STREAM_EOF || ev == STREAM_FAILED)
		link_free(k);
}

static void on_accept(void *arg, const struct accepted *a)
{
	struct spool_serve *s = OBJ(spool_serve, arg);
	struct serve_link *k = MEM_NEW(struct serve_link);
	k->magic = serve_link_MAGIC;
	k->serve = s;
	k->envelope = BUF_INIT(SPOOL_RECORD_MAX);
	k->bytes = BUF_INIT(SPOOL_CHUNK + SPOOL_FRAME_DATA_MAX);
	list_init(&k->waits);
	list_add_tail(&s->links, &k->link);
	k->io = stream_new(s->loop, a->fd,
	    (struct stream_limits){ .in_max = IN_MAX, .out_max = OUT_MAX }, on_stream, k);
	if (++s->link_count > LINKS_MAX)
		link_free(k);
}

/* The spool is about to be closed: whoever waits asks again over a new link. */
static void on_spool_close(void *arg)
{
	struct spool_serve *s = OBJ(spool_serve, arg);
	while (!list_empty(&s->links))
		link_free(LIST_OF(struct serve_link, link, s->links.next));
}

struct spool_serve *spool_serve_new(struct loop *l, struct queue *q)
{
	struct spool_serve *s = MEM_NEW(struct spool_serve);
	s->magic = spool_serve_MAGIC;
	s->loop = l;
	s->queue = q;
	s->kicks = queue_kicks_new(q);
	list_init(&s->links);
	queue_on_close(q, on_spool_close, s);
	return s;
}

void spool_serve_listen(struct spool_serve *s, int fd)
{
	struct listener_opts opts = { .proxy_ms = 1000 };
	CHECK(s->listener_count < LISTENERS_MAX);
	s->listeners[s->listener_count++] = listener_new(s->loop, fd, &opts, on_accept, s);
}

void spool_serve_free(struct spool_serve **ps)
{
	struct spool_serve *s = *ps;
	if (s == NULL)
		return;
	queue_on_close(s->queue, NULL, NULL);
	on_spool_close(s);
	for (size_t i = 0; i < s->listener_count; i++)
		listener_free(&s->listeners[i]);
	queue_kicks_free(&s->kicks);
	s->magic = 0;
	MEM_FREE(ps);
}
