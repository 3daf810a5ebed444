/* pop3_send.c - answers of any length: LIST UIDL RETR TOP, a piece at a time as the client reads.
 *
 * Step 2 of the store. A message goes from the log through one buffer into the stream, with its dots
 * doubled; while the client does not read nothing of it is held but what the stream's bound allows. */
#include "base/check.h"
#include "base/mem.h"
#include "store-backend/pop3/pop3_internal.h"

/* ---- sending ----------------------------------------------------------------------------------- */

static enum verdict sent(struct pop3_session *s)
{
	if (s->sending.whole)
		s->sending.message->retrieved = true;
	pop3_set_state(s, POP3_ST_BOX);
	return V_NEXT;
}

enum verdict pop3_send(struct pop3_session *s)
{
	struct buf out = BUF_INIT(POP3_SEND_ROOM);
	enum verdict v = V_WAIT;
	while (v == V_WAIT && stream_space(s->io) >= POP3_SEND_ROOM) {
		enum pop3_filled f = s->sending.fill(s, &out);
		CHECK(buf_ok(&out));
		stream_write_span(s->io, buf_span(&out));
		buf_clear(&out);
		pop3_set_state(s, POP3_ST_SEND); /* progress restarts the clock */
		if (f == FILL_DONE)
			v = sent(s);
		else if (f == FILL_FAILED)
			v = V_CLOSE;
	}
	buf_end(&out);
	return v;
}

static enum verdict no_message(struct pop3_session *s)
{
	return pop3_err(s, "No such message");
}

/* ---- LIST, UIDL -------------------------------------------------------------------------------- */

typedef void put_fn(
    const struct pop3_session *s, const struct maildrop_message *m, struct buf *out);

static void put_size(
    const struct pop3_session *s, const struct maildrop_message *m, struct buf *out)
{
	buf_printf(out, "%u", m->size);
}

static void put_uid(const struct pop3_session *s, const struct maildrop_message *m, struct buf *out)
{
	buf_printf(out, "%u.%u", s->drop->uidvalidity, m->uid);
}

static enum pop3_filled fill_list(struct pop3_session *s, struct buf *out, put_fn *put)
{
	for (; s->sending.next <= s->drop->n && buf_len(out) < POP3_CHUNK; s->sending.next++) {
		const struct maildrop_message *m = maildrop_message(s->drop, s->sending.next);
		if (m == NULL)
			continue;
		buf_printf(out, "%u ", s->sending.next);
		put(s, m, out);
		buf_add_str(out, "\r\n");
	}
	if (s->sending.next <= s->drop->n)
		return FILL_MORE;
	buf_add_str(out, ".\r\n");
	return FILL_DONE;
}

static enum pop3_filled fill_sizes(struct pop3_session *s, struct buf *out)
{
	return fill_list(s, out, put_size);
}

static enum pop3_filled fill_uids(struct pop3_session *s, struct buf *out)
{
	return fill_list(s, out, put_uid);
}

static enum verdict list_one(struct pop3_session *s, uint32_t number, put_fn *put)
{
	struct buf text = BUF_INIT(64);
	const struct maildrop_message *m = maildrop_message(s->drop, number);
	if (m == NULL)
		return no_message(s);
	put(s, m, &text);
	enum verdict v = pop3_ok(s, "%u %s", number, buf_cstr(&text));
	buf_end(&text);
	return v;
}

enum verdict pop3_cmd_list(struct pop3_session *s, const struct pop3_cmd *c)
{
	if (c->message != 0)
		return list_one(s, c->message, put_size);
	pop3_ok(s, "%zu messages (%llu octets)", s->drop->left,
	    (unsigned long long)s->drop->left_bytes);
	s->sending = (struct pop3_sending){ .fill = fill_sizes, .next = 1 };
	pop3_set_state(s, POP3_ST_SEND);
	return V_NEXT;
}

enum verdict pop3_cmd_uidl(struct pop3_session *s, const struct pop3_cmd *c)
{
	if (c->message != 0)
		return list_one(s, c->message, put_uid);
	pop3_ok(s, "Unique ids follow");
	s->sending = (struct pop3_sending){ .fill = fill_uids, .next = 1 };
	pop3_set_state(s, POP3_ST_SEND);
	return V_NEXT;
}

/* ---- RETR, TOP --------------------------------------------------------------------------------- */

struct span pop3_top_cut(struct pop3_top *t, struct span in)
{
	for (size_t i = 0; i < in.n; i++) {
		if (in.p[i] != '\n') {
			t->in_line = t->in_line || in.p[i] != '\r';
			continue;
		}
		if (t->in_body)
			t->lines_left--;
		else
			t->in_body = !t->in_line;
		t->in_line = false;
		t->done = t->in_body && t->lines_left == 0;
		if (t->done)
			return span_first(in, i + 1);
	}
	return in;
}

static void log_unreadable(const struct pop3_session *s, uint32_t uid, err_t err)
{
	log_write(&store_events[STORE_EV_MESSAGE_UNREADABLE], s->base.id.s,
	    LOG_FIELDS(LOG_STR("partition", s->drop->partition->name), LOG_STR("user", s->user),
		LOG_U64("mailbox", s->drop->mailbox), LOG_U64("uid", uid), LOG_ERR("err", err)));
}

/* A surrogate for those who know ASCII only (RFC 6856 section 2.1): as many octets, so that LIST is right. What a MIME body
 * holds is its own affair. */
static void hide_beyond_ascii(struct pop3_sending *m, char *p, size_t n)
{
	for (size_t i = 0; i < n && !m->behind; i++) {
		if (p[i] == '\n') {
			m->behind = !m->in_line;
			m->in_line = false;
			continue;
		}
		m->in_line = m->in_line || p[i] != '\r';
		if (((unsigned char)p[i] & 0x80) != 0)
			p[i] = '?';
	}
}

static enum pop3_filled fill_message(struct pop3_session *s, struct buf *out)
{
	struct pop3_sending *m = &s->sending;
	char bytes[POP3_CHUNK];
	uint64_t left = m->size - m->at;
	size_t n = left < sizeof bytes ? (size_t)left : sizeof bytes;
	err_t err = commitlog_reader_read(s->drop->partition->reader, m->blob, m->at, bytes, n);
	if (err != ERR_OK) {
		/* +OK is out: only an answer without its last line says that this is not all */
		log_unreadable(s, m->message->uid, err);
		pop3_because(s, "message-unreadable");
		return FILL_FAILED;
	}
	if (m->ascii)
		hide_beyond_ascii(m, bytes, n);
	struct span piece = span_of(bytes, n);
	if (!m->whole)
		piece = pop3_top_cut(&m->top, piece);
	CHECK(smtp_body_encode(&m->dots, piece, out) == piece.n);
	m->at += n;
	if (m->at < m->size && !m->top.done)
		return FILL_MORE;
	smtp_body_encode_end(&m->dots, out);
	return FILL_DONE;
}

/* Looks a message up and its bytes; answers why not, or NULL. */
static const char *find_message(const struct pop3_session *s, uint32_t uid, struct index_entry *out)
{
	uint64_t size = 0;
	struct index_view *v = index_view_begin(s->drop->partition->index);
	if (v == NULL)
		return "[SYS/TEMP] The store is away, try again later";
	bool found = index_entry(v, s->drop->mailbox, uid, out);
	index_view_end(&v);
	if (!found)
		return "The message is gone"; /* an IMAP client has expunged it */
	err_t err = commitlog_reader_size(s->drop->partition->reader, out->blob, &size);
	if (err == ERR_OK && size != out->size)
		err = ERR_CORRUPT;
	if (err == ERR_OK)
		return NULL;
	log_unreadable(s, uid, err);
	return "[SYS/TEMP] The message cannot be read now";
}

static enum verdict send_message(
    struct pop3_session *s, const struct pop3_sending *how, uint32_t number)
{
	struct maildrop_message *m = maildrop_message(s->drop, number);
	struct index_entry e;
	if (m == NULL)
		return no_message(s);
	const char *why_not = find_message(s, m->uid, &e);
	if (why_not != NULL)
		return pop3_err(s, "%s", why_not);
	pop3_ok(s, "%llu octets", (unsigned long long)e.size);
	s->sending = *how;
	s->sending.fill = fill_message;
	s->sending.ascii = !s->utf8 && !s->trusted && s->opts->pop3_surrogate;
	s->sending.message = m;
	s->sending.blob = e.blob;
	s->sending.size = e.size;
	pop3_set_state(s, POP3_ST_SEND);
	return V_NEXT;
}

enum verdict pop3_cmd_retr(struct pop3_session *s, const struct pop3_cmd *c)
{
	struct pop3_sending how = { .whole = true };
	return send_message(s, &how, c->message);
}

enum verdict pop3_cmd_top(struct pop3_session *s, const struct pop3_cmd *c)
{
	struct pop3_sending how = { .top.lines_left = c->lines };
	return send_message(s, &how, c->message);
}
