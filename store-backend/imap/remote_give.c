/* remote_give.c - COPY and MOVE of messages of the selected mailbox, which is here, into one of another store: they are
 * appended there, all or none (RFC 3502), with their flags and dates.
 *
 * Before: remote.c. After: peer_link.c; of a MOVE then change.c, which takes the messages away here. A MOVE that is
 * cut in between leaves them in both places. Owns nothing but its own state: the messages named are the command's. */
#include "store-backend/imap/remote_internal.h"

#include "base/check.h"
#include "base/mem.h"
#include "proto/imap_resp.h"

#include "store-backend/imap/across.h"
#include "store-backend/imap/blob.h"
#include "store-backend/imap/change.h"
#include "store-backend/imap/session_parts.h"

enum { HEAD_MAX = 16 * 1024, TEXT_MAX = 8 * 1024, CODE_MAX = IMAP_REPLY_MAX / 2 };

enum give_step {
	GIVE_COMMAND,  /* the link is waited for */
	GIVE_ANNOUNCE, /* room for the next message's head */
	GIVE_LEAVE,    /* its "+" */
	GIVE_ANSWER    /* the reply to all */
};

struct remote_give {
	enum give_step step;
	uint32_t *uids; /* owned */
	size_t n, at;
	struct blob blob; /* of the message under way */
};

void remote_give_free(struct remote_give **gp)
{
	if (*gp == NULL)
		return;
	mem_free((*gp)->uids);
	MEM_FREE(gp);
}

/* The other store forgets what it has got: the link ends in the middle of the command. */
static enum verdict give_up(struct imap_session *s, enum verdict finished)
{
	struct imap_remote *r = s->remote;
	r->phase = REMOTE_IDLE;
	remote_drop(r, r->at);
	return finished;
}

/* ---- one message ----------------------------------------------------------------------------------------- */

/* " (\Seen word) "date" {12}" */
static enum verdict announce(struct imap_session *s, struct stream *io)
{
	struct remote_give *g = s->remote->give;
	struct index_entry e;
	struct buf head = BUF_INIT(HEAD_MAX);
	if (stream_space(io) < HEAD_MAX)
		return V_WAIT;
	if (!across_put_head(s, g->uids[g->at], &head, &e))
		return give_up(s, imap_finish(s, "NO", ACROSS_EXPUNGED));
	stream_write_span(io, buf_span(&head));
	buf_end(&head);
	blob_init(&g->blob, s->box_in->reader, &e);
	g->step = GIVE_LEAVE;
	return V_NEXT;
}

static enum verdict send_bytes(struct imap_session *s, struct stream *io)
{
	struct remote_give *g = s->remote->give;
	struct file_ref *file;
	uint64_t at;
	struct message_range whole = { 0, g->blob.bytes.size };
	err_t err = blob_file(&g->blob, whole, &file, &at);
	if (err)
		return give_up(s, imap_finish_later(s));
	stream_write_file(io, file, (off_t)at, (size_t)whole.n);
	file_ref_put(&file);
	bool last = ++g->at == g->n;
	if (last)
		stream_write_span(io, SPAN("\r\n"));
	g->step = last ? GIVE_ANSWER : GIVE_ANNOUNCE;
	return V_NEXT;
}

/* ---- the answer ---------------------------------------------------------------------------------------------- */

/* "[COPYUID 7 1:3 4:6] ", from APPENDUID's "7 4:6". */
static void put_copyuid(struct buf *out, const struct remote_give *g, struct span appended)
{
	struct span validity = span_cut(&appended, ' ');
	struct imap_set_writer w = { .out = out };
	buf_printf(out, "[COPYUID %.*s ", SPAN_ARG(validity));
	for (size_t i = 0; i < g->n; i++)
		imap_set_write(&w, g->uids[i], g->uids[i]);
	imap_set_write_end(&w);
	buf_printf(out, " %.*s] ", SPAN_ARG(appended));
}

static enum verdict given(struct imap_session *s, const struct imap_resp *resp)
{
	struct remote_give *g = s->remote->give;
	struct buf code = BUF_INIT(CODE_MAX);
	enum verdict v;
	if (span_ieq_str(resp->code, "APPENDUID"))
		put_copyuid(&code, g, resp->code_args);
	if (imap_is_move(s)) {
		if (buf_len(&code) > 0)
			imap_say(s, "* OK %sMoved\r\n", buf_cstr(&code));
		v = imap_change_take_away(s);
	} else {
		v = imap_finishf(s, "OK", "%sCOPY completed", buf_cstr(&code));
	}
	buf_end(&code);
	return v;
}

static enum verdict on_reply(struct imap_session *s, const struct imap_resp *resp)
{
	struct imap_remote *r = s->remote;
	struct buf code = BUF_INIT(TEXT_MAX);
	r->phase = REMOTE_IDLE;
	r->at = NULL;
	if (resp->cond == IMAP_COND_OK && r->give->step == GIVE_ANSWER)
		return given(s, resp);
	if (resp->code.n > 0)
		buf_printf(&code, "[%.*s%s%.*s] ", SPAN_ARG(resp->code),
		    resp->code_args.n > 0 ? " " : "", SPAN_ARG(resp->code_args));
	enum verdict v = imap_finishf(s, "NO", "%s%.*s", buf_ok(&code) ? buf_cstr(&code) : "",
	    SPAN_ARG(span_first(resp->text, TEXT_MAX)));
	buf_end(&code);
	return v;
}

static enum verdict read_reply(struct imap_session *s, struct stream *io)
{
	struct imap_remote *r = s->remote;
	struct imap_resp resp;
	struct buf line = BUF_INIT(IMAP_LINE_MAX);
	enum verdict v = remote_read(r, io, &line, &resp);
	if (v == V_NEXT && resp.kind == IMAP_RESP_CONTINUE && r->give->step == GIVE_LEAVE)
		v = send_bytes(s, io);
	else if (v == V_NEXT && resp.kind == IMAP_RESP_TAGGED)
		v = on_reply(s, &resp);
	buf_end(&line);
	return v;
}

/* ---- begin --------------------------------------------------------------------------------------------------- */

static enum verdict say_append(struct imap_session *s, struct stream *io)
{
	struct buf line = BUF_INIT(HEAD_MAX);
	buf_add_str(&line, REMOTE_TAG " APPEND ");
	imap_put_name_in(s, buf_span(&s->cmd.name), &line);
	CHECK(buf_ok(&line));
	stream_write_span(io, buf_span(&line));
	buf_end(&line);
	remote_begin_reading(s->remote);
	s->remote->give->step = GIVE_ANNOUNCE;
	return V_NEXT;
}

enum verdict remote_give_go(struct imap_session *s)
{
	struct stream *io = peer_link_stream(s->remote->at);
	if (io == NULL)
		return V_WAIT;
	switch (s->remote->give->step) {
	case GIVE_COMMAND:
		return say_append(s, io);
	case GIVE_ANNOUNCE:
		return announce(s, io);
	case GIVE_LEAVE:
	case GIVE_ANSWER:
		return read_reply(s, io);
	}
	BUG("no such step");
}

enum verdict remote_give_start(struct imap_session *s, struct peer_link *l)
{
	struct imap_remote *r = s->remote;
	struct imap_cursor *c = &s->cmd.args;
	imap_change_read(s);
	imap_change_read_target(s);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	if (imap_is_move(s) && s->box->read_only)
		return imap_finish_read_only(s);
	r->give = MEM_NEW(struct remote_give);
	r->give->uids = across_uids(s, &r->give->n);
	if (r->give->uids == NULL)
		return imap_finish(s, "NO", "[LIMIT] Too many messages at once for another store");
	if (r->give->n == 0)
		return imap_finish_done(s);
	r->at = l;
	r->phase = REMOTE_GIVE;
	imap_set_state(s, ST_REMOTE);
	return V_NEXT;
}
