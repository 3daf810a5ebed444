/* lmtp_chunk.c - BDAT (RFC 3030): a message in counted pieces. Before: lmtp_command.c; after: lmtp_deliver.c.
 *
 * A chunk is read to its end whatever becomes of it: behind it stands the next command. Line ends are held to what
 * DATA is held to, so that one message is the same whichever way it came. */
#include <inttypes.h>
#include <stdio.h>

#include "store-backend/lmtp/lmtp_internal.h"

/* ---- bytes ---- */

static void look_at_line_ends(struct lmtp_transaction *t, struct span piece)
{
	for (size_t i = 0; i < piece.n; i++) {
		char c = piece.p[i];
		t->chunk_broken =
		    t->chunk_broken || c == '\0' || (c == '\n') != (t->chunk_last_byte == '\r');
		t->chunk_last_byte = c;
	}
}

static void keep(void *arg, struct span bytes)
{
	struct lmtp_transaction *t = arg;
	look_at_line_ends(t, bytes);
	incoming_add(t->in, bytes);
}

/* BINARYMIME ends here: what the store keeps can leave by any protocol. */
static void take(struct lmtp_transaction *t, struct span bytes)
{
	if (t->binary == NULL)
		keep(t, bytes);
	else
		mime_binary_pass(t->binary, bytes, keep, t);
}

/* ---- chunks ---- */

static enum lmtp_verdict say_inconvertible(struct lmtp_session *s, const char *why)
{
	for (size_t i = 1; i < s->t->recipient_n; i++)
		(void)lmtp_say(s, 554, "5.6.1", why);
	lmtp_transaction_free(&s->t);
	return lmtp_say(s, 554, "5.6.1", why);
}

static enum lmtp_verdict end_of_message(struct lmtp_session *s)
{
	struct lmtp_transaction *t = s->t;
	if (t->binary != NULL)
		mime_binary_pass_end(t->binary, keep, t);
	if (t->binary != NULL && mime_binary_why(t->binary) != NULL)
		return say_inconvertible(s, mime_binary_why(t->binary));
	if (t->chunk_last_byte == '\r')
		t->chunk_broken = true;
	else if (t->chunk_last_byte != '\n')
		incoming_add(t->in, SPAN("\r\n"));
	return lmtp_end_of_message(s, t->chunk_broken);
}

static enum lmtp_verdict end_of_chunk(struct lmtp_session *s)
{
	char text[64];
	lmtp_set_state(s, LMTP_ST_COMMAND);
	if (s->chunk_refused)
		return lmtp_say(
		    s, 503, "5.5.1", s->t == NULL ? "MAIL first" : "No valid recipients");
	if (s->chunk_last)
		return end_of_message(s);
	(void)snprintf(text, sizeof text, "%" PRIu64 " octets received", s->chunk_size);
	return lmtp_say(s, 250, "2.0.0", text);
}

enum lmtp_verdict lmtp_chunk(struct lmtp_session *s)
{
	struct span piece = span_first(stream_input(s->io), s->chunk_left);
	if (piece.n == 0 && s->chunk_left > 0)
		return LMTP_WAIT;
	if (!s->chunk_refused)
		take(s->t, piece);
	s->chunk_left -= piece.n;
	stream_eat(s->io, piece.n);
	lmtp_set_state(s, LMTP_ST_CHUNK);
	return s->chunk_left > 0 ? LMTP_WAIT : end_of_chunk(s);
}

enum lmtp_verdict lmtp_begin_chunk(struct lmtp_session *s, const struct smtp_cmd *c)
{
	s->chunk_size = s->chunk_left = c->chunk_bytes;
	s->chunk_last = c->chunk_last;
	s->chunk_refused = s->t == NULL || s->t->recipient_n == 0;
	if (!s->chunk_refused && s->t->in == NULL)
		lmtp_begin_message(s);
	lmtp_set_state(s, LMTP_ST_CHUNK);
	return LMTP_READ;
}
