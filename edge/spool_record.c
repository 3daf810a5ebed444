/* spool_record.c - records as bytes. What is read was once written by us, but disks lie: every field is
 * checked, every count is bounded by what is really there. */
#include "edge/spool_record.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "edge/transaction.h"
#include "proto/priority.h"

enum {
	DONE_VERSION = 1,
	WITHDRAWN_VERSION = 2, /* the same of one that was withdrawn */
	/* 1 knew nothing of the sender's wishes, 2 nothing of SMTPUTF8, 3 of priorities, 4 of more flags, 5 of who has said
	 * why: all are still read, and the least that can say it all is written, which an older program can read */
	MESSAGE_VERSION = 6,
	PLAIN_VERSION = 3,
	PRIORITY_VERSION = 4,
	FLAGS_VERSION = 5,
	/* 1 knew no notices of delay, 2 no orders, 3 nothing of who has said why: the same of them */
	PROGRESS_VERSION = 4,
	ORDERS_VERSION = 3,
	FLAG_8BIT = 1,
	FLAG_TRUSTED = 2,
	FLAG_HOLD = 4,
	FLAG_REQUIRE_TLS = 8,
	FLAG_SMTPUTF8 = 16,
	STAGE_SHIFT = 5, /* two bits */
	FLAG_TLS_OPTIONAL = 128,
	FLAG_2_ALIGNED = 1,
	FLAG_2_DISOWNED = 2,
	RECIPIENT_BYTES_MIN = 15,
	STEP_BYTES_MIN = 21
};

/* ---- message ---------------------------------------------------------------------------------- */

static void put_recipient(struct buf *out, unsigned version, const struct spool_recipient *r)
{
	bytes_put_string(out, r->address);
	bytes_put_string(out, r->user);
	bytes_put_string(out, r->detail);
	bytes_put_string(out, r->store);
	bytes_put_u8(out, (unsigned)r->fate);
	bytes_put_u8(out, r->notify);
	bytes_put_string(out, r->orcpt);
	bytes_put_u16(out, r->code);
	bytes_put_string(out, r->enhanced);
	bytes_put_string(out, r->text);
	if (version > FLAGS_VERSION)
		bytes_put_string(out, r->remote);
}

static unsigned version_for(const struct spool_message *m)
{
	for (size_t i = 0; i < m->recipient_count; i++)
		if (m->recipients[i].remote.n > 0)
			return MESSAGE_VERSION;
	if (m->aligned || m->disowned)
		return FLAGS_VERSION;
	return m->priority != 0 ? PRIORITY_VERSION : PLAIN_VERSION;
}

bool spool_message_put(struct buf *out, const struct spool_message *m)
{
	unsigned version = version_for(m);
	bytes_put_u8(out, version);
	bytes_put_u8(out, (m->body_8bit ? FLAG_8BIT : 0u) |
			      (m->trusted ? (unsigned)FLAG_TRUSTED : 0u) |
			      (m->hold ? (unsigned)FLAG_HOLD : 0u) |
			      (m->require_tls ? (unsigned)FLAG_REQUIRE_TLS : 0u) |
			      (m->tls_optional ? (unsigned)FLAG_TLS_OPTIONAL : 0u) |
			      (m->smtputf8 ? (unsigned)FLAG_SMTPUTF8 : 0u) |
			      (m->stage % SPOOL_STAGES) << STAGE_SHIFT);
	if (version > PRIORITY_VERSION)
		bytes_put_u8(out, (m->aligned ? (unsigned)FLAG_2_ALIGNED : 0u) |
				      (m->disowned ? (unsigned)FLAG_2_DISOWNED : 0u));
	bytes_put_ident(out, m->id);
	bytes_put_ident(out, m->session);
	bytes_put_ident(out, m->parent);
	buf_add(out, m->client.b, sizeof(m->client.b));
	bytes_put_u64(out, m->arrived_us);
	bytes_put_string(out, m->sender);
	bytes_put_string(out, m->auth_user);
	bytes_put_u8(out, (unsigned)m->report);
	bytes_put_u8(out, m->notices);
	bytes_put_u8(out, (unsigned)m->ret);
	bytes_put_string(out, m->envid);
	if (version >= PRIORITY_VERSION)
		bytes_put_u8(out, (unsigned)(m->priority - PRIORITY_LEAST));
	bytes_put_u16(out, (unsigned)m->recipient_count);
	for (size_t i = 0; i < m->recipient_count; i++)
		put_recipient(out, version, &m->recipients[i]);
	bytes_put_u64(out, m->body_bytes);
	bytes_put_u32(out, m->chunk_count);
	for (size_t i = 0; i < m->chunk_count; i++)
		bytes_put_u64(out, m->chunks[i]);
	return buf_ok(out);
}

/* Below max, or the record is bad. */
static unsigned get_small(struct bytes_reader *r, unsigned max)
{
	unsigned v = bytes_u8(r);
	if (v >= max)
		r->bad = true;
	return v < max ? v : 0;
}

static enum spool_fate get_fate(struct bytes_reader *r)
{
	return (enum spool_fate)get_small(r, SPOOL_FATES);
}

static void get_recipient(struct bytes_reader *r, unsigned version, struct spool_recipient *out)
{
	out->address = bytes_string(r, SPOOL_STRING_MAX);
	out->user = bytes_string(r, SPOOL_STRING_MAX);
	out->detail = bytes_string(r, SPOOL_STRING_MAX);
	out->store = bytes_string(r, SPOOL_STRING_MAX);
	out->fate = get_fate(r);
	if (version > 1) {
		out->notify = get_small(r, 2 * SMTP_NOTIFY_DELAY);
		out->orcpt = bytes_string(r, SMTP_ORCPT_MAX);
	}
	out->code = bytes_u16(r);
	out->enhanced = bytes_string(r, sizeof(((struct outcome *)0)->enhanced) - 1);
	out->text = bytes_string(r, SPOOL_STRING_MAX);
	if (version > FLAGS_VERSION)
		out->remote = bytes_string(r, SPOOL_STRING_MAX);
	if (out->address.n == 0)
		r->bad = true;
}

/* A count sizes an array only when that many could be in what is left. */
static size_t get_count(struct bytes_reader *r, uint64_t n, size_t max, size_t bytes_each)
{
	if (n > max || n > r->rest.n / bytes_each)
		r->bad = true;
	return r->bad ? 0 : (size_t)n;
}

static void get_recipients(struct bytes_reader *r, unsigned version, struct spool_message *out)
{
	out->recipient_count = get_count(r, bytes_u16(r), RECIPIENTS_MAX, RECIPIENT_BYTES_MIN);
	if (out->recipient_count == 0)
		r->bad = true;
	else
		out->recipients = mem_array(out->recipient_count, sizeof(*out->recipients));
	for (size_t i = 0; i < out->recipient_count; i++)
		get_recipient(r, version, &out->recipients[i]);
}

static void get_chunks(struct bytes_reader *r, struct spool_message *out)
{
	out->body_bytes = bytes_u64(r);
	out->chunk_count = get_count(r, bytes_u32(r), SPOOL_CHUNKS_MAX, sizeof(uint64_t));
	if (out->chunk_count > 0)
		out->chunks = mem_array(out->chunk_count, sizeof(*out->chunks));
	for (size_t i = 0; i < out->chunk_count; i++)
		out->chunks[i] = bytes_u64(r);
	if (out->body_bytes > (uint64_t)SPOOL_CHUNKS_MAX * SPOOL_CHUNK)
		r->bad = true;
}

static void get_wishes(struct bytes_reader *r, unsigned version, struct spool_message *out)
{
	out->report = (enum spool_report)get_small(r, REPORTS);
	out->notices = bytes_u8(r);
	out->ret = (enum smtp_ret)get_small(r, SMTP_RET_HDRS + 1);
	out->envid = bytes_string(r, SMTP_ENVID_MAX);
	if (version >= PRIORITY_VERSION)
		out->priority =
		    (int)get_small(r, PRIORITY_MOST - PRIORITY_LEAST + 1) + PRIORITY_LEAST;
}

err_t spool_message_get(struct span payload, struct spool_message *out)
{
	struct bytes_reader r = bytes_reader_of(payload);
	*out = (struct spool_message){ 0 };
	unsigned version = bytes_u8(&r);
	if (version < 1 || version > MESSAGE_VERSION)
		return ERR_CORRUPT;
	unsigned flags = bytes_u8(&r);
	out->body_8bit = (flags & FLAG_8BIT) != 0;
	out->trusted = (flags & FLAG_TRUSTED) != 0;
	out->hold = (flags & FLAG_HOLD) != 0;
	out->smtputf8 = version > 2 && (flags & FLAG_SMTPUTF8) != 0;
	out->stage = version > 2 ? flags >> STAGE_SHIFT & (SPOOL_STAGES - 1) : 0;
	out->require_tls = (flags & FLAG_REQUIRE_TLS) != 0;
	out->tls_optional = (flags & FLAG_TLS_OPTIONAL) != 0;
	unsigned more = version > PRIORITY_VERSION ? bytes_u8(&r) : 0;
	out->aligned = (more & FLAG_2_ALIGNED) != 0;
	out->disowned = (more & FLAG_2_DISOWNED) != 0;
	out->id = bytes_ident(&r);
	out->session = bytes_ident(&r);
	out->parent = bytes_ident(&r);
	struct span client = bytes_raw(&r, sizeof(out->client.b));
	if (client.n > 0)
		memcpy(out->client.b, client.p, client.n);
	out->arrived_us = bytes_u64(&r);
	out->sender = bytes_string(&r, SPOOL_STRING_MAX);
	out->auth_user = bytes_string(&r, SPOOL_STRING_MAX);
	if (version > 1)
		get_wishes(&r, version, out);
	else if (out->parent.s[0] != '\0')
		out->report = REPORT_END;
	get_recipients(&r, version, out);
	get_chunks(&r, out);
	out->body_at = payload.n - r.rest.n;
	return bytes_ok(&r) && out->id.s[0] != '\0' ? ERR_OK : ERR_CORRUPT;
}

void spool_message_end(struct spool_message *m)
{
	MEM_FREE(&m->recipients);
	MEM_FREE(&m->chunks);
	m->recipient_count = m->chunk_count = 0;
}

bool spool_message_is_whole(const struct spool_message *m, struct span payload)
{
	uint64_t inline_bytes = payload.n - m->body_at;
	if (m->chunk_count == 0)
		return inline_bytes == m->body_bytes;
	return inline_bytes == 0 && m->body_bytes > 0 &&
	       m->chunk_count == (m->body_bytes + SPOOL_CHUNK - 1) / SPOOL_CHUNK;
}

/* ---- progress --------------------------------------------------------------------------------- */

static unsigned progress_version_for(const struct spool_progress *p)
{
	for (size_t i = 0; i < p->step_count; i++)
		if (p->steps[i].remote.n > 0)
			return PROGRESS_VERSION;
	return ORDERS_VERSION;
}

bool spool_progress_put(struct buf *out, const struct spool_progress *p)
{
	unsigned version = progress_version_for(p);
	bytes_put_u8(out, version);
	bytes_put_u8(out, p->is_snapshot);
	bytes_put_u8(out, p->notices);
	bytes_put_ident(out, p->id);
	bytes_put_u16(out, (unsigned)p->step_count);
	for (size_t i = 0; i < p->step_count; i++) {
		const struct spool_step *s = &p->steps[i];
		bytes_put_u16(out, s->recipient);
		bytes_put_u8(out, (unsigned)s->fate);
		bytes_put_u32(out, s->attempts);
		bytes_put_u64(out, s->due_us);
		bytes_put_u16(out, s->code);
		bytes_put_string(out, s->enhanced);
		bytes_put_string(out, s->text);
		bytes_put_u8(out, s->on_hold);
		bytes_put_string(out, s->route);
		if (version > ORDERS_VERSION)
			bytes_put_string(out, s->remote);
	}
	return buf_ok(out);
}

static void get_step(struct bytes_reader *r, unsigned version, struct spool_step *out)
{
	out->recipient = bytes_u16(r);
	out->fate = get_fate(r);
	out->attempts = bytes_u32(r);
	out->due_us = bytes_u64(r);
	out->code = bytes_u16(r);
	out->enhanced = bytes_string(r, sizeof(((struct outcome *)0)->enhanced) - 1);
	out->text = bytes_string(r, SPOOL_STRING_MAX);
	if (version > 2) {
		out->on_hold = bytes_u8(r) == 1;
		out->route = bytes_string(r, SPOOL_STRING_MAX);
	}
	if (version > ORDERS_VERSION)
		out->remote = bytes_string(r, SPOOL_STRING_MAX);
	if (out->recipient >= RECIPIENTS_MAX)
		r->bad = true;
}

err_t spool_progress_get(struct span payload, struct spool_progress *out)
{
	struct bytes_reader r = bytes_reader_of(payload);
	*out = (struct spool_progress){ 0 };
	unsigned version = bytes_u8(&r);
	if (version < 1 || version > PROGRESS_VERSION)
		return ERR_CORRUPT;
	out->is_snapshot = bytes_u8(&r) == 1;
	if (version > 1)
		out->notices = bytes_u8(&r);
	out->id = bytes_ident(&r);
	out->step_count = get_count(&r, bytes_u16(&r), RECIPIENTS_MAX, STEP_BYTES_MIN);
	if (out->step_count > 0)
		out->steps = mem_array(out->step_count, sizeof(*out->steps));
	for (size_t i = 0; i < out->step_count; i++)
		get_step(&r, version, &out->steps[i]);
	return bytes_ok(&r) && r.rest.n == 0 && out->id.s[0] != '\0' ? ERR_OK : ERR_CORRUPT;
}

void spool_progress_end(struct spool_progress *p)
{
	MEM_FREE(&p->steps);
	p->step_count = 0;
}

/* ---- done ------------------------------------------------------------------------------------- */

bool spool_done_put(struct buf *out, const struct spool_done *d)
{
	bytes_put_u8(out, d->withdrawn ? WITHDRAWN_VERSION : DONE_VERSION);
	bytes_put_ident(out, d->id);
	bytes_put_u64(out, d->at_us);
	return buf_ok(out);
}

err_t spool_done_get(struct span payload, struct spool_done *out)
{
	struct bytes_reader r = bytes_reader_of(payload);
	unsigned version = bytes_u8(&r);
	bool ok = version == DONE_VERSION || version == WITHDRAWN_VERSION;
	out->withdrawn = version == WITHDRAWN_VERSION;
	out->id = bytes_ident(&r);
	out->at_us = bytes_u64(&r);
	return ok && bytes_ok(&r) && r.rest.n == 0 && out->id.s[0] != '\0' ? ERR_OK : ERR_CORRUPT;
}
