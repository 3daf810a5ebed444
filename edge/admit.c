/* admit.c - may this peer go on? (step 2 of 6; before: accept.c; after: greet.c)
 *
 * MeterMaid decides before the first byte is sent and before any TLS work is done, so that a refused
 * peer costs nothing. On MX the peer is watched until the greeting: who talks first is refused
 * (on_early() in session.c). Health checks are neither counted nor held back. */
#include "edge/admit.h"

#include "base/check.h"

#include "edge/limit.h"
#include "edge/passed.h"
#include "edge/relay_cert.h"
#include "edge/screen.h"

enum { BANNER_DELAY_MAX_MS = 30000, BANNER_MAX = 512 };

enum verdict admit_greet(struct session *s)
{
	if (screen_pending(s)) {
		session_enter(s, ST_SCREEN);
		return V_WAIT;
	}
	if (screen_bars_greeting(s))
		return screen_bar(s);
	struct buf text = BUF_INIT(BANNER_MAX);
	buf_printf(&text, "%s %s", s->setup->hostname, s->setup->edge->banner);
	session_enter(s, ST_FIRST);
	session_say(s, 220, NULL, buf_cstr(&text));
	buf_end(&text);
	return V_READ;
}

/* ---- TLS -------------------------------------------------------------------------------------- */

static enum verdict start_tls(struct session *s)
{
	session_enter(s, ST_SECURE);
	stream_start_tls_server(s->io, edge_setup_tls(s->setup, s->listener));
	stream_pause(s->io, false);
	return V_WAIT;
}

/* No goodbye: the client waits for a handshake. */
static void on_tls_metered(void *arg, const struct meter_answer *a)
{
	struct session *s = OBJ(session, arg);
	bool refused = a->action == METER_DEFER || a->action == METER_REFUSE;
	s->ask = NULL;
	limit_note(s, "meter_tls", a);
	session_step(s, refused ? session_close(s, WHY_LIMITED, a->rule) : start_tls(s));
}

enum verdict admit_secure(struct session *s)
{
	struct meter_facts facts = {
		.client = s->from.addr,
		.listener = span_str(s->listener->head.title),
	};
	stream_pause(s->io, true); /* the handshake is not read as plain text */
	session_enter(s, ST_ADMIT);
	s->ask = s->probe ? NULL : meter_ask(s->edge->meter, METER_TLS, &facts, on_tls_metered, s);
	return s->ask != NULL ? V_WAIT : start_tls(s);
}

/* ---- the connection --------------------------------------------------------------------------- */

/* It is the client behind it that is to be tested, after XCLIENT. */
static bool is_front(const struct session *s)
{
	return s->may_xclient && ip_in_set(s->from.addr, &s->listener->xclient_from);
}

static uint64_t banner_delay(const struct session *s)
{
	bool held = s->listener->role == EDGE_MX && !s->probe && !is_front(s);
	return held && !passed_has(s, PASS_GREETING) ? s->setup->edge->banner_delay : 0;
}

enum verdict admit_waited(struct session *s)
{
	if (banner_delay(s) > 0)
		passed_earn(s, PASS_GREETING, NULL);
	return admit_greet(s);
}

/* limit_ms: MeterMaid wants the greeting held back for so long. */
static enum verdict admitted(struct session *s, uint64_t limit_ms)
{
	uint64_t delay = banner_delay(s), wait_ms = limit_ms > delay ? limit_ms : delay;
	if (s->listener->tls == EDGE_TLS_IMPLICIT && s->dry == NULL) {
		if (s->setup->tls == NULL)
			return session_close(s, WHY_TLS_MISSING, NULL);
		return admit_secure(s);
	}
	if (wait_ms == 0)
		return admit_greet(s);
	if (limit_ms == 0)
		passed_cuts_delay(s);
	session_hold(s, ST_BANNER, wait_ms < BANNER_DELAY_MAX_MS ? wait_ms : BANNER_DELAY_MAX_MS);
	return V_WAIT;
}

static enum verdict on_answer(struct session *s, const struct meter_answer *a)
{
	limit_note(s, "meter_connect", a);
	switch (a->action) {
	case METER_ALLOW:
		return admitted(s, 0);
	case METER_DELAY:
		return admitted(s, a->retry_ms);
	case METER_DEFER:
	case METER_REFUSE:
		break;
	}
	metric_add(&edge_metrics[EDGE_M_BARRED], 1);
	return session_bye(s, a->action == METER_REFUSE ? WHY_BARRED : WHY_LIMITED, a->rule);
}

static void on_meter(void *arg, const struct meter_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	s->held = a->lease;
	session_step(s, on_answer(s, a));
}

enum verdict admit_start(struct session *s)
{
	/* A TLS handshake must not begin in the plain stream; elsewhere early bytes are to be seen. */
	stream_pause(s->io, s->listener->tls == EDGE_TLS_IMPLICIT && s->dry == NULL);
	session_enter(s, ST_ADMIT);
	screen_start(s);
	if (s->probe)
		return admitted(s, 0);
	struct meter_facts facts = {
		.client = s->from.addr,
		.listener = span_str(s->listener->head.title),
	};
	s->ask = meter_ask(s->edge->meter, METER_CONNECT, &facts, on_meter, s);
	return s->ask != NULL ? V_WAIT : admitted(s, 0);
}
