/* admit.c - may this peer go on? (step 2 of 5; before: accept.c; after: front_*.c)
 *
 * MeterMaid decides before the first byte is sent and before any TLS work is done, so that a refused
 * peer costs nothing. A refused peer gets one line with the session's id, except where TLS comes
 * first: there the connection closes, and the log tells. Health checks are not counted. */
#include "mmp/admit.h"

#include "base/check.h"

#include "mmp/session.h"

enum { TARPIT_MAX_MS = 30000 };

/* NULL: no rule applies, or it is a balancer. */
static struct ticket *ask_meter(struct session *s, enum meter_moment moment, meter_fn *fn)
{
	struct meter_facts facts = {
		.client = s->from.addr,
		.listener = span_str(s->listener->head.title),
	};
	return s->probe ? NULL : meter_ask(s->mmp->meter, moment, &facts, fn, s);
}

/* ---- TLS -------------------------------------------------------------------------------------- */

static enum verdict start_tls(struct session *s)
{
	session_enter(s, ST_SECURE);
	stream_start_tls_server(s->client, s->setup->server[s->listener->protocol]);
	stream_pause(s->client, false);
	return V_WAIT;
}

/* No goodbye: the client waits for a handshake. */
static void on_tls_metered(void *arg, const struct meter_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_mark(s, a);
	session_step(s, meter_lets_in(a) ? start_tls(s) : session_close(s, WHY_LIMITED, a->rule));
}

enum verdict admit_secure(struct session *s)
{
	stream_pause(s->client, true); /* the handshake is not read as plain text */
	struct ticket *ask = ask_meter(s, METER_TLS, on_tls_metered);
	return ask != NULL ? session_wait(s, ST_ADMIT, ask) : start_tls(s);
}

/* ---- the connection --------------------------------------------------------------------------- */

static enum verdict admitted(struct session *s)
{
	if (s->listener->tls != MMP_TLS_IMPLICIT)
		return admit_greet(s);
	if (s->setup->server[s->listener->protocol] == NULL)
		return session_close(s, WHY_TLS_MISSING, NULL);
	return admit_secure(s);
}

static enum verdict on_answer(struct session *s, const struct meter_answer *a)
{
	switch (a->action) {
	case METER_ALLOW:
		return admitted(s);
	case METER_DELAY:
		if (s->listener->tls == MMP_TLS_IMPLICIT) /* the greeting follows the handshake */
			return admitted(s);
		session_hold(
		    s, ST_TARPIT, a->retry_ms < TARPIT_MAX_MS ? a->retry_ms : TARPIT_MAX_MS);
		return V_WAIT;
	case METER_DEFER:
	case METER_REFUSE:
		break;
	}
	return session_bye(s, WHY_LIMITED, a->rule);
}

static void on_meter(void *arg, const struct meter_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	s->held = a->lease;
	session_mark(s, a);
	session_step(s, on_answer(s, a));
}

enum verdict admit_greet(struct session *s)
{
	session_enter(s, ST_FIRST);
	stream_pause(s->client, false);
	s->front->greet(s);
	return V_READ;
}

enum verdict admit_start(struct session *s)
{
	/* Nothing is read before the answer: a TLS handshake must not begin in the plain stream. */
	stream_pause(s->client, true);
	struct ticket *ask = ask_meter(s, METER_CONNECT, on_meter);
	return ask != NULL ? session_wait(s, ST_ADMIT, ask) : admitted(s);
}
