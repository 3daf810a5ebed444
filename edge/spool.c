/* spool.c - the spool's records in the commit log.
 *
 * Owns the log. At start it replays it once, hands out messages and what became of them, and forgets
 * BODY records that no message refers to: a worker or this process died while a message came in. */
#include "edge/spool.h"

#include "base/check.h"
#include "base/mem.h"
#include "edge/queue_tables.h"

enum { READ_MAX = 32 * 1024 };

struct spool {
	struct commitlog *log; /* owned */
};

/* BODY records seen during the replay, in order; those that a message refers to are struck out. */
struct orphans {
	log_pos *v;
	size_t n;
};

struct replay {
	struct spool *spool;
	const struct spool_visitor *visitor;
	struct orphans orphans;
};

static void orphan_add(struct orphans *o, log_pos pos)
{
	if ((o->n & (o->n - 1)) == 0)
		o->v = mem_grow(o->v, o->n == 0 ? 1 : 2 * o->n, sizeof(*o->v));
	o->v[o->n++] = pos;
}

/* Positions grow, so the list is sorted. */
static size_t orphan_find(const struct orphans *o, log_pos pos)
{
	size_t low = 0, high = o->n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (o->v[mid] < pos)
			low = mid + 1;
		else
			high = mid;
	}
	return low < o->n && o->v[low] == pos ? low : SIZE_MAX;
}

static bool claim_chunks(struct orphans *o, const struct spool_message *m, bool *claimed)
{
	for (size_t i = 0; i < m->chunk_count; i++) {
		size_t at = orphan_find(o, m->chunks[i]);
		if (at == SIZE_MAX)
			return false;
		claimed[at] = true;
	}
	return true;
}

static void log_damage(const struct log_record *r, const char *what)
{
	metric_add(&queue_metrics[QUEUE_M_SPOOL_DAMAGED], 1);
	log_write(&queue_events[QUEUE_EV_SPOOL_DAMAGED], NULL,
	    LOG_FIELDS(
		LOG_U64("position", r->pos), LOG_STR("record", what), LOG_U64("bytes", r->lost)));
}

static const char *damaged_what(uint32_t type)
{
	if (type == 0)
		return "gap";
	return type == SPOOL_MESSAGE ? "message" : "other";
}

static bool visit_message(struct replay *rp, const struct log_record *r)
{
	struct spool_message m;
	bool ok =
	    spool_message_get(r->payload, &m) == ERR_OK && spool_message_is_whole(&m, r->payload);
	if (ok)
		rp->visitor->message(rp->visitor->arg, r->pos, &m);
	spool_message_end(&m);
	return ok;
}

static bool visit_progress(struct replay *rp, const struct log_record *r)
{
	struct spool_progress p;
	bool ok = spool_progress_get(r->payload, &p) == ERR_OK;
	if (ok)
		rp->visitor->progress(rp->visitor->arg, r->pos, &p);
	spool_progress_end(&p);
	return ok;
}

static bool visit_done(struct replay *rp, const struct log_record *r)
{
	struct spool_done d;
	if (spool_done_get(r->payload, &d) != ERR_OK)
		return false;
	rp->visitor->done(rp->visitor->arg, r->pos, &d);
	return true;
}

static bool on_record(void *arg, const struct log_record *r)
{
	struct replay *rp = arg;
	bool ok = true;
	if (r->dead)
		return true;
	if (r->damaged)
		ok = false;
	else if (r->type == SPOOL_MESSAGE)
		ok = visit_message(rp, r);
	else if (r->type == SPOOL_PROGRESS)
		ok = visit_progress(rp, r);
	else if (r->type == SPOOL_DONE)
		ok = visit_done(rp, r);
	else if (r->type == SPOOL_BODY)
		orphan_add(&rp->orphans, r->pos);
	if (!ok) {
		log_damage(r, damaged_what(r->type));
	}
	return true;
}

struct claims {
	struct orphans *orphans;
	bool *claimed;
	const struct spool_visitor *visitor;
};

/* A second pass over the messages, when every BODY record is known. */
static bool on_claim(void *arg, const struct log_record *r)
{
	struct claims *c = arg;
	struct spool_message m;
	if (r->dead || r->damaged || r->type != SPOOL_MESSAGE)
		return true;
	if (spool_message_get(r->payload, &m) == ERR_OK &&
	    c->visitor->lives(c->visitor->arg, r->pos, &m) &&
	    !claim_chunks(c->orphans, &m, c->claimed))
		log_damage(r, "body");
	spool_message_end(&m);
	return true;
}

static err_t forget_orphans(struct spool *s, struct orphans *o, const struct spool_visitor *visitor)
{
	if (o->n == 0)
		return ERR_OK;
	struct claims c = { o, mem_array(o->n, sizeof(bool)), visitor };
	err_t err = commitlog_replay(s->log, 0, on_claim, &c);
	for (size_t i = 0; i < o->n && err == ERR_OK; i++)
		if (!c.claimed[i])
			commitlog_forget(s->log, o->v[i]);
	mem_free(c.claimed);
	return err;
}

struct spool *spool_open(struct loop *l, const struct commitlog_opts *opts, struct buf *why)
{
	err_t err;
	struct commitlog *log = commitlog_open(l, opts, &err, why);
	if (log == NULL)
		return NULL;
	struct spool *s = MEM_NEW(struct spool);
	s->log = log;
	return s;
}

err_t spool_replay(struct spool *s, const struct spool_visitor *v, struct buf *why)
{
	struct replay rp = { .spool = s, .visitor = v };
	err_t err = commitlog_replay(s->log, 0, on_record, &rp);
	if (err == ERR_OK)
		err = forget_orphans(s, &rp.orphans, v);
	if (err)
		buf_printf(why, "reading the log: %s", err_text(err));
	mem_free(rp.orphans.v);
	return err;
}

void spool_close(struct spool **s)
{
	if (*s == NULL)
		return;
	commitlog_close(&(*s)->log);
	MEM_FREE(s);
}

/* ---- appending -------------------------------------------------------------------------------- */

static err_t append(
    struct spool *s, enum spool_type type, struct buf *head, struct span tail, log_pos *pos_out)
{
	struct span parts[2] = { buf_span(head), tail };
	err_t err = ERR_TOO_LONG;
	if (buf_ok(head))
		err = commitlog_append(s->log, (uint32_t)type, parts, tail.n > 0 ? 2 : 1, pos_out);
	buf_end(head);
	return err;
}

err_t spool_append_chunk(struct spool *s, struct span bytes, log_pos *pos_out)
{
	return commitlog_append(s->log, SPOOL_BODY, &bytes, 1, pos_out);
}

err_t spool_append_message(
    struct spool *s, struct spool_message *m, struct span inline_body, log_pos *pos_out)
{
	struct buf head = BUF_INIT(SPOOL_RECORD_MAX);
	spool_message_put(&head, m);
	m->body_at = buf_len(&head);
	return append(s, SPOOL_MESSAGE, &head, inline_body, pos_out);
}

err_t spool_append_progress(struct spool *s, const struct spool_progress *p, log_pos *pos_out)
{
	struct buf head = BUF_INIT(SPOOL_RECORD_MAX);
	spool_progress_put(&head, p);
	return append(s, SPOOL_PROGRESS, &head, SPAN_NONE, pos_out);
}

err_t spool_append_done(struct spool *s, const struct spool_done *d, log_pos *pos_out)
{
	struct buf head = BUF_INIT(256);
	spool_done_put(&head, d);
	return append(s, SPOOL_DONE, &head, SPAN_NONE, pos_out);
}

void spool_forget(struct spool *s, log_pos pos)
{
	commitlog_forget(s->log, pos);
}

struct ticket *spool_sync(struct spool *s, commitlog_sync_fn *fn, void *arg)
{
	return commitlog_sync(s->log, fn, arg);
}

const char *spool_why(const struct spool *s)
{
	return commitlog_why(s->log);
}

uint64_t spool_identity(const struct spool *s)
{
	return commitlog_identity(s->log);
}

struct commitlog_stats spool_stats(const struct spool *s)
{
	return commitlog_stats(s->log);
}

/* ---- reading ---------------------------------------------------------------------------------- */

static err_t load(struct spool *s, log_pos pos, struct buf *payload)
{
	buf_clear(payload);
	return commitlog_load(s->log, pos, payload);
}

err_t spool_load_message(
    struct spool *s, log_pos pos, struct buf *payload, struct spool_message *out)
{
	*out = (struct spool_message){ 0 };
	err_t err = load(s, pos, payload);
	return err != ERR_OK ? err : spool_message_get(buf_span(payload), out);
}

err_t spool_load_progress(
    struct spool *s, log_pos pos, struct buf *payload, struct spool_progress *out)
{
	*out = (struct spool_progress){ 0 };
	err_t err = load(s, pos, payload);
	return err != ERR_OK ? err : spool_progress_get(buf_span(payload), out);
}

err_t spool_load_chunk(struct spool *s, log_pos pos, struct buf *bytes)
{
	return load(s, pos, bytes);
}

struct spool_reader {
	struct spool *spool;
	const struct spool_body *body;
	log_pos checked; /* the record whose checksum was right */
	char bytes[];    /* READ_MAX, or the whole message when it is shorter */
};

struct spool_reader *spool_reader_new(struct spool *s, const struct spool_body *b)
{
	struct spool_reader *r =
	    mem_alloc(sizeof(*r) + (b->bytes < READ_MAX ? (size_t)b->bytes : READ_MAX));
	r->spool = s;
	r->body = b;
	return r;
}

void spool_reader_free(struct spool_reader **r)
{
	MEM_FREE(r);
}

static struct span reader_read(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	struct spool_reader *r = arg;
	const struct spool_body *b = r->body;
	log_pos pos = b->pos;
	uint64_t from = at + b->at, left = at < b->bytes ? b->bytes - at : 0;
	if (b->chunks != NULL && left > 0) {
		pos = b->chunks[at / SPOOL_CHUNK];
		from = at % SPOOL_CHUNK;
		left = left < SPOOL_CHUNK - from ? left : SPOOL_CHUNK - from;
	}
	n = n < READ_MAX ? n : READ_MAX;
	n = n < left ? n : (size_t)left;
	*err_out = pos == r->checked ? ERR_OK : commitlog_verify(r->spool->log, pos);
	if (*err_out == ERR_OK)
		r->checked = pos;
	if (*err_out == ERR_OK && n > 0)
		*err_out = commitlog_read(r->spool->log, pos, from, r->bytes, n);
	return *err_out ? SPAN_NONE : span_of(r->bytes, n);
}

struct mail_source spool_reader_source(struct spool_reader *r)
{
	return (struct mail_source){ reader_read, r, r->body->bytes };
}
