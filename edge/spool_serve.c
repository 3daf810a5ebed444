/* spool_serve.c - takes messages from links into a spool: the workers' into the queue's, another host's as copies.
 *
 * One link for each worker. Of a message that is coming in it holds the envelope and at most one chunk;
 * larger bodies go to the log as they come, and exist only when the MESSAGE record that names them is
 * written. Every answer waits for its own sync, which the log shares among all that wait. Where another host keeps
 * copies, a message waits for that first, beside its link, up to COPYING_MAX bytes of them. */
#include "edge/spool_serve.h"

#include <stdio.h>

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"
#include "edge/queue_kick.h"
#include "edge/queue_tables.h"
#include "edge/spool_serve_internal.h"
#include "edge/spool_wire.h"
#include "net/listen.h"
#include "net/stream.h"

static void link_read(struct serve_link *k);

/* ---- one message ------------------------------------------------------------------------------ */

static void incoming_init(struct incoming *in)
{
	*in = (struct incoming){ .envelope = BUF_INIT(SPOOL_RECORD_MAX),
		.bytes = BUF_INIT(SPOOL_CHUNK + SPOOL_FRAME_DATA_MAX) };
}

static void incoming_end_of(struct incoming *in)
{
	spool_message_end(&in->message);
	buf_end(&in->envelope);
	buf_end(&in->bytes);
	MEM_FREE(&in->chunks);
	in->chunk_count = 0;
}

static void incoming_reset(struct serve_link *k)
{
	struct incoming *in = &k->in;
	spool_message_end(&in->message);
	buf_clear(&in->envelope);
	buf_shrink(&in->envelope);
	buf_clear(&in->bytes);
	buf_shrink(&in->bytes);
	MEM_FREE(&in->chunks);
	in->chunk_count = 0;
	k->got = 0;
	k->state = IN_NONE;
	k->refusal = NULL;
}

static struct spool *spool_of(const struct serve_link *k)
{
	return k->taker->spool(k->arg);
}

/* What was appended for a message that will not become whole. */
static void incoming_drop(struct serve_link *k, struct incoming *in)
{
	struct spool *spool = spool_of(k);
	for (size_t i = 0; i < in->chunk_count && spool != NULL; i++)
		spool_forget(spool, in->chunks[i]);
	MEM_FREE(&in->chunks);
	in->chunk_count = 0;
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
	if (err) { /* whether it is there shows when the log is opened anew: who waits asks again then */
		k->taker->broke(k->arg, err);
		return;
	}
	answer(k, SPOOL_FRAME_DURABLE, w->id, "");
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
	w->ask = spool_sync(spool_of(k), on_synced, w);
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
	incoming_drop(k, &k->in);
	buf_clear(&k->in.bytes);
	k->state = IN_SWALLOW;
	k->refusal = why;
}

/* The log's errors: clean ones refuse this message, others also make its owner open it anew. */
static const char *failure(struct serve_link *k, err_t err)
{
	if (err != ERR_NO_SPACE && err != ERR_BUSY && err != ERR_TOO_LONG)
		k->taker->broke(k->arg, err);
	return err_text(err);
}

static err_t append_chunk(struct serve_link *k, struct incoming *in)
{
	log_pos pos;
	err_t err = spool_append_chunk(spool_of(k), buf_span(&in->bytes), &pos);
	if (err)
		return err;
	buf_clear(&in->bytes);
	in->chunks[in->chunk_count++] = pos;
	return ERR_OK;
}

static err_t append_message(struct serve_link *k, struct incoming *in)
{
	struct spool_message *m = &in->message;
	log_pos pos = 0;
	err_t err = ERR_OK;
	if (in->chunks != NULL && buf_len(&in->bytes) > 0)
		err = append_chunk(k, in);
	if (err)
		return err;
	k->taker->arrives(k->arg, m);
	m->chunks = in->chunks;
	m->chunk_count = in->chunk_count;
	struct span tail = in->chunks == NULL ? buf_span(&in->bytes) : SPAN_NONE;
	err = spool_append_message(spool_of(k), m, tail, &pos);
	if (err == ERR_OK)
		k->taker->add(k->arg, pos, m);
	m->chunks = NULL; /* in's, not the message's */
	m->chunk_count = 0;
	if (err == ERR_OK)
		in->chunk_count = 0; /* the message's now */
	return err;
}

/* Into the log, and answered. False: refused. */
static bool commit(struct serve_link *k, struct incoming *in)
{
	struct ident id = in->message.id;
	if (spool_of(k) == NULL) {
		answer(k, SPOOL_FRAME_FAILED, id, "the spool cannot be used");
		return false;
	}
	err_t err = ERR_OK;
	if (k->taker->knows(k->arg, id))
		incoming_drop(k, in);
	else
		err = append_message(k, in);
	if (err) {
		const char *why = failure(k, err);
		incoming_drop(k, in);
		answer(k, SPOOL_FRAME_FAILED, id, why);
	} else {
		answer_when_durable(k, id);
	}
	return err == ERR_OK;
}

/* ---- copies ----------------------------------------------------------------------------------- */

static void copy_free(struct serve_copy *c)
{
	ticket_cancel(&c->ask);
	list_remove(&c->link);
	c->owner->wait_count--;
	c->owner->copying_bytes -= c->in.message.body_bytes;
	incoming_end_of(&c->in);
	c->magic = 0;
	mem_free(c);
}

static void on_copied(void *arg, err_t err)
{
	struct serve_copy *c = OBJ(serve_copy, arg);
	struct serve_link *k = c->owner;
	struct spool_copier copier = k->serve->copier;
	struct ident id = c->in.message.id;
	c->ask = NULL;
	if (err) {
		incoming_drop(k, &c->in);
		answer(k, SPOOL_FRAME_FAILED, id, err_text(err));
	} else if (!commit(k, &c->in)) {
		copier.drop(copier.arg, id);
	}
	copy_free(c);
	link_read(k);
}

/* False: there is no copy to wait for. */
static bool start_copy(struct serve_link *k)
{
	const struct spool_copier *copier = &k->serve->copier;
	struct incoming *in = &k->in;
	if (copier->ask == NULL)
		return false;
	if (in->chunks != NULL && buf_len(&in->bytes) > 0 && append_chunk(k, in) != ERR_OK)
		return false; /* it cannot be taken either, which commit() finds */
	struct serve_copy *c = MEM_NEW(struct serve_copy);
	c->magic = serve_copy_MAGIC;
	c->owner = k;
	c->in = *in;
	incoming_init(in);
	list_add_tail(&k->copying, &c->link);
	k->wait_count++;
	k->copying_bytes += c->in.message.body_bytes;
	struct copy_body body = { buf_span(&c->in.bytes), c->in.chunks, c->in.chunk_count };
	c->ask = copier->ask(copier->arg, &c->in.message, &body, on_copied, c);
	if (c->ask != NULL)
		return true;
	incoming_end_of(in);
	*in = c->in;
	incoming_init(&c->in);
	c->in.message.body_bytes = in->message.body_bytes; /* as it was counted */
	copy_free(c);
	return false;
}

/* ---- what nobody waits for any more ------------------------------------------------------------ */

static struct serve_copy *find_copy(const struct serve_link *k, struct ident id)
{
	for (struct list_node *n = k->copying.next; n != &k->copying; n = n->next) {
		struct serve_copy *c = LIST_OF(struct serve_copy, link, n);
		if (strcmp(c->in.message.id.s, id.s) == 0)
			return c;
	}
	return NULL;
}

static struct serve_wait *find_wait(const struct serve_link *k, struct ident id)
{
	for (struct list_node *n = k->waits.next; n != &k->waits; n = n->next) {
		struct serve_wait *w = LIST_OF(struct serve_wait, link, n);
		if (strcmp(w->id.s, id.s) == 0)
			return w;
	}
	return NULL;
}

static void drop_copy(struct serve_link *k, struct serve_copy *c)
{
	struct spool_copier copier = k->serve->copier;
	struct ident id = c->in.message.id;
	incoming_drop(k, &c->in);
	copy_free(c);
	if (copier.drop != NULL)
		copier.drop(copier.arg, id);
}

/* False: the frame makes no sense. What is durable, or was before this link, is answered as any question for it; of what was
 * answered by this link the worker knows. */
static bool on_withdraw(struct serve_link *k, struct span payload)
{
	struct ident id;
	bool adopted;
	if (!spool_id_get(payload, &id, &adopted))
		return false;
	struct serve_copy *c = find_copy(k, id);
	struct serve_wait *w = find_wait(k, id);
	if (c != NULL)
		drop_copy(k, c);
	if (c != NULL || k->taker->withdraw(k->arg, id)) {
		if (w != NULL)
			wait_free(w);
		answer(k, SPOOL_FRAME_FAILED, id, "withdrawn");
	} else if (w == NULL) {
		answer_when_durable(k, id);
	}
	return true;
}

/* ---- what comes in ---------------------------------------------------------------------------- */

/* All bytes are here. */
static void incoming_end(struct serve_link *k)
{
	struct ident id = k->in.message.id;
	if (k->state == IN_TAKE && !start_copy(k))
		(void)commit(k, &k->in);
	else if (k->state == IN_SWALLOW && k->refusal != NULL)
		answer(k, SPOOL_FRAME_FAILED, id, k->refusal);
	else if (k->state == IN_SWALLOW)
		answer_when_durable(k, id);
	incoming_reset(k);
}

static void on_data(struct serve_link *k, struct span bytes)
{
	struct incoming *in = &k->in;
	err_t err = ERR_OK;
	k->got += bytes.n;
	while (k->state == IN_TAKE && bytes.n > 0) {
		size_t room = in->chunks == NULL ? bytes.n : SPOOL_CHUNK - buf_len(&in->bytes);
		struct span some = span_first(bytes, room);
		buf_add_span(&in->bytes, some);
		bytes = span_from(bytes, some.n);
		if (in->chunks != NULL && buf_len(&in->bytes) == SPOOL_CHUNK)
			err = append_chunk(k, in);
		if (err)
			refuse(k, failure(k, err));
	}
	if (k->got == in->message.body_bytes)
		incoming_end(k);
}

/* False: the frame makes no sense. */
static bool on_put(struct serve_link *k, struct span payload)
{
	struct incoming *in = &k->in;
	buf_add_span(&in->envelope, payload);
	if (spool_message_get(buf_span(&in->envelope), &in->message) ||
	    in->message.body_at != payload.n || in->message.chunk_count > 0 ||
	    in->message.parent.s[0] != '\0')
		return false;
	uint64_t n = in->message.body_bytes;
	const char *why = NULL;
	k->state = IN_TAKE;
	if (spool_of(k) == NULL) {
		refuse(k, "the spool cannot be used");
	} else if (k->taker->knows(k->arg, in->message.id)) {
		refuse(k, NULL);
	} else if ((why = k->taker->refuses(k->arg, &in->message)) != NULL) {
		refuse(k, why);
	} else if (n > SPOOL_INLINE_MAX) {
		in->chunks =
		    mem_array((size_t)((n + SPOOL_CHUNK - 1) / SPOOL_CHUNK), sizeof(*in->chunks));
	}
	return true;
}

/* ---- links ------------------------------------------------------------------------------------ */

static void link_free(struct serve_link *k)
{
	if (k->taker->gone != NULL)
		k->taker->gone(k->arg, k);
	while (!list_empty(&k->waits))
		wait_free(LIST_OF(struct serve_wait, link, k->waits.next));
	while (!list_empty(&k->copying)) {
		struct serve_copy *c = LIST_OF(struct serve_copy, link, k->copying.next);
		incoming_drop(k, &c->in);
		copy_free(c);
	}
	incoming_drop(k, &k->in);
	incoming_end_of(&k->in);
	timer_clear(&k->hello);
	stream_free(&k->io);
	list_remove(&k->link);
	k->serve->link_count--;
	k->magic = 0;
	mem_free(k);
}

/* False: the frame makes no sense here. */
static bool serve_frame(struct serve_link *k, const struct spool_frame *f)
{
	if (k->state == IN_NONE && f->type == SPOOL_FRAME_KICK && k->serve->kicks != NULL)
		return on_kick(k, f->payload);
	if (f->type == SPOOL_FRAME_WITHDRAW && k->taker->withdraw != NULL)
		return on_withdraw(k, f->payload);
	if (k->taker->add == NULL || (f->type != SPOOL_FRAME_PUT && f->type != SPOOL_FRAME_DATA))
		return k->taker->other != NULL && k->taker->other(k->arg, k, f);
	if (k->state == IN_NONE) {
		if (f->type != SPOOL_FRAME_PUT || !on_put(k, f->payload))
			return false;
		if (k->in.message.body_bytes == 0)
			incoming_end(k);
		return true;
	}
	if (f->type != SPOOL_FRAME_DATA || f->payload.n > k->in.message.body_bytes - k->got)
		return false;
	on_data(k, f->payload);
	return true;
}

/* May free k. */
static void link_read(struct serve_link *k)
{
	struct spool_frame f;
	size_t eat;
	while (k->wait_count < WAITS_MAX && k->copying_bytes < COPYING_MAX) {
		enum spool_frame_rx rx = spool_frame_take(stream_input(k->io), &f, &eat);
		if (rx == SPOOL_FRAME_MORE)
			return;
		if (rx == SPOOL_FRAME_BAD || !serve_frame(k, &f)) {
			log_write(&queue_events[QUEUE_EV_SPOOL_LINK], NULL,
			    LOG_FIELDS(LOG_STR("why", "a bad frame came in")));
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

static void on_stranger(void *arg)
{
	link_free(OBJ(serve_link, arg));
}

/* Whoever comes has to name another taker first. */
static bool is_strange(const struct spool_serve *s)
{
	return s->taker->add == NULL;
}

static void on_accept(void *arg, const struct accepted *a)
{
	struct spool_serve *s = OBJ(spool_serve, arg);
	struct serve_link *k = MEM_NEW(struct serve_link);
	k->magic = serve_link_MAGIC;
	k->serve = s;
	k->taker = s->taker;
	k->arg = s->arg;
	incoming_init(&k->in);
	list_init(&k->waits);
	list_init(&k->copying);
	list_add_tail(&s->links, &k->link);
	k->io = stream_new(s->loop, a->fd,
	    (struct stream_limits){ .in_max = IN_MAX, .out_max = OUT_MAX }, on_stream, k);
	timer_init(&k->hello, s->loop, on_stranger, k);
	if (is_strange(s))
		timer_set(&k->hello, STRANGER_MS);
	const struct tls_ctx *tls = NULL;
	bool enters = s->taker->guard == NULL || s->taker->guard(s->arg, a->local.addr, &tls);
	if (tls != NULL)
		stream_start_tls_server(k->io, tls);
	if (++s->link_count > (is_strange(s) ? STRANGERS_MAX : LINKS_MAX) || !enters)
		link_free(k);
}

/* The spool is about to be closed: whoever waits asks again over a new link. */
void spool_serve_close_links(struct spool_serve *s)
{
	while (!list_empty(&s->links))
		link_free(LIST_OF(struct serve_link, link, s->links.next));
}

/* ---- life ------------------------------------------------------------------------------------- */

struct spool_serve *spool_serve_of(struct loop *l, const struct spool_taker *t, void *arg)
{
	struct spool_serve *s = MEM_NEW(struct spool_serve);
	s->magic = spool_serve_MAGIC;
	s->loop = l;
	s->taker = t;
	s->arg = arg;
	list_init(&s->links);
	return s;
}

void spool_serve_listen(struct spool_serve *s, int fd)
{
	struct listener_opts opts = { .proxy_ms = 1000 };
	CHECK(s->listener_count < LISTENERS_MAX);
	s->listeners[s->listener_count++] = listener_new(s->loop, fd, &opts, on_accept, s);
}

void spool_serve_copy_to(struct spool_serve *s, const struct spool_copier *c)
{
	s->copier = *c;
}

void spool_serve_kicks(struct spool_serve *s, struct queue_kicks *take_kicks)
{
	s->kicks = take_kicks;
}

void spool_serve_become(struct serve_link *k, const struct spool_taker *t, void *arg)
{
	k->taker = t;
	k->arg = arg;
	timer_clear(&k->hello);
}

void spool_serve_say(struct serve_link *k, struct span frame)
{
	stream_write_span(k->io, frame);
}

void spool_serve_end(struct serve_link *k)
{
	link_free(k);
}

void spool_serve_free(struct spool_serve **ps)
{
	struct spool_serve *s = *ps;
	if (s == NULL)
		return;
	if (s->taker->end != NULL)
		s->taker->end(s->arg);
	spool_serve_close_links(s);
	for (size_t i = 0; i < s->listener_count; i++)
		listener_free(&s->listeners[i]);
	queue_kicks_free(&s->kicks);
	s->magic = 0;
	MEM_FREE(ps);
}
