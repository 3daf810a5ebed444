/* input.c - the client's bytes: framed into commands, literals and lines; see session.h.
 *
 * Before: session.c, whose states these are. After: the handlers of cmd_table.c. Owns nothing: the bytes of
 * the command in work are the session's. */
#include "store-backend/imap/across.h"
#include "store-backend/imap/append.h"
#include "store-backend/imap/auth.h"
#include "store-backend/imap/remote.h"
#include "store-backend/imap/session_parts.h"
#include "store-backend/imap/shared.h"

/* ---- one command --------------------------------------------------------------------------------- */

static unsigned level_of(const struct imap_session *s)
{
	if (s->user == NULL)
		return LEVEL_LOGIN;
	return s->box != NULL || imap_remote_is_selected(s) ? LEVEL_MAILBOX : LEVEL_USER;
}

static const char *wrong_level(const struct imap_session *s)
{
	if (s->user == NULL)
		return "Log in first";
	return s->cmd.row->levels == LEVEL_LOGIN ? "Logged in already" : "Select a mailbox first";
}

static void read_arguments(struct imap_session *s)
{
	struct imap_command *c = &s->cmd;
	if (c->row->shape == SHAPE_OWN)
		return;
	if (c->row->shape != SHAPE_NONE) {
		imap_read_sp(&c->args);
		imap_read_mailbox(s, &c->name);
	}
	if (c->row->shape == SHAPE_TWO_MAILBOXES) {
		imap_read_sp(&c->args);
		imap_read_mailbox(s, &c->name2);
	}
	imap_read_end(&c->args);
}

/* tag SP [UID SP] verb */
static void read_verb(struct imap_command *c)
{
	c->tag = imap_read_tag(&c->args);
	imap_read_sp(&c->args);
	c->uid = imap_try_word(&c->args, "UID");
	if (c->uid)
		imap_read_sp(&c->args);
	struct span verb = imap_read_atom(&c->args);
	if (!imap_ok(&c->args))
		return;
	c->row = imap_row_find(verb);
	if (c->row == NULL || (c->uid && !c->row->uid_ok))
		imap_fail(&c->args, "Unknown command");
}

/* CREATE may have a separator at its end (RFC 3501 section 6.3.3). */
static void read_decider(struct imap_session *s, struct buf *name)
{
	struct span sent = imap_read_astring(&s->cmd.args);
	if (s->cmd.row->run == cmd_create && sent.n > 1 && sent.p[sent.n - 1] == '/')
		sent.n--;
	if (imap_ok(&s->cmd.args))
		imap_name_of(s, sent, name);
}

void imap_read_ahead(struct imap_session *s, struct buf *name, struct buf *name2)
{
	struct imap_cursor now = s->cmd.args, *c = &s->cmd.args;
	enum imap_where where = s->cmd.row->where;
	imap_read_sp(c);
	if (where == WHERE_TARGET) { /* behind a set of messages */
		while (imap_ok(c) && !imap_at_end(c) && imap_peek(c) != ' ')
			c->at++;
		imap_read_sp(c);
	}
	if (imap_try(c, '(')) { /* GETMETADATA's options */
		while (imap_ok(c) && !imap_at_end(c) && !imap_try(c, ')'))
			c->at++;
		imap_read_sp(c);
	}
	read_decider(s, name);
	if (where == WHERE_RENAMED) {
		imap_read_sp(c);
		imap_read_mailbox(s, name2);
	}
	if (!imap_ok(c))
		buf_clear(name); /* the handler will say what is wrong */
	s->cmd.args = now;
	buf_clear(&s->cmd.scratch);
}

/* Where the command belongs: what is the user's own at home, the rest in its owner's partition. */
static void choose_partition(struct imap_session *s)
{
	struct imap_command *c = &s->cmd;
	bool divided = store_partition_count(s->base.worker) > 1;
	s->partition = s->home;
	switch (c->row->where) {
	case WHERE_HERE:
	case WHERE_ALL:
		break;
	case WHERE_SELECTED:
	case WHERE_TARGET:
		s->partition = s->box != NULL ? s->box_in : s->home;
		break;
	case WHERE_NAMED:
	case WHERE_RENAMED:
		if (!divided)
			break;
		imap_read_ahead(s, &c->name, &c->name2);
		s->partition = shared_partition(s, buf_span(&c->name));
		buf_clear(&c->name);
		buf_clear(&c->name2);
	}
}

/* RFC 9586 section 3: EXPUNGE names no message. */
static bool needs_uid(const struct imap_session *s)
{
	return (s->enabled & ENABLED_UIDONLY) != 0 && s->cmd.row->run != cmd_expunge;
}

enum verdict imap_run_here(struct imap_session *s)
{
	struct imap_command *c = &s->cmd;
	buf_clear(&c->name); /* they may have been read ahead */
	buf_clear(&c->name2);
	read_arguments(s);
	return imap_ok(&c->args) ? c->row->run(s) : imap_finish_bad(s, c->args.why);
}

static enum verdict run_command(struct imap_session *s)
{
	struct imap_command *c = &s->cmd;
	read_verb(c);
	if (!imap_ok(&c->args))
		return imap_finish_bad(s, c->args.why);
	if ((c->row->levels & level_of(s)) == 0)
		return imap_finish_bad(s, wrong_level(s));
	if (c->row->uid_ok && !c->uid && needs_uid(s))
		return imap_finish_bad(
		    s, "[UIDREQUIRED] Messages have no numbers after ENABLE UIDONLY");
	if (c->pending && !c->row->literal)
		return imap_finish_bad(s, "Literal too long");
	s->news = (enum imap_news)c->row->news;
	if (c->uid && s->news == NEWS_NO_EXPUNGE)
		s->news = NEWS_ALL; /* numbers are not at stake */
	choose_partition(s);
	enum verdict v = V_NEXT;
	return imap_remote_takes(s, &v) ? v : imap_run_here(s);
}

/* The framed bytes become the command in work; they are not in the stream any more. */
static enum verdict begin_command(struct imap_session *s, bool pending)
{
	struct imap_command *c = &s->cmd;
	size_t n = s->frame.len;
	s->commands++;
	c->bytes = BUF_INIT(IMAP_TOTAL_MAX);
	c->scratch = BUF_INIT(IMAP_TOTAL_MAX);
	c->name = c->name2 = BUF_INIT(IMAP_NAME_BYTES);
	c->pending = pending;
	c->pending_sync = s->frame.literal_sync;
	c->pending_size = s->frame.literal_size;
	buf_add_span(&c->bytes, span_first(stream_input(s->io), n));
	stream_eat(s->io, n);
	imap_frame_reset(&s->frame);
	imap_cursor_init(&c->args, buf_span(&c->bytes), &c->scratch);
	return run_command(s);
}

enum verdict imap_swallow(struct imap_session *s)
{
	if (!s->cmd.pending || s->cmd.pending_sync || imap_remote_is_taking(s) || s->across != NULL)
		return V_NEXT;
	if (s->cmd.pending_size > IMAP_SWALLOW_MAX - s->swallowed)
		return imap_bye(s, "literal-too-long", "Literal too long");
	s->swallowed += s->cmd.pending_size;
	return imap_start_literal(s, s->cmd.pending_size);
}

/* The front of a command with a large literal was framed. When it is refused its reply waits in ST_FINISH;
 * a client that does not wait for leave sends the bytes all the same. */
static enum verdict begin_with_literal(struct imap_session *s)
{
	enum verdict v = begin_command(s, true);
	return s->state == ST_FINISH ? imap_swallow(s) : v;
}

static enum verdict bad_frame(struct imap_session *s, enum imap_rx rx)
{
	return imap_bye(s, rx == IMAP_RX_TOO_LONG ? "line-too-long" : "bad-line", imap_rx_why(rx));
}

enum verdict imap_go_command(struct imap_session *s)
{
	if (!imap_has_room(s))
		return V_WAIT;
	if (s->notify != NULL && stream_input(s->io).n == 0) {
		enum verdict v = imap_tell_between(s);
		if (v != V_NEXT)
			return v;
	}
	if (s->base.draining && stream_input(s->io).n == 0)
		return imap_bye_drained(s);
	enum imap_rx rx = imap_frame_scan(&s->frame, stream_input(s->io));
	switch (rx) {
	case IMAP_RX_MORE:
		if (s->frame.literals > 0)
			stream_ack_now(s->io); /* many send what follows a literal by itself */
		return V_MORE;
	case IMAP_RX_CONTINUE:
		stream_write_span(s->io, SPAN("+ go on\r\n"));
		return V_NEXT;
	case IMAP_RX_COMMAND:
		return begin_command(s, false);
	case IMAP_RX_LITERAL:
		return begin_with_literal(s);
	case IMAP_RX_TOO_LONG:
	case IMAP_RX_BAD:
		break;
	}
	return bad_frame(s, rx);
}

/* ---- lines and literals inside a command ----------------------------------------------------------- */

enum verdict imap_take_line(struct imap_session *s, struct buf *line)
{
	enum imap_rx rx = imap_frame_line(&s->frame, stream_input(s->io));
	if (rx == IMAP_RX_MORE)
		return V_MORE;
	if (rx != IMAP_RX_COMMAND)
		return bad_frame(s, rx);
	buf_add_span(line, span_first(stream_input(s->io), s->frame.len - 2));
	stream_eat(s->io, s->frame.len);
	imap_frame_reset(&s->frame);
	return V_NEXT;
}

enum verdict imap_go_sasl(struct imap_session *s)
{
	struct buf line = BUF_INIT(IMAP_LINE_MAX);
	enum verdict v = imap_take_line(s, &line);
	if (v == V_NEXT)
		v = imap_sasl_line(s, buf_span(&line));
	buf_wipe_end(&line);
	return v;
}

enum verdict imap_go_literal(struct imap_session *s)
{
	if (imap_remote_is_taking(s))
		return imap_go_remote(s);
	if (s->across != NULL)
		return imap_across_feed(s);
	struct span in = stream_input(s->io);
	struct span part = span_first(in, s->literal_left < in.n ? (size_t)s->literal_left : in.n);
	if (imap_remote_is_sending(s))
		part = span_first(part, imap_remote_data(s, part));
	else if (s->append != NULL)
		imap_append_data(s, part);
	if (in.n > 0 && part.n == 0 && s->literal_left > 0)
		return V_WAIT; /* the other store does not read */
	stream_eat(s->io, part.n);
	s->literal_left -= part.n;
	imap_set_state(s, s->literal_left > 0 ? ST_LITERAL : ST_LITERAL_END);
	return s->literal_left > 0 ? V_MORE : V_NEXT;
}

/* The bytes of the frame become what the cursor reads. */
static void take_more(struct imap_session *s, bool pending)
{
	struct imap_command *c = &s->cmd;
	size_t n = s->frame.len;
	buf_end(&c->more);
	c->more = BUF_INIT(IMAP_TOTAL_MAX);
	buf_add_span(&c->more, span_first(stream_input(s->io), n));
	c->pending = pending;
	c->pending_sync = s->frame.literal_sync;
	c->pending_size = s->frame.literal_size;
	stream_eat(s->io, n);
	imap_frame_reset(&s->frame);
	buf_clear(&c->scratch);
	imap_cursor_init(&c->args, buf_span(&c->more), &c->scratch);
}

static enum verdict end_literal(struct imap_session *s, bool pending)
{
	take_more(s, pending);
	if (imap_remote_is_sending(s))
		return imap_remote_more(s);
	if (s->append != NULL)
		return imap_append_more(s);
	imap_set_state(s, ST_FINISH); /* refused before: the reply is there */
	return imap_swallow(s);
}

/* What stands behind a large literal: of a refused command it is thrown away, and a client that waits for leave
 * to send more is told the reply instead. */
enum verdict imap_go_literal_end(struct imap_session *s)
{
	enum imap_rx rx = imap_frame_scan(&s->frame, stream_input(s->io));
	switch (rx) {
	case IMAP_RX_MORE:
		stream_ack_now(s->io);
		return V_MORE;
	case IMAP_RX_CONTINUE: /* an empty one */
		if (s->append == NULL && !imap_remote_is_sending(s)) {
			s->frame.len = s->frame.at;
			return end_literal(s, false);
		}
		stream_write_span(s->io, SPAN("+ go on\r\n"));
		return V_NEXT;
	case IMAP_RX_COMMAND:
	case IMAP_RX_LITERAL:
		return end_literal(s, rx == IMAP_RX_LITERAL);
	case IMAP_RX_TOO_LONG:
	case IMAP_RX_BAD:
		break;
	}
	return bad_frame(s, rx);
}
