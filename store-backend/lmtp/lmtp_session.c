/* lmtp_session.c - an LMTP connection (RFC 2033): framing, states, TLS, the one destructor.
 *
 * Step 2 of 6 for mail that comes in; after: lmtp_command.c (verbs), lmtp_deliver.c (data and commit).
 * Owns the stream, the clock and at most one transaction. */
#include <inttypes.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "proto/smtp_reply.h"
#include "store-backend/lmtp/lmtp_internal.h"
#include "store-backend/lmtp/lmtp_session.h"

static void on_stream(void *arg, enum stream_event ev);

static const struct {
	const char *name;
	bool timed; /* lmtp_idle_timeout; else the step has its own deadline */
} states[LMTP_ST_COUNT] = {
	[LMTP_ST_TLS] = { "tls", true },
	[LMTP_ST_COMMAND] = { "command", true },
	[LMTP_ST_LOOKUP] = { "lookup", false },
	[LMTP_ST_DATA] = { "data", true },
	[LMTP_ST_CHUNK] = { "chunk", true },
	[LMTP_ST_COMMIT] = { "commit", false },
};

void lmtp_set_state(struct lmtp_session *s, enum lmtp_state to)
{
	s->state = to;
	if (states[to].timed)
		timer_set(&s->clock, store_options(s->base.conf)->lmtp_idle_timeout);
	else
		timer_clear(&s->clock);
}

enum lmtp_verdict lmtp_say(
    struct lmtp_session *s, unsigned code, const char *enhanced, const char *text)
{
	struct buf b = BUF_INIT(4096);
	smtp_reply_put(&b, code, enhanced, span_str(text));
	stream_write_span(s->io, buf_span(&b));
	buf_end(&b);
	if (code >= 500 && ++s->errors >= LMTP_ERRORS_MAX)
		return lmtp_refuse(s, "too-many-errors", "Too many errors");
	return LMTP_READ;
}

static enum lmtp_verdict refuse_as(
    struct lmtp_session *s, const char *why, const char *enhanced, const char *text)
{
	struct buf b = BUF_INIT(1024), line = BUF_INIT(512);
	if (s->why == NULL)
		s->why = why;
	buf_printf(&line, "%s [%s]", text, s->base.id.s);
	smtp_reply_put(&b, 421, enhanced, buf_span(&line));
	stream_write_span(s->io, buf_span(&b));
	buf_end(&line);
	buf_end(&b);
	return LMTP_CLOSE;
}

enum lmtp_verdict lmtp_refuse(struct lmtp_session *s, const char *why, const char *text)
{
	return refuse_as(s, why, "4.7.0", text);
}

static enum lmtp_verdict refuse_drained(struct lmtp_session *s)
{
	return refuse_as(s, "drain", "4.3.2", "Service shuts down");
}

/* The only destructor. graceful: what was said still leaves. */
static void session_end(struct lmtp_session *s, bool graceful)
{
	if (!s->base.probe)
		log_write(&store_events[STORE_EV_SESSION_END], s->base.id.s,
		    LOG_FIELDS(LOG_STR("protocol", "lmtp"), LOG_ADDR("client", s->client),
			LOG_STR("why", s->why != NULL ? s->why : "closed"),
			LOG_U64("bytes_in", stream_bytes_in(s->io)),
			LOG_U64("bytes_out", stream_bytes_out(s->io))));
	ticket_cancel(&s->lookup);
	lmtp_transaction_free(&s->t);
	timer_clear(&s->clock);
	if (graceful)
		stream_close(&s->io, LMTP_LINGER_MS);
	else
		stream_free(&s->io);
	mem_free(s->hello);
	store_session_end(&s->base);
	s->magic = 0;
	mem_free(s);
}

static enum lmtp_verdict take_line(struct lmtp_session *s)
{
	char copy[SMTP_LINE_MAX];
	struct span line = SPAN_NONE;
	size_t eat;
	enum line_rx rx = line_take(&s->scan, stream_input(s->io), &line, &eat);
	if (rx == LINE_READY && line.n > 0)
		memcpy(copy, line.p, line.n);
	/* before the command runs: one that starts TLS must find nothing but injected input */
	stream_eat(s->io, eat);
	switch (rx) {
	case LINE_READY:
		lmtp_set_state(s, LMTP_ST_COMMAND);
		return lmtp_command(s, span_of(copy, line.n));
	case LINE_TOO_LONG:
		return lmtp_say(s, 500, "5.5.2", "Line too long");
	case LINE_BAD:
		return lmtp_refuse(s, "bad-line", line_rx_why(rx));
	case LINE_MORE:
		break;
	}
	return LMTP_WAIT;
}

/* The only driver: runs until input or a ticket is needed. May free s. */
void lmtp_resume(struct lmtp_session *s, enum lmtp_verdict v)
{
	while (v == LMTP_READ) {
		if (s->base.draining && s->state == LMTP_ST_COMMAND && s->t == NULL)
			v = refuse_drained(s);
		else if (s->state == LMTP_ST_COMMAND)
			v = take_line(s);
		else if (s->state == LMTP_ST_DATA)
			v = lmtp_data(s);
		else if (s->state == LMTP_ST_CHUNK)
			v = lmtp_chunk(s);
		else
			v = LMTP_WAIT;
	}
	if (v == LMTP_CLOSE)
		session_end(s, true);
	else if (stream_at_eof(s->io) && states[s->state].timed)
		session_end(s, true);
}

static enum lmtp_verdict greet(struct lmtp_session *s)
{
	struct buf b = BUF_INIT(512);
	lmtp_set_state(s, LMTP_ST_COMMAND);
	if (s->base.draining)
		return refuse_drained(s);
	buf_printf(
	    &b, "%s LMTP Postern ready [%s]", store_worker_hostname(s->base.worker), s->base.id.s);
	enum lmtp_verdict v = lmtp_say(s, 220, NULL, buf_cstr(&b));
	buf_end(&b);
	return v;
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct lmtp_session *s = OBJ(lmtp_session, arg);
	switch (ev) {
	case STREAM_INPUT:
	case STREAM_EOF:
		lmtp_resume(s, LMTP_READ);
		break;
	case STREAM_SECURED:
		s->secure = true;
		if (s->hello == NULL && s->base.listener->tls == STORE_TLS_IMPLICIT) {
			lmtp_resume(s, greet(s));
		} else {
			lmtp_set_state(s, LMTP_ST_COMMAND);
			lmtp_resume(s, LMTP_READ);
		}
		break;
	case STREAM_FAILED:
		if (s->why == NULL)
			s->why = err_name(stream_err(s->io));
		session_end(s, false);
		break;
	case STREAM_SENT:
		break;
	}
}

static void on_clock(void *arg)
{
	struct lmtp_session *s = OBJ(lmtp_session, arg);
	lmtp_refuse(s, "timeout", "Timeout");
	session_end(s, true);
}

static struct lmtp_session *of_base(const struct store_session *base)
{
	struct lmtp_session *s = LIST_OF(struct lmtp_session, base, base);
	return OBJ(lmtp_session, s);
}

static void class_drain(struct store_session *base)
{
	lmtp_resume(of_base(base), LMTP_READ);
}

static void class_end(struct store_session *base)
{
	session_end(of_base(base), false);
}

static void class_describe(const struct store_session *base, struct buf *out)
{
	const struct lmtp_session *s = of_base(base);
	char text[IP_TEXT_SIZE];
	buf_printf(out,
	    "{\"id\":\"%s\",\"user\":\"\",\"client\":\"%s\",\"protocol\":\"lmtp\",\"store\":\"\","
	    "\"since\":%" PRIu64 ",\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64 ",\"tls\":%s}",
	    base->id.s, ip_port_text(s->client, text), s->since_us / 1000000,
	    stream_bytes_in(s->io), stream_bytes_out(s->io), s->secure ? "true" : "false");
}

static const struct store_session_class class = {
	.protocol = "lmtp",
	.drain = class_drain,
	.end = class_end,
	.describe = class_describe,
};

static void open_conversation(struct lmtp_session *s)
{
	const struct tls_ctx *tls = store_worker_tls(s->base.worker, STORE_LMTP);
	if (s->base.listener->tls != STORE_TLS_IMPLICIT) {
		lmtp_resume(s, greet(s));
	} else if (tls != NULL) {
		lmtp_set_state(s, LMTP_ST_TLS);
		stream_start_tls_server(s->io, tls);
	} else {
		s->why = "no-certificate"; /* mail that was to come by TLS is not taken without */
		session_end(s, false);
	}
}

void lmtp_session_start(
    struct store_worker *w, const struct accepted *a, const struct store_listener_conf *lc)
{
	struct stream_limits limits = { LMTP_IN_MAX, LMTP_OUT_MAX };
	struct lmtp_session *s = MEM_NEW(struct lmtp_session);
	s->magic = lmtp_session_MAGIC;
	s->client = a->client;
	s->since_us = clock_wall_us();
	s->scan = LINE_SCAN_INIT(SMTP_LINE_MAX);
	store_session_begin(&s->base, &class, w, lc);
	s->base.probe = a->probe;
	timer_init(&s->clock, store_worker_loop(w), on_clock, s);
	s->io = stream_accepted(store_worker_loop(w), a->fd, limits, on_stream, s);
	if (!ip_is_none(a->client.addr) && !ip_in_set(a->client.addr, &lc->lmtp_from)) {
		log_write(&store_events[STORE_EV_LMTP_REFUSED], s->base.id.s,
		    LOG_FIELDS(LOG_ADDR("client", a->client), LOG_STR("why", "not in lmtp_from")));
		s->why = "not-trusted";
		lmtp_say(s, 554, "5.7.1", "You may not deliver here");
		session_end(s, true);
		return;
	}
	open_conversation(s);
}
