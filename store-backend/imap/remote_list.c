/* remote_list.c - what the other stores list for a user, collected before a LIST is answered; see remote.h.
 *
 * Before: remote.c. After: list.c, which puts it among the names that are here. A store that is away, slow or says what
 * cannot be understood is left out, and the client is told. Owns the names. */
#include "store-backend/imap/remote_internal.h"

#include "base/check.h"
#include "base/mem.h"
#include "proto/imap_resp.h"

#include "store-backend/imap/list.h"
#include "store-backend/imap/session_parts.h"
#include "store-backend/imap/status.h"

enum {
	LISTED_MAX = 2 * STORE_MAILBOXES_MAX,
	LINES_MAX = 4096, /* of one name */
	RESPONSE_MAX = 64 * 1024,
	COMMAND_MAX = 1024
};
#define LIST_TAG "RL"

enum asked { ASK_LINK, ASK_SENT, ASK_DONE, ASK_AWAY };

struct remote_list {
	struct imap_remote *r;
	unsigned status; /* items that the client wants */
	bool myrights;
	struct timer deadline;
	struct {
		enum asked state;
		struct imap_frame frame;
	} at[STORE_PEERS_MAX];
	struct remote_listed *v; /* owned, with what it points to */
	size_t n, cap;
};

void remote_list_free(struct remote_list **lp)
{
	struct remote_list *l = *lp;
	if (l == NULL)
		return;
	timer_clear(&l->deadline);
	for (size_t i = 0; i < l->n; i++) {
		mem_free((char *)(uintptr_t)l->v[i].name);
		mem_free((char *)(uintptr_t)l->v[i].lines);
	}
	mem_free(l->v);
	MEM_FREE(lp);
}

size_t imap_remote_listed(const struct imap_session *s, const struct remote_listed **v_out)
{
	const struct remote_list *l = s->remote == NULL ? NULL : s->remote->list;
	*v_out = l == NULL ? NULL : l->v;
	return l == NULL ? 0 : l->n;
}

/* ---- what they say ------------------------------------------------------------------------------------- */

static bool is_shared(struct span name)
{
	return span_starts(name, SPAN("Other Users/")) ||
	       span_starts(name, SPAN("Shared Folders/"));
}

/* As the session's user reads names. */
static bool read_name(const struct imap_session *s, struct imap_cursor *c, struct buf *out)
{
	struct span sent = imap_read_astring(c);
	return imap_ok(c) && imap_decode_name(s, sent, out) && operation_name_ok(buf_span(out)) &&
	       is_shared(buf_span(out));
}

/* (\HasChildren) "/" name */
static void take_listed(struct remote_list *l, struct imap_cursor *c)
{
	struct buf name = BUF_INIT(IMAP_NAME_BYTES);
	bool nil, exists = true;
	imap_read_char(c, '(');
	while (imap_ok(c) && !imap_try(c, ')')) {
		imap_read_char(c, '\\');
		struct span word = imap_read_atom(c);
		exists =
		    exists && !span_ieq_str(word, "Noselect") && !span_ieq_str(word, "NonExistent");
		(void)imap_try(c, ' ');
	}
	imap_read_sp(c);
	imap_read_nstring(c, &nil);
	imap_read_sp(c);
	if (read_name(l->r->s, c, &name) && exists && l->n < LISTED_MAX) {
		if (l->n == l->cap) {
			l->cap = l->cap == 0 ? 32 : l->cap * 2;
			l->v = mem_grow(l->v, l->cap, sizeof l->v[0]);
		}
		l->v[l->n++] = (struct remote_listed){ mem_span_str(buf_span(&name)), mem_str("") };
	}
	buf_end(&name);
}

/* STATUS and MYRIGHTS come behind the name they are about. */
static void take_more(struct remote_list *l, struct imap_cursor *c, struct span line)
{
	struct buf name = BUF_INIT(IMAP_NAME_BYTES), lines = BUF_INIT(LINES_MAX);
	struct remote_listed *last = l->n > 0 ? &l->v[l->n - 1] : NULL;
	if (last != NULL && read_name(l->r->s, c, &name) &&
	    span_eq_str(buf_span(&name), last->name) && buf_add_str(&lines, last->lines) &&
	    buf_add_span(&lines, line)) {
		mem_free((char *)(uintptr_t)last->lines);
		last->lines = mem_span_str(buf_span(&lines));
	}
	buf_end(&name);
	buf_end(&lines);
}

static void take_untagged(
    struct remote_list *l, size_t i, const struct imap_resp *r, struct span line)
{
	struct buf scratch = BUF_INIT(RESPONSE_MAX);
	struct imap_cursor c;
	imap_cursor_init(&c, r->data, &scratch);
	if (span_ieq_str(r->name, "LIST"))
		take_listed(l, &c);
	else if (span_ieq_str(r->name, "STATUS") || span_ieq_str(r->name, "MYRIGHTS"))
		take_more(l, &c, line);
	else if (l->r->links[i] == l->r->selected)
		buf_add_span(&l->r->s->text, line); /* news of the selected mailbox */
	buf_end(&scratch);
}

/* False: it is over with this one. */
static bool take_response(struct remote_list *l, size_t i, struct span line)
{
	struct imap_resp r;
	bool good = imap_resp_parse(line, &r) == ERR_OK && r.cond != IMAP_COND_BYE;
	if (good && r.kind != IMAP_RESP_TAGGED) {
		if (r.kind == IMAP_RESP_UNTAGGED)
			take_untagged(l, i, &r, line);
		return true;
	}
	bool done = good && span_eq_str(r.tag, LIST_TAG) && r.cond == IMAP_COND_OK;
	l->at[i].state = done ? ASK_DONE : ASK_AWAY;
	return false;
}

/* ---- asking ---------------------------------------------------------------------------------------------- */

static void ask(struct remote_list *l, size_t i, struct stream *io)
{
	struct buf line = BUF_INIT(COMMAND_MAX);
	buf_add_str(&line, LIST_TAG " LIST \"\" (\"Other Users/*\" \"Shared Folders/*\") RETURN (");
	if (l->status != 0) {
		buf_add_str(&line, "STATUS ");
		status_put_items(&line, l->status);
	}
	if (l->myrights)
		buf_add_str(&line, l->status != 0 ? " MYRIGHTS" : "MYRIGHTS");
	buf_add_str(&line, ")\r\n");
	CHECK(buf_ok(&line));
	l->at[i].state = stream_write_span(io, buf_span(&line)) ? ASK_SENT : ASK_AWAY;
	buf_end(&line);
}

static void go_on_with(struct remote_list *l, size_t i)
{
	struct peer_link *link = l->r->links[i];
	struct stream *io = link == NULL ? NULL : peer_link_stream(link);
	if (io == NULL)
		return;
	if (l->at[i].state == ASK_LINK)
		ask(l, i, io);
	while (l->at[i].state == ASK_SENT) {
		struct imap_frame *f = &l->at[i].frame;
		enum imap_rx rx = imap_frame_scan(f, stream_input(io));
		if (rx == IMAP_RX_MORE) {
			l->at[i].state = stream_at_eof(io) ? ASK_AWAY : ASK_SENT;
			return;
		}
		if (rx != IMAP_RX_COMMAND) {
			l->at[i].state = ASK_AWAY;
			return;
		}
		size_t n = f->len;
		(void)take_response(l, i, span_first(stream_input(io), n));
		stream_eat(io, n);
		imap_frame_reset(f);
	}
}

void remote_list_link_gone(struct imap_remote *r, const struct peer_link *link)
{
	for (size_t i = 0; r->list != NULL && i < COUNT_OF(r->links); i++)
		if (r->links[i] == link && r->list->at[i].state != ASK_DONE)
			r->list->at[i].state = ASK_AWAY;
}

/* A link that did not answer in order cannot be trusted with the next command. */
static void leave_out(struct remote_list *l, size_t i)
{
	struct imap_session *s = l->r->s;
	imap_say(s, "* NO [UNAVAILABLE] Shared mailboxes of store %s cannot be listed now\r\n",
	    s->opts->peer[i]->head.title);
	if (l->r->links[i] != NULL)
		remote_drop(l->r, l->r->links[i]);
}

enum verdict remote_list_go(struct imap_session *s)
{
	struct imap_remote *r = s->remote;
	struct remote_list *l = r->list;
	for (size_t i = 0; i < s->opts->peer_n; i++) {
		go_on_with(l, i);
		if (l->at[i].state == ASK_LINK || l->at[i].state == ASK_SENT)
			return V_WAIT;
	}
	for (size_t i = 0; i < s->opts->peer_n; i++)
		if (l->at[i].state == ASK_AWAY)
			leave_out(l, i);
	timer_clear(&l->deadline);
	r->phase = REMOTE_IDLE;
	enum verdict v = imap_run_here(s);
	remote_list_free(&r->list);
	return v;
}

static void on_deadline(void *arg)
{
	struct imap_session *s = OBJ(imap_session, arg);
	struct remote_list *l = s->remote->list;
	for (size_t i = 0; i < s->opts->peer_n; i++)
		if (l->at[i].state == ASK_LINK || l->at[i].state == ASK_SENT)
			l->at[i].state = ASK_AWAY;
	imap_step(s, V_NEXT);
}

/* ---- is it needed? ------------------------------------------------------------------------------------------ */

/* Up to its first wildcard the pattern and the prefix are the same as far as both go. */
static bool may_fit(struct span pattern, struct span prefix)
{
	size_t n = 0;
	while (n < pattern.n && n < prefix.n && pattern.p[n] != '*' && pattern.p[n] != '%') {
		if (pattern.p[n] != prefix.p[n])
			return false;
		n++;
	}
	return n == prefix.n || (n < pattern.n && (pattern.p[n] == '*' || pattern.p[n] == '%')) ||
	       n + 1 == prefix.n;
}

static bool may_show(const struct list_request *req)
{
	if ((req->select & LIST_SPECIAL_USE) != 0)
		return false; /* they have none */
	for (size_t i = 0; i < req->pattern_n; i++) {
		struct buf whole = BUF_INIT(2 * IMAP_NAME_BYTES);
		bool ok =
		    buf_add_span(&whole, req->reference) && buf_add_span(&whole, req->patterns[i]);
		bool fits = ok && req->patterns[i].n > 0 &&
			    (may_fit(buf_span(&whole), SPAN("Other Users/")) ||
				may_fit(buf_span(&whole), SPAN("Shared Folders/")));
		buf_end(&whole);
		if (fits)
			return true;
	}
	return false;
}

static void start(struct imap_session *s, const struct list_request *req)
{
	static const struct imap_limits limits = { RESPONSE_MAX, RESPONSE_MAX, RESPONSE_MAX };
	struct imap_remote *r = remote_of(s);
	struct remote_list *l = MEM_NEW(struct remote_list);
	remote_list_free(&r->list);
	r->list = l;
	l->r = r;
	l->status = req->status;
	l->myrights = req->return_myrights;
	timer_init(&l->deadline, store_worker_loop(s->base.worker), on_deadline, s);
	timer_set(&l->deadline, s->opts->peer_timeout);
	for (size_t i = 0; i < s->opts->peer_n; i++) {
		imap_frame_init(&l->at[i].frame, limits, false);
		(void)remote_link(r, i);
	}
	r->phase = REMOTE_LIST;
	imap_set_state(s, ST_REMOTE);
}

bool remote_list_takes(struct imap_session *s, enum verdict *v_out)
{
	struct imap_cursor now = s->cmd.args;
	struct list_request req;
	list_parse(&s->cmd.args, &req);
	bool shows = imap_ok(&s->cmd.args) && may_show(&req);
	s->cmd.args = now;
	if (!shows)
		return false;
	start(s, &req);
	*v_out = V_NEXT;
	return true;
}
