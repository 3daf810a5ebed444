/* queue_move.c - a message that becomes another one in the same spool: what a station (queue_channel.c) makes of it.
 *
 * Part of step 6; before: station.c. The bytes go over piece by piece, so that a large message holds up nothing. The new
 * message's id is made from what it comes from: whoever does the same again after a crash finds it. Its record and that of
 * the old recipients' end are appended one behind the other and made durable together; a crash between the two leaves
 * the first, which is found. Owns the chunks until the message has them. */
#include "edge/queue_move.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "edge/queue_internal.h"

#define move_MAGIC 0x90e0e010u

enum { PIECES = 4 /* chunks in one round */ };

struct move {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct queue *queue;
	struct spool_message m;
	struct buf prefix, chunk;
	struct mail_source body;
	uint64_t at; /* of prefix and body */
	size_t chunk_room;
	struct soon next;
	move_fn *fn;
	void *arg;
};

struct ident move_id(const struct ident *from, const char *how, unsigned which)
{
	static const struct hash_key key = { 0x706f737465726e20,
		1 }; /* of no secret: the same after a start */
	struct buf text = BUF_INIT(200);
	buf_printf(&text, "%s %s %u", from->s, how, which);
	uint64_t hash = hash_sip(&key, buf_span(&text));
	buf_end(&text);
	return ident_derived(*from, hash);
}

static void move_free(struct move *v)
{
	soon_clear(&v->next);
	buf_end(&v->prefix);
	buf_end(&v->chunk);
	mem_free(v->m.chunks);
	mem_free(v->m.recipients);
	v->magic = 0;
	mem_free(v);
}

/* Only when the spool is closed: what is not part of a message is forgotten when it is opened. */
static void cancel(struct ticket *t)
{
	move_free(OBJ(move, t));
}

static void fail(struct move *v, err_t err)
{
	struct queue *q = v->queue;
	move_fn *fn = v->fn;
	void *arg = v->arg;
	for (size_t i = 0; q->spool != NULL && i < v->m.chunk_count; i++)
		spool_forget(q->spool, v->m.chunks[i]);
	move_free(v);
	fn(arg, err);
	if (err != ERR_NO_SPACE && err != ERR_BUSY && err != ERR_CORRUPT)
		queue_spool_broke(q, err);
}

static struct span read_at(struct move *v, err_t *err_out)
{
	size_t in_front = buf_len(&v->prefix);
	*err_out = ERR_OK;
	if (v->at < in_front)
		return span_from(buf_span(&v->prefix), (size_t)v->at);
	return v->body.read(v->body.arg, v->at - in_front, SPOOL_CHUNK, err_out);
}

static err_t append_chunk(struct move *v)
{
	if (v->m.chunk_count == v->chunk_room) {
		v->chunk_room = v->chunk_room == 0 ? 4 : 2 * v->chunk_room;
		v->m.chunks = mem_grow(v->m.chunks, v->chunk_room, sizeof(*v->m.chunks));
	}
	err_t err = spool_append_chunk(
	    v->queue->spool, buf_span(&v->chunk), &v->m.chunks[v->m.chunk_count]);
	v->m.chunk_count += err == ERR_OK;
	buf_clear(&v->chunk);
	return err;
}

/* Fills the chunk, as far as the message goes. */
static err_t fill(struct move *v)
{
	err_t err = ERR_OK;
	while (!err && v->at < v->m.body_bytes && buf_len(&v->chunk) < SPOOL_CHUNK) {
		struct span s = span_first(read_at(v, &err), SPOOL_CHUNK - buf_len(&v->chunk));
		if (!err && s.n == 0)
			err = ERR_CORRUPT;
		buf_add_span(&v->chunk, s);
		v->at += s.n;
	}
	return err;
}

static void finish(struct move *v)
{
	struct queue *q = v->queue;
	move_fn *fn = v->fn;
	void *arg = v->arg;
	log_pos pos = 0;
	bool is_small = v->m.chunk_count == 0;
	err_t err =
	    spool_append_message(q->spool, &v->m, is_small ? buf_span(&v->chunk) : SPAN_NONE, &pos);
	if (err) {
		fail(v, err);
		return;
	}
	queue_add(q, pos, &v->m);
	move_free(v);
	fn(arg, ERR_OK);
}

static void on_next(void *arg)
{
	struct move *v = OBJ(move, arg);
	err_t err = v->queue->spool == NULL ? ERR_BUSY : ERR_OK;
	bool is_large = v->m.body_bytes > SPOOL_INLINE_MAX;
	for (size_t i = 0; !err && i < PIECES && (is_large ? v->at < v->m.body_bytes : i == 0);
	     i++) {
		err = fill(v);
		if (!err && is_large)
			err = append_chunk(v);
	}
	if (err)
		fail(v, err);
	else if (v->at < v->m.body_bytes)
		soon_set(v->queue->loop, &v->next);
	else
		finish(v);
}

/* What the queue knows of the old message; strings are the entry's. */
static struct spool_message message_of(const struct move_opts *o)
{
	const struct q_entry *e = o->from;
	return (struct spool_message){ .id = o->id,
		.session = e->session,
		.report = e->report,
		.stage = o->stage,
		.body_8bit = e->body_8bit,
		.smtputf8 = e->smtputf8,
		.arrived_us = e->arrived_us,
		.sender = span_str(o->sender),
		.auth_user = span_str(e->auth_user),
		.require_tls = e->require_tls,
		.tls_optional = e->tls_optional,
		.trusted = o->trusted,
		.ret = o->keeps_wishes ? e->ret : SMTP_RET_NONE,
		.envid = span_str(o->keeps_wishes ? e->envid : NULL),
		.recipients = o->recipients,
		.recipient_count = o->recipient_n,
		.body_bytes = o->prefix.n + o->body.size };
}

struct ticket *move_message(
    struct queue *q, const struct spool_message *m, struct mail_source body, move_fn *fn, void *arg)
{
	struct move *v = MEM_NEW(struct move);
	v->ticket.cancel = cancel;
	v->magic = move_MAGIC;
	v->queue = q;
	v->m = *m;
	v->m.recipients = mem_copy(m->recipients, m->recipient_count * sizeof(*m->recipients));
	v->chunk = BUF_INIT(SPOOL_CHUNK);
	v->body = body;
	v->fn = fn;
	v->arg = arg;
	soon_init(&v->next, on_next, v);
	soon_set(q->loop, &v->next);
	return &v->ticket;
}

struct ticket *move_start(const struct move_opts *o, move_fn *fn, void *arg)
{
	const struct spool_message m = message_of(o);
	struct ticket *t = move_message(o->from->queue, &m, o->body, fn, arg);
	struct move *v = OBJ(move, t);
	v->prefix = BUF_INIT(o->prefix.n);
	buf_add_span(&v->prefix, o->prefix);
	return t;
}

void move_recipient(const struct q_item *it, struct spool_recipient *out)
{
	*out = (struct spool_recipient){ .address = span_str(it->address),
		.user = span_str(it->user),
		.detail = span_str(it->detail),
		.store = span_str(it->place),
		.fate = SPOOL_WAITING,
		.notify = it->notify,
		.orcpt = span_str(it->orcpt),
		.code = it->code,
		.enhanced = span_str(it->enhanced),
		.text = span_str(it->reason) };
}
