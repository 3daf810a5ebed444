/* session.c - the IMAP connection: one table of states, one driver, one destructor; see session.h.
 *
 * Step 2 of the store: before: accept.c; after: the handlers of cmd_table.c, then operation.c. Owns the
 * stream, the deadline, the command in work, and through handlers the selected mailbox, job and append. */
#include <stdarg.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/mem.h"

#include "store-backend/imap/append.h"
#include "store-backend/imap/session.h"

typedef enum verdict state_fn(struct imap_session *s);
static state_fn go_wait, go_command, go_sasl, go_literal, go_literal_end, go_idle, go_job,
    go_finish;

static const struct {
	const char *name;
	state_fn *go;
} states[ST_COUNT] = {
	[ST_TLS] = { "tls", go_wait },
	[ST_COMMAND] = { "command", go_command },
	[ST_SASL] = { "sasl", go_sasl },
	[ST_LITERAL] = { "literal", go_literal },
	[ST_LITERAL_END] = { "literal-end", go_literal_end },
	[ST_IDLE] = { "idle", go_idle },
	[ST_WAIT] = { "wait", go_wait },
	[ST_JOB] = { "job", go_job },
	[ST_FINISH] = { "finish", go_finish },
};

static void set_state(struct imap_session *s, enum imap_state to)
{
	ticket_cancel(&s->ask); /* a ticket never outlives the state that asked */
	s->state = to;
	s->active_ms = loop_now_ms(store_worker_loop(s->base.worker));
}

/* ---- the command in work ------------------------------------------------------------------------- */

static void end_job(struct imap_session *s)
{
	struct imap_job *job = s->job;
	s->job = NULL;
	if (job != NULL)
		job->end(job);
}

static void end_command(struct imap_session *s)
{
	struct imap_command *c = &s->cmd;
	end_job(s);
	imap_append_free(&s->append);
	buf_wipe_end(&c->bytes); /* LOGIN's hold a secret */
	buf_wipe_end(&c->scratch);
	buf_end(&c->name);
	buf_end(&c->name2);
	c->tag = SPAN_NONE;
	c->row = NULL;
	c->uid = false;
}

static unsigned level_of(const struct imap_session *s)
{
	return s->user == NULL ? LEVEL_LOGIN : s->box == NULL ? LEVEL_USER : LEVEL_MAILBOX;
}

static const char *wrong_level(const struct imap_session *s)
{
	switch (level_of(s)) {
	case LEVEL_LOGIN:
		return "Log in first";
	case LEVEL_USER:
		return s->cmd.row->levels == LEVEL_LOGIN ? "Logged in already"
							 : "Select a mailbox first";
	default:
		return "Not now";
	}
}

static void read_arguments(struct imap_session *s)
{
	struct imap_command *c = &s->cmd;
	if (c->row->shape == SHAPE_OWN)
		return;
	if (c->row->shape != SHAPE_NONE) {
		imap_read_sp(&c->args);
		imap_read_mailbox(&c->args, &c->name);
	}
	if (c->row->shape == SHAPE_TWO_MAILBOXES) {
		imap_read_sp(&c->args);
		imap_read_mailbox(&c->args, &c->name2);
	}
	imap_read_end(&c->args);
}

/* tag SP [UID SP] verb; false: it is no command. */
static bool read_verb(struct imap_session *s)
{
	struct imap_command *c = &s->cmd;
	c->tag = imap_read_tag(&c->args);
	imap_read_sp(&c->args);
	c->uid = imap_try_word(&c->args, "UID");
	if (c->uid)
		imap_read_sp(&c->args);
	struct span verb = imap_read_atom(&c->args);
	if (!imap_ok(&c->args))
		return false;
	c->row = imap_row_find(verb);
	if (c->row == NULL || (c->uid && !c->row->uid_ok)) {
		imap_fail(&c->args, "Unknown command");
		return false;
	}
	return true;
}

/* The framed bytes become the command in work; they are not in the stream any more. */
static enum verdict begin_command(struct imap_session *s)
{
	struct imap_command *c = &s->cmd;
	size_t n = s->frame.len;
	c->bytes = BUF_INIT(IMAP_TOTAL_MAX);
	c->scratch = BUF_INIT(IMAP_TOTAL_MAX);
	c->name = c->name2 = BUF_INIT(IMAP_NAME_BYTES);
	buf_add_span(&c->bytes, span_first(stream_input(s->io), n));
	stream_eat(s->io, n);
	imap_frame_reset(&s->frame);
	imap_cursor_init(&c->args, buf_span(&c->bytes), &c->scratch);
	if (!read_verb(s))
		return imap_finish_bad(s, c->args.why);
	if ((c->row->levels & level_of(s)) == 0)
		return imap_finish_bad(s, wrong_level(s));
	s->news = (enum imap_news)c->row->news;
	if (c->uid && s->news == NEWS_NO_EXPUNGE)
		s->news = NEWS_ALL; /* numbers are not at stake */
	read_arguments(s);
	return imap_ok(&c->args) ? c->row->run(s) : imap_finish_bad(s, c->args.why);
}

/* A literal that no command but APPEND may have. */
static enum verdict refuse_literal(struct imap_session *s)
{
	imap_finish_bad(s, "Literal too long");
	if (s->frame.literal_sync)
		return V_NEXT;
	if (s->frame.literal_size > IMAP_SWALLOW_MAX)
		return imap_bye(s, "literal-too-long", "Literal too long");
	return imap_start_literal(s, s->frame.literal_size);
}

/* The prefix of a command with a large literal was framed. */
static enum verdict begin_with_literal(struct imap_session *s)
{
	uint64_t size = s->frame.literal_size;
	bool sync = s->frame.literal_sync;
	enum verdict v = begin_command(s);
	s->frame.literal_size = size;
	s->frame.literal_sync = sync;
	if (s->state == ST_LITERAL)
		return v;
	if (v == V_CLOSE)
		return v;
	/* refused before its bytes came: the reply waits in ST_FINISH; a client that does not wait for
	 * leave sends them all the same */
	if (s->state == ST_FINISH && (sync || size <= IMAP_SWALLOW_MAX))
		return sync ? V_NEXT : imap_start_literal(s, size);
	return refuse_literal(s);
}

/* ---- states -------------------------------------------------------------------------------------- */

static enum verdict go_wait(struct imap_session *s)
{
	return V_WAIT;
}

static enum verdict bad_frame(struct imap_session *s, enum imap_rx rx)
{
	return imap_bye(s, rx == IMAP_RX_TOO_LONG ? "line-too-long" : "bad-line", imap_rx_why(rx));
}

static enum verdict go_command(struct imap_session *s)
{
	if (!imap_has_room(s))
		return V_WAIT;
	if (s->drain_asked && stream_input(s->io).n == 0)
		return imap_bye(s, "drain", "[UNAVAILABLE] Server is shutting down, come back");
	enum imap_rx rx = imap_frame_scan(&s->frame, stream_input(s->io));
	switch (rx) {
	case IMAP_RX_MORE:
		return V_MORE;
	case IMAP_RX_CONTINUE:
		stream_write_span(s->io, SPAN("+ go on\r\n"));
		return V_NEXT;
	case IMAP_RX_COMMAND:
		return begin_command(s);
	case IMAP_RX_LITERAL:
		return begin_with_literal(s);
	case IMAP_RX_TOO_LONG:
	case IMAP_RX_BAD:
		break;
	}
	return bad_frame(s, rx);
}

/* One plain line into cmd.bytes, without its end; V_NEXT: it is there. */
static enum verdict take_line(struct imap_session *s, struct buf *line)
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

static enum verdict go_sasl(struct imap_session *s)
{
	struct buf line = BUF_INIT(IMAP_LINE_MAX);
	enum verdict v = take_line(s, &line);
	if (v == V_NEXT)
		v = imap_sasl_line(s, buf_span(&line));
	buf_wipe_end(&line);
	return v;
}

static enum verdict go_literal(struct imap_session *s)
{
	struct span in = stream_input(s->io);
	struct span part = span_first(in, s->literal_left < in.n ? (size_t)s->literal_left : in.n);
	if (s->append != NULL)
		imap_append_data(s, part);
	stream_eat(s->io, part.n);
	s->active_ms = loop_now_ms(store_worker_loop(s->base.worker));
	s->literal_left -= part.n;
	if (s->literal_left > 0)
		return V_MORE;
	set_state(s, ST_LITERAL_END);
	return V_NEXT;
}

/* What stands behind a large literal must be nothing. */
static enum verdict go_literal_end(struct imap_session *s)
{
	struct buf line = BUF_INIT(IMAP_LINE_MAX);
	enum verdict v = take_line(s, &line);
	bool empty = buf_len(&line) == 0;
	buf_end(&line);
	if (v != V_NEXT)
		return v;
	if (s->append != NULL && empty)
		return imap_append_commit(s);
	if (s->append != NULL)
		return imap_finish_bad(s, "Too many arguments");
	set_state(s, ST_FINISH); /* refused before: the reply is there */
	return V_NEXT;
}

/* False: the mailbox is gone, and so is the session to be. */
static bool refresh_box(struct imap_session *s)
{
	struct index_view *v = index_view_begin(s->partition->index);
	if (v == NULL)
		return true; /* later */
	bool there = selected_refresh(s->box, v);
	index_view_end(&v);
	return there;
}

/* Tells what is new in the mailbox. V_NEXT: everything is told and has left. */
static enum verdict tell_news(struct imap_session *s)
{
	if (s->box == NULL || s->news == NEWS_NONE)
		return imap_flush(s) ? V_NEXT : V_WAIT;
	if (!imap_flush(s))
		return V_WAIT;
	if (s->box->stale && s->box->report == REPORT_START && !refresh_box(s))
		return imap_bye(s, "mailbox-deleted", "The selected mailbox was deleted");
	while (!selected_report(s->box, s->news == NEWS_ALL, &s->text)) {
		if (!imap_flush(s))
			return V_WAIT;
	}
	return imap_flush(s) ? V_NEXT : V_WAIT;
}

static enum verdict go_idle(struct imap_session *s)
{
	enum verdict v = tell_news(s);
	if (v != V_NEXT)
		return v;
	if (s->drain_asked)
		return imap_bye(s, "drain", "[UNAVAILABLE] Server is shutting down, come back");
	struct buf line = BUF_INIT(IMAP_LINE_MAX);
	v = take_line(s, &line);
	bool done = span_ieq_str(buf_span(&line), "DONE");
	buf_end(&line);
	if (v != V_NEXT)
		return v;
	return done ? imap_finish(s, "OK", "Idle completed") : imap_finish_bad(s, "DONE expected");
}

static enum verdict go_job(struct imap_session *s)
{
	return s->job->run(s, s->job);
}

static enum verdict go_finish(struct imap_session *s)
{
	enum verdict v = tell_news(s);
	if (v != V_NEXT)
		return v;
	if (buf_len(&s->reply) > 0) {
		buf_add_span(&s->text, buf_span(&s->reply));
		buf_end(&s->reply);
	}
	if (!imap_flush(s))
		return V_WAIT;
	buf_end(&s->text);
	end_command(s);
	s->news = NEWS_NONE;
	if (s->errors >= IMAP_ERRORS_MAX)
		return imap_bye(s, "too-many-errors", "Too many bad commands");
	if (s->login_failures >= IMAP_LOGIN_FAILURES_MAX)
		return imap_bye(s, "too-many-failures", "Too many failed logins");
	set_state(s, ST_COMMAND);
	return V_NEXT;
}

/* ---- the driver ---------------------------------------------------------------------------------- */

/* The only destructor. */
static void session_end(struct imap_session *s)
{
	if (!s->base.probe)
		log_write(&store_events[STORE_EV_SESSION_END], s->base.id.s,
		    LOG_FIELDS(LOG_STR("protocol", "imap"), LOG_ADDR("client", s->client),
			LOG_STR("user", s->user == NULL ? "-" : s->user), LOG_STR("why", s->why),
			LOG_U64("bytes_in", stream_bytes_in(s->io)),
			LOG_U64("bytes_out", stream_bytes_out(s->io))));
	ticket_cancel(&s->ask);
	end_command(s);
	selected_free(&s->box);
	buf_end(&s->text);
	buf_end(&s->reply);
	timer_clear(&s->deadline);
	soon_clear(&s->again);
	stream_close(&s->io, IMAP_LINGER_MS);
	mem_free(s->user);
	s->magic = 0;
	store_session_end(&s->base);
	mem_free(s);
}

static void end_because(struct imap_session *s, const char *why)
{
	if (s->why == NULL)
		s->why = why;
	session_end(s);
}

/* The only driver; may free s. */
void imap_step(struct imap_session *s, enum verdict v)
{
	while (v == V_NEXT)
		v = states[s->state].go(s);
	if (v == V_CLOSE)
		end_because(s, "closed");
	else if (v == V_MORE && stream_at_eof(s->io))
		end_because(s, "client-closed");
}

static void on_secured(struct imap_session *s)
{
	if (level_of(s) == LEVEL_LOGIN && s->state == ST_TLS)
		set_state(s, ST_COMMAND);
}

static void greet(struct imap_session *s);

static void on_stream(void *arg, enum stream_event ev)
{
	struct imap_session *s = OBJ(imap_session, arg);
	switch (ev) {
	case STREAM_SECURED:
		on_secured(s);
		if (stream_bytes_out(s->io) == 0)
			greet(s); /* TLS from the first byte */
		break;
	case STREAM_FAILED:
		end_because(s, stream_err(s->io) == ERR_CONN_CLOSED ? "client-closed"
								    : err_name(stream_err(s->io)));
		return;
	case STREAM_EOF:
		if (s->state == ST_TLS) {
			end_because(s, "client-closed");
			return;
		}
		break;
	case STREAM_INPUT:
	case STREAM_SENT:
		break;
	}
	imap_step(s, V_NEXT);
}

static void on_again(void *arg)
{
	imap_step(OBJ(imap_session, arg), V_NEXT);
}

static void on_news(void *arg)
{
	struct imap_session *s = OBJ(imap_session, arg);
	if (s->state == ST_IDLE)
		imap_step(s, V_NEXT);
}

static uint64_t patience_ms(const struct imap_session *s)
{
	return s->user == NULL ? s->opts->login_timeout : s->opts->idle_timeout;
}

/* Logged in: silence counts. Before: the time since the connection was made. */
static void on_deadline(void *arg)
{
	struct imap_session *s = OBJ(imap_session, arg);
	uint64_t since = loop_now_ms(store_worker_loop(s->base.worker)) - s->active_ms;
	if (s->user != NULL && since < patience_ms(s)) {
		timer_set(&s->deadline, patience_ms(s) - since);
		return;
	}
	imap_bye(s, "timeout", s->user == NULL ? "Too slow to log in" : "Idle for too long");
	end_because(s, "timeout");
}

/* ---- for handlers -------------------------------------------------------------------------------- */

void imap_say(struct imap_session *s, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	buf_vprintf(&s->text, fmt, ap);
	va_end(ap);
}

bool imap_has_room(const struct imap_session *s)
{
	return stream_space(s->io) > IMAP_OUT_RESERVE;
}

bool imap_flush(struct imap_session *s)
{
	size_t space = stream_space(s->io);
	size_t room = space > IMAP_OUT_RESERVE ? space - IMAP_OUT_RESERVE : 0;
	struct span part = span_first(buf_span(&s->text), room);
	if (part.n > 0 && stream_write_span(s->io, part))
		buf_eat(&s->text, part.n);
	return buf_len(&s->text) == 0;
}

static enum verdict finish(struct imap_session *s, const char *word, const char *fmt, va_list ap)
{
	if (s->cmd.tag.n > 0)
		buf_printf(&s->reply, "%.*s %s ", SPAN_ARG(s->cmd.tag), word);
	else
		buf_printf(&s->reply, "* %s ", word);
	buf_vprintf(&s->reply, fmt, ap);
	buf_add_str(&s->reply, "\r\n");
	CHECK(buf_ok(&s->reply));
	set_state(s, ST_FINISH);
	return V_NEXT;
}

enum verdict imap_finishf(struct imap_session *s, const char *word, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	enum verdict v = finish(s, word, fmt, ap);
	va_end(ap);
	return v;
}

enum verdict imap_finish(struct imap_session *s, const char *word, const char *what)
{
	return imap_finishf(s, word, "%s", what);
}

enum verdict imap_finish_bad(struct imap_session *s, const char *why)
{
	s->errors++;
	return imap_finish(s, "BAD", why == NULL ? "Syntax error" : why);
}

enum verdict imap_finish_later(struct imap_session *s)
{
	return imap_finishf(
	    s, "NO", "[UNAVAILABLE] The store is away, try again later (%s)", s->base.id.s);
}

enum verdict imap_finish_result(struct imap_session *s, enum operation_result r)
{
	static const char *const words[OPR_COUNT] = {
		[OPR_NO_USER] = "[SERVERBUG] No such user",
		[OPR_NO_MAILBOX] = "[NONEXISTENT] No such mailbox",
		[OPR_NO_TARGET] = "[TRYCREATE] No such mailbox",
		[OPR_EXISTS] = "[ALREADYEXISTS] The mailbox exists already",
		[OPR_BAD_NAME] = "[CANNOT] Bad name",
		[OPR_DENIED] = "[NOPERM] This cannot be done",
		[OPR_OVER_QUOTA] = "[OVERQUOTA] Quota exceeded",
		[OPR_TOO_MANY] = "[LIMIT] Too many mailboxes, keywords or messages",
		[OPR_TOO_BIG] = "[TOOBIG] Message too large",
	};
	if (r == OPR_LATER || words[r] == NULL)
		return imap_finish_later(s);
	return imap_finish(s, "NO", words[r]);
}

enum verdict imap_bye(struct imap_session *s, const char *why, const char *what)
{
	if (s->why == NULL)
		s->why = why;
	stream_printf(s->io, "* BYE %s (%s)\r\n", what, s->base.id.s);
	return V_CLOSE;
}

void imap_wait(struct imap_session *s)
{
	set_state(s, ST_WAIT);
}

void imap_answered(struct imap_session *s)
{
	s->ask = NULL;
}

enum verdict imap_start_job(struct imap_session *s, struct imap_job *take_job)
{
	set_state(s, ST_JOB);
	s->job = take_job;
	return V_NEXT;
}

enum verdict imap_yield(struct imap_session *s)
{
	soon_set(store_worker_loop(s->base.worker), &s->again);
	return V_WAIT;
}

enum verdict imap_start_idle(struct imap_session *s)
{
	stream_write_span(s->io, SPAN("+ idling\r\n"));
	set_state(s, ST_IDLE);
	return V_NEXT;
}

enum verdict imap_start_sasl(struct imap_session *s)
{
	stream_write_span(s->io, SPAN("+ \r\n"));
	set_state(s, ST_SASL);
	return V_NEXT;
}

enum verdict imap_start_literal(struct imap_session *s, uint64_t left)
{
	s->literal_left = left;
	set_state(s, ST_LITERAL);
	return V_NEXT;
}

enum verdict imap_start_tls(struct imap_session *s)
{
	const struct tls_ctx *ctx = store_worker_tls(s->base.worker, STORE_IMAP);
	stream_printf(s->io, "%.*s OK Begin TLS now\r\n", SPAN_ARG(s->cmd.tag));
	end_command(s);
	set_state(s, ST_TLS);
	if (stream_start_tls_server(s->io, ctx) == 0)
		return V_WAIT;
	if (s->why == NULL)
		s->why = "starttls-injection";
	return V_CLOSE;
}

void imap_deselect(struct imap_session *s)
{
	selected_free(&s->box);
}

bool imap_is_secure(const struct imap_session *s)
{
	return stream_is_tls(s->io) || s->secret_ok;
}

bool imap_may_login(const struct imap_session *s)
{
	return imap_is_secure(s) || s->base.listener->plaintext_login;
}

struct selected *imap_select(struct imap_session *s, const struct index_mailbox *m, bool read_only)
{
	imap_deselect(s);
	s->box = selected_new(s->partition->link, m, read_only, on_news, s);
	return s->box;
}

enum verdict imap_operate(struct imap_session *s, const struct operation *op, operation_fn *fn)
{
	imap_wait(s);
	s->ask = operation_ask(s->partition->link, op, fn, s);
	return V_WAIT;
}

static void on_simple_done(void *arg, const struct operation_answer *a)
{
	struct imap_session *s = OBJ(imap_session, arg);
	imap_answered(s);
	imap_step(s, a->result == OPR_OK ? imap_finishf(s, "OK", "%s completed", s->cmd.row->name)
					 : imap_finish_result(s, a->result));
}

enum verdict imap_operate_simple(struct imap_session *s, const struct operation *op)
{
	return imap_operate(s, op, on_simple_done);
}

/* ---- begin, drain, end --------------------------------------------------------------------------- */

static struct imap_session *session_of(struct store_session *b)
{
	return OBJ(imap_session, LIST_OF(struct imap_session, base, b));
}

static void on_drain(struct store_session *b)
{
	struct imap_session *s = session_of(b);
	s->drain_asked = true;
	if (s->state == ST_COMMAND || s->state == ST_IDLE)
		imap_yield(s); /* not from inside the worker's walk over its sessions */
}

static void on_end(struct store_session *b)
{
	end_because(session_of(b), "stopped");
}

static void describe(const struct store_session *b, struct buf *out)
{
	const struct imap_session *s = (const struct imap_session *)(const void *)b;
	char text[IP_TEXT_SIZE];
	buf_printf(out,
	    "{\"id\":\"%s\",\"protocol\":\"imap\",\"state\":\"%s\",\"client\":\"%s\",\"tls\":%s,"
	    "\"user\":",
	    s->base.id.s, states[s->state].name, ip_port_text(s->client, text),
	    stream_is_tls(s->io) ? "true" : "false");
	fmt_json_string(out, s->user == NULL ? SPAN("") : span_str(s->user));
	buf_add_str(out, ",\"mailbox\":");
	fmt_json_string(out, s->box == NULL ? SPAN("") : span_str(s->box->name));
	buf_printf(out, ",\"bytes_in\":%llu,\"bytes_out\":%llu}",
	    (unsigned long long)stream_bytes_in(s->io),
	    (unsigned long long)stream_bytes_out(s->io));
}

static const struct store_session_class session_class = {
	.protocol = "imap", .drain = on_drain, .end = on_end, .describe = describe
};

static void greet(struct imap_session *s)
{
	struct buf line = BUF_INIT(1024);
	buf_add_str(&line, "* OK [CAPABILITY ");
	imap_put_capability(s, &line);
	buf_printf(&line, "] %s ready\r\n", store_worker_hostname(s->base.worker));
	stream_write_span(s->io, buf_span(&line));
	buf_end(&line);
}

void imap_session_start(
    struct store_worker *w, const struct accepted *a, const struct store_listener_conf *lc)
{
	static const struct imap_limits limits = { IMAP_LINE_MAX, IMAP_LITERAL_MAX,
		IMAP_TOTAL_MAX };
	struct imap_session *s = MEM_NEW(struct imap_session);
	struct loop *loop = store_worker_loop(w);
	s->magic = imap_session_MAGIC;
	store_session_begin(&s->base, &session_class, w, lc);
	s->base.probe = a->probe;
	s->opts = store_options(s->base.conf);
	s->client = a->client;
	s->local = a->local;
	s->secret_ok = ip_is_loopback(a->client.addr);
	s->text = BUF_INIT(IMAP_TEXT_MAX);
	s->reply = BUF_INIT(IMAP_REPLY_MAX);
	imap_frame_init(&s->frame, limits, true);
	timer_init(&s->deadline, loop, on_deadline, s);
	timer_set(&s->deadline, s->opts->login_timeout);
	soon_init(&s->again, on_again, s);
	s->io = stream_new(
	    loop, a->fd, (struct stream_limits){ IMAP_IN_MAX, IMAP_OUT_MAX }, on_stream, s);
	set_state(s, lc->tls == STORE_TLS_IMPLICIT ? ST_TLS : ST_COMMAND);
	if (lc->tls == STORE_TLS_IMPLICIT)
		stream_start_tls_server(s->io, store_worker_tls(w, STORE_IMAP));
	else
		greet(s);
	if (!s->base.probe)
		log_write(&store_events[STORE_EV_SESSION_START], s->base.id.s,
		    LOG_FIELDS(LOG_STR("protocol", "imap"), LOG_ADDR("client", s->client),
			LOG_ADDR("local", s->local), LOG_STR("listener", lc->head.title)));
}
