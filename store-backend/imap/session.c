/* session.c - the IMAP connection: one table of states, one driver, one destructor; see session.h.
 *
 * Step 2 of the store: before: accept.c; beside: input.c (bytes in), reply.c (answers out); after: the
 * handlers of cmd_table.c, then operation.c. Owns the stream, the deadline, the command in work, and through
 * handlers the selected mailbox, job and append. */
#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/mem.h"

#include "store-backend/imap/across.h"
#include "store-backend/imap/append.h"
#include "store-backend/imap/auth.h"
#include "store-backend/imap/change.h"
#include "store-backend/imap/notify.h"
#include "store-backend/imap/remote.h"
#include "store-backend/imap/selected_shelf.h"
#include "store-backend/imap/session_parts.h"
#include "store-backend/imap/shared.h"

static imap_state_fn go_wait, go_job;

static const struct {
	const char *name;
	imap_state_fn *go;
} states[ST_COUNT] = {
	[ST_TLS] = { "tls", go_wait },
	[ST_COMMAND] = { "command", imap_go_command },
	[ST_SASL] = { "sasl", imap_go_sasl },
	[ST_LITERAL] = { "literal", imap_go_literal },
	[ST_LITERAL_END] = { "literal-end", imap_go_literal_end },
	[ST_IDLE] = { "idle", imap_go_idle },
	[ST_REMOTE] = { "remote", imap_go_remote },
	[ST_WAIT] = { "wait", go_wait },
	[ST_JOB] = { "job", go_job },
	[ST_FINISH] = { "finish", imap_go_finish },
};

void imap_set_state(struct imap_session *s, enum imap_state to)
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

void imap_end_command(struct imap_session *s)
{
	struct imap_command *c = &s->cmd;
	end_job(s);
	imap_append_free(&s->append);
	imap_across_free(&s->across);
	imap_auth_free(&s->auth);
	imap_change_free(&s->change);
	imap_remote_end_command(s);
	buf_wipe_end(&c->bytes); /* LOGIN's hold a secret */
	buf_wipe_end(&c->scratch);
	buf_end(&c->more);
	buf_end(&c->name);
	buf_end(&c->name2);
	c->tag = SPAN_NONE;
	c->row = NULL;
	c->uid = c->pending = false;
	s->swallowed = 0;
	s->frame.limits.literal_max = IMAP_LITERAL_MAX;
}

/* ---- states -------------------------------------------------------------------------------------- */

static enum verdict go_wait(struct imap_session *s)
{
	return V_WAIT;
}

static enum verdict go_job(struct imap_session *s)
{
	return s->job->run(s, s->job);
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
	imap_end_command(s);
	imap_notify_free(&s->notify);
	imap_deselect(s);
	imap_remote_free(&s->remote);
	buf_end(&s->text);
	buf_end(&s->reply);
	timer_clear(&s->deadline);
	timer_clear(&s->progress);
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

static enum verdict greet(struct imap_session *s)
{
	struct buf line = BUF_INIT(1024);
	if (s->base.draining)
		return imap_bye_drained(s);
	buf_add_str(&line, "* OK [CAPABILITY ");
	imap_put_capability(s, &line);
	buf_printf(&line, "] %s ready\r\n", store_worker_hostname(s->base.worker));
	stream_write_span(s->io, buf_span(&line));
	buf_end(&line);
	return V_NEXT;
}

static enum verdict on_secured(struct imap_session *s)
{
	bool first = stream_bytes_out(s->io) == 0; /* TLS from the first byte */
	imap_set_state(s, ST_COMMAND);
	return first ? greet(s) : V_NEXT;
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct imap_session *s = OBJ(imap_session, arg);
	enum verdict v = V_NEXT;
	switch (ev) {
	case STREAM_SECURED:
		v = on_secured(s);
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
	imap_step(s, v);
}

static void on_again(void *arg)
{
	imap_step(OBJ(imap_session, arg), V_NEXT);
}

/* Between commands only what was asked for by NOTIFY. */
void imap_news_came(struct imap_session *s)
{
	if (s->state == ST_IDLE || (s->state == ST_COMMAND && s->notify != NULL))
		imap_step(s, V_NEXT);
}

static void on_news(void *arg)
{
	imap_news_came(OBJ(imap_session, arg));
}

/* Logged in: silence counts, and that a long answer is not read. Before: the time since the connection was
 * made. */
static void on_deadline(void *arg)
{
	struct imap_session *s = OBJ(imap_session, arg);
	uint64_t now = loop_now_ms(store_worker_loop(s->base.worker));
	bool answering = s->state == ST_JOB || s->state == ST_FINISH ||
			 (s->state == ST_REMOTE && s->cmd.row->run != cmd_idle);
	if (answering && s->out_seen != stream_bytes_out(s->io))
		s->active_ms = now;
	s->out_seen = stream_bytes_out(s->io);
	if (s->user != NULL && now - s->active_ms < s->opts->idle_timeout) {
		timer_set(&s->deadline, s->opts->idle_timeout - (now - s->active_ms));
		return;
	}
	imap_bye(s, "timeout", s->user == NULL ? "Too slow to log in" : "Idle for too long");
	end_because(s, "timeout");
}

/* ---- for handlers -------------------------------------------------------------------------------- */

void imap_wait(struct imap_session *s)
{
	imap_set_state(s, ST_WAIT);
	imap_watch_progress(s);
}

void imap_answered(struct imap_session *s)
{
	s->ask = NULL;
}

enum verdict imap_start_job(struct imap_session *s, struct imap_job *take_job)
{
	imap_set_state(s, ST_JOB);
	s->job = take_job;
	imap_watch_progress(s);
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
	imap_set_state(s, ST_IDLE);
	return V_NEXT;
}

enum verdict imap_start_sasl(struct imap_session *s, const char *prompt)
{
	stream_printf(s->io, "+ %s\r\n", prompt);
	imap_set_state(s, ST_SASL);
	return V_NEXT;
}

enum verdict imap_start_literal(struct imap_session *s, uint64_t left)
{
	s->literal_left = left;
	s->frame.limits.literal_max =
	    0; /* of what follows in this command each is looked at by itself */
	imap_set_state(s, left > 0 ? ST_LITERAL : ST_LITERAL_END);
	return V_NEXT;
}

enum verdict imap_start_tls(struct imap_session *s)
{
	const struct tls_ctx *ctx = store_worker_tls(s->base.worker, STORE_IMAP);
	stream_printf(s->io, "%.*s OK Begin TLS now\r\n", SPAN_ARG(s->cmd.tag));
	imap_end_command(s);
	imap_set_state(s, ST_TLS);
	if (stream_start_tls_server(s->io, ctx) == 0)
		return V_WAIT;
	if (s->why == NULL)
		s->why = "starttls-injection";
	return V_CLOSE;
}

/* The reply is the last that leaves as it is. */
enum verdict imap_start_compress(struct imap_session *s)
{
	stream_printf(s->io, "%.*s OK Compression begins\r\n", SPAN_ARG(s->cmd.tag));
	imap_end_command(s);
	stream_start_compress(s->io);
	imap_set_state(s, ST_COMMAND);
	return V_NEXT;
}

void imap_deselect(struct imap_session *s)
{
	if (s->box != NULL)
		selected_shelf_put(s->box_in->shelf, s->box);
	selected_free(&s->box);
	imap_remote_deselect(s);
}

struct selected *imap_select(struct imap_session *s, const struct index_mailbox *m, bool read_only)
{
	imap_deselect(s);
	s->box_in = s->partition;
	s->box = selected_new(s->partition->link, m, read_only, on_news, s);
	selected_shelf_take(s->partition->shelf, s->box, m->vanished_from);
	imap_enable(s, s->enabled);
	return s->box;
}

void imap_enable(struct imap_session *s, unsigned what)
{
	if ((what & ENABLED_QRESYNC) != 0)
		what |= ENABLED_CONDSTORE;
	bool first = (what & ~s->enabled & ENABLED_CONDSTORE) != 0;
	s->enabled |= what;
	if (s->box == NULL)
		return;
	if (first)
		imap_say(
		    s, "* OK [HIGHESTMODSEQ %llu] Highest\r\n", (unsigned long long)s->box->modseq);
	s->box->modseqs = (s->enabled & ENABLED_CONDSTORE) != 0;
	s->box->uidonly = (s->enabled & ENABLED_UIDONLY) != 0;
	s->box->vanished = (s->enabled & (ENABLED_QRESYNC | ENABLED_UIDONLY)) != 0;
	s->box->rev2 = (s->enabled & ENABLED_REV2) != 0;
}

enum verdict imap_operate(struct imap_session *s, struct operation *op, operation_fn *fn)
{
	bool selected = s->box != NULL && s->partition == s->box_in && op->mailbox == s->box->id;
	if (op->user.n == 0 && selected)
		shared_act(s, op, span_str(s->box->owner));
	else if (op->user.n == 0)
		op->user = span_str(s->user);
	imap_wait(s);
	s->ask = operation_ask(s->partition->link, op, fn, s);
	return V_WAIT;
}

/* ---- begin, drain, end --------------------------------------------------------------------------- */

static struct imap_session *session_of(struct store_session *b)
{
	return OBJ(imap_session, LIST_OF(struct imap_session, base, b));
}

static void on_drain(struct store_session *b)
{
	struct imap_session *s = session_of(b);
	if (s->state == ST_COMMAND || s->state == ST_IDLE || s->state == ST_REMOTE)
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
	buf_add_str(out, ",\"peer\":");
	fmt_json_string(out, imap_remote_name(s));
	buf_printf(out, ",\"bytes_in\":%llu,\"bytes_out\":%llu}",
	    (unsigned long long)stream_bytes_in(s->io),
	    (unsigned long long)stream_bytes_out(s->io));
}

static const struct store_session_class session_class = {
	.protocol = "imap", .drain = on_drain, .end = on_end, .describe = describe
};

/* The first state and the first word. */
static void open_conversation(struct imap_session *s, const struct store_listener_conf *lc)
{
	const struct tls_ctx *ctx = store_worker_tls(s->base.worker, STORE_IMAP);
	bool implicit = lc->tls == STORE_TLS_IMPLICIT;
	imap_set_state(s, implicit ? ST_TLS : ST_COMMAND);
	if (!implicit)
		imap_step(s, greet(s));
	else if (ctx != NULL)
		stream_start_tls_server(s->io, ctx);
	else
		end_because(s, "no-certificate");
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
	s->facts_ok = ip_in_set(a->client.addr, &lc->facts_from);
	s->text = BUF_INIT(IMAP_TEXT_MAX);
	s->reply = BUF_INIT(IMAP_REPLY_MAX);
	imap_frame_init(&s->frame, limits, true);
	timer_init(&s->deadline, loop, on_deadline, s);
	timer_set(&s->deadline, s->opts->login_timeout);
	timer_init(&s->progress, loop, imap_on_progress, s);
	soon_init(&s->again, on_again, s);
	s->io = stream_accepted(
	    loop, a->fd, (struct stream_limits){ IMAP_IN_MAX, IMAP_OUT_MAX }, on_stream, s);
	stream_keepalive(s->io, IMAP_KEEPALIVE_S);
	if (!s->base.probe)
		log_write(&store_events[STORE_EV_SESSION_START], s->base.id.s,
		    LOG_FIELDS(LOG_STR("protocol", "imap"), LOG_ADDR("client", s->client),
			LOG_ADDR("local", s->local), LOG_STR("listener", lc->head.title)));
	open_conversation(s, lc);
}
