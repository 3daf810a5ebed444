/* remote.c - commands for mailboxes of another store, and the answers to them; see remote.h.
 *
 * Before: input.c, beside the handlers. After: peer_link.c. Owns the links of one session. */
#include "store-backend/imap/remote_internal.h"

#include "base/check.h"
#include "base/mem.h"

#include "store-backend/imap/notify.h"
#include "store-backend/imap/session_parts.h"
#include "store-backend/imap/shared.h"

/* A command with the literals that are part of it, made "{n+}". */
enum { OUT_MAX = IMAP_TOTAL_MAX + IMAP_LITERALS_MAX + 16, ENABLE_MAX = 128 };

/* ---- links ------------------------------------------------------------------------------------------- */

void imap_remote_free(struct imap_remote **rp)
{
	struct imap_remote *r = *rp;
	if (r == NULL)
		return;
	for (size_t i = 0; i < COUNT_OF(r->links); i++)
		peer_link_free(&r->links[i]);
	remote_list_free(&r->list);
	remote_give_free(&r->give);
	remote_take_free(&r->take);
	buf_end(&r->out);
	MEM_FREE(rp);
}

struct imap_remote *remote_of(struct imap_session *s)
{
	if (s->remote == NULL) {
		s->remote = MEM_NEW(struct imap_remote);
		s->remote->s = s;
		s->remote->out = BUF_INIT(OUT_MAX);
	}
	return s->remote;
}

void remote_drop(struct imap_remote *r, struct peer_link *l)
{
	for (size_t i = 0; i < COUNT_OF(r->links); i++) {
		if (r->links[i] != l)
			continue;
		if (r->selected == l)
			r->selected = NULL;
		if (r->at == l)
			r->at = NULL;
		peer_link_free(&r->links[i]);
		return;
	}
}

/* The client cannot be told what has become of its messages' numbers, or is in the middle of an answer. */
static enum verdict end_session(struct imap_session *s)
{
	if (s->why == NULL)
		s->why = "peer-lost";
	if (s->mid_line || (s->remote != NULL && s->remote->mid))
		return V_CLOSE;
	return imap_bye(s, "peer-lost", "[UNAVAILABLE] The store of the selected mailbox is away");
}

enum verdict remote_lost(struct imap_session *s, struct peer_link *l)
{
	struct imap_remote *r = s->remote;
	bool waits =
	    r->phase == REMOTE_SEND || r->phase == REMOTE_ANSWER || r->phase == REMOTE_GIVE;
	bool ends = r->selected == l || r->mid;
	bool ours = r->at == l;
	log_write(&store_events[STORE_EV_PEER_LOST], s->base.id.s,
	    LOG_FIELDS(LOG_STR("peer", peer_link_peer(l)->head.title), LOG_STR("user", s->user),
		LOG_STR("why", peer_link_why(l))));
	metric_add(&store_metrics[STORE_M_PEERS_LOST], 1);
	if (ends)
		return end_session(s);
	remote_list_link_gone(r, l);
	remote_drop(r, l);
	if (ours && r->phase == REMOTE_LITERAL)
		r->phase = REMOTE_LOST;
	if (!ours || !waits)
		return V_NEXT;
	r->phase = REMOTE_IDLE;
	enum verdict v = imap_finish_later(s);
	return v == V_NEXT ? imap_swallow(s) : v;
}

static void on_link(void *arg, struct peer_link *l, enum peer_event ev)
{
	struct imap_session *s = OBJ(imap_session, arg);
	struct imap_remote *r = s->remote;
	bool busy = r->at == l || r->phase == REMOTE_LIST;
	bool over =
	    ev == PEER_GONE || (ev == PEER_MOVED && !busy && stream_at_eof(peer_link_stream(l)));
	if (over)
		imap_step(s, remote_lost(s, l));
	else if (busy)
		imap_step(s, V_NEXT);
}

struct peer_link *remote_link(struct imap_remote *r, size_t peer)
{
	struct imap_session *s = r->s;
	if (r->links[peer] == NULL) {
		struct buf words = BUF_INIT(ENABLE_MAX);
		imap_put_enabled(&words, s->enabled);
		struct peer_link_opts opts = { .peer = s->opts->peer[peer],
			.conf = s->opts,
			.user = s->user,
			.enable = buf_cstr(&words),
			.client = s->client,
			.session = &s->base.id };
		r->links[peer] = peer_link_new(s->base.worker, &opts, on_link, s);
		buf_end(&words);
	}
	return r->links[peer];
}

/* ---- what is selected ---------------------------------------------------------------------------------- */

bool imap_remote_is_selected(const struct imap_session *s)
{
	return s->remote != NULL && s->remote->selected != NULL;
}

/* The link goes too: it has a mailbox open that nobody wants to hear of. */
void imap_remote_deselect(struct imap_session *s)
{
	if (imap_remote_is_selected(s))
		remote_drop(s->remote, s->remote->selected);
}

struct span imap_remote_name(const struct imap_session *s)
{
	const struct imap_remote *r = s->remote;
	const struct peer_link *l = r == NULL ? NULL : r->at != NULL ? r->at : r->selected;
	return l == NULL ? SPAN("") : span_str(peer_link_peer(l)->head.title);
}

static bool row_is(const struct imap_session *s, imap_cmd_fn *a, imap_cmd_fn *b)
{
	return s->cmd.row->run == a || s->cmd.row->run == b;
}

/* ---- sending ------------------------------------------------------------------------------------------- */

/* "{n}" CRLF or "{n+}" CRLF at the end of a line, without its plus; false: there is none. */
static bool announced(struct span line, size_t *head_out, uint64_t *size_out)
{
	size_t brace = span_rfind(line, '{');
	if (line.n < 5 || line.p[line.n - 3] != '}' || brace == SIZE_MAX)
		return false;
	struct span digits = span_of(line.p + brace + 1, line.n - 3 - brace - 1);
	if (digits.n > 0 && digits.p[digits.n - 1] == '+')
		digits.n--;
	*head_out = brace + 1 + digits.n;
	return digits.n > 0 && span_u64(digits, UINT64_MAX, size_out);
}

/* The bytes of a framed command; literals in it do not wait, a large one that is announced at its end does, because
 * the other store may refuse it. */
static bool put_command(struct buf *out, struct span bytes, bool pending)
{
	while (bytes.n > 0) {
		size_t lf = span_find(bytes, '\n'), head;
		struct span line = span_first(bytes, lf + 1);
		uint64_t size;
		bytes = span_from(bytes, line.n);
		if (lf == SIZE_MAX)
			return buf_add_span(out, line);
		if (!announced(line, &head, &size)) {
			buf_add_span(out, line);
			continue;
		}
		bool last = pending && bytes.n == 0;
		buf_add_span(out, span_first(line, head));
		buf_add_str(out, last ? "}\r\n" : "+}\r\n");
		buf_add_span(out, span_first(bytes, (size_t)size));
		bytes = span_from(bytes, (size_t)size);
	}
	return buf_ok(out);
}

static enum verdict send_command(struct imap_session *s, struct span bytes)
{
	struct imap_remote *r = s->remote;
	buf_end(&r->out);
	r->out = BUF_INIT(OUT_MAX);
	r->phase = REMOTE_SEND;
	r->done_said = false;
	if (!put_command(&r->out, bytes, s->cmd.pending)) {
		r->phase = REMOTE_IDLE;
		enum verdict v = imap_finish_bad(s, "Command too long");
		return v == V_NEXT ? imap_swallow(s) : v;
	}
	imap_set_state(s, ST_REMOTE);
	return V_NEXT;
}

static enum verdict forward(struct imap_session *s, struct peer_link *l)
{
	remote_of(s)->at = l;
	metric_add(&store_metrics[STORE_M_PEER_COMMANDS], 1);
	return send_command(s, buf_span(&s->cmd.bytes));
}

bool imap_remote_enable(struct imap_session *s, enum verdict *v_out)
{
	struct imap_remote *r = s->remote;
	for (size_t i = 0; r != NULL && i < COUNT_OF(r->links); i++)
		if (r->links[i] != NULL && r->links[i] != r->selected)
			remote_drop(r, r->links[i]);
	if (!imap_remote_is_selected(s))
		return false;
	*v_out = forward(s, r->selected);
	return true;
}

static enum verdict go_send(struct imap_session *s)
{
	struct imap_remote *r = s->remote;
	struct stream *io = peer_link_stream(r->at);
	if (io == NULL || stream_space(io) < buf_len(&r->out))
		return V_WAIT;
	if (row_is(s, cmd_select,
		cmd_examine)) { /* whatever comes of it, the old one is not selected any more */
		bool closes = s->box != NULL || (r->selected != NULL && r->selected != r->at);
		if (r->selected == r->at)
			r->selected = NULL;
		if (closes)
			stream_printf(s->io, "* OK [CLOSED] The mailbox before is closed\r\n");
		imap_deselect(s);
	}
	stream_write_span(io, buf_span(&r->out));
	buf_end(&r->out);
	r->out = BUF_INIT(OUT_MAX);
	imap_flow_init(&r->flow);
	r->mid = false;
	r->phase = REMOTE_ANSWER;
	return V_NEXT;
}

/* ---- the answer ------------------------------------------------------------------------------------------ */

static enum verdict answered(struct imap_session *s, enum imap_flow_kind kind)
{
	struct imap_remote *r = s->remote;
	bool ok = kind == IMAP_FLOW_OK;
	if (ok && row_is(s, cmd_select, cmd_examine)) {
		r->selected = r->at;
		imap_notify_selected_away(s);
	} else if (ok && row_is(s, cmd_close, cmd_unselect)) {
		r->selected = NULL;
	}
	r->at = NULL;
	r->phase = REMOTE_IDLE;
	s->errors = kind == IMAP_FLOW_BAD ? s->errors + 1 : 0;
	s->news = NEWS_NONE; /* the reply has left */
	imap_set_state(s, ST_FINISH);
	return imap_swallow(s);
}

/* "+": leave to send a literal, or the beginning of an IDLE. */
static enum verdict on_continue(struct imap_session *s)
{
	if (!s->cmd.pending)
		return V_NEXT; /* IDLE: the line was handed on */
	s->remote->phase = REMOTE_LITERAL;
	if (s->cmd.pending_sync)
		stream_write_span(s->io, SPAN("+ go on\r\n"));
	return imap_start_literal(s, s->cmd.pending_size);
}

/* One piece of a response goes to the client. V_WAIT: there is no more now. */
static enum verdict pass_piece(struct imap_session *s, struct stream *io)
{
	struct imap_remote *r = s->remote;
	size_t space = stream_space(s->io), n = 0;
	bool ends = false, idles = s->cmd.row->run == cmd_idle;
	struct span in = stream_input(io);
	if (space <= IMAP_OUT_RESERVE)
		return V_WAIT;
	enum imap_flow_kind kind = imap_flow_take(
	    &r->flow, s->cmd.tag, span_first(in, space - IMAP_OUT_RESERVE), &n, &ends);
	if (kind == IMAP_FLOW_BROKEN || kind == IMAP_FLOW_BYE || (n == 0 && stream_at_eof(io)))
		return remote_lost(s, r->at);
	if (n == 0)
		return V_WAIT;
	if (kind != IMAP_FLOW_CONTINUE || idles)
		stream_write_span(s->io, span_first(in, n));
	r->mid = !ends && (r->mid || kind != IMAP_FLOW_CONTINUE || idles);
	stream_eat(io, n);
	if (!ends || kind == IMAP_FLOW_UNTAGGED)
		return V_NEXT;
	return kind == IMAP_FLOW_CONTINUE ? on_continue(s) : answered(s, kind);
}

/* What the client says while it idles is one line. */
static enum verdict pass_done(struct imap_session *s, struct stream *io)
{
	struct buf line = BUF_INIT(IMAP_LINE_MAX);
	if (s->base.draining)
		return imap_bye_drained(s);
	enum verdict v = imap_take_line(s, &line);
	if (v == V_NEXT) {
		s->remote->done_said = true;
		stream_printf(io, "%s\r\n", span_ieq_str(buf_span(&line), "DONE") ? "DONE" : "-");
	}
	buf_end(&line);
	return v;
}

static enum verdict go_answer(struct imap_session *s)
{
	struct imap_remote *r = s->remote;
	struct stream *io = peer_link_stream(r->at);
	bool idles = s->cmd.row->run == cmd_idle && !r->done_said;
	enum verdict v = pass_piece(s, io);
	if (v != V_WAIT || !idles || r->mid)
		return v;
	return pass_done(s, io);
}

enum verdict imap_go_remote(struct imap_session *s)
{
	switch (s->remote->phase) {
	case REMOTE_SEND:
		return go_send(s);
	case REMOTE_ANSWER:
		return go_answer(s);
	case REMOTE_LIST:
		return remote_list_go(s);
	case REMOTE_GIVE:
		return remote_give_go(s);
	case REMOTE_TAKE:
		return remote_take_go(s);
	case REMOTE_IDLE:
	case REMOTE_LITERAL:
	case REMOTE_LOST:
		break;
	}
	BUG("no answer of another store is waited for");
}

/* ---- answers to commands of our own ------------------------------------------------------------------------ */

void remote_begin_reading(struct imap_remote *r)
{
	static const struct imap_limits limits = { IMAP_LINE_MAX, IMAP_LINE_MAX, IMAP_LINE_MAX };
	imap_frame_init(&r->frame, limits, false);
	r->literal = 0;
	r->tail = false;
}

enum verdict remote_read(
    struct imap_remote *r, struct stream *io, struct buf *line, struct imap_resp *out)
{
	enum imap_rx rx = imap_frame_scan(&r->frame, stream_input(io));
	if (rx == IMAP_RX_MORE && !stream_at_eof(io))
		return V_WAIT;
	bool whole = rx == IMAP_RX_COMMAND, begins = rx == IMAP_RX_LITERAL && !r->tail;
	if (!whole && !begins)
		return remote_lost(r->s, r->at);
	buf_add_span(line, span_first(stream_input(io), r->frame.len));
	r->literal = begins ? r->frame.literal_size : 0;
	stream_eat(io, r->frame.len);
	imap_frame_reset(&r->frame);
	bool read = whole && !r->tail;
	r->tail = false;
	if (read && (imap_resp_parse(buf_span(line), out) != ERR_OK || out->cond == IMAP_COND_BYE ||
			(out->kind == IMAP_RESP_TAGGED && !span_eq_str(out->tag, REMOTE_TAG))))
		return remote_lost(r->s, r->at);
	return V_NEXT;
}

void imap_remote_end_command(struct imap_session *s)
{
	if (s->remote == NULL)
		return;
	remote_give_free(&s->remote->give);
	remote_take_free(&s->remote->take);
	s->remote->phase = REMOTE_IDLE;
	s->remote->at = NULL;
}

/* ---- large literals ------------------------------------------------------------------------------------------ */

bool imap_remote_is_sending(const struct imap_session *s)
{
	return s->remote != NULL &&
	       (s->remote->phase == REMOTE_LITERAL || s->remote->phase == REMOTE_LOST);
}

size_t imap_remote_data(struct imap_session *s, struct span bytes)
{
	struct imap_remote *r = s->remote;
	if (r->phase == REMOTE_LOST)
		return bytes.n;
	struct stream *io = peer_link_stream(r->at);
	struct span part = span_first(bytes, stream_space(io));
	stream_write_span(io, part);
	return part.n;
}

enum verdict imap_remote_more(struct imap_session *s)
{
	struct imap_remote *r = s->remote;
	if (r->phase == REMOTE_LITERAL)
		return send_command(s, buf_span(&s->cmd.more));
	r->phase = REMOTE_IDLE;
	enum verdict v = imap_finish_later(s);
	return v == V_NEXT ? imap_swallow(s) : v;
}

/* ---- where does it go? ------------------------------------------------------------------------------------------ */

static bool is_known_here(struct imap_session *s, struct span owner)
{
	struct index_user u;
	struct index_view *v = index_view_begin(store_partition_of(s->base.worker, owner)->index);
	bool yes = v == NULL || (index_user(v, owner, &u) && index_stay(v, owner) == STAY_HERE);
	index_view_end(&v);
	return yes;
}

static bool knows_others(const struct imap_session *s)
{
	return s->user != NULL && !s->guest && s->opts->peer_n > 0 && s->opts->shared_folders;
}

bool imap_remote_may_have(struct imap_session *s, struct span owner)
{
	return knows_others(s) && owner.n > 0 && !span_eq_str(owner, s->user) &&
	       !is_known_here(s, owner);
}

/* The place of the owner's peer in the configuration; SIZE_MAX: none. */
static size_t peer_of(const struct imap_session *s, const struct account *a)
{
	for (size_t i = 0; a != NULL && i < a->host_count; i++) {
		const struct store_peer_conf *p = store_peer_named(s->opts, span_str(a->hosts[i]));
		for (size_t k = 0; p != NULL && k < s->opts->peer_n; k++)
			if (s->opts->peer[k] == p)
				return k;
	}
	return SIZE_MAX;
}

static enum verdict refuse_across(struct imap_session *s)
{
	enum verdict v = imap_finish(
	    s, "NO", "[CANNOT] The mailboxes are on different stores: fetch and append");
	return v == V_NEXT ? imap_swallow(s) : v;
}

/* The selected mailbox is at one store, and the target, at l or here, at another. */
static enum verdict across(struct imap_session *s, struct peer_link *l)
{
	if (!row_is(s, cmd_copy, cmd_move) || (l != NULL && s->box == NULL))
		return refuse_across(s);
	return l != NULL ? remote_give_start(s, l) : remote_take_start(s);
}

/* The first name is at this peer; SIZE_MAX: here. */
static enum verdict decided(struct imap_session *s, size_t peer)
{
	struct peer_link *l = peer == SIZE_MAX ? NULL : remote_link(remote_of(s), peer);
	struct peer_link *selected = s->remote == NULL ? NULL : s->remote->selected;
	enum imap_where where = s->cmd.row->where;
	bool one_owner = true;
	if (where == WHERE_TARGET && selected != l)
		return across(s, l);
	if (l == NULL)
		return imap_run_here(s);
	if (where == WHERE_RENAMED)
		one_owner = span_eq(shared_parse(s, buf_span(&s->cmd.name)).owner,
		    shared_parse(s, buf_span(&s->cmd.name2)).owner);
	return one_owner ? forward(s, l) : refuse_across(s);
}

static void on_owner(void *arg, enum directory_status status, const struct account *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	imap_answered(s);
	size_t peer = status == DIRECTORY_FOUND ? peer_of(s, a) : SIZE_MAX;
	enum verdict v = status == DIRECTORY_FOUND || status == DIRECTORY_ABSENT
			     ? decided(s, peer)
			     : imap_finish_later(s);
	if (s->state == ST_FINISH && v == V_NEXT)
		v = imap_swallow(s);
	imap_step(s, v);
}

static bool takes_named(struct imap_session *s, enum verdict *v_out)
{
	imap_read_ahead(s, &s->cmd.name, &s->cmd.name2);
	struct span owner = shared_parse(s, buf_span(&s->cmd.name)).owner;
	bool remote = s->cmd.row->where == WHERE_TARGET && imap_remote_is_selected(s);
	if (owner.n == 0 && remote) {
		*v_out = forward(s, s->remote->selected); /* which will say what is wrong with it */
		return true;
	}
	if (owner.n == 0 || span_eq_str(owner, s->user) || is_known_here(s, owner)) {
		if (remote)
			*v_out = across(s, NULL);
		return remote;
	}
	imap_wait(s);
	s->ask = directory_find(store_worker_directory(s->base.worker), owner, on_owner, s);
	*v_out = V_WAIT;
	return true;
}

bool imap_remote_takes(struct imap_session *s, enum verdict *v_out)
{
	if (!knows_others(s))
		return false;
	switch (s->cmd.row->where) {
	case WHERE_HERE:
		return false;
	case WHERE_SELECTED:
		if (!imap_remote_is_selected(s))
			return false;
		*v_out = forward(s, s->remote->selected);
		return true;
	case WHERE_NAMED:
	case WHERE_RENAMED:
	case WHERE_TARGET:
		return takes_named(s, v_out);
	case WHERE_ALL:
		return remote_list_takes(s, v_out);
	}
	BUG("no such place");
}
