/* auth.c - who submits, and is that their secret? (before: greet.c; after: envelope.c)
 *
 * directory -> MeterMaid -> directory again, or the rest of an exchange that sends no password -> MeterMaid
 * for the limits of those who may log in. It is asked with the account's own name, so that the spellings of
 * a name share one limit. Owns: struct attempt.
 *
 * An unknown user and a wrong password get the same words at the same time: a multiple of
 * auth_failure_delay after the attempt began. The state of an account is told only to who has shown
 * its password. A success is never held back. */
#include "edge/auth.h"

#include "base/check.h"
#include "base/mem.h"
#include "directory/access_filter.h"
#include "directory/sasl_exchange.h"

#include "edge/envelope.h"
#include "edge/greet.h"
#include "edge/limit.h"
#include "edge/mail.h"

enum { EXTRA_MAX_MS = 60000, OFFER_MAX = 512 };

/* What a failed attempt is told, and the word for it in the log. */
struct denial {
	const char *word;
	uint16_t code;
	const char *enhanced, *text; /* NULL: the limit's words, in the attempt */
	bool guess;                  /* charged to the client and held back */
};

#define INVALID 535, "5.7.8", "authentication failed", true
static const struct denial unknown_user = { "unknown_user", INVALID };
static const struct denial wrong_secret = { "wrong_secret", INVALID };
static const struct denial foreign_authzid = { "foreign_authzid", INVALID };
static const struct denial status_closed = { "status_closed", 535, "5.7.8",
	"this account cannot send mail", false };
static const struct denial service_denied = { "service_denied", 535, "5.7.8",
	"this account cannot send mail", false };
static const struct denial status_held = { "status_held", 454, "4.7.0",
	"temporary authentication failure", false };
static const struct denial directory_down = { "directory_down", 454, "4.7.0",
	"temporary authentication failure", false };
static const struct denial no_verifier = { "no_verifier", 454, "4.7.0",
	"temporary authentication failure", false };
static const struct denial limited = { "limited", 454, "4.7.0", NULL, false };

struct attempt {
	struct sasl_exchange sasl;     /* owned */
	const char *mechanism;         /* its name */
	struct buf user;               /* as the client wrote it */
	struct buf secret;             /* wiped with the attempt */
	const struct account *account; /* referenced, or NULL */
	const struct denial *denied;   /* NULL: not yet */
	char limit[LIMIT_TEXT_MAX];
	uint64_t begun_ms, extra_ms;
	uint32_t secret_hash; /* so that the same wrong one counts once */
};

static struct attempt *attempt_new(const struct session *s)
{
	struct attempt *a = MEM_NEW(struct attempt);
	a->user = BUF_INIT(SASL_NAME_MAX);
	a->secret = BUF_INIT(SASL_SECRET_MAX);
	a->begun_ms = session_now_ms(s);
	return a;
}

void attempt_free(struct attempt **a)
{
	struct attempt *gone = *a;
	if (gone == NULL)
		return;
	sasl_exchange_end(&gone->sasl);
	buf_end(&gone->user);
	buf_wipe_end(&gone->secret);
	directory_account_unref(&gone->account);
	MEM_FREE(a);
}

/* ---- refusals --------------------------------------------------------------------------------- */

/* The account's name, or what was tried, in lower case: a user has one limit. */
static void put_name(const struct attempt *a, struct buf *out)
{
	char lower[SASL_NAME_MAX];
	if (a->account != NULL) {
		buf_add_str(out, a->account->user);
		return;
	}
	span_lower_to(lower, buf_span(&a->user));
	buf_add(out, lower, buf_len(&a->user));
}

static struct meter_facts facts_of(const struct session *s, struct span user)
{
	return (struct meter_facts){
		.client = s->from.addr,
		.user = user,
		.helo = span_str(s->helo),
		.listener = span_str(s->listener->head.title),
		.secret_hash = s->attempt->secret_hash,
	};
}

static void charge(const struct session *s)
{
	struct buf name = BUF_INIT(SASL_NAME_MAX);
	put_name(s->attempt, &name);
	struct meter_facts facts = facts_of(s, buf_span(&name));
	meter_charge(s->edge->meter, METER_AUTH, &facts);
	buf_end(&name);
}

/* Until the next multiple of auth_failure_delay since the attempt began. */
static uint64_t penalty_ms(const struct session *s)
{
	uint64_t step = s->setup->edge->auth_failure_delay;
	uint64_t age = session_now_ms(s) - s->attempt->begun_ms;
	uint64_t wait = step == 0 ? 0 : step - age % step;
	return wait + s->attempt->extra_ms;
}

enum verdict auth_answer(struct session *s)
{
	const struct denial *d = s->attempt->denied;
	const char *text = d->text != NULL ? d->text : s->attempt->limit;
	session_enter(s, ST_COMMAND);
	enum verdict v = session_refuse_quietly(s, d->code, d->enhanced, text);
	attempt_free(&s->attempt);
	s->failures++;
	if (v == V_READ && s->failures >= (unsigned)s->setup->edge->auth_failures_max)
		return session_bye(s, WHY_TOO_MANY_FAILURES, NULL);
	return v;
}

static enum verdict deny(struct session *s, const struct denial *d, const char *rule)
{
	struct attempt *a = s->attempt;
	uint64_t wait = d->guess ? penalty_ms(s) : 0;
	a->denied = d;
	log_write(&edge_events[EDGE_EV_AUTH_REFUSED], s->id.s,
	    LOG_FIELDS(LOG_ADDR("client", s->from), LOG_SPAN("user", buf_span(&a->user)),
		LOG_STR("mechanism", a->mechanism), LOG_STR("why", d->word), LOG_STR("rule", rule),
		LOG_U64("delay_ms", wait)));
	metric_add(&edge_metrics[EDGE_M_AUTH_REFUSED], 1);
	session_notef(s, "auth", "refused: %s", d->word);
	buf_wipe_end(&a->secret);
	sasl_exchange_end(&a->sasl);
	if (d->guess)
		charge(s);
	if (wait == 0)
		return auth_answer(s);
	session_hold(s, ST_PENALTY, wait);
	return V_WAIT;
}

/* ---- the account ------------------------------------------------------------------------------ */

static bool service_allowed(const struct session *s)
{
	bool tls = stream_is_tls(s->io);
	const char *names[] = { "smtp", "submission", tls ? "smtps" : NULL,
		tls ? "submissions" : NULL };
	const char *filter = s->attempt->account->allowed_services;
	return access_filter_allows(span_str(filter), &s->from.addr, names, COUNT_OF(names));
}

static const struct denial *account_denial(const struct session *s)
{
	switch (s->attempt->account->status) {
	case ACCOUNT_ACTIVE:
	case ACCOUNT_OVERQUOTA:
		return service_allowed(s) ? NULL : &service_denied;
	case ACCOUNT_HOLD:
	case ACCOUNT_DEFER:
		return &status_held;
	case ACCOUNT_INACTIVE:
	case ACCOUNT_DISABLED:
	case ACCOUNT_DELETED:
		break;
	}
	return &status_closed;
}

static enum verdict succeed(struct session *s)
{
	struct attempt *a = s->attempt;
	s->user = mem_str(a->account->user);
	s->mechanism = a->mechanism;
	log_write(&edge_events[EDGE_EV_AUTH_OK], s->id.s,
	    LOG_FIELDS(LOG_ADDR("client", s->from), LOG_STR("user", s->user),
		LOG_STR("mechanism", a->mechanism),
		LOG_STR("tls", stream_is_tls(s->io) ? "yes" : "no")));
	metric_add(&edge_metrics[EDGE_M_AUTH_OK], 1);
	session_notef(s, "auth", "ok: %s", s->user);
	attempt_free(&s->attempt);
	session_enter(s, ST_COMMAND);
	return session_say(s, 235, "2.7.0", "authentication succeeded");
}

/* ---- the limits of those who may log in ------------------------------------------------------- */

static enum verdict deny_limited(struct session *s, const struct meter_answer *m)
{
	envelope_limit_text(m, s->attempt->limit);
	enum verdict v = deny(s, &limited, m->rule); /* 4xx: the password is not what is wrong */
	return m->disconnect && v != V_CLOSE ? session_bye(s, WHY_LIMITED, m->rule) : v;
}

static void on_session_metered(void *arg, const struct meter_answer *m)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	s->user_held = m->lease;
	limit_note(s, "meter_session", m);
	session_step(s, meter_lets_in(m) ? succeed(s) : deny_limited(s, m));
}

static struct ticket *ask_about_account(struct session *s, enum meter_moment moment, meter_fn *fn)
{
	struct meter_facts facts = facts_of(s, span_str(s->attempt->account->user));
	facts.authenticated = true;
	session_enter(s, ST_AUTH_METER);
	return meter_ask(s->edge->meter, moment, &facts, fn, s);
}

static enum verdict meter_session(struct session *s)
{
	s->ask = ask_about_account(s, METER_SESSION, on_session_metered);
	return s->ask != NULL ? V_WAIT : succeed(s);
}

static void on_login_metered(void *arg, const struct meter_answer *m)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	limit_note(s, "meter_login", m);
	session_step(s, meter_lets_in(m) ? meter_session(s) : deny_limited(s, m));
}

static enum verdict meter_login(struct session *s)
{
	s->ask = ask_about_account(s, METER_LOGIN, on_login_metered);
	return s->ask != NULL ? V_WAIT : meter_session(s);
}

static enum verdict verified(struct session *s, enum directory_status status)
{
	if (status == DIRECTORY_ABSENT)
		return deny(s, &wrong_secret, NULL);
	if (status == DIRECTORY_UNKNOWN)
		return deny(s, &directory_down, NULL);
	const struct denial *d = account_denial(s);
	return d == NULL ? meter_login(s) : deny(s, d, NULL);
}

static void on_verified(void *arg, enum directory_status status)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, verified(s, status));
}

static enum verdict prompt(struct session *s)
{
	session_enter(s, ST_AUTH);
	stream_printf(s->io, "334 %s\r\n", sasl_exchange_prompt(&s->attempt->sasl));
	return V_READ;
}

static enum verdict unproven(struct session *s)
{
	return deny(s, s->attempt->account != NULL ? &wrong_secret : &unknown_user, NULL);
}

/* The account was found, or not: an exchange goes on with it all the same. */
static enum verdict continue_exchange(struct session *s)
{
	struct attempt *a = s->attempt;
	switch (sasl_exchange_account(&a->sasl, s->edge->directory, a->account)) {
	case SASL_X_PROMPT:
		return prompt(s);
	case SASL_X_DONE:
		return verified(s, DIRECTORY_FOUND);
	default:
		return unproven(s);
	}
}

static enum verdict verify(struct session *s)
{
	struct attempt *a = s->attempt;
	if (sasl_exchange_active(&a->sasl))
		return continue_exchange(s);
	if (a->account == NULL)
		return deny(s, &unknown_user, NULL);
	if (a->account->verify_at_store)
		return deny(s, &no_verifier, NULL);
	session_enter(s, ST_AUTH_VERIFY);
	s->ask =
	    directory_verify(s->edge->directory, a->account, buf_span(&a->secret), on_verified, s);
	return V_WAIT;
}

static enum verdict metered(struct session *s, const struct meter_answer *m)
{
	limit_note(s, "meter_auth", m);
	if (!meter_lets_in(m))
		return deny_limited(s, m);
	if (m->action == METER_DELAY)
		s->attempt->extra_ms = m->retry_ms < EXTRA_MAX_MS ? m->retry_ms : EXTRA_MAX_MS;
	return verify(s);
}

static void on_meter(void *arg, const struct meter_answer *m)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, metered(s, m));
}

static enum verdict found(struct session *s, enum directory_status status, const struct account *a)
{
	if (status == DIRECTORY_UNKNOWN)
		return deny(s, &directory_down, NULL);
	s->attempt->account = status == DIRECTORY_FOUND ? directory_account_ref(a) : NULL;
	struct buf name = BUF_INIT(SASL_NAME_MAX);
	put_name(s->attempt, &name);
	s->attempt->secret_hash = meter_secret_hash(buf_span(&name), buf_span(&s->attempt->secret));
	struct meter_facts facts = facts_of(s, buf_span(&name));
	session_enter(s, ST_AUTH_METER);
	s->ask = meter_ask(s->edge->meter, METER_AUTH, &facts, on_meter, s);
	buf_end(&name);
	return s->ask != NULL ? V_WAIT : verify(s);
}

static void on_found(void *arg, enum directory_status status, const struct account *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, found(s, status, a));
}

/* ---- the exchange ----------------------------------------------------------------------------- */

static enum verdict look_up(struct session *s)
{
	session_enter(s, ST_AUTH_FIND);
	s->ask = directory_find(s->edge->directory, buf_span(&s->attempt->user), on_found, s);
	return V_WAIT;
}

static enum verdict abandon(struct session *s, const char *why)
{
	attempt_free(&s->attempt);
	session_enter(s, ST_COMMAND);
	return session_refuse(s, 501, "5.5.2", why);
}

/* With what the mechanism has of the client: a name, and a password where it ends in one. */
static enum verdict identify(struct session *s)
{
	struct attempt *a = s->attempt;
	buf_clear(&a->user);
	buf_add_span(&a->user, a->sasl.user);
	buf_add_span(&a->secret, a->sasl.secret);
	return look_up(s);
}

static enum verdict take_response(struct session *s, struct span response)
{
	struct attempt *a = s->attempt;
	enum verdict v;
	switch (sasl_exchange_take(&a->sasl, response)) {
	case SASL_X_PROMPT:
		return prompt(s);
	case SASL_X_CANCEL:
		return abandon(s, "AUTH cancelled");
	case SASL_X_PASSWORD:
		v = identify(s);
		sasl_exchange_end(&a->sasl);
		return v;
	case SASL_X_FOREIGN:
		buf_add_span(&a->user, a->sasl.user);
		return deny(s, &foreign_authzid, NULL);
	case SASL_X_ACCOUNT:
		return identify(s);
	case SASL_X_DONE:
		return verified(s, DIRECTORY_FOUND);
	case SASL_X_FAILED:
		return unproven(s);
	case SASL_X_BAD:
		break;
	}
	return abandon(s, "that is not a response of this mechanism");
}

enum verdict auth_line(struct session *s, struct span line)
{
	s->verb = SMTP_VERB_AUTH;
	return take_response(s, line);
}

/* ---- the command ------------------------------------------------------------------------------ */

static struct sasl_peer peer_of(const struct session *s)
{
	return (struct sasl_peer){
		.offer = s->setup->sasl,
		.stream = s->io,
		.hostname = s->setup->hostname,
		.secrets = greet_offers_auth(s),
	};
}

void auth_put_offer(const struct session *s, struct buf *out)
{
	struct sasl_peer peer = peer_of(s);
	struct buf mechs = BUF_INIT(OFFER_MAX);
	sasl_offer_put(&peer, &mechs, " ", "");
	if (buf_len(&mechs) > 0)
		buf_printf(out, "AUTH%s\n", buf_cstr(&mechs));
	buf_end(&mechs);
}

static enum verdict begin(struct session *s, const struct smtp_cmd *cmd)
{
	struct sasl_peer peer = peer_of(s);
	s->attempt = attempt_new(s);
	if (!sasl_exchange_begin(&s->attempt->sasl, &peer, cmd->argument)) {
		attempt_free(&s->attempt);
		return session_refuse(s, 504, "5.5.4", "mechanism not offered");
	}
	s->attempt->mechanism = sasl_mech_name(s->attempt->sasl.mech);
	return cmd->has_initial ? take_response(s, cmd->initial) : prompt(s);
}

enum verdict auth_start(struct session *s, const struct smtp_cmd *cmd)
{
	if (!edge_has_auth(s->listener))
		return session_refuse(s, 502, "5.5.1", "AUTH is not offered here");
	if (s->user != NULL)
		return session_refuse(s, 503, "5.5.1", "you are authenticated already");
	if (!greet_offers_auth(s))
		return session_refuse(s, 538, "5.7.11", "encryption required: say STARTTLS first");
	return begin(s, cmd);
}
