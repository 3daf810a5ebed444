/* queue_move.c - what the queue makes itself: another message of one that passes a station (queue_channel.c), or a report.
 *
 * Part of step 6; before: the stations, bounce.c; beside: copier.c. The bytes go over piece by piece, so that a large message
 * holds up nothing. Then its copy is made, where another host keeps those, and only then the message itself: at each
 * moment there is a copy of it or of what it comes from. The new message's id is made from what it comes from: whoever does the same again after a crash finds it. Its record and that of
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
	err_t err;           /* of the chunks of a report */
	struct ticket *copy; /* owned: while it is being made */
	bool copied, alone;
	struct soon next;
	bool (*wanted)(void *arg);
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

const char *move_why(err_t err)
{
	return err == ERR_NO_COPY ? err_text(err) : "the spool did not take it";
}

static void move_free(struct move *v)
{
	ticket_cancel(&v->copy);
	soon_clear(&v->next);
	buf_end(&v->prefix);
	buf_end(&v->chunk);
	mem_free(v->m.chunks);
	mem_free(v->m.recipients);
	v->magic = 0;
	mem_free(v);
}

/* Nothing is left of it. */
static void drop(struct move *v)
{
	struct queue *q = v->queue;
	for (size_t i = 0; q->spool != NULL && i < v->m.chunk_count; i++)
		spool_forget(q->spool, v->m.chunks[i]);
	if (v->copied && q->copier.drop != NULL && !queue_owes(q, v->m.id))
		q->copier.drop(q->copier.arg, v->m.id);
}

static void cancel(struct ticket *t)
{
	struct move *v = OBJ(move, t);
	drop(v);
	move_free(v);
}

static bool is_clean(err_t err)
{
	return err == ERR_OK || err == ERR_NO_SPACE || err == ERR_BUSY || err == ERR_CORRUPT ||
	       err == ERR_NO_COPY || err == ERR_CANCELLED;
}

/* Nothing is written. */
static void give_up(struct move *v, err_t err)
{
	struct queue *q = v->queue;
	move_fn *fn = v->fn;
	void *arg = v->arg;
	drop(v);
	if (err == ERR_NO_COPY)
		log_write(&queue_events[QUEUE_EV_QUEUE_REFUSED], v->m.id.s,
		    LOG_FIELDS(LOG_STR("why", err_text(err))));
	move_free(v);
	fn(arg, err);
	if (!is_clean(err))
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

static void append(struct move *v)
{
	struct queue *q = v->queue;
	move_fn *fn = v->fn;
	void *arg = v->arg;
	log_pos pos = 0;
	bool is_small = v->m.chunk_count == 0;
	err_t err =
	    spool_append_message(q->spool, &v->m, is_small ? buf_span(&v->chunk) : SPAN_NONE, &pos);
	if (err) {
		give_up(v, err);
		return;
	}
	queue_add(q, pos, &v->m);
	move_free(v);
	fn(arg, ERR_OK);
}

/* Its copy is made, or is not to be. */
static void finish(struct move *v)
{
	if (v->queue->spool == NULL)
		give_up(v, ERR_BUSY);
	else if (queue_knows(v->queue, v->m.id)) /* adopted from a host that made the same */
		give_up(v, ERR_OK);
	else if (v->wanted != NULL && !v->wanted(v->arg))
		give_up(v, ERR_CANCELLED);
	else
		append(v);
}

static void on_copied(void *arg, err_t err)
{
	struct move *v = OBJ(move, arg);
	v->copy = NULL;
	v->copied = err == ERR_OK;
	if (err)
		give_up(v, err);
	else
		finish(v);
}

static void copy(struct move *v)
{
	const struct spool_copier *to = &v->queue->copier;
	struct copy_body body = { buf_span(&v->chunk), v->m.chunks, v->m.chunk_count };
	buf_end(&v->prefix);
	if (v->m.chunk_count > 0)
		buf_end(&v->chunk);
	if (to->ask != NULL && !v->alone && !queue_knows(v->queue, v->m.id))
		v->copy = to->ask(to->arg, &v->m, &body, on_copied, v);
	if (v->copy == NULL)
		finish(v);
}

/* The next pieces into the log; a small message stays here until it is whole. */
static err_t write_pieces(struct move *v)
{
	err_t err = v->queue->spool == NULL ? ERR_BUSY : ERR_OK;
	bool is_large = v->m.body_bytes > SPOOL_INLINE_MAX;
	for (size_t i = 0; !err && i < PIECES && (is_large ? v->at < v->m.body_bytes : i == 0);
	     i++) {
		err = fill(v);
		if (!err && is_large)
			err = append_chunk(v);
	}
	return err;
}

static void on_next(void *arg)
{
	struct move *v = OBJ(move, arg);
	err_t err = v->err;
	if (!err)
		err = write_pieces(v);
	if (err)
		give_up(v, err);
	else if (v->at < v->m.body_bytes)
		soon_set(v->queue->loop, &v->next);
	else
		copy(v);
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
		.aligned = o->keeps_wishes && e->aligned,
		.disowned = o->keeps_wishes && e->disowned,
		.ret = o->keeps_wishes ? e->ret : SMTP_RET_NONE,
		.envid = span_str(o->keeps_wishes ? e->envid : NULL),
		.recipients = o->recipients,
		.recipient_count = o->recipient_n };
}

static struct move *move_new(
    struct queue *q, const struct spool_message *m, struct span prefix, move_fn *fn, void *arg)
{
	struct move *v = MEM_NEW(struct move);
	v->ticket.cancel = cancel;
	v->magic = move_MAGIC;
	v->queue = q;
	v->m = *m;
	v->m.recipients = mem_copy(m->recipients, m->recipient_count * sizeof(*m->recipients));
	v->m.body_bytes = prefix.n;
	v->prefix = BUF_INIT(prefix.n);
	v->chunk = BUF_INIT(SPOOL_CHUNK);
	buf_add_span(&v->prefix, prefix);
	v->fn = fn;
	v->arg = arg;
	soon_init(&v->next, on_next, v);
	soon_set(q->loop, &v->next);
	return v;
}

/* What is written behind the prefix. */
static struct ticket *move_body(struct move *v, struct mail_source body)
{
	v->body = body;
	v->m.body_bytes += body.size;
	return &v->ticket;
}

struct ticket *move_start(const struct move_opts *o, move_fn *fn, void *arg)
{
	struct spool_message m = message_of(o);
	return move_body(move_new(o->from->queue, &m, o->prefix, fn, arg), o->body);
}

struct ticket *move_message(
    struct queue *q, const struct spool_message *m, struct mail_source body, move_fn *fn, void *arg)
{
	return move_body(move_new(q, m, SPAN_NONE, fn, arg), body);
}

struct ticket *move_message_alone(
    struct queue *q, const struct spool_message *m, struct mail_source body, move_fn *fn, void *arg)
{
	struct move *v = OBJ(move, move_message(q, m, body, fn, arg));
	v->alone = true;
	return &v->ticket;
}

/* Not piece by piece: of many reports at a time none is kept in memory. */
struct ticket *move_report(struct queue *q, const struct move_report *r, move_fn *fn, void *arg)
{
	struct move *v = move_new(q, r->m, r->text, fn, arg);
	v->wanted = r->wanted;
	do
		v->err = write_pieces(v);
	while (v->err == ERR_OK && v->at < v->m.body_bytes);
	buf_end(&v->prefix);
	return &v->ticket;
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
		.text = span_str(it->reason),
		.remote = span_str(it->remote) };
}
