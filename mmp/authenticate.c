/* authenticate.c - who is it, and is that their secret? (step 3 of 5; before: front_*.c; after: route.c)
 *
 * directory -> MeterMaid -> directory again. MeterMaid is asked with the account's own name, so that
 * the spellings of a name share one limit. Owns: struct attempt.
 *
 * What an attacker can learn: an unknown user and a wrong password get the same words, at the same
 * time (a multiple of auth_failure_delay after the attempt began, however long the check took). The
 * state of an account is told only to who has shown its password. A success is never held back. */
#include "mmp/authenticate.h"

#include "base/check.h"
#include "base/mem.h"
#include "proto/sasl.h"

#include "directory/access_filter.h"
#include "mmp/failures.h"
#include "mmp/orders.h"
#include "mmp/route.h"
#include "mmp/session.h"
#include "mmp/store_load.h"

enum { EXTRA_MAX_MS = 60000, FREE_FAILURES = 3, KEY_MAX = 300 };

void attempt_free(struct attempt **a)
{
	struct attempt *gone = *a;
	if (gone == NULL)
		return;
	buf_end(&gone->user);
	buf_wipe_end(&gone->secret);
	directory_account_unref(&gone->account);
	meter_release(&gone->held);
	store_slot_give_up(&gone->slot);
	buf_end(&gone->key);
	mem_free(gone->host);
	MEM_FREE(a);
}

/* ---- refusals --------------------------------------------------------------------------------- */

/* The account's own name, so that its spellings are one; as typed when there is no such account. */
static struct span user_of(const struct attempt *a)
{
	return a->account != NULL ? span_str(a->account->user) : buf_span(&a->user);
}

static struct meter_facts facts_of(const struct session *s)
{
	const struct attempt *a = s->attempt;
	return (struct meter_facts){
		.client = s->from.addr,
		.user = user_of(a),
		.listener = span_str(s->listener->head.title),
		.authenticated = a->verified,
		.secret_hash = a->secret_hash,
	};
}

/* Only a rule of MeterMaid, or a failure, wants to know it. */
static void hash_secret(struct attempt *a)
{
	if (a->secret_hash == 0)
		a->secret_hash = meter_secret_hash(user_of(a), buf_span(&a->secret));
}

static void charge(struct session *s)
{
	struct meter_facts facts = facts_of(s);
	meter_charge(s->mmp->meter, METER_AUTH, &facts);
}

/* Whoever has not shown the secret learns nothing of the account's state. */
static enum told told_of(const struct session *s, enum reason why)
{
	enum told t = reasons[why].told;
	return t == TOLD_CONTACT && !s->attempt->verified ? TOLD_CREDENTIALS : t;
}

/* How many failures there were lately; *again_out: the same password once more. */
static unsigned note_failure(struct session *s, bool *again_out)
{
	const struct attempt *a = s->attempt;
	struct failure what = {
		.client = s->from.addr,
		.user = user_of(a),
		.secret_hash = a->secret_hash,
	};
	return failures_note(s->mmp->failures, &what, session_now_ms(s), again_out);
}

/* auth_failure_delay, doubled for each failure after the first few. */
uint64_t authenticate_step_ms(const struct mmp_conf *c, unsigned failures)
{
	uint64_t step = c->auth_failure_delay;
	for (unsigned n = FREE_FAILURES; n < failures && step < c->auth_failure_delay_max; n++)
		step = 2 * step < c->auth_failure_delay_max ? 2 * step : c->auth_failure_delay_max;
	return step;
}

/* Until the next multiple of the step since the attempt began. */
static uint64_t penalty_ms(const struct session *s, unsigned failures)
{
	uint64_t step = authenticate_step_ms(s->setup->mmp, failures);
	uint64_t age = session_now_ms(s) - s->attempt->begun_ms;
	uint64_t wait = step == 0 ? 0 : step - age % step;
	return wait + s->attempt->extra_ms;
}

enum verdict authenticate_answer(struct session *s)
{
	enum told told = told_of(s, s->attempt->refused);
	s->front->refuse(s, told);
	attempt_free(&s->attempt);
	s->failures++;
	if (s->failures >= (unsigned)s->setup->mmp->auth_failures_max)
		return session_bye(s, WHY_TOO_MANY_FAILURES, NULL);
	session_enter(s, ST_COMMAND);
	return V_READ;
}

enum verdict authenticate_refuse(struct session *s, enum reason why, const char *detail)
{
	struct attempt *a = s->attempt;
	bool guess = told_of(s, why) == TOLD_CREDENTIALS;
	bool again = false, tried = guess && !a->verified;
	if (tried)
		hash_secret(a);
	unsigned failures = tried ? note_failure(s, &again) : 0;
	uint64_t wait = guess ? penalty_ms(s, failures) : 0;
	a->refused = why;
	log_write(&mmp_events[MMP_EV_LOGIN_REFUSED], s->id.s,
	    LOG_FIELDS(LOG_ADDR("client", s->from), LOG_SPAN("user", buf_span(&a->user)),
		LOG_STR("why", reasons[why].word), LOG_STR("fault", reasons[why].fault),
		LOG_STR("detail", detail), LOG_U64("delay_ms", wait)));
	bool client = span_eq_str(span_str(reasons[why].fault), "client");
	metric_add(&mmp_metrics[client ? MMP_M_REFUSED_CLIENT : MMP_M_REFUSED_EDGE], 1);
	buf_wipe_end(&a->secret);
	sasl_exchange_end(&s->sasl);
	if (tried && !again)
		charge(s);
	if (wait == 0)
		return authenticate_answer(s);
	session_hold(s, ST_PENALTY, wait);
	return V_WAIT;
}

enum verdict authenticate_late(struct session *s)
{
	enum verdict v = authenticate_refuse(s, WHY_LOGIN_LATE, session_state_name(s));
	return v == V_CLOSE ? v : session_bye(s, WHY_LOGIN_LATE, NULL);
}

/* ---- the account ------------------------------------------------------------------------------ */

static enum reason status_reason(enum account_status status)
{
	switch (status) {
	case ACCOUNT_ACTIVE:
	case ACCOUNT_OVERQUOTA:
		return WHY_NONE;
	case ACCOUNT_HOLD:
	case ACCOUNT_DEFER:
		return WHY_STATUS_HELD;
	case ACCOUNT_INACTIVE:
	case ACCOUNT_DISABLED:
	case ACCOUNT_DELETED:
		break;
	}
	return WHY_STATUS_CLOSED;
}

static bool service_allowed(
    const struct front *f, bool tls, const struct account *a, struct ip_addr client)
{
	const char *names[] = { f->name, f->name_short, tls ? f->name_tls : NULL,
		tls ? f->name_short_tls : NULL };
	return access_filter_allows(span_str(a->allowed_services), &client, names, COUNT_OF(names));
}

enum reason authenticate_may(const struct mmp *m, const struct front *f, bool tls,
    const struct account *a, struct ip_addr client)
{
	enum reason why = status_reason(a->status);
	if (why == WHY_NONE && !service_allowed(f, tls, a, client))
		why = WHY_SERVICE_DENIED;
	if (why == WHY_NONE && orders_hold_user(m->orders, a->user))
		why = WHY_HELD;
	return why;
}

/* ---- the limits of those who may log in ------------------------------------------------------- */

static void on_session_metered(void *arg, const struct meter_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	s->attempt->held = a->lease;
	session_mark(s, a);
	session_step(
	    s, meter_lets_in(a) ? route_start(s) : authenticate_refuse(s, WHY_LIMITED, a->rule));
}

static enum verdict meter_session(struct session *s)
{
	struct meter_facts facts = facts_of(s);
	struct ticket *ask = meter_ask(s->mmp->meter, METER_SESSION, &facts, on_session_metered, s);
	return ask != NULL ? session_wait(s, ST_METER, ask) : route_start(s);
}

static void on_login_metered(void *arg, const struct meter_answer *a)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_mark(s, a);
	session_step(
	    s, meter_lets_in(a) ? meter_session(s) : authenticate_refuse(s, WHY_LIMITED, a->rule));
}

static enum verdict meter_login(struct session *s)
{
	struct meter_facts facts = facts_of(s);
	struct ticket *ask = meter_ask(s->mmp->meter, METER_LOGIN, &facts, on_login_metered, s);
	return ask != NULL ? session_wait(s, ST_METER, ask) : meter_session(s);
}

/* The secret is right, or the store will tell: may this account log in at all? */
static enum verdict check_account(struct session *s)
{
	enum reason why = authenticate_may(
	    s->mmp, s->front, stream_is_tls(s->client), s->attempt->account, s->from.addr);
	return why == WHY_NONE ? meter_login(s) : authenticate_refuse(s, why, NULL);
}

static enum verdict verified(struct session *s, enum directory_status status)
{
	s->attempt->verified = status == DIRECTORY_FOUND;
	if (status == DIRECTORY_FOUND)
		return check_account(s);
	if (status == DIRECTORY_ABSENT)
		return authenticate_refuse(s, WHY_WRONG_SECRET, NULL);
	return authenticate_refuse(s, WHY_DIRECTORY_DOWN, "verify");
}

static void on_verify(void *arg, enum directory_status status)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, verified(s, status));
}

static enum verdict ask_verify(struct session *s)
{
	struct attempt *a = s->attempt;
	if (sasl_exchange_active(&s->sasl))
		return sasl_turn_account(s);
	if (a->account == NULL)
		return authenticate_refuse(s, WHY_UNKNOWN_USER, NULL);
	if (!s->setup->mmp->preauth || a->account->verify_at_store)
		return check_account(s);
	const struct directory_secret what = { a->account, buf_span(&a->secret) };
	enum directory_status now;
	struct ticket *ask = directory_verify_now(s->mmp->directory, &what, on_verify, s, &now);
	return ask != NULL ? session_wait(s, ST_VERIFY, ask) : verified(s, now);
}

/* ---- the limits ------------------------------------------------------------------------------- */

static void on_meter(void *arg, const struct meter_answer *answer)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_mark(s, answer);
	if (!meter_lets_in(answer)) {
		session_step(s, authenticate_refuse(s, WHY_LIMITED, answer->rule));
		return;
	}
	if (answer->action == METER_DELAY) /* only a failure waits for it */
		s->attempt->extra_ms =
		    answer->retry_ms < EXTRA_MAX_MS ? answer->retry_ms : EXTRA_MAX_MS;
	session_step(s, ask_verify(s));
}

static enum verdict ask_meter(struct session *s)
{
	struct attempt *a = s->attempt;
	if (meter_counts_logins(s->mmp->meter))
		hash_secret(a);
	struct meter_facts facts = facts_of(s);
	struct ticket *ask = meter_ask(s->mmp->meter, METER_AUTH, &facts, on_meter, s);
	return ask != NULL ? session_wait(s, ST_METER, ask) : ask_verify(s);
}

static enum verdict found(
    struct session *s, enum directory_status status, const struct account *account)
{
	if (status == DIRECTORY_UNKNOWN)
		return authenticate_refuse(s, WHY_DIRECTORY_DOWN, "find");
	if (status == DIRECTORY_FOUND)
		s->attempt->account = directory_account_ref(account);
	return ask_meter(s);
}

static void on_find(void *arg, enum directory_status status, const struct account *account)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, found(s, status, account));
}

static enum verdict find_account(struct session *s)
{
	struct directory_answer now;
	struct ticket *ask =
	    directory_find_now(s->mmp->directory, buf_span(&s->attempt->user), on_find, s, &now);
	if (ask != NULL)
		return session_wait(s, ST_FIND, ask);
	enum verdict v = found(s, now.status, directory_answer_account(&now));
	directory_answer_end(&now);
	return v;
}

/* ---- the start -------------------------------------------------------------------------------- */

static void attempt_new(struct session *s, struct span user)
{
	CHECK(s->attempt == NULL);
	struct attempt *a = MEM_NEW(struct attempt);
	a->user = BUF_IN(a->user_room, SASL_NAME_MAX);
	a->secret = BUF_IN(a->secret_room, SASL_SECRET_MAX);
	a->key = BUF_IN(a->key_room, KEY_MAX);
	a->begun_ms = session_now_ms(s);
	char lower[SASL_NAME_MAX];
	user = span_first(user, SASL_NAME_MAX);
	span_lower_to(lower, user);
	buf_add(&a->user, lower, user.n);
	s->attempt = a;
}

/* Control characters in either would end up in the commands we send to a store. */
static bool is_clean(struct span v, size_t max)
{
	return v.n > 0 && v.n <= max && !span_has_control(v);
}

enum verdict authenticate_deny(struct session *s, struct span user, enum reason why)
{
	attempt_new(s, user);
	return authenticate_refuse(s, why, NULL);
}

enum verdict authenticate_start(struct session *s, struct span user, struct span secret)
{
	attempt_new(s, user);
	if (!is_clean(user, SASL_NAME_MAX) || !is_clean(secret, SASL_SECRET_MAX))
		return authenticate_refuse(s, WHY_MALFORMED_SECRET, NULL);
	buf_add_span(&s->attempt->secret, secret);
	return find_account(s);
}

enum verdict authenticate_exchange(struct session *s, struct span user)
{
	attempt_new(s, user);
	if (!is_clean(user, SASL_NAME_MAX))
		return authenticate_refuse(s, WHY_MALFORMED_SECRET, NULL);
	return find_account(s);
}

enum verdict authenticate_proven(struct session *s)
{
	CHECK(s->attempt->account != NULL);
	s->attempt->verified = true;
	return check_account(s);
}

enum verdict authenticate_unproven(struct session *s)
{
	return authenticate_refuse(
	    s, s->attempt->account != NULL ? WHY_WRONG_SECRET : WHY_UNKNOWN_USER, NULL);
}

void authenticate_drop(struct session *s)
{
	if (s->attempt == NULL)
		return;
	attempt_free(&s->attempt);
	session_enter(s, ST_COMMAND);
}
