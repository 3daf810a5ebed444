/* chunk.c - BDAT: a message in chunks of announced length (part of step 4; before: envelope.c; after:
 * content.c, which has the whole message).
 *
 * A client may send the next chunks before it reads a refusal, so the bytes of a chunk are always taken off
 * the line, wanted or not: else they would be read as commands. */
#include "edge/chunk.h"

#include "base/check.h"
#include "proto/mime_binary.h"

#include "edge/content.h"
#include "edge/filter.h"
#include "edge/mail.h"

enum {
	BLOCK = 4096,
	BAD = SMTP_BODY_BARE_CR | SMTP_BODY_BARE_LF | SMTP_BODY_NUL | SMTP_BODY_LONG_LINE
};

/* For chunk_refused: the refusal was said already. */
static const char answered[] = "answered";

/* NULL, or why these bytes are not wanted. */
static const char *not_wanted(const struct session *s)
{
	const struct mail *m = s->mail;
	if (m == NULL)
		return "say MAIL first";
	return m->t->recipient_count == 0 && m->discarded == 0 ? "no recipient was taken" : NULL;
}

static void restart_clock(struct session *s)
{
	session_enter(s, ST_CHUNK);
}

enum verdict chunk_slow(struct session *s)
{
	return session_bye(s, WHY_COMMAND_TIMEOUT, NULL);
}

static enum verdict open_body(struct session *s)
{
	struct mail *m = s->mail;
	mail_open_body(s);
	m->chunked = true;
	m->chunks = (struct smtp_chunk_scan){ .line_max = (size_t)s->setup->edge->line_max };
	m->decoder.normalize = session_normalizes(s);
	m->begun_ms = session_now_ms(s);
	restart_clock(s);
	return V_READ;
}

static enum verdict no_body(struct session *s, const struct filter_answer *a)
{
	enum verdict v = content_filtered(s, a);
	s->chunk_refused = answered;
	if (v != V_CLOSE)
		restart_clock(s);
	return v;
}

static void keep_lines(struct mail *m, struct span bytes)
{
	smtp_chunk_scan(&m->chunks, bytes);
	if (m->err == ERR_OK)
		m->err = body_add(m->t->body, bytes);
}

/* No bytes: the message is over. */
static void keep(struct mail *m, struct span bytes)
{
	if (!m->decoder.normalize) {
		keep_lines(m, bytes);
		return;
	}
	struct buf out = BUF_INIT(2 * bytes.n + 1);
	smtp_chunk_normalize(&m->chunk_cr, bytes, &out);
	keep_lines(m, buf_span(&out));
	buf_end(&out);
}

static void on_converted(void *arg, struct span bytes)
{
	keep(arg, bytes);
}

/* BINARYMIME ends here: nothing behind this door, be it a filter, a store or the next hop, has to know it. */
static void take(struct mail *m, struct span bytes)
{
	m->decoder.taken += bytes.n;
	if (m->binary == NULL) {
		keep(m, bytes);
		return;
	}
	mime_binary_pass(m->binary, bytes, on_converted, m);
}

/* The last chunk is here. */
static void end_message(struct mail *m)
{
	if (m->binary != NULL)
		mime_binary_pass_end(m->binary, on_converted, m);
	keep(m, SPAN_NONE);
	if (!smtp_chunk_scan_end(&m->chunks))
		keep_lines(m, SPAN("\r\n"));
}

static bool is_stuck(const struct mail *m)
{
	return m->err != ERR_OK || (m->decoder.faults & BAD) != 0 ||
	       (m->binary != NULL && mime_binary_why(m->binary) != NULL);
}

/* The chunk is here. What is wrong with it is said now: the client need not send the rest. */
static enum verdict chunk_ended(struct session *s)
{
	struct mail *m = s->mail;
	if (s->chunk_refused != NULL) {
		session_enter(s, ST_COMMAND);
		if (s->chunk_refused == answered)
			return V_READ;
		return session_refuse(s, 503, "5.5.1", s->chunk_refused);
	}
	if (s->chunk_last)
		end_message(m);
	m->decoder.faults = m->chunks.faults;
	bool late = session_now_ms(s) - m->begun_ms >= s->setup->edge->message_timeout;
	if (late)
		return session_bye(s, WHY_MESSAGE_TIMEOUT, NULL);
	if (s->chunk_last || is_stuck(m))
		return content_ended(s);
	session_enter(s, ST_COMMAND);
	return session_say(s, 250, "2.0.0", "chunk taken");
}

enum verdict chunk_input(struct session *s)
{
	struct span in = span_first(stream_input(s->io), s->chunk_left);
	if (in.n > 0 && s->chunk_refused == NULL)
		take(s->mail, in);
	stream_eat(s->io, in.n);
	s->chunk_left -= in.n;
	if (s->chunk_left == 0)
		return chunk_ended(s);
	if (s->chunk_at - s->chunk_left >= BLOCK) {
		s->chunk_at = s->chunk_left;
		restart_clock(s);
	}
	return V_MORE;
}

enum verdict chunk_bdat(struct session *s, const struct smtp_cmd *cmd)
{
	if (cmd->chunk_bytes > 2 * s->setup->edge->message_size_max)
		return session_bye(s, WHY_TOO_BIG, NULL);
	s->chunk_left = s->chunk_at = (size_t)cmd->chunk_bytes;
	s->chunk_last = cmd->chunk_last;
	s->chunk_refused = not_wanted(s);
	if (s->chunk_refused == NULL && s->mail->t->body == NULL)
		return content_begin(s, open_body, no_body); /* filters are asked as before DATA */
	restart_clock(s);
	return V_READ;
}
