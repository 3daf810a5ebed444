/* pop3_session.c - a POP3 connection (RFC 1939): framing, states, clock, the one destructor.
 *
 * Step 2 of the store; before: accept.c; after: pop3_login.c (who is it), pop3_command.c and pop3_send.c
 * (what does it want), then operation.c. Owns the stream, the clock, the ticket and the maildrop. */
#include "store-backend/pop3/pop3_session.h"

#include <inttypes.h>
#include <stdarg.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "store-backend/pop3/pop3_internal.h"

enum { REPLY_MAX = 500 }; /* RFC 2449 section 4: 512 with the line's end */

static enum verdict go_bye(struct pop3_session *s);

static const struct {
	const char *name;
	bool timed; /* pop3_idle_timeout; else the step has a deadline of its own */
	enum verdict (*on_line)(struct pop3_session *s, struct span line);
	enum verdict (*go)(struct pop3_session *s); /* without lines: what it does when resumed */
} states[POP3_ST_COUNT] = {
	[POP3_ST_TLS] = { "tls", true, NULL, NULL },
	[POP3_ST_AUTH] = { "auth", true, pop3_command, NULL },
	[POP3_ST_SASL] = { "sasl", true, pop3_sasl_line, NULL },
	[POP3_ST_LOGIN] = { "login", false, NULL, NULL },
	[POP3_ST_OPEN] = { "open", false, NULL, pop3_open },
	[POP3_ST_BOX] = { "transaction", true, pop3_command, NULL },
	[POP3_ST_SEND] = { "send", true, NULL, pop3_send },
	[POP3_ST_UPDATE] = { "update", false, NULL, NULL },
	[POP3_ST_BYE] = { "bye", true, NULL, go_bye },
};

void pop3_set_state(struct pop3_session *s, enum pop3_state to)
{
	ticket_cancel(&s->ask);
	s->state = to;
	if (s->user == NULL)
		return; /* login_timeout runs from the connection to the login, whatever is said */
	if (states[to].timed)
		timer_set(&s->clock, s->opts->pop3_idle_timeout);
	else
		timer_clear(&s->clock);
}

void pop3_because(struct pop3_session *s, const char *why)
{
	if (s->why == NULL)
		s->why = why;
}

/* ---- replies ----------------------------------------------------------------------------------- */

static void reply(struct pop3_session *s, const char *word, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));
static void reply(struct pop3_session *s, const char *word, const char *fmt, va_list ap)
{
	struct buf text = BUF_INIT(4096), line = BUF_INIT(4096);
	buf_vprintf(&text, fmt, ap);
	buf_add_str(&line, word);
	fmt_line_text(&line, buf_span(&text), REPLY_MAX);
	buf_add_str(&line, "\r\n");
	stream_write_span(s->io, buf_span(&line));
	buf_end(&text);
	buf_end(&line);
}

enum verdict pop3_ok(struct pop3_session *s, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	reply(s, "+OK ", fmt, ap);
	va_end(ap);
	return V_NEXT;
}

enum verdict pop3_err(struct pop3_session *s, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	reply(s, "-ERR ", fmt, ap);
	va_end(ap);
	return V_NEXT;
}

enum verdict pop3_refuse(
    struct pop3_session *s, const char *why, const char *code, const char *text)
{
	pop3_because(s, why);
	pop3_err(s, "%s%s (%s)", code, text, s->base.id.s);
	return V_CLOSE;
}

enum verdict pop3_bad(struct pop3_session *s, const char *text)
{
	if (++s->errors >= POP3_ERRORS_MAX)
		return pop3_refuse(s, "too-many-errors", "", "Too many errors");
	return pop3_err(s, "%s", text);
}

/* ---- facts ------------------------------------------------------------------------------------- */

bool pop3_is_secure(const struct pop3_session *s)
{
	return stream_is_tls(s->io) || s->near;
}

bool pop3_takes_secrets(const struct pop3_session *s)
{
	return pop3_is_secure(s) || s->base.listener->plaintext_login;
}

bool pop3_offers_tls(const struct pop3_session *s)
{
	return s->base.listener->tls == STORE_TLS_STARTTLS && !stream_is_tls(s->io) &&
	       store_worker_tls(s->base.worker, STORE_POP3) != NULL;
}

/* ---- the end ----------------------------------------------------------------------------------- */

static void leave_maildrop(struct pop3_session *s)
{
	if (s->drop != NULL && s->state != POP3_ST_UPDATE)
		pop3_note_seen(s);
	maildrop_free(&s->drop);
}

/* The only destructor. graceful: what was said still leaves. */
static void session_end(struct pop3_session *s, bool graceful)
{
	if (!s->base.probe)
		log_write(&store_events[STORE_EV_SESSION_END], s->base.id.s,
		    LOG_FIELDS(LOG_STR("protocol", "pop3"), LOG_ADDR("client", s->client),
			LOG_STR("user", s->user != NULL ? s->user : "-"), LOG_STR("why", s->why),
			LOG_U64("bytes_in", stream_bytes_in(s->io)),
			LOG_U64("bytes_out", stream_bytes_out(s->io))));
	ticket_cancel(&s->ask);
	leave_maildrop(s);
	timer_clear(&s->clock);
	soon_clear(&s->again);
	if (graceful)
		stream_close(&s->io, POP3_LINGER_MS);
	else
		stream_free(&s->io);
	buf_end(&s->name);
	mem_free(s->user);
	s->magic = 0;
	store_session_end(&s->base);
	mem_free(s);
}

static void end_because(struct pop3_session *s, const char *why, bool graceful)
{
	pop3_because(s, why);
	session_end(s, graceful);
}

/* ---- the driver -------------------------------------------------------------------------------- */

/* Between two commands, with nothing marked deleted that a QUIT may still be meant for. */
static bool may_drain(const struct pop3_session *s)
{
	return s->base.draining && (s->drop == NULL || s->drop->left == s->drop->n);
}

static enum verdict refuse_drained(struct pop3_session *s)
{
	return pop3_refuse(s, "drain", "[SYS/TEMP] ", "Server is shutting down, come back");
}

static enum verdict take_line(struct pop3_session *s)
{
	struct span line;
	size_t eat;
	if (stream_space(s->io) < POP3_COMMAND_ROOM)
		return V_WAIT;
	enum line_rx rx = line_take(&s->scan, stream_input(s->io), &line, &eat);
	/* eaten before the command runs: one that starts TLS must find nothing but injected input */
	struct buf copy = BUF_INIT(POP3_AUTH_LINE_MAX);
	if (rx == LINE_READY)
		buf_add_span(&copy, line);
	stream_eat(s->io, eat);
	enum verdict v = V_MORE;
	if (rx == LINE_BAD)
		v = pop3_refuse(s, "bad-line", "", line_rx_why(rx));
	else if (rx == LINE_MORE && may_drain(s))
		v = refuse_drained(s);
	if (rx == LINE_READY) {
		pop3_set_state(s, s->state); /* a whole line restarts the clock */
		v = states[s->state].on_line(s, buf_span(&copy));
	} else if (rx == LINE_TOO_LONG) {
		pop3_set_state(s, s->drop == NULL ? POP3_ST_AUTH : POP3_ST_BOX);
		v = pop3_bad(s, line_rx_why(rx));
	}
	buf_wipe_end(&copy);
	return v;
}

static enum verdict advance(struct pop3_session *s)
{
	if (states[s->state].on_line != NULL)
		return take_line(s);
	return states[s->state].go != NULL ? states[s->state].go(s) : V_WAIT;
}

static enum verdict go_bye(struct pop3_session *s)
{
	return stream_pending(s->io) > 0 ? V_WAIT : V_CLOSE;
}

/* The lock goes before the goodbye: whoever reads it may log in again. */
static enum verdict say_bye(struct pop3_session *s)
{
	leave_maildrop(s);
	pop3_set_state(s, POP3_ST_BYE);
	return go_bye(s);
}

void pop3_step(struct pop3_session *s, enum verdict v)
{
	while (v == V_NEXT)
		v = advance(s);
	if (v == V_MORE && stream_at_eof(s->io)) {
		pop3_because(s, "client-closed");
		v = V_CLOSE;
	}
	if (v == V_CLOSE && s->state != POP3_ST_BYE && s->state != POP3_ST_TLS)
		v = say_bye(s);
	if (v == V_CLOSE)
		end_because(s, "closed", true);
}

enum verdict pop3_yield(struct pop3_session *s)
{
	soon_set(store_worker_loop(s->base.worker), &s->again);
	return V_WAIT;
}

/* ---- callbacks --------------------------------------------------------------------------------- */

/* A proxy of Dovecot's reads from the greeting that it may say XCLIENT. */
static enum verdict greet(struct pop3_session *s)
{
	pop3_set_state(s, POP3_ST_AUTH);
	if (s->base.draining)
		return refuse_drained(s);
	return pop3_ok(s, "%s%s ready (%s)", s->trusted ? "[XCLIENT] " : "",
	    store_worker_hostname(s->base.worker), s->base.id.s);
}

static enum verdict secured(struct pop3_session *s)
{
	if (s->base.listener->tls == STORE_TLS_IMPLICIT)
		return greet(s);
	pop3_set_state(s, POP3_ST_AUTH);
	return V_NEXT;
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct pop3_session *s = OBJ(pop3_session, arg);
	switch (ev) {
	case STREAM_FAILED:
		end_because(s, err_name(stream_err(s->io)), false);
		break;
	case STREAM_SECURED:
		pop3_step(s, secured(s));
		break;
	case STREAM_EOF:
		pop3_step(s, s->state == POP3_ST_TLS ? V_MORE : V_NEXT);
		break;
	case STREAM_INPUT:
	case STREAM_SENT:
		pop3_step(s, V_NEXT);
		break;
	}
}

static void on_clock(void *arg)
{
	struct pop3_session *s = OBJ(pop3_session, arg);
	/* in the middle of an answer no word of ours would be read as one */
	if (s->state == POP3_ST_SEND || s->state == POP3_ST_TLS || s->state == POP3_ST_BYE)
		end_because(s, "timeout", false);
	else
		pop3_step(s, pop3_refuse(s, "timeout", "[SYS/TEMP] ",
				 s->user == NULL ? "Too slow to log in" : "Idle for too long"));
}

static void on_again(void *arg)
{
	pop3_step(OBJ(pop3_session, arg), V_NEXT);
}

static struct pop3_session *of_base(const struct store_session *base)
{
	struct pop3_session *s = LIST_OF(struct pop3_session, base, base);
	return OBJ(pop3_session, s);
}

static void class_drain(struct store_session *base)
{
	pop3_yield(of_base(base)); /* not from inside the worker's walk over its sessions */
}

static void class_end(struct store_session *base)
{
	end_because(of_base(base), "stopped", false);
}

static void class_describe(const struct store_session *base, struct buf *out)
{
	const struct pop3_session *s = of_base(base);
	char text[IP_TEXT_SIZE];
	buf_printf(out, "{\"id\":\"%s\",\"user\":", base->id.s);
	fmt_json_string(out, span_str(s->user != NULL ? s->user : ""));
	buf_printf(out,
	    ",\"client\":\"%s\",\"protocol\":\"pop3\",\"state\":\"%s\",\"store\":\"\","
	    "\"since\":%" PRIu64 ",\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64 ",\"tls\":%s}",
	    ip_port_text(s->client, text), states[s->state].name, s->since_us / 1000000,
	    stream_bytes_in(s->io), stream_bytes_out(s->io),
	    stream_is_tls(s->io) ? "true" : "false");
}

static const struct store_session_class class = {
	.protocol = "pop3",
	.drain = class_drain,
	.end = class_end,
	.describe = class_describe,
};

/* ---- the beginning ----------------------------------------------------------------------------- */

static void begin(struct pop3_session *s)
{
	const struct tls_ctx *tls = store_worker_tls(s->base.worker, STORE_POP3);
	if (s->base.listener->tls != STORE_TLS_IMPLICIT) {
		pop3_step(s, greet(s));
	} else if (tls != NULL) {
		pop3_set_state(s, POP3_ST_TLS);
		stream_start_tls_server(s->io, tls);
	} else {
		end_because(s, "no-certificate", false);
	}
}

void pop3_session_start(
    struct store_worker *w, const struct accepted *a, const struct store_listener_conf *lc)
{
	struct pop3_session *s = MEM_NEW(struct pop3_session);
	struct loop *loop = store_worker_loop(w);
	bool local = ip_is_none(a->client.addr);
	s->magic = pop3_session_MAGIC;
	store_session_begin(&s->base, &class, w, lc);
	s->base.probe = a->probe;
	s->opts = store_options(s->base.conf);
	s->client = a->client;
	s->local = a->local;
	s->near = local || ip_is_loopback(a->client.addr);
	s->trusted = local || ip_in_set(a->client.addr, &lc->facts_from);
	s->since_us = clock_wall_us();
	s->scan = LINE_SCAN_INIT(POP3_AUTH_LINE_MAX);
	s->name = BUF_INIT(SASL_NAME_MAX);
	timer_init(&s->clock, loop, on_clock, s);
	timer_set(&s->clock, s->opts->login_timeout);
	soon_init(&s->again, on_again, s);
	s->io = stream_accepted(
	    loop, a->fd, (struct stream_limits){ POP3_IN_MAX, POP3_OUT_MAX }, on_stream, s);
	stream_keepalive(s->io, POP3_KEEPALIVE_S);
	if (!s->base.probe)
		log_write(&store_events[STORE_EV_SESSION_START], s->base.id.s,
		    LOG_FIELDS(LOG_STR("protocol", "pop3"), LOG_ADDR("client", s->client),
			LOG_ADDR("local", s->local), LOG_STR("listener", lc->head.title)));
	begin(s);
}
