/* spool_link.c - asks the queue process to make messages durable; part of step 5 of 6 (commit.c).
 *
 * Owns one stream to the queue's socket and the questions that have no answer yet, oldest first. One
 * question's bytes are sent at a time; answers come in any order. Beside: spool_put.c. */
#include "edge/spool_link.h"

#include <stdio.h>

#include "edge/spool_link_internal.h"
#include "net/dial.h"

enum {
	PUTS_MAX = 20000,
	SENT_MAX =
	    2000, /* without an answer; the queue reads on as long as it owes less than 4000 */
	IN_MAX = 64 * 1024,
	OUT_MAX = SPOOL_FRAME_MAX + 256 * 1024,
	FULL = 256 * 1024, /* enough for the kernel and the queue to work on */
	DIAL_MS = 2000,
	RETRY_FIRST_MS = 20,
	RETRY_MAX_MS = 1000,
};

static void link_open(struct spool_link *k);
static void link_pump(struct spool_link *k);

/* ---- the link --------------------------------------------------------------------------------- */

void link_retry(struct spool_link *k)
{
	bool waits = !list_empty(&k->unsent) || !list_empty(&k->sent) || !list_empty(&k->withdrawn);
	if (k->state != LK_DOWN || timer_armed(&k->retry) || (!waits && k->peer.frame == NULL))
		return;
	timer_set(&k->retry, k->retry_ms);
	k->retry_ms = 2 * k->retry_ms < RETRY_MAX_MS ? 2 * k->retry_ms : RETRY_MAX_MS;
}

void link_down(struct spool_link *k, const char *why)
{
	ticket_cancel(&k->dialing);
	if (k->io != NULL)
		stream_free(&k->io);
	if (k->state == LK_UP) {
		metric_add(&queue_metrics[QUEUE_M_LINK_LOST], 1);
		log_write(
		    &queue_events[QUEUE_EV_SPOOL_LINK], NULL, LOG_FIELDS(LOG_STR("why", why)));
	}
	bool was_up = k->state == LK_UP;
	k->state = LK_DOWN;
	timer_clear(&k->ping);
	if (was_up && k->peer.down != NULL)
		k->peer.down(k->peer.arg);
	while (!list_empty(&k->sent)) {
		struct list_node *last = k->sent.prev;
		put_unsend(LIST_OF(struct spool_put, link, last));
	}
	for (struct list_node *n = k->unsent.next; n != &k->unsent; n = n->next) {
		struct spool_put *p = LIST_OF(struct spool_put, link, n);
		p->head_sent = false;
		p->sent_bytes = 0;
	}
	link_retry(k);
}

/* Of DURABLE nothing is to be read. */
static err_t take_kicked(struct spool_put *p, struct span said)
{
	uint64_t n = 0;
	if (p->kick_fn == NULL)
		return ERR_OK;
	p->kicked_more = span_iends(said, SPAN("+"));
	if (!span_u64(span_first(said, said.n - p->kicked_more), SIZE_MAX, &n))
		return ERR_PROTOCOL;
	p->kicked = (size_t)n;
	return ERR_OK;
}

static void on_answer(struct spool_link *k, const struct spool_frame *f)
{
	struct spool_answer a;
	if (!spool_answer_get(f->payload, &a))
		return;
	struct spool_put *p = map_get(k->by_id, span_str(a.id.s));
	if (p == NULL)
		return;
	if (f->type == SPOOL_FRAME_FAILED)
		put_said(p, p->kick_fn != NULL ? ERR_BUSY : ERR_NO_SPACE);
	else if ((f->type == SPOOL_FRAME_KICKED) == (p->kick_fn != NULL))
		put_said(p, take_kicked(p, a.why));
	link_pump(k);
}

/* All of these are short. */
static bool is_expected(const struct spool_link *k, enum spool_frame_type type)
{
	if (type == SPOOL_FRAME_HELD || type == SPOOL_FRAME_LISTED)
		return k->peer.frame != NULL;
	return type == SPOOL_FRAME_DURABLE || type == SPOOL_FRAME_FAILED ||
	       type == SPOOL_FRAME_KICKED;
}

/* One frame at a time: an answer's callback may do anything to the link but free it. */
static void link_read(struct spool_link *k)
{
	struct spool_frame f;
	size_t eat;
	char bytes[SPOOL_FRAME_SHORT];
	while (k->io != NULL) {
		enum spool_frame_rx rx = spool_frame_take(stream_input(k->io), &f, &eat);
		if (rx == SPOOL_FRAME_MORE)
			return;
		if (rx == SPOOL_FRAME_BAD || !is_expected(k, f.type)) {
			link_down(k, "bad frame from the queue");
			return;
		}
		memcpy(bytes, f.payload.p, f.payload.n);
		f.payload = span_of(bytes, f.payload.n);
		stream_eat(k->io, eat);
		if (f.type == SPOOL_FRAME_HELD || f.type == SPOOL_FRAME_LISTED)
			k->peer.frame(k->peer.arg, &f);
		else
			on_answer(k, &f);
	}
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct spool_link *k = OBJ(spool_link, arg);
	switch (ev) {
	case STREAM_INPUT:
		link_read(k);
		break;
	case STREAM_SENT:
		link_pump(k);
		break;
	case STREAM_SECURED:
		break;
	case STREAM_EOF:
	case STREAM_FAILED:
		link_down(k, "the queue process closed the connection");
		break;
	}
}

/* Not each time that it is tried. */
static void tell_unreached(struct spool_link *k, const char *why)
{
	if (k->peer.frame == NULL || strncmp(k->unreached, why, sizeof k->unreached - 1) == 0)
		return;
	snprintf(k->unreached, sizeof k->unreached, "%s", why);
	log_write(&queue_events[QUEUE_EV_COPY_UNREACHED], NULL,
	    LOG_FIELDS(LOG_STR("peer", k->path), LOG_STR("why", why)));
}

static void on_dialled(void *arg, const struct dial_result *r)
{
	struct spool_link *k = OBJ(spool_link, arg);
	k->dialing = NULL;
	k->state = LK_DOWN;
	if (r->err) {
		tell_unreached(k, r->text);
		link_retry(k);
		return;
	}
	k->io = r->stream;
	k->state = LK_UP;
	k->unreached[0] = '\0';
	k->retry_ms = RETRY_FIRST_MS;
	stream_set_owner(k->io, (struct stream_limits){ IN_MAX, OUT_MAX }, on_stream, k);
	if (k->peer.frame != NULL) {
		stream_write_span(k->io, k->peer.hello);
		timer_set(&k->ping, k->peer.ping_ms);
	}
	for (struct list_node *n = k->withdrawn.next; n != &k->withdrawn; n = n->next)
		put_say_withdraw(LIST_OF(struct spool_put, link, n));
	link_pump(k);
}

static void link_open(struct spool_link *k)
{
	struct dial_target target = {
		.host = span_str(k->path),
		.port = k->peer.port,
		.tls = k->tls,
		.deadline_ms = DIAL_MS,
		.limits = { .in_max = IN_MAX, .out_max = OUT_MAX },
	};
	timer_clear(&k->retry);
	k->state = LK_DIAL;
	k->dialing = dial_start(k->loop, k->peer.dns, &target, on_dialled, k);
}

static void on_retry(void *arg)
{
	struct spool_link *k = OBJ(spool_link, arg);
	if (k->state == LK_DOWN)
		link_open(k);
}

/* ---- sending ---------------------------------------------------------------------------------- */

static bool put_data(struct spool_link *k, struct spool_put *p)
{
	uint64_t left = p->body.size - p->sent_bytes;
	size_t want = left < SPOOL_FRAME_DATA_MAX ? (size_t)left : SPOOL_FRAME_DATA_MAX;
	err_t err = ERR_OK;
	struct span piece = p->body.read(p->body.arg, p->sent_bytes, want, &err);
	if (err || piece.n == 0)
		return false;
	struct buf frame = BUF_INIT(SPOOL_FRAME_HEAD + SPOOL_FRAME_DATA_MAX);
	spool_frame_put(&frame, SPOOL_FRAME_DATA, piece);
	stream_write_span(k->io, buf_span(&frame));
	buf_end(&frame);
	p->sent_bytes += piece.n;
	return true;
}

/* Sends the oldest questions while the stream takes it. */
static void link_pump(struct spool_link *k)
{
	while (
	    k->state == LK_UP && !list_empty(&k->unsent) && stream_pending(k->io) < FULL &&
	    (k->sent_n < SENT_MAX || LIST_OF(struct spool_put, link, k->unsent.next)->head_sent)) {
		struct spool_put *p = LIST_OF(struct spool_put, link, k->unsent.next);
		if (!p->head_sent) {
			stream_write_span(k->io, buf_span(&p->head));
			p->head_sent = true;
		} else if (!put_data(k, p)) {
			put_refuse(p, ERR_IO);
			link_down(k, "a message cannot be read");
			return;
		}
		if (p->sent_bytes == p->body.size) {
			put_set_state(p, PUT_SENT);
		}
	}
}

/* The queue would take the link for broken if it got what it cannot read. */
static bool is_readable(const struct buf *payload)
{
	struct spool_message m;
	err_t err = spool_message_get(buf_span(payload), &m);
	spool_message_end(&m);
	return err == ERR_OK;
}

static bool put_accept(struct spool_link *k, struct spool_put *p, const struct spool_message *m)
{
	struct buf payload = BUF_INIT(SPOOL_RECORD_MAX);
	spool_message_put(&payload, m);
	p->head = BUF_INIT(SPOOL_FRAME_MAX + SPOOL_FRAME_HEAD);
	bool ok = buf_ok(&payload) && is_readable(&payload) &&
		  spool_frame_put(&p->head, SPOOL_FRAME_PUT, buf_span(&payload)) &&
		  map_get(k->by_id, span_str(m->id.s)) == NULL &&
		  map_set(k->by_id, span_str(m->id.s), p, NULL);
	buf_end(&payload);
	return ok;
}

static struct ticket *put_start(struct spool_link *k, struct spool_put *p, uint64_t deadline_ms)
{
	timer_set(&p->deadline, deadline_ms);
	list_add_tail(&k->unsent, &p->link);
	if (k->state == LK_UP)
		link_pump(k);
	else if (k->state == LK_DOWN && !timer_armed(&k->retry))
		link_open(k);
	return &p->ticket;
}

struct ticket *spool_put(
    struct spool_link *k, const struct spool_put_opts *opts, spool_put_fn *fn, void *arg)
{
	CHECK(opts->message->body_bytes == opts->body.size && opts->message->chunk_count == 0);
	struct spool_put *p = put_new(k, opts->message->id, arg);
	p->body = opts->body;
	p->fn = fn;
	if (put_accept(k, p, opts->message))
		return put_start(k, p, opts->deadline_ms);
	put_refuse(p, ERR_TOO_MANY);
	return &p->ticket;
}

struct ticket *spool_kick(
    struct spool_link *k, struct span node, uint64_t deadline_ms, spool_kick_fn *fn, void *arg)
{
	struct spool_put *p = put_new(k, ident_new(), arg);
	const struct spool_answer a = { p->id, node };
	p->kick_fn = fn;
	p->head = BUF_INIT(1024 + SPOOL_FRAME_HEAD);
	if (spool_answer_put(&p->head, SPOOL_FRAME_KICK, &a) &&
	    map_set(k->by_id, span_str(p->id.s), p, NULL))
		return put_start(k, p, deadline_ms);
	put_refuse(p, ERR_TOO_MANY);
	return &p->ticket;
}

/* ---- life ------------------------------------------------------------------------------------- */

static void on_ping(void *arg)
{
	struct spool_link *k = OBJ(spool_link, arg);
	struct buf frame = BUF_INIT(64);
	spool_word_put(&frame, SPOOL_FRAME_PING);
	spool_link_tell(k, buf_span(&frame));
	buf_end(&frame);
	timer_set(&k->ping, k->peer.ping_ms);
}

void spool_link_renew(struct spool_link *k, const struct tls_ctx *tls)
{
	tls_ctx_unref(&k->tls);
	k->tls = tls_ctx_ref(tls);
}

void spool_link_tell(struct spool_link *k, struct span frame)
{
	if (k->state == LK_UP)
		stream_write_span(k->io, frame);
}

bool spool_link_asks(const struct spool_link *k, struct ident id)
{
	return map_get(k->by_id, span_str(id.s)) != NULL;
}

void spool_link_reset(struct spool_link *k, const char *why)
{
	if (k->state == LK_UP)
		link_down(k, why);
}

struct spool_link *spool_link_to_peer(struct loop *l, const struct spool_link_peer *peer)
{
	struct spool_link *k = spool_link_new(l, peer->host);
	k->peer = *peer;
	k->tls = peer->tls != NULL ? tls_ctx_ref(peer->tls) : NULL;
	k->peer.hello = span_of(mem_copy(peer->hello.p, peer->hello.n), peer->hello.n);
	link_open(k);
	return k;
}

struct spool_link *spool_link_new(struct loop *l, const char *socket_path)
{
	struct spool_link *k = MEM_NEW(struct spool_link);
	k->magic = spool_link_MAGIC;
	k->loop = l;
	k->path = mem_str(socket_path);
	k->retry_ms = RETRY_FIRST_MS;
	k->by_id = map_new(PUTS_MAX);
	list_init(&k->unsent);
	list_init(&k->sent);
	list_init(&k->refused);
	list_init(&k->withdrawn);
	timer_init(&k->retry, l, on_retry, k);
	timer_init(&k->ping, l, on_ping, k);
	return k;
}

void spool_link_free(struct spool_link **pk)
{
	struct spool_link *k = *pk;
	if (k == NULL)
		return;
	ticket_cancel(&k->dialing);
	timer_clear(&k->retry);
	if (k->io != NULL)
		stream_free(&k->io);
	while (!list_empty(&k->unsent))
		put_free(LIST_OF(struct spool_put, link, k->unsent.next));
	while (!list_empty(&k->sent))
		put_free(LIST_OF(struct spool_put, link, k->sent.next));
	while (!list_empty(&k->refused))
		put_free(LIST_OF(struct spool_put, link, k->refused.next));
	while (!list_empty(&k->withdrawn))
		put_free(LIST_OF(struct spool_put, link, k->withdrawn.next));
	map_free(&k->by_id);
	timer_clear(&k->ping);
	tls_ctx_unref(&k->tls);
	mem_free((char *)(uintptr_t)k->peer.hello.p);
	mem_free(k->path);
	k->magic = 0;
	MEM_FREE(pk);
}
