/* session.c - one SMTP connection: state table, driver, destructor (steps 2 to 5 of 6).
 *
 * before: accept.c. Owns: struct session and all that hangs on it. An idle session holds no buffer: the
 * stream has none, a mail exists between MAIL and its answer only. */
#include "edge/session.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "proto/proxy_hdr.h"
#include "proto/smtp_reply.h"

#include "edge/admit.h"
#include "edge/at_store.h"
#include "edge/auth.h"
#include "edge/chunk.h"
#include "edge/content.h"
#include "edge/dry.h"
#include "edge/envelope.h"
#include "edge/filter.h"
#include "edge/greet.h"
#include "edge/mail.h"
#include "edge/passed.h"
#include "edge/relay_cert.h"
#include "edge/screen.h"

enum {
	IN_MAX = 64 * 1024,
	OUT_MAX = 64 * 1024,
	OUT_LOW = 16 * 1024, /* with less room for replies no further command is taken */
	REPLY_MAX = 2048,
	FIRST_MAX = 16, /* without a line end so many bytes tell what the peer speaks */
	LINGER_MS = 1000,
	/* Every helper has a deadline of its own; this one only catches a fault of ours. It is longer than
	 * the longest commit_timeout, final_timeout and spool_timeout together. */
	HELPER_MS = 60 * 60 * 1000,
};
#define PROXY_V2 SPAN("\r\n\r\n\0\r\nQUIT\n")

typedef enum verdict input_fn(struct session *s);
typedef enum verdict deadline_fn(struct session *s);
typedef enum verdict line_fn(struct session *s, struct span line);

static input_fn on_early, on_first, on_lines;
static deadline_fn on_slow_client, on_slow_handshake, on_stuck, on_delayed;

#define TIME(option) offsetof(struct edge_conf, option)
#define HELPER SIZE_MAX

static const struct {
	const char *name;
	size_t ms_at;       /* the state's time: an option, or HELPER */
	input_fn *on_input; /* NULL: input waits in the stream, bounded by its in_max */
	line_fn *on_line;   /* for on_lines */
	deadline_fn *on_deadline;
	bool client_turn; /* nobody but the client is waited for: its EOF ends the session */
} states[ST_COUNT] = {
	[ST_ADMIT] = { "admit", HELPER, on_early, NULL, on_stuck, true },
	[ST_BANNER] = { "banner", HELPER, on_early, NULL, admit_waited, true },
	[ST_SCREEN] = { "screen", HELPER, on_early, NULL, on_stuck, true },
	[ST_SECURE] = { "secure", TIME(command_timeout), NULL, NULL, on_slow_handshake, true },
	[ST_FIRST] = { "first", TIME(command_timeout), on_first, NULL, on_slow_client, true },
	[ST_COMMAND] = { "command", TIME(command_timeout), on_lines, greet_line, on_slow_client,
	    true },
	[ST_ERROR] = { "error", HELPER, NULL, NULL, on_delayed, false },
	[ST_AUTH] = { "auth", TIME(command_timeout), on_lines, auth_line, on_slow_client, true },
	[ST_AUTH_FIND] = { "auth_find", HELPER, NULL, NULL, on_stuck, false },
	[ST_AUTH_METER] = { "auth_meter", HELPER, NULL, NULL, on_stuck, false },
	[ST_AUTH_VERIFY] = { "auth_verify", HELPER, NULL, NULL, on_stuck, false },
	[ST_PENALTY] = { "penalty", HELPER, NULL, NULL, auth_answer, false },
	[ST_SENDER] = { "sender", HELPER, NULL, NULL, on_stuck, false },
	[ST_ACCESS] = { "access", HELPER, NULL, NULL, on_stuck, false },
	[ST_RECIPIENT] = { "recipient", HELPER, NULL, NULL, on_stuck, false },
	[ST_METER_MAIL] = { "meter_mail", HELPER, NULL, NULL, envelope_sender_taken, false },
	[ST_METER_RCPT] = { "meter_rcpt", HELPER, NULL, NULL, at_store_verify, false },
	[ST_AT_STORE] = { "at_store", HELPER, NULL, NULL, on_stuck, false },
	[ST_POLICY] = { "policy", HELPER, NULL, NULL, on_stuck, false },
	[ST_FILTER_MAIL] = { "filter_mail", HELPER, NULL, NULL, on_stuck, false },
	[ST_FILTER_RCPT] = { "filter_rcpt", HELPER, NULL, NULL, on_stuck, false },
	[ST_FILTER_DATA] = { "filter_data", HELPER, NULL, NULL, on_stuck, false },
	[ST_DATA] = { "data", TIME(data_timeout), content_input, NULL, content_slow, true },
	[ST_CHUNK] = { "chunk", TIME(data_timeout), chunk_input, NULL, chunk_slow, true },
	[ST_ETRN] = { "etrn", HELPER, NULL, NULL, on_stuck, false },
	[ST_METER] = { "meter", HELPER, NULL, NULL, on_stuck, false },
	[ST_TARPIT] = { "tarpit", HELPER, NULL, NULL, content_filter, false },
	[ST_FILTER] = { "filter", HELPER, NULL, NULL, on_stuck, false },
	[ST_COMMIT] = { "commit", HELPER, NULL, NULL, on_stuck, false },
};

/* ---- helpers ---------------------------------------------------------------------------------- */

uint64_t session_now_ms(const struct session *s)
{
	return loop_now_ms(s->edge->loop);
}

static void set_state(struct session *s, enum session_state to, uint64_t ms)
{
	ticket_cancel(&s->ask);
	s->state = to;
	timer_set(&s->deadline, ms);
}

void session_enter(struct session *s, enum session_state to)
{
	uint64_t ms = HELPER_MS;
	if (states[to].ms_at != HELPER)
		memcpy(&ms, (const char *)s->setup->edge + states[to].ms_at, sizeof ms);
	set_state(s, to, ms);
}

void session_hold(struct session *s, enum session_state to, uint64_t ms)
{
	set_state(s, to, ms);
}

bool session_normalizes(const struct session *s)
{
	return ip_in_set(s->from.addr, &s->listener->normalize_from);
}

bool session_is_idle(const struct session *s)
{
	return states[s->state].client_turn && s->mail == NULL;
}

/* A mail's words carry its own id: the log lines of both name the other. */
static const char *id_of(const struct session *s)
{
	return s->mail != NULL ? mail_id(s->mail) : s->id.s;
}

/* ---- replies ---------------------------------------------------------------------------------- */

static void put_reply(struct session *s, unsigned code, const char *enhanced, struct span text)
{
	struct buf out = BUF_INIT(REPLY_MAX);
	if (smtp_reply_put(&out, code, enhanced, text))
		stream_write_span(s->io, buf_span(&out));
	buf_end(&out);
}

static void put_refusal(struct session *s, unsigned code, const char *enhanced, const char *text)
{
	struct buf out = BUF_INIT(REPLY_MAX);
	buf_printf(&out, "%s [%s]", text, id_of(s));
	put_reply(s, code, enhanced, buf_span(&out));
	buf_end(&out);
}

enum verdict session_say(struct session *s, unsigned code, const char *enhanced, const char *text)
{
	put_reply(s, code, enhanced, span_str(text));
	return V_READ;
}

enum verdict session_refuse_quietly(
    struct session *s, unsigned code, const char *enhanced, const char *text)
{
	put_refusal(s, code, enhanced, text);
	s->refused++;
	if (code < 500)
		return V_READ;
	s->errors++;
	s->owes_delay = s->errors > (unsigned)s->setup->edge->errors_free;
	if (s->errors >= (unsigned)s->setup->edge->errors_max)
		return session_bye(s, WHY_TOO_MANY_ERRORS, NULL);
	return V_READ;
}

enum verdict session_refuse(
    struct session *s, unsigned code, const char *enhanced, const char *text)
{
	if (s->dry == NULL)
		log_write(&edge_events[EDGE_EV_COMMAND_REFUSED], id_of(s),
		    LOG_FIELDS(LOG_ADDR("client", s->from), LOG_STR("session", s->id.s),
			LOG_STR("verb", smtp_verb_name(s->verb)), LOG_U64("code", code),
			LOG_STR("why", text)));
	session_notef(s, "refused", "%s: %u %s", smtp_verb_name(s->verb), code, text);
	return session_refuse_quietly(s, code, enhanced, text);
}

void session_note(struct session *s, const char *check, struct span answer)
{
	struct record *r = s->mail != NULL ? &s->mail->record : &s->record;
	record_note(r, session_now_ms(s) - s->begun_ms, check, answer);
}

void session_notef(struct session *s, const char *check, const char *fmt, ...)
{
	struct buf text = BUF_INIT(REPLY_MAX);
	va_list ap;
	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	session_note(s, check, buf_span(&text));
	buf_end(&text);
}

/* ---- the end ---------------------------------------------------------------------------------- */

static bool is_quiet(const struct session *s)
{
	return s->probe || (stream_bytes_in(s->io) == 0 && s->why == WHY_CLIENT_CLOSED);
}

static void log_end(const struct session *s)
{
	const struct reason_row *row = &reasons[s->why];
	log_write(&edge_events[is_quiet(s) ? EDGE_EV_SESSION_PROBE : EDGE_EV_SESSION_END], s->id.s,
	    LOG_FIELDS(LOG_ADDR("client", s->from), LOG_STR("listener", s->listener->head.title),
		LOG_STR("helo", s->helo), LOG_STR("user", s->user),
		LOG_STR("tls", stream_is_tls(s->io) ? "yes" : "no"),
		LOG_STR("state", states[s->state].name), LOG_STR("why", row->word),
		LOG_STR("fault", row->fault), LOG_STR("detail", s->detail),
		LOG_U64("messages", s->messages), LOG_U64("refused", s->refused),
		LOG_U64("errors", s->errors), LOG_U64("bytes_in", stream_bytes_in(s->io)),
		LOG_U64("bytes_out", stream_bytes_out(s->io)),
		LOG_U64("ms", session_now_ms(s) - s->begun_ms)));
}

static void session_end(struct session *s, uint64_t linger_ms) /* the only destructor */
{
	struct edge *e = s->edge;
	log_end(s);
	ticket_cancel(&s->ask);
	mail_end(s);
	filters_free(&s->filters);
	meter_release(&s->held);
	meter_release(&s->user_held);
	buf_end(&s->tags);
	session_notef(s, "end", "%s%s%s", reasons[s->why].word, s->detail != NULL ? ": " : "",
	    s->detail != NULL ? s->detail : "");
	if (s->dry != NULL) {
		dry_keep_session(s->dry, &s->record);
		dry_session_gone(s->dry);
	} else if (!is_quiet(s)) {
		record_keep(e->records, s->id, &s->record);
	}
	timer_clear(&s->deadline);
	passed_settle(s);
	passed_free(&s->passed);
	screen_free(&s->screen);
	attempt_free(&s->attempt);
	record_end(&s->record);
	if (linger_ms > 0)
		stream_close(&s->io, linger_ms);
	stream_free(&s->io);
	list_remove(&s->link);
	e->session_n--;
	metric_set(&edge_metrics[EDGE_M_SESSIONS], e->session_n);
	edge_client_leave(e, s->from.addr);
	edge_setup_unref(&s->setup);
	mem_free(s->helo);
	mem_free(s->user);
	mem_free(s->origin);
	s->magic = 0;
	mem_free(s);
	edge_session_gone(e);
}

enum verdict session_close(struct session *s, enum reason why, const char *detail)
{
	if (s->why == WHY_NONE) {
		s->why = why;
		s->detail = detail;
	}
	return V_CLOSE;
}

/* The rule is named, so that whoever is refused can ask about it. */
static void put_goodbye(struct session *s, enum reason why, const char *detail)
{
	const struct reason_row *row = &reasons[why];
	struct buf text = BUF_INIT(REPLY_MAX);
	buf_add_str(&text, row->text);
	if ((why == WHY_LIMITED || why == WHY_BARRED) && detail != NULL)
		buf_printf(&text, " (limit %.60s)", detail);
	put_refusal(s, row->code, row->enhanced, buf_cstr(&text));
	buf_end(&text);
}

enum verdict session_bye(struct session *s, enum reason why, const char *detail)
{
	bool secure_first = s->listener->tls == EDGE_TLS_IMPLICIT && !stream_is_tls(s->io);
	if (reasons[why].code != 0 && s->state != ST_SECURE && !secure_first)
		put_goodbye(s, why, detail);
	return session_close(s, why, detail);
}

void session_end_now(struct session *s, enum reason why)
{
	session_step(s, session_bye(s, why, NULL));
}

void session_drop(struct session *s, enum reason why)
{
	session_close(s, why, NULL);
	session_end(s, 0);
}

/* ---- the driver ------------------------------------------------------------------------------- */

void session_step(struct session *s, enum verdict v) /* may free s */
{
	while (v == V_READ)
		v = states[s->state].on_input != NULL ? states[s->state].on_input(s) : V_WAIT;
	if (v == V_MORE && stream_at_eof(s->io))
		v = session_close(s, WHY_CLIENT_CLOSED, NULL);
	if (v == V_MORE && s->edge->draining && session_is_idle(s))
		v = session_bye(s, WHY_DRAINED, NULL);
	if (v == V_CLOSE)
		session_end(s, LINGER_MS);
}

/* ---- input ------------------------------------------------------------------------------------ */

/* What else than SMTP do the first bytes look like? WHY_NONE: it may be SMTP. */
static enum reason foreign_reason(struct span in)
{
	if (proxy_hdr_looks_like(in))
		return WHY_PROXY_UNLISTED;
	return in.n >= 2 && in.p[0] == 0x16 && in.p[1] == 0x03 ? WHY_TLS_UNEXPECTED : WHY_NONE;
}

/* Only software that does not listen talks before the greeting; elsewhere than on MX it may be our
 * users', and waits. */
static enum verdict on_early(struct session *s)
{
	struct span in = stream_input(s->io);
	if (in.n == 0)
		return V_MORE;
	if (s->listener->role != EDGE_MX)
		return V_WAIT;
	enum reason why = foreign_reason(in);
	metric_add(&edge_metrics[EDGE_M_BARRED], 1);
	return session_bye(s, why != WHY_NONE ? why : WHY_EARLY_TALKER, NULL);
}

static enum verdict on_first(struct session *s)
{
	struct span in = stream_input(s->io);
	enum reason why = foreign_reason(in);
	if (why != WHY_NONE)
		return session_bye(s, why, NULL);
	/* A version 2 PROXY header begins as an impatient client might: with empty lines. */
	bool signature = in.n < PROXY_V2.n && span_starts(PROXY_V2, in);
	bool enough = span_find(in, '\n') != SIZE_MAX || in.n >= FIRST_MAX;
	if ((signature || !enough) && !stream_at_eof(s->io))
		return V_MORE;
	session_enter(s, ST_COMMAND);
	return V_READ;
}

static enum verdict on_line(struct session *s, struct span line)
{
	session_enter(s, s->state); /* the clock runs per whole line */
	if (s->edge->draining && session_is_idle(s))
		return session_bye(s, WHY_DRAINED, NULL);
	return states[s->state].on_line(s, line);
}

static enum verdict on_lines(struct session *s)
{
	if (stream_space(s->io) < OUT_LOW)
		return V_WAIT; /* STREAM_SENT goes on */
	if (s->owes_delay && s->state == ST_COMMAND && s->setup->edge->error_delay > 0) {
		s->owes_delay = false;
		session_hold(s, ST_ERROR, s->setup->edge->error_delay);
		return V_WAIT;
	}
	struct span line = SPAN_NONE;
	size_t eaten = 0;
	char copy[SMTP_AUTH_LINE_MAX]; /* the stream's own bytes live until the next call on it */
	s->scan.max = sizeof copy;
	s->scan.policy = session_normalizes(s) ? LINE_LF_OK : LINE_STRICT;
	enum line_rx rx = line_take(&s->scan, stream_input(s->io), &line, &eaten);
	if (rx == LINE_READY)
		memcpy(copy, line.n > 0 ? line.p : "", line.n);
	stream_eat(s->io, eaten);
	switch (rx) {
	case LINE_MORE:
		return V_MORE;
	case LINE_TOO_LONG:
		s->verb = SMTP_VERB_UNKNOWN;
		session_enter(s, s->state);
		return greet_too_long(s);
	case LINE_BAD:
		return session_bye(s, WHY_BAD_FRAMING, line_rx_why(rx));
	case LINE_READY:
		break;
	}
	enum verdict v = on_line(s, span_of(copy, line.n));
	mem_wipe(copy, line.n); /* it may have been a password */
	return v;
}

/* ---- events ----------------------------------------------------------------------------------- */

static enum verdict on_slow_client(struct session *s)
{
	return session_bye(s, WHY_COMMAND_TIMEOUT, NULL);
}

static enum verdict on_slow_handshake(struct session *s)
{
	return session_close(s, WHY_COMMAND_TIMEOUT, "TLS handshake");
}

static enum verdict on_delayed(struct session *s)
{
	session_enter(s, ST_COMMAND);
	return V_READ;
}

static enum verdict on_stuck(struct session *s)
{
	return session_bye(s, WHY_STUCK, states[s->state].name);
}

static void on_deadline(void *arg)
{
	struct session *s = OBJ(session, arg);
	session_step(s, states[s->state].on_deadline(s));
}

static enum verdict on_secured(struct session *s)
{
	CHECK(s->state == ST_SECURE);
	s->relay_cert = relay_cert_matches(s);
	if (s->relay_cert)
		session_note(s, "relay_cert", SPAN("the certificate lets it relay"));
	if (s->listener->tls == EDGE_TLS_IMPLICIT)
		return admit_greet(s);
	session_enter(s, ST_COMMAND);
	return V_READ;
}

static void on_failed(struct session *s)
{
	if (s->state == ST_SECURE)
		session_close(s, WHY_TLS_FAILED, stream_err_text(s->io));
	else
		session_close(s, WHY_CLIENT_FAILED, err_text(stream_err(s->io)));
	session_end(s, 0);
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct session *s = OBJ(session, arg);
	switch (ev) {
	case STREAM_EOF: /* a client may send everything, close its half, and wait for the answers */
		if (states[s->state].client_turn && states[s->state].on_input == NULL) {
			session_step(s, session_close(s, WHY_CLIENT_CLOSED, NULL));
			break;
		}
		session_step(s, V_READ);
		break;
	case STREAM_INPUT:
	case STREAM_SENT:
		session_step(s, V_READ);
		break;
	case STREAM_SECURED:
		session_step(s, on_secured(s));
		break;
	case STREAM_FAILED:
		on_failed(s);
		break;
	}
}

/* ---- the start -------------------------------------------------------------------------------- */

static struct session *session_new(
    struct edge *e, const struct edge_listener_conf *listener, const struct accepted *a)
{
	struct session *s = MEM_NEW(struct session);
	char addr[IP_TEXT_SIZE];
	s->magic = session_MAGIC;
	s->edge = e;
	s->setup = edge_setup_ref(e->setup);
	s->listener = listener;
	s->id = ident_new();
	s->from = a->client;
	s->peer = a->peer;
	s->probe = a->probe;
	s->may_xclient = ip_in_set(a->client.addr, &listener->xclient_from) &&
			 ip_in_set(a->peer.addr, &listener->xclient_from);
	s->begun_ms = session_now_ms(s);
	s->begun_us = clock_wall_us();
	struct stream_limits limits = { .in_max = IN_MAX, .out_max = OUT_MAX };
	s->io = stream_accepted(e->loop, a->fd, limits, on_stream, s);
	timer_init(&s->deadline, e->loop, on_deadline, s);
	list_add_tail(&e->sessions, &s->link);
	e->session_n++;
	metric_set(&edge_metrics[EDGE_M_SESSIONS], e->session_n);
	log_write(&edge_events[EDGE_EV_SESSION_OPEN], s->id.s,
	    LOG_FIELDS(LOG_ADDR("client", s->from), LOG_ADDR("peer", s->peer),
		LOG_STR("listener", listener->head.title)));
	session_notef(
	    s, "client", "%s on listener %s", ip_port_text(s->from, addr), listener->head.title);
	return s;
}

void session_start(
    struct edge *e, const struct edge_listener_conf *listener, const struct accepted *a)
{
	struct session *s = session_new(e, listener, a);
	session_step(s, admit_start(s));
}

void session_start_dry(struct edge *e, const struct edge_listener_conf *listener,
    const struct accepted *a, struct dry *dry, const char *user)
{
	struct session *s = session_new(e, listener, a);
	s->dry = dry;
	s->user = mem_str(user);
	s->mechanism = user != NULL ? "dry run" : NULL;
	dry_session(dry, s);
	session_step(s, admit_start(s));
}

struct span session_record(const struct session *s, struct span id)
{
	if (span_eq_str(id, s->id.s))
		return buf_span(&s->record.checks);
	if (s->mail != NULL && span_eq_str(id, mail_id(s->mail)))
		return buf_span(&s->mail->record.checks);
	return SPAN_NONE;
}

void session_put_json(const struct session *s, struct buf *out)
{
	static const char *const protocols[] = { "smtp", "submission", "submissions", "smtp" };
	char addr[IP_TEXT_SIZE], since[CLOCK_RFC3339_SIZE];
	buf_printf(out, "{\"id\":\"%s\",\"user\":", s->id.s);
	fmt_json_string(out, span_str(s->user));
	buf_printf(out, ",\"client\":\"%s\",\"protocol\":\"%s\",\"store\":\"\",\"since\":\"%s\"",
	    ip_port_text(s->from, addr), protocols[s->listener->role],
	    clock_rfc3339(s->begun_us, since));
	buf_printf(out, ",\"bytes_in\":%llu,\"bytes_out\":%llu,\"tls\":%s}",
	    (unsigned long long)stream_bytes_in(s->io), (unsigned long long)stream_bytes_out(s->io),
	    stream_is_tls(s->io) ? "true" : "false");
}
