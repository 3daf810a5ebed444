/* remote_take.c - COPY and MOVE of messages of the selected mailbox, which is at another store, into one that is here:
 * they are fetched there one by one and appended here, all or none.
 *
 * Before: remote.c. After: append.c, to which each message is what a client would send: its options, and a literal whose
 * bytes come from the link. Of a MOVE they are then expunged there; one that is cut in between leaves them in both places. Owns
 * what it knows of the messages. */
#include "store-backend/imap/remote_internal.h"

#include "base/check.h"
#include "base/mem.h"
#include "proto/imap_resp.h"

#include "store-backend/imap/across.h"
#include "store-backend/imap/append.h"
#include "store-backend/imap/change.h"
#include "store-backend/imap/session_parts.h"
#include "store-backend/imap/shared.h"

enum { OPTIONS_MAX = 8 * 1024, LINE_MAX_BYTES = 64 * 1024, CODE_MAX = IMAP_REPLY_MAX / 2 };

enum take_step {
	TAKE_LIST,  /* which messages there are */
	TAKE_FETCH, /* the next one is to be asked for: the append waits for its bytes */
	TAKE_HEAD,  /* "* 3 FETCH (UID 7 BODY[] {12}" */
	TAKE_BYTES,
	TAKE_TAIL,   /* ")" and the reply */
	TAKE_COMMIT, /* the committer */
	TAKE_MARK,   /* of MOVE: \Deleted there */
	TAKE_EXPUNGE
};

struct taken {
	uint32_t uid;
	uint64_t size;
	char *options; /* owned: " (\Seen) "date"" */
};

struct remote_take {
	enum take_step step;
	struct taken *v; /* owned */
	size_t n, at;
	bool many; /* more than may be appended at once */
	uint64_t left;
};

void remote_take_free(struct remote_take **tp)
{
	struct remote_take *t = *tp;
	if (t == NULL)
		return;
	for (size_t i = 0; i < t->n; i++)
		mem_free(t->v[i].options);
	mem_free(t->v);
	MEM_FREE(tp);
}

bool imap_remote_is_taking(const struct imap_session *s)
{
	return s->remote != NULL && s->remote->take != NULL;
}

/* What is not ours is news of the selected mailbox. */
static void pass_on(struct imap_session *s, struct span line)
{
	buf_add_span(&s->text, line);
}

static void ask(
    struct imap_session *s, struct stream *io, enum take_step next, const struct buf *command)
{
	stream_printf(io, REMOTE_TAG " %.*s\r\n", SPAN_ARG(buf_span(command)));
	remote_begin_reading(s->remote);
	s->remote->take->step = next;
}

static enum verdict over(struct imap_session *s, enum verdict v)
{
	s->remote->phase = REMOTE_IDLE;
	s->remote->at = NULL;
	return v;
}

/* The other store has said NO or BAD to what cannot be refused: most likely its mailbox is gone. */
static enum verdict refused(struct imap_session *s, const struct imap_resp *resp)
{
	imap_append_drop(s);
	return over(s, imap_finishf(s, "NO", "[UNAVAILABLE] The other store says: %.*s",
			   SPAN_ARG(span_first(resp->text, 200))));
}

/* ---- which messages ------------------------------------------------------------------------------------------ */

/* "(\Seen \Recent word)" without \Recent, which nobody may set. */
static void read_flags(struct imap_cursor *c, struct buf *out)
{
	const char *space = "";
	imap_read_char(c, '(');
	buf_add_char(out, '(');
	while (imap_ok(c) && !imap_try(c, ')')) {
		bool system = imap_try(c, '\\');
		struct span word = imap_read_atom(c);
		if (!system || !span_ieq_str(word, "Recent")) {
			buf_printf(out, "%s%s%.*s", space, system ? "\\" : "", SPAN_ARG(word));
			space = " ";
		}
		(void)imap_try(c, ' ');
	}
	buf_add_char(out, ')');
}

static void skip_value(struct imap_cursor *c)
{
	if (!imap_try(c, '(')) {
		(void)imap_read_astring(c);
		return;
	}
	while (imap_ok(c) && !imap_at_end(c) && !imap_try(c, ')'))
		c->at++;
}

/* True: it has all that was asked for; no message is empty. */
static bool read_items(struct imap_cursor *c, struct taken *m, struct buf *options)
{
	struct buf flags = BUF_INIT(OPTIONS_MAX), date = BUF_INIT(64);
	imap_read_char(c, '(');
	do {
		struct span word = imap_read_atom(c);
		imap_read_sp(c);
		if (span_ieq_str(word, "UID"))
			m->uid = imap_read_nz_number(c);
		else if (span_ieq_str(word, "FLAGS"))
			read_flags(c, &flags);
		else if (span_ieq_str(word, "INTERNALDATE"))
			imap_put_quoted(&date, imap_read_string(c));
		else if (span_ieq_str(word, "RFC822.SIZE"))
			m->size = imap_read_number64(c);
		else
			skip_value(c);
	} while (imap_try(c, ' '));
	imap_read_char(c, ')');
	bool all = imap_ok(c) && m->uid != 0 && m->size > 0 && buf_len(&flags) > 0 &&
		   buf_len(&date) > 0 &&
		   buf_printf(options, " %s %s", buf_cstr(&flags), buf_cstr(&date));
	buf_end(&flags);
	buf_end(&date);
	return all;
}

static void take_listed(struct imap_session *s, const struct imap_resp *resp, struct span line)
{
	struct remote_take *t = s->remote->take;
	struct buf scratch = BUF_INIT(LINE_MAX_BYTES), options = BUF_INIT(OPTIONS_MAX);
	struct imap_cursor c;
	struct taken m = { 0 };
	bool by_uid = span_ieq_str(resp->name, "UIDFETCH");
	imap_cursor_init(&c, resp->data, &scratch);
	if (by_uid)
		m.uid = resp->number;
	bool listed = resp->has_number && (by_uid || span_ieq_str(resp->name, "FETCH")) &&
		      read_items(&c, &m, &options);
	if (!listed)
		pass_on(s, line);
	else if (t->n == STORE_AT_ONCE_MAX)
		t->many = true;
	else {
		m.options = mem_span_str(buf_span(&options));
		t->v[t->n++] = m;
	}
	buf_end(&scratch);
	buf_end(&options);
}

/* ---- to the append ----------------------------------------------------------------------------------------------- */

static enum verdict offer(struct imap_session *s)
{
	struct remote_take *t = s->remote->take;
	const struct taken *m = t->at < t->n ? &t->v[t->at] : NULL;
	struct buf *room = imap_append_room(s);
	t->step = m != NULL ? TAKE_FETCH : TAKE_COMMIT;
	if (m == NULL)
		return imap_append_offer(s, false, 0);
	buf_printf(room, "%s {%llu}\r\n", m->options, (unsigned long long)m->size);
	return imap_append_offer(s, true, m->size);
}

static enum verdict go_list(struct imap_session *s, struct stream *io)
{
	struct remote_take *t = s->remote->take;
	struct imap_resp resp;
	struct buf line = BUF_INIT(LINE_MAX_BYTES);
	enum verdict v = remote_read(s->remote, io, &line, &resp);
	if (v == V_NEXT && resp.kind == IMAP_RESP_UNTAGGED)
		take_listed(s, &resp, buf_span(&line));
	else if (v == V_NEXT && resp.kind == IMAP_RESP_TAGGED && resp.cond != IMAP_COND_OK)
		v = refused(s, &resp);
	else if (v == V_NEXT && resp.kind == IMAP_RESP_TAGGED && t->many)
		v = over(s,
		    imap_finish(s, "NO", "[LIMIT] Too many messages at once from another store"));
	else if (v == V_NEXT && resp.kind == IMAP_RESP_TAGGED)
		v = t->n == 0 ? over(s, imap_finish_done(s)) : offer(s);
	buf_end(&line);
	return v;
}

/* ---- bytes --------------------------------------------------------------------------------------------------------- */

static enum verdict go_fetch(struct imap_session *s, struct stream *io)
{
	struct remote_take *t = s->remote->take;
	struct buf line = BUF_INIT(256);
	buf_printf(&line, "UID FETCH %u (BODY.PEEK[])", t->v[t->at].uid);
	ask(s, io, TAKE_HEAD, &line);
	buf_end(&line);
	return V_NEXT;
}

/* Its size is another than was told: nothing that this store says can be believed. */
static enum verdict go_head(struct imap_session *s, struct stream *io)
{
	struct imap_remote *r = s->remote;
	struct remote_take *t = r->take;
	struct imap_resp resp;
	struct buf line = BUF_INIT(LINE_MAX_BYTES);
	r->frame.limits.literal_max = 0;
	enum verdict v = remote_read(r, io, &line, &resp);
	if (v == V_NEXT && r->literal > 0) {
		t->left = r->literal;
		t->step = TAKE_BYTES;
		if (t->left != t->v[t->at].size)
			v = remote_lost(s, r->at);
	} else if (v == V_NEXT && resp.kind == IMAP_RESP_UNTAGGED) {
		pass_on(s, buf_span(&line));
	} else if (v == V_NEXT && resp.kind == IMAP_RESP_TAGGED) {
		imap_append_drop(s); /* it has been expunged */
		v = over(s, imap_finish(s, "NO", ACROSS_EXPUNGED));
	}
	buf_end(&line);
	return v;
}

static enum verdict go_bytes(struct imap_session *s, struct stream *io)
{
	struct imap_remote *r = s->remote;
	struct remote_take *t = r->take;
	struct span in = stream_input(io);
	struct span part = span_first(in, t->left < in.n ? (size_t)t->left : in.n);
	if (part.n == 0 && stream_at_eof(io))
		return remote_lost(s, r->at);
	imap_append_data(s, part);
	stream_eat(io, part.n);
	t->left -= part.n;
	if (t->left > 0)
		return V_WAIT;
	r->frame.limits.literal_max = LINE_MAX_BYTES;
	r->tail = true;
	t->step = TAKE_TAIL;
	return V_NEXT;
}

static enum verdict go_tail(struct imap_session *s, struct stream *io)
{
	struct imap_remote *r = s->remote;
	struct imap_resp resp;
	struct buf line = BUF_INIT(LINE_MAX_BYTES);
	bool tail = r->tail;
	enum verdict v = remote_read(r, io, &line, &resp);
	if (v == V_NEXT && !tail && resp.kind == IMAP_RESP_UNTAGGED)
		pass_on(s, buf_span(&line));
	else if (v == V_NEXT && !tail && resp.kind == IMAP_RESP_TAGGED && resp.cond != IMAP_COND_OK)
		v = refused(s, &resp);
	else if (v == V_NEXT && !tail && resp.kind == IMAP_RESP_TAGGED) {
		r->take->at++;
		v = offer(s);
	}
	buf_end(&line);
	return v;
}

/* ---- the end ----------------------------------------------------------------------------------------------------------- */

static void put_uids(struct buf *out, const struct remote_take *t)
{
	struct imap_set_writer w = { .out = out };
	for (size_t i = 0; i < t->n; i++)
		imap_set_write(&w, t->v[i].uid, t->v[i].uid);
	imap_set_write_end(&w);
}

static enum verdict mark(struct imap_session *s, struct stream *io, enum take_step next)
{
	struct buf line = BUF_INIT(CODE_MAX);
	buf_add_str(&line, next == TAKE_MARK ? "UID STORE " : "UID EXPUNGE ");
	put_uids(&line, s->remote->take);
	buf_add_str(&line, next == TAKE_MARK ? " +FLAGS.SILENT (\\Deleted)" : "");
	ask(s, io, next, &line);
	buf_end(&line);
	imap_set_state(s, ST_REMOTE);
	return V_NEXT;
}

enum verdict imap_remote_taken(struct imap_session *s, uint32_t uidvalidity, uint32_t first)
{
	struct remote_take *t = s->remote->take;
	struct buf code = BUF_INIT(CODE_MAX);
	enum verdict v;
	buf_printf(&code, "[COPYUID %u ", uidvalidity);
	put_uids(&code, t);
	buf_printf(&code, " %u", first);
	if (t->n > 1)
		buf_printf(&code, ":%u", first + (uint32_t)t->n - 1);
	if (imap_is_move(s)) {
		imap_say(s, "* OK %s] Moved\r\n", buf_cstr(&code));
		v = mark(s, peer_link_stream(s->remote->at), TAKE_MARK);
	} else {
		v = over(s, imap_finishf(s, "OK", "%s] COPY completed", buf_cstr(&code)));
	}
	buf_end(&code);
	return v;
}

static enum verdict go_remove(struct imap_session *s, struct stream *io)
{
	struct imap_resp resp;
	struct buf line = BUF_INIT(LINE_MAX_BYTES);
	enum verdict v = remote_read(s->remote, io, &line, &resp);
	if (v == V_NEXT && resp.kind == IMAP_RESP_UNTAGGED)
		pass_on(s, buf_span(&line));
	else if (v == V_NEXT && resp.kind == IMAP_RESP_TAGGED && resp.cond != IMAP_COND_OK)
		v = refused(s, &resp);
	else if (v == V_NEXT && resp.kind == IMAP_RESP_TAGGED)
		v = s->remote->take->step == TAKE_MARK ? mark(s, io, TAKE_EXPUNGE)
						       : over(s, imap_finish_done(s));
	buf_end(&line);
	return v;
}

enum verdict remote_take_go(struct imap_session *s)
{
	typedef enum verdict step_fn(struct imap_session * s, struct stream * io);
	static step_fn *const steps[] = {
		[TAKE_LIST] = go_list,
		[TAKE_FETCH] = go_fetch,
		[TAKE_HEAD] = go_head,
		[TAKE_BYTES] = go_bytes,
		[TAKE_TAIL] = go_tail,
		[TAKE_COMMIT] = NULL,
		[TAKE_MARK] = go_remove,
		[TAKE_EXPUNGE] = go_remove,
	};
	step_fn *go = steps[s->remote->take->step];
	CHECK(go != NULL);
	return go(s, peer_link_stream(s->remote->at));
}

enum verdict remote_take_start(struct imap_session *s)
{
	struct imap_remote *r = s->remote;
	struct imap_cursor *c = &s->cmd.args;
	struct buf line = BUF_INIT(IMAP_TOTAL_MAX);
	imap_read_sp(c);
	struct span set = span_from(c->in, c->at);
	set = span_first(set, span_find(set, ' '));
	c->at += set.n;
	imap_change_read_target(s);
	if (!imap_ok(c))
		return imap_finish_bad(s, c->why);
	s->partition = shared_partition(s, buf_span(&s->cmd.name));
	r->take = MEM_NEW(struct remote_take);
	r->take->v = mem_array(STORE_AT_ONCE_MAX, sizeof r->take->v[0]);
	r->at = r->selected;
	r->phase = REMOTE_TAKE;
	imap_set_state(s, ST_REMOTE);
	buf_printf(&line, "%sFETCH %.*s (UID FLAGS INTERNALDATE RFC822.SIZE)",
	    s->cmd.uid ? "UID " : "", SPAN_ARG(set));
	ask(s, peer_link_stream(r->at), TAKE_LIST, &line);
	buf_end(&line);
	return V_NEXT;
}
