/* route.c - account to store, login there, hand over (step 4 of 5; before: authenticate.c; after:
 * pipe.c).
 *
 * The stores of an account are tried in order. A store that cannot be reached, or does not behave
 * like a server before it was shown the secret, is remembered as dead for a moment
 * (backend_health.c) and the next one is tried. Once a store has seen the secret its word is final. */
#include "mmp/route.h"

#include "base/check.h"
#include "base/mem.h"
#include "net/dial.h"
#include "proto/proxy_hdr.h"

#include "mmp/authenticate.h"
#include "mmp/back.h"
#include "mmp/orders.h"
#include "mmp/pipe.h"
#include "mmp/session.h"
#include "mmp/store_load.h"
#include "mmp/store_policy.h"
#include "mmp/store_watch.h"

static enum verdict try_next(struct session *s);

/* ---- records of stores ------------------------------------------------------------------------ */

static struct span store_key(const struct session *s)
{
	return buf_span(&s->attempt->key);
}

static bool store_may_be_tried(struct session *s, uint64_t *wait_ms_out)
{
	bool may = backend_health_try(s->mmp->health, store_key(s), session_now_ms(s),
	    s->setup->mmp->store_queue_timeout, wait_ms_out);
	return may;
}

/* A store's own words: what no store may lack is what clients are shown before login. */
static struct capability *capability_of(const struct session *s)
{
	return s->mmp->capability[s->listener->protocol];
}

/* A store that can do what its clients are not to be told of: it is better switched off there. */
static void log_masked(const struct session *s, struct span words)
{
	while (words.n > 0) {
		struct span word = span_cut(&words, ' ');
		if (s->listener->protocol == MMP_IMAP && mmp_conf_masks(s->setup->mmp, word))
			log_write(&mmp_events[MMP_EV_STORE_MASKED], s->id.s,
			    LOG_FIELDS(
				LOG_STR("store", s->attempt->store), LOG_SPAN("capability", word)));
	}
}

static void learn_capability(struct session *s, const struct back_done *done)
{
	if (!done->learnt || s->setup != s->mmp->setup)
		return;
	if (!capability_known(capability_of(s), store_key(s)))
		log_masked(s, done->capability);
	capability_learn(capability_of(s), store_key(s), done->capability);
}

static bool is_known(const struct session *s)
{
	bool known = capability_known(capability_of(s), store_key(s));
	return known;
}

static struct store_met met(const struct session *s)
{
	const struct attempt *a = s->attempt;
	return (struct store_met){ s->setup, (enum mmp_protocol)s->listener->protocol, a->store,
		a->host, a->port, a->addr, store_key(s), s->id.s };
}

static void store_is_good(struct session *s)
{
	struct store_met at = met(s);
	store_watch_good(s->mmp->watch, &at);
}

static void log_failed(const struct session *s, err_t err, const char *detail)
{
	struct store_met at = met(s);
	store_watch_log_failed(&at, err, detail);
}

static void store_is_bad(struct session *s, err_t err, const char *detail)
{
	struct store_met at = met(s);
	store_watch_bad(s->mmp->watch, &at, err, detail);
}

static void log_skipped(struct session *s, const char *why)
{
	const struct attempt *a = s->attempt;
	log_write(&mmp_events[MMP_EV_STORE_SKIPPED], s->id.s,
	    LOG_FIELDS(LOG_STR("store", a->store), LOG_STR("host", a->host),
		LOG_U64("port", a->port), LOG_STR("why", why)));
}

/* ---- the login at the store ------------------------------------------------------------------- */

static const struct {
	enum reason why;
	bool store_at_fault; /* worth a warning of its own */
} outcomes[BACK_STATUS_COUNT] = {
	[BACK_OK] = { WHY_NONE, false },
	[BACK_WRONG_SECRET] = { WHY_STORE_REFUSED, false },
	[BACK_TEMPORARY] = { WHY_STORE_TEMPORARY, true },
	[BACK_IN_USE] = { WHY_STORE_IN_USE, false },
	[BACK_TOO_SOON] = { WHY_STORE_TOO_SOON, false },
	[BACK_LIMIT] = { WHY_STORE_LIMIT, false },
	[BACK_LOOP] = { WHY_NO_STORE, false },
	[BACK_UNREADY] = { WHY_STORE_DOWN, true },
	[BACK_BROKEN] = { WHY_STORE_BROKEN, true },
};

static enum verdict hand_over(struct session *s, const struct back_done *done)
{
	const struct attempt *a = s->attempt;
	struct stream *store = done->stream;
	store_is_good(s);
	learn_capability(s, done);
	metric_add(&mmp_metrics[MMP_M_LOGINS], 1);
	log_write(&mmp_events[MMP_EV_LOGIN_OK], s->id.s,
	    LOG_FIELDS(LOG_ADDR("client", s->from), LOG_STR("user", a->account->user),
		LOG_STR("store", a->store), LOG_ADDR("addr", a->addr),
		LOG_STR("protocol", s->front->name),
		LOG_STR("tls", stream_is_tls(s->client) ? "yes" : "no"),
		LOG_SPAN("tags", buf_span(&s->tags)),
		LOG_U64("ms", session_now_ms(s) - a->begun_ms)));
	s->front->welcome(s, done);
	pipe_session(s, &store);
	return V_DONE;
}

static enum verdict pass_over_loop(struct session *s, const char *detail)
{
	log_write(&mmp_events[MMP_EV_STORE_LOOP], s->id.s,
	    LOG_FIELDS(LOG_STR("store", s->attempt->store), LOG_ADDR("addr", s->attempt->addr),
		LOG_STR("detail", detail)));
	s->attempt->failed = WHY_NO_STORE;
	return try_next(s);
}

static enum verdict on_outcome(struct session *s, const struct back_done *done)
{
	struct attempt *a = s->attempt;
	enum reason why = outcomes[done->status].why;
	if (done->status == BACK_OK)
		return hand_over(s, done);
	if (done->status == BACK_LOOP)
		return pass_over_loop(s, done->detail);
	if (done->status == BACK_UNREADY) {
		store_is_bad(s, ERR_PROTOCOL, done->detail);
		a->failed = why;
		return try_next(s);
	}
	store_is_good(s);
	if (done->status != BACK_TEMPORARY) /* which silence is, too */
		store_slot_heard(a->slot);
	if (done->status == BACK_WRONG_SECRET && a->verified) {
		why = WHY_STORE_DISAGREES;
		log_write(&mmp_events[MMP_EV_STORE_DISAGREES], s->id.s,
		    LOG_FIELDS(LOG_STR("user", a->account->user), LOG_STR("store", a->store),
			LOG_STR("detail", done->detail)));
	} else if (outcomes[done->status].store_at_fault) {
		log_failed(s, ERR_AGAIN, done->detail);
	}
	return authenticate_refuse(s, why, done->detail);
}

static void on_back(void *arg, const struct back_done *done)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, on_outcome(s, done));
}

static enum verdict start_login(struct session *s, struct stream *store)
{
	const struct mmp_conf *c = s->setup->mmp;
	struct attempt *a = s->attempt;
	if (mmp_setup_has_port(s->setup, a->addr.port) &&
	    mmp_setup_is_own(s->setup, stream_local(store), stream_peer(store))) {
		stream_free(&store);
		return pass_over_loop(s, NULL);
	}
	if (stream_is_tls(store) && !store_policy_key_fits(a->policy, store)) {
		stream_free(&store);
		store_is_bad(s, ERR_TLS_HANDSHAKE, "its key is not a pinned one");
		a->failed = WHY_STORE_DOWN;
		return try_next(s);
	}
	struct back_ask ask = {
		.back = s->front->back,
		.user = store_policy_user(a->policy, span_str(a->account->user)),
		.secret = buf_span(&a->secret),
		.policy = a->policy,
		.tls_name = a->host,
		.client_name = s->front->client_name != NULL ? s->front->client_name(s) : SPAN_NONE,
		.own_name = s->setup->hostname,
		.facts = { a->policy->facts == FACTS_COMMAND, s->from, s->local, s->id },
		.learn = !is_known(s),
		.deadline_ms = c->store_login_timeout,
	};
	session_enter(s, ST_LOGIN);
	s->ask = back_login(s->mmp->loop, &store, &ask, on_back, s);
	return V_WAIT;
}

/* ---- the connection --------------------------------------------------------------------------- */

static enum verdict on_dialled(struct session *s, const struct dial_result *r)
{
	s->attempt->addr = r->addr;
	if (r->err == ERR_OK)
		return start_login(s, r->stream);
	store_is_bad(s, r->err, r->text);
	s->attempt->failed = WHY_STORE_DOWN;
	return try_next(s);
}

static void on_dial(void *arg, const struct dial_result *r)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, on_dialled(s, r));
}

static enum verdict dial_store(struct session *s)
{
	const struct mmp_conf *c = s->setup->mmp;
	const struct attempt *a = s->attempt;
	struct buf first = BUF_INIT(PROXY_V2_MAX);
	if (a->policy->facts == FACTS_PROXY)
		proxy_hdr_put(&first, s->from, s->local);
	struct dial_target target = {
		.host = span_str(a->host),
		.port = a->port,
		.tls = a->policy->tls == MMP_TLS_IMPLICIT ? a->policy->ctx : NULL,
		.alpn = a->policy->tls == MMP_TLS_IMPLICIT ? s->front->alpn : NULL,
		.first = buf_span(&first),
		.greets = true,
		.deadline_ms = c->store_connect_timeout,
		.limits = back_stream_limits,
	};
	session_enter(s, ST_DIAL);
	s->ask = dial_start(s->mmp->loop, s->mmp->dns, &target, on_dial, s);
	buf_end(&first);
	return V_WAIT;
}

/* ---- the line in front of it ------------------------------------------------------------------ */

static enum verdict skip_full(struct session *s)
{
	log_skipped(s, "full");
	s->attempt->failed = WHY_STORE_FULL;
	return try_next(s);
}

static void on_slot(void *arg, struct store_slot *slot)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	s->attempt->slot = slot;
	session_step(s, dial_store(s));
}

static enum verdict wait_in_line(struct session *s)
{
	const struct attempt *a = s->attempt;
	struct store_wait ask = { a->store, a->policy->connections_max,
		(size_t)s->setup->mmp->store_queue_max };
	session_enter(s, ST_QUEUE);
	s->ask = store_load_wait(s->mmp->load, &ask, on_slot, s);
	return s->ask != NULL ? V_WAIT : skip_full(s);
}

enum verdict route_queue_late(struct session *s)
{
	ticket_cancel(&s->ask);
	return session_left_ms(s) > 0 ? skip_full(s) : authenticate_late(s);
}

/* What has not failed yet, but will: each login there would wait for its own time to be over, and all together keep a
 * worker from the users of other stores. */
bool route_is_silent(const struct mmp *m, const char *store)
{
	const struct mmp_conf *c = m->setup->mmp;
	size_t n = store_load_silent(m->load, store, c->store_connect_timeout);
	return c->store_silent_max > 0 && n >= (size_t)c->store_silent_max;
}

static enum verdict take_slot(struct session *s)
{
	struct attempt *a = s->attempt;
	if (route_is_silent(s->mmp, a->store)) {
		log_skipped(s, "silent");
		a->failed = WHY_STORE_DOWN;
		return try_next(s);
	}
	a->slot = store_load_take(s->mmp->load, a->store, a->policy->connections_max);
	return a->slot != NULL ? dial_store(s) : wait_in_line(s);
}

enum verdict route_turn(struct session *s)
{
	return session_left_ms(s) > 0 ? take_slot(s) : authenticate_late(s);
}

const char *route_unfit(const struct store_policy *p, int protocol, uint16_t port)
{
	if (port == 0)
		return "protocol not offered";
	return p->login == LOGIN_XCLIENT && protocol != MMP_SUBMISSION
		   ? "store_login xclient is for submission"
		   : NULL;
}

static enum verdict on_placed(struct session *s, const struct store_place *place)
{
	uint64_t wait_ms;
	struct attempt *a = s->attempt;
	mem_free(a->host);
	a->host = mem_str(place->host);
	a->policy = store_policy_of(s->setup->stores, a->store);
	a->port = s->front->back->port(place, a->policy->tls == MMP_TLS_IMPLICIT);
	a->addr = (struct ip_port){ .port = a->port };
	buf_clear(&a->key);
	buf_add_str(&a->key, a->host);
	buf_add_char(&a->key, ':');
	buf_add_number(&a->key, a->port);
	const char *unfit = route_unfit(a->policy, s->listener->protocol, a->port);
	if (unfit != NULL) {
		log_skipped(s, unfit);
		return try_next(s);
	}
	if (a->policy->login != LOGIN_PASSWORD && !a->verified)
		return authenticate_refuse(s, WHY_UNPROVEN, NULL);
	if (a->policy->login == LOGIN_PASSWORD && buf_len(&a->secret) == 0)
		return authenticate_refuse(s, WHY_NO_PASSWORD, NULL);
	if (orders_hold_store(s->mmp->orders, a->store)) {
		log_skipped(s, "held by order");
		a->failed = WHY_HELD;
		return try_next(s);
	}
	a->failed = WHY_STORE_DOWN;
	if (!store_may_be_tried(s, &wait_ms)) {
		struct store_met at = met(s);
		store_watch_wanted(s->mmp->watch, &at);
		log_skipped(s, "dead a moment ago");
		return try_next(s);
	}
	if (wait_ms == 0)
		return take_slot(s);
	session_hold(s, ST_TURN, wait_ms);
	return V_WAIT;
}

static enum verdict placed(
    struct session *s, enum directory_status status, const struct store_place *place)
{
	if (status == DIRECTORY_FOUND)
		return on_placed(s, place);
	s->attempt->failed = WHY_DIRECTORY_DOWN;
	return try_next(s);
}

static void on_place(void *arg, enum directory_status status, const struct store_place *place)
{
	struct session *s = OBJ(session, arg);
	s->ask = NULL;
	session_step(s, placed(s, status, place));
}

static enum verdict find_place(struct session *s)
{
	struct directory_answer now;
	struct ticket *ask =
	    directory_store_now(s->mmp->directory, span_str(s->attempt->store), on_place, s, &now);
	if (ask != NULL)
		return session_wait(s, ST_PLACE, ask);
	enum verdict v = placed(s, now.status, directory_answer_place(&now));
	directory_answer_end(&now);
	return v;
}

/* ---- the next candidate ----------------------------------------------------------------------- */

const char *route_candidate(
    const struct mmp_conf *c, int protocol, const struct account *a, size_t i)
{
	const struct conf_strings *relays = &c->submission_relays;
	if (protocol == MMP_SUBMISSION && relays->n > 0)
		return i < relays->n ? relays->v[i] : NULL;
	return i < a->host_count ? a->hosts[i] : NULL;
}

static enum verdict try_next(struct session *s)
{
	struct attempt *a = s->attempt;
	const char *next =
	    route_candidate(s->setup->mmp, s->listener->protocol, a->account, a->next_host);
	if (next == NULL)
		return authenticate_refuse(
		    s, a->failed != WHY_NONE ? a->failed : WHY_NO_STORE, NULL);
	if (session_left_ms(s) == 0)
		return authenticate_late(s);
	store_slot_give_up(&a->slot);
	a->store = next;
	a->next_host++;
	return find_place(s);
}

enum verdict route_start(struct session *s)
{
	return try_next(s);
}
