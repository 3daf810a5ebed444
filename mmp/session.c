/* session.c - a connection before its login: state table, driver, destructor (steps 1 to 4 of 5).
 *
 * before: accept.c; after: pipe.c. Owns: struct session and all that hangs on it. */
#include "mmp/session.h"

#include "base/check.h"
#include "base/mem.h"
#include "proto/proxy_hdr.h"

#include "mmp/admit.h"
#include "mmp/authenticate.h"
#include "mmp/crowd.h"
#include "mmp/route.h"

/* After the last words the connection swallows input for so long, or unread bytes would turn the
 * close into a reset that eats them. */
enum { LINGER_MS = 1000, LINGER_EVICTED_MS = 200 };

/* Without a line end so many bytes are enough to tell what the peer speaks. */
enum { FIRST_MAX = 16 };
#define PROXY_V2 SPAN("\r\n\r\n\0\r\nQUIT\n")

typedef enum verdict input_fn(struct session *s);
typedef enum verdict deadline_fn(struct session *s);

static input_fn on_first, on_command;
static deadline_fn on_slow_client, on_slow_handshake;

#define TIME(option) offsetof(struct mmp_conf, option)

static const struct {
	const char *name;
	size_t ms_at;       /* the state's time: an option; login_timeout is above all of them */
	input_fn *on_input; /* NULL: early input waits in the stream, bounded by its in_max */
	deadline_fn *on_deadline;
	/* The client is to act: it may be evicted, and its EOF ends the session. */
	bool client_turn;
} states[ST_COUNT] = {
	[ST_ADMIT] = { "admit", TIME(login_timeout), NULL, on_slow_client, true },
	[ST_TARPIT] = { "tarpit", TIME(login_timeout), NULL, admit_greet, true },
	[ST_SECURE] = { "secure", TIME(command_timeout), NULL, on_slow_handshake, true },
	[ST_FIRST] = { "first", TIME(command_timeout), on_first, on_slow_client, true },
	[ST_COMMAND] = { "command", TIME(command_timeout), on_command, on_slow_client, true },
	[ST_EXCHANGE] = { "exchange", TIME(command_timeout), on_command, on_slow_client, true },
	[ST_FIND] = { "find", TIME(login_timeout), NULL, authenticate_late, false },
	[ST_METER] = { "meter", TIME(login_timeout), NULL, authenticate_late, false },
	[ST_VERIFY] = { "verify", TIME(login_timeout), NULL, authenticate_late, false },
	[ST_PENALTY] = { "penalty", TIME(login_timeout), NULL, authenticate_answer, false },
	[ST_PLACE] = { "place", TIME(login_timeout), NULL, authenticate_late, false },
	[ST_TURN] = { "turn", TIME(login_timeout), NULL, route_turn, false },
	[ST_QUEUE] = { "queue", TIME(store_queue_timeout), NULL, route_queue_late, false },
	[ST_DIAL] = { "dial", TIME(login_timeout), NULL, authenticate_late, false },
	[ST_LOGIN] = { "login", TIME(login_timeout), NULL, authenticate_late, false },
};

/* ---- helpers ---------------------------------------------------------------------------------- */

uint64_t session_now_ms(const struct session *s)
{
	return loop_now_ms(s->mmp->loop);
}

uint64_t session_left_ms(const struct session *s)
{
	uint64_t age = session_now_ms(s) - s->begun_ms;
	uint64_t all = s->setup->mmp->login_timeout;
	return age < all ? all - age : 0;
}

static void set_state(struct session *s, enum session_state to, uint64_t ms)
{
	uint64_t left = session_left_ms(s);
	ticket_cancel(&s->ask);
	s->state = to;
	timer_set(&s->deadline, ms < left ? ms : left);
}

void session_enter(struct session *s, enum session_state to)
{
	uint64_t ms;
	memcpy(&ms, (const char *)s->setup->mmp + states[to].ms_at, sizeof ms);
	set_state(s, to, ms);
}

enum verdict session_wait(struct session *s, enum session_state to, struct ticket *take_ask)
{
	session_enter(s, to);
	s->ask = take_ask;
	return V_WAIT;
}

void session_hold(struct session *s, enum session_state to, uint64_t ms)
{
	set_state(s, to, ms);
}

void session_touch(struct session *s)
{
	crowd_touch(s);
	session_enter(s, s->state);
}

const char *session_state_name(const struct session *s)
{
	return states[s->state].name;
}

bool session_is_idle(const struct session *s)
{
	return states[s->state].client_turn;
}

/* Most inputs are told apart by their first byte. */
static bool starts_with_any(struct span in, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (in.n > 0 && in.p[0] == words[i][0] && span_starts(in, span_str(words[i])))
			return true;
	return false;
}

/* What else than our protocol do the first bytes look like? WHY_NONE: it may be ours. */
static enum reason foreign_reason(struct span in)
{
	static const char *const http[] = { "GET /", "POST /", "HEAD /", "PUT /", "DELETE /",
		"OPTIONS /", "OPTIONS * HTTP/", "CONNECT ", "PATCH /", "TRACE /", "PRI * HTTP/2" };
	if (proxy_hdr_looks_like(in))
		return WHY_PROXY_UNLISTED;
	if (starts_with_any(in, http, COUNT_OF(http)))
		return WHY_HTTP;
	return in.n >= 2 && in.p[0] == 0x16 && in.p[1] == 0x03 ? WHY_TLS_UNEXPECTED : WHY_NONE;
}

/* ---- the end ---------------------------------------------------------------------------------- */

static void log_end(const struct session *s, uint64_t in, uint64_t out)
{
	bool quiet = s->probe || (in == 0 && s->why == WHY_CLIENT_CLOSED);
	const struct reason_row *row = &reasons[s->why];
	log_write(&mmp_events[quiet ? MMP_EV_SESSION_PROBE : MMP_EV_SESSION_END], s->id.s,
	    LOG_FIELDS(LOG_ADDR("client", s->from), LOG_STR("protocol", s->front->name),
		LOG_STR("listener", s->listener->head.title),
		LOG_STR("tls", stream_is_tls(s->client) ? "yes" : "no"), LOG_STR("why", row->word),
		LOG_STR("fault", row->fault), LOG_STR("state", states[s->state].name),
		LOG_STR("detail", s->detail), LOG_U64("bytes_in", in), LOG_U64("bytes_out", out),
		LOG_U64("ms", session_now_ms(s) - s->begun_ms)));
}

void session_mark(struct session *s, const struct meter_answer *a)
{
	s->tags.max = METER_TAGS_MAX;
	if (a->tag != NULL)
		meter_add_tag(&s->tags, a->tag);
}

static void session_free(struct session *s) /* the only destructor */
{
	struct mmp *m = s->mmp;
	crowd_leave(s);
	ticket_cancel(&s->ask);
	timer_clear(&s->deadline);
	attempt_free(&s->attempt);
	meter_release(&s->held);
	buf_end(&s->tags);
	sasl_exchange_end(&s->sasl);
	s->front->close(&s->front_data);
	stream_free(&s->client);
	mmp_setup_unref(&s->setup);
	s->magic = 0;
	mem_free(s);
	mmp_session_gone(m);
}

static void session_end(struct session *s, uint64_t linger_ms)
{
	uint64_t in = stream_bytes_in(s->client), out = stream_bytes_out(s->client);
	log_end(s, in, out);
	metric_add(&mmp_metrics[MMP_M_BYTES_IN], in);
	if (linger_ms > 0)
		stream_close(&s->client, linger_ms);
	session_free(s);
}

enum verdict session_close(struct session *s, enum reason why, const char *detail)
{
	if (s->why == WHY_NONE) {
		s->why = why;
		s->detail = detail;
	}
	return V_CLOSE;
}

enum verdict session_bye(struct session *s, enum reason why, const char *detail)
{
	bool secure_first = s->listener->tls == MMP_TLS_IMPLICIT && !stream_is_tls(s->client);
	if (s->state != ST_SECURE && !secure_first)
		s->front->bye(s, reasons[why].told);
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

/* Who is evicted must not hold memory for long: a handshake at once, words as long as they need to leave. */
static uint64_t linger_of(const struct session *s)
{
	if (s->why != WHY_EVICTED)
		return LINGER_MS;
	return s->state == ST_SECURE ? 0 : LINGER_EVICTED_MS;
}

/* ---- the driver ------------------------------------------------------------------------------- */

void session_step(struct session *s, enum verdict v) /* may free s */
{
	while (v == V_READ)
		v = states[s->state].on_input != NULL ? states[s->state].on_input(s) : V_WAIT;
	if (v == V_MORE && stream_at_eof(s->client))
		v = session_close(s, WHY_CLIENT_CLOSED, NULL);
	else if (v == V_MORE && s->mmp->draining)
		v = session_bye(s, WHY_DRAINED, NULL);
	if (v == V_CLOSE)
		session_end(s, linger_of(s));
	else if (v == V_DONE)
		session_free(s);
	else
		crowd_weigh(s);
}

/* ---- events ----------------------------------------------------------------------------------- */

static enum verdict on_first(struct session *s)
{
	struct span in = stream_input(s->client);
	enum reason why = foreign_reason(in);
	if (why != WHY_NONE)
		return session_bye(s, why, NULL);
	/* A version 2 PROXY header begins as an impatient client might: with empty lines. */
	bool signature = in.n < PROXY_V2.n && span_starts(PROXY_V2, in);
	bool enough = span_find(in, '\n') != SIZE_MAX || in.n >= FIRST_MAX;
	if ((signature || !enough) && !stream_at_eof(s->client))
		return V_MORE;
	session_enter(s, ST_COMMAND);
	return V_READ;
}

static enum verdict on_command(struct session *s)
{
	enum verdict v = s->front->on_input(s);
	if (v == V_READ)
		session_touch(s);
	return v;
}

static enum verdict on_slow_client(struct session *s)
{
	return session_bye(
	    s, session_left_ms(s) == 0 ? WHY_LOGIN_TIMEOUT : WHY_COMMAND_TIMEOUT, NULL);
}

static enum verdict on_slow_handshake(struct session *s)
{
	return session_close(s, WHY_COMMAND_TIMEOUT, "TLS handshake");
}

static void on_deadline(void *arg)
{
	struct session *s = OBJ(session, arg);
	session_step(s, states[s->state].on_deadline(s));
}

static enum verdict on_secured(struct session *s)
{
	CHECK(s->state == ST_SECURE);
	if (s->listener->tls == MMP_TLS_IMPLICIT)
		return admit_greet(s);
	session_enter(s, ST_COMMAND);
	if (s->front->secured != NULL)
		s->front->secured(s);
	return V_READ;
}

static void on_failed(struct session *s)
{
	if (s->state == ST_SECURE)
		session_close(s, WHY_TLS_FAILED, stream_err_text(s->client));
	else
		session_close(s, WHY_CLIENT_FAILED, err_text(stream_err(s->client)));
	session_end(s, 0);
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct session *s = OBJ(session, arg);
	switch (ev) {
	case STREAM_INPUT:
		session_step(s, V_READ);
		break;
	case STREAM_EOF: /* a client may send everything, close its half, and wait for the answers */
		if (states[s->state].client_turn && states[s->state].on_input == NULL)
			session_step(s, session_close(s, WHY_CLIENT_CLOSED, NULL));
		else
			session_step(s, V_READ);
		break;
	case STREAM_SECURED:
		session_step(s, on_secured(s));
		break;
	case STREAM_FAILED:
		on_failed(s);
		break;
	case STREAM_SENT:
		break;
	}
}

/* ---- the start -------------------------------------------------------------------------------- */

void session_start(
    struct mmp *m, const struct mmp_listener_conf *listener, const struct accepted *a)
{
	struct session *s = MEM_NEW(struct session);
	s->magic = session_MAGIC;
	s->mmp = m;
	s->setup = mmp_setup_ref(m->setup);
	s->listener = listener;
	s->front = front_of((enum mmp_protocol)listener->protocol);
	s->id = ident_new();
	s->from = a->client;
	s->peer = a->peer;
	s->local = a->local;
	s->probe = a->probe;
	s->begun_ms = session_now_ms(s);
	s->client = stream_accepted(m->loop, a->fd, s->front->limits, on_stream, s);
	stream_set_secret(s->client);
	timer_init(&s->deadline, m->loop, on_deadline, s);
	crowd_enter(s);
	s->front_data = s->front->open(s);
	log_write(&mmp_events[MMP_EV_SESSION_OPEN], s->id.s,
	    LOG_FIELDS(LOG_ADDR("client", s->from), LOG_ADDR("peer", s->peer),
		LOG_STR("listener", listener->head.title)));
	session_step(s, admit_start(s));
}
