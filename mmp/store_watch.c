/* store_watch.c - which stores are alive, and asking those that are not (step 4 of 5, beside route.c).
 *
 * Owns: a small record for each store and protocol, and at most one connection to each that is dead. */
#include "mmp/store_watch.h"

#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "daemon/slots.h"
#include "net/dial.h"
#include "proto/proxy_hdr.h"

#include "mmp/back.h"
#include "mmp/capability.h"
#include "mmp/front.h"
#include "mmp/mmp_tables.h"
#include "mmp/store_policy.h"

enum { TICK_MS = 1000, KEY_MAX = 512, FORGET_MS = 3600 * 1000, ASKED_MAX = 16 /* at once */ };
enum { READY_ANY, READY_ALL, READY_NONE }; /* words of ready_stores */

struct known {
	struct store_watch *watch;
	enum mmp_protocol protocol;
	bool met;                /* it has been alive */
	bool dead;               /* it failed since */
	bool to_learn;           /* named in the settings, and has not said yet what it can do */
	uint64_t wanted_ms;      /* a login was sent to it */
	uint64_t next_ms;        /* when it may be worth a question */
	uint64_t pause_ms;       /* between questions that only to_learn asks */
	struct ticket *ask;      /* owned: of the question */
	struct mmp_setup *setup; /* referenced, while it is asked, as are the next two */
	char *host;              /* owned */
	struct ip_port addr;
	char name[];
};

struct store_watch {
	struct mmp *mmp;
	struct map *stores; /* protocol and name to struct known, owned */
	struct timer tick;  /* armed while any is dead or to be asked what it can do */
	size_t dead_n, to_learn_n;
	size_t asked_n; /* in the tick that runs */
};

/* ---- records ---------------------------------------------------------------------------------- */

static const struct {
	enum mmp_metric up, down;
} gauges[MMP_PROTOCOLS] = {
	[MMP_IMAP] = { MMP_M_UP_IMAP, MMP_M_DOWN_IMAP },
	[MMP_POP3] = { MMP_M_UP_POP3, MMP_M_DOWN_POP3 },
	[MMP_SIEVE] = { MMP_M_UP_SIEVE, MMP_M_DOWN_SIEVE },
	[MMP_SUBMISSION] = { MMP_M_UP_SUBMISSION, MMP_M_DOWN_SUBMISSION },
};

static struct metric *gauge_of(const struct known *k)
{
	return &mmp_metrics[k->dead ? gauges[k->protocol].down : gauges[k->protocol].up];
}

/* Out of the numbers, and into them again with what it has become. */
static void uncount(const struct known *k)
{
	if (k->met)
		metric_sub(gauge_of(k), 1);
	k->watch->dead_n -= k->dead;
	k->watch->to_learn_n -= k->to_learn;
}

static void count(const struct known *k)
{
	if (k->met)
		metric_add(gauge_of(k), 1);
	k->watch->dead_n += k->dead;
	k->watch->to_learn_n += k->to_learn;
}

static void set_to_learn(struct known *k, bool yes)
{
	uncount(k);
	k->to_learn = yes;
	count(k);
}

static void put_key(struct buf *out, enum mmp_protocol protocol, const char *store)
{
	buf_add_number(out, protocol);
	buf_add_char(out, ' ');
	buf_add_str(out, store);
}

/* NULL: it is new and there are too many. */
static struct known *known_of(struct store_watch *w, const struct store_met *at)
{
	char room[128];
	struct buf key = BUF_IN(room, KEY_MAX);
	put_key(&key, at->protocol, at->store);
	struct known *k = map_get(w->stores, buf_span(&key));
	if (k == NULL && buf_ok(&key)) {
		size_t n = strlen(at->store) + 1;
		k = mem_alloc(sizeof *k + n);
		*k = (struct known){ .watch = w, .protocol = at->protocol };
		memcpy(k->name, at->store, n);
		if (!map_set(w->stores, buf_span(&key), k, NULL))
			MEM_FREE(&k);
	}
	buf_end(&key);
	return k;
}

static void ask_end(struct known *k)
{
	ticket_cancel(&k->ask);
	mmp_setup_unref(&k->setup);
	MEM_FREE(&k->host);
}

static bool forget(void *arg, struct span key, void *value)
{
	struct known *k = value;
	ask_end(k);
	uncount(k);
	map_remove(k->watch->stores, key);
	mem_free(k);
	return true;
}

/* ---- what was found --------------------------------------------------------------------------- */

void store_watch_log_failed(const struct store_met *at, err_t err, const char *detail)
{
	log_write(&mmp_events[MMP_EV_STORE_FAILED], at->id,
	    LOG_FIELDS(LOG_STR("store", at->store), LOG_STR("host", at->host),
		LOG_U64("port", at->port), LOG_ADDR("addr", at->addr), LOG_ERR("err", err),
		LOG_STR("detail", detail)));
}

static void found(struct store_watch *w, const struct store_met *at, bool dead)
{
	struct known *k = known_of(w, at);
	uint64_t wait_ms, now = loop_now_ms(w->mmp->loop);
	if (k == NULL)
		return;
	uncount(k);
	k->dead = dead;
	k->met = k->met || !dead;
	count(k);
	if (at->id != NULL || k->wanted_ms == 0)
		k->wanted_ms = now;
	backend_health_look(w->mmp->health, at->key, now, &wait_ms);
	k->next_ms = now + wait_ms;
	if (dead && !timer_armed(&w->tick))
		timer_set(&w->tick, TICK_MS);
}

void store_watch_good(struct store_watch *w, const struct store_met *at)
{
	struct mmp *m = w->mmp;
	if (backend_health_good(
		m->health, at->key, at->setup->mmp->store_return, loop_now_ms(m->loop)))
		log_write(&mmp_events[MMP_EV_STORE_BACK], at->id,
		    LOG_FIELDS(LOG_STR("store", at->store), LOG_STR("host", at->host),
			LOG_U64("port", at->port)));
	found(w, at, false);
}

void store_watch_bad(
    struct store_watch *w, const struct store_met *at, err_t err, const char *detail)
{
	struct mmp *m = w->mmp;
	const struct mmp_conf *c = at->setup->mmp;
	backend_health_bad(m->health, at->key,
	    (struct backend_pause){ c->store_retry_min, c->store_retry_max }, loop_now_ms(m->loop));
	capability_doubt(m->capability[at->protocol], at->key);
	metric_add(&mmp_metrics[MMP_M_STORE_FAILURES], 1);
	store_watch_log_failed(at, err, detail);
	found(w, at, true);
}

void store_watch_wanted(struct store_watch *w, const struct store_met *at)
{
	struct known *k = known_of(w, at);
	if (k != NULL)
		k->wanted_ms = loop_now_ms(w->mmp->loop);
}

/* ---- a question to a dead store ---------------------------------------------------------------- */

/* A store that no login has needed is nobody's failure yet: none is kept from it. Nor has each the protocol, or is known to the
 * directory. */
static void ask_later(struct known *k)
{
	const struct mmp_conf *c = k->watch->mmp->setup->mmp;
	uint64_t pause = k->pause_ms == 0 ? c->store_retry_min : 2 * k->pause_ms;
	k->pause_ms = pause < c->store_retry_max ? pause : c->store_retry_max;
	k->next_ms = loop_now_ms(k->watch->mmp->loop) + k->pause_ms;
}

static void answered(struct known *k, bool good, err_t err, const char *detail)
{
	struct buf key = BUF_INIT(KEY_MAX);
	struct store_met at = { .setup = k->setup,
		.protocol = k->protocol,
		.store = k->name,
		.host = k->host,
		.port = k->addr.port,
		.addr = k->addr };
	buf_printf(&key, "%s:%u", k->host, k->addr.port);
	at.key = buf_span(&key);
	if (good)
		store_watch_good(k->watch, &at);
	else if (k->dead || !k->to_learn)
		store_watch_bad(k->watch, &at, err, detail);
	buf_end(&key);
	ask_end(k);
}

/* What was said before a login may be less than what is said after one: it counts until the first login tells. */
static void learn(struct known *k, const struct back_done *done)
{
	struct mmp *m = k->watch->mmp;
	struct capability *c = m->capability[k->protocol];
	struct buf key = BUF_INIT(KEY_MAX);
	if (!k->to_learn || k->setup != m->setup || done->status != BACK_OK)
		return;
	buf_printf(&key, "%s:%u", k->host, k->addr.port);
	if (done->learnt && !capability_known(c, buf_span(&key))) {
		capability_learn(c, buf_span(&key), done->capability);
		capability_doubt(c, buf_span(&key));
	}
	buf_end(&key);
	set_to_learn(k, false);
}

static void on_talked(void *arg, const struct back_done *done)
{
	struct known *k = arg;
	struct stream *s = done->stream;
	k->ask = NULL;
	stream_free(&s);
	learn(k, done);
	answered(k, done->status == BACK_OK, ERR_PROTOCOL, done->detail);
}

static void on_dialled(void *arg, const struct dial_result *r)
{
	struct known *k = arg;
	struct stream *s = r->stream;
	const struct store_policy *policy = store_policy_of(k->setup->stores, k->name);
	k->ask = NULL;
	k->addr.addr = r->addr.addr;
	if (r->err != ERR_OK) {
		answered(k, false, r->err, r->text);
		return;
	}
	if (stream_is_tls(s) && !store_policy_key_fits(policy, s)) {
		stream_free(&s);
		answered(k, false, ERR_TLS_HANDSHAKE, "its key is not a pinned one");
		return;
	}
	struct back_ask ask = { .back = front_of(k->protocol)->back,
		.policy = policy,
		.tls_name = k->host,
		.own_name = k->setup->hostname,
		.probe = true,
		.learn = k->to_learn,
		.deadline_ms = k->setup->mmp->store_login_timeout };
	k->ask = back_login(k->watch->mmp->loop, &s, &ask, on_talked, k);
}

static void dial(struct known *k)
{
	struct mmp *m = k->watch->mmp;
	const struct store_policy *policy = store_policy_of(k->setup->stores, k->name);
	bool implicit = policy->tls == MMP_TLS_IMPLICIT;
	struct buf first = BUF_INIT(PROXY_V2_MAX);
	if (policy->facts == FACTS_PROXY)
		proxy_hdr_put_local(&first);
	struct dial_target target = {
		.host = span_str(k->host),
		.port = k->addr.port,
		.tls = implicit ? policy->ctx : NULL,
		.alpn = implicit ? front_of(k->protocol)->alpn : NULL,
		.first = buf_span(&first),
		.greets = true,
		.deadline_ms = k->setup->mmp->store_connect_timeout,
		.limits = back_stream_limits,
	};
	k->ask = dial_start(m->loop, m->dns, &target, on_dialled, k);
	buf_end(&first);
}

/* Where it is now: it may have come back at another address. */
static void on_place(void *arg, enum directory_status status, const struct store_place *place)
{
	struct known *k = arg;
	struct mmp *m = k->watch->mmp;
	uint64_t wait_ms, now = loop_now_ms(m->loop);
	k->ask = NULL;
	if (k->dead)
		k->next_ms = now + TICK_MS;
	else
		ask_later(k);
	if (status != DIRECTORY_FOUND)
		return;
	const struct store_policy *policy = store_policy_of(m->setup->stores, k->name);
	uint16_t port = front_of(k->protocol)->back->port(place, policy->tls == MMP_TLS_IMPLICIT);
	struct buf key = BUF_INIT(KEY_MAX);
	buf_printf(&key, "%s:%u", place->host, port);
	if (port != 0 && backend_health_try(m->health, buf_span(&key), now, 0, &wait_ms)) {
		k->setup = mmp_setup_ref(m->setup);
		k->host = mem_str(place->host);
		k->addr = (struct ip_port){ .port = port };
		dial(k);
	}
	buf_end(&key);
}

static bool look_at(void *arg, struct span key, void *value)
{
	struct known *k = value;
	struct mmp *m = k->watch->mmp;
	uint64_t now = loop_now_ms(m->loop);
	bool revive = k->dead && m->setup->mmp->ready_stores != READY_NONE;
	if (k->ask != NULL) {
		k->watch->asked_n++;
		return true;
	}
	if ((!revive && !k->to_learn) || now < k->next_ms)
		return true;
	if (!k->to_learn && now - k->wanted_ms >= FORGET_MS)
		return forget(arg, key, k);
	if (k->watch->asked_n++ >= ASKED_MAX)
		return true;
	k->ask = directory_store(m->directory, span_str(k->name), on_place, k);
	return true;
}

/* A worker that takes no connections any more has no use for it. */
static void on_tick(void *arg)
{
	struct store_watch *w = arg;
	if (w->mmp->draining || w->mmp->retired)
		return;
	w->asked_n = 0;
	map_each(w->stores, look_at, w);
	if (w->dead_n + w->to_learn_n > 0)
		timer_set(&w->tick, TICK_MS);
}

/* ---- stores that the settings name ------------------------------------------------------------- */

static void to_learn(struct store_watch *w, enum mmp_protocol protocol, const char *store)
{
	struct store_met at = { .protocol = protocol, .store = store };
	const char *unfit = strpbrk(store, "*?");
	struct known *k = unfit == NULL ? known_of(w, &at) : NULL;
	if (k == NULL)
		return;
	set_to_learn(k, true);
	k->pause_ms = 0;
}

static bool is_served(const struct mmp_conf *c, enum mmp_protocol protocol)
{
	for (size_t i = 0; i < c->listener_n; i++)
		if ((enum mmp_protocol)c->listener[i]->protocol == protocol)
			return true;
	return false;
}

static bool no_more(void *arg, struct span key, void *value)
{
	set_to_learn(value, false);
	return true;
}

void store_watch_configured(struct store_watch *w)
{
	const struct mmp_conf *c = w->mmp->setup->mmp;
	const struct conf_strings *relays = &c->submission_relays;
	map_each(w->stores, no_more, NULL);
	for (enum mmp_protocol p = MMP_IMAP; p < MMP_PROTOCOLS; p++) {
		bool relayed = p == MMP_SUBMISSION && relays->n > 0;
		for (size_t i = 0; i < c->store_n && is_served(c, p) && !relayed; i++)
			to_learn(w, p, c->store[i]->head.title);
		for (size_t i = 0; i < relays->n && is_served(c, p) && relayed; i++)
			to_learn(w, p, relays->v[i]);
	}
	if (w->to_learn_n > 0)
		timer_set(&w->tick, 0);
}

/* ---- the interface ---------------------------------------------------------------------------- */

struct store_watch *store_watch_new(struct mmp *m, size_t stores_max)
{
	struct store_watch *w = MEM_NEW(struct store_watch);
	w->mmp = m;
	w->stores = map_new(stores_max * MMP_PROTOCOLS);
	timer_init(&w->tick, m->loop, on_tick, w);
	return w;
}

void store_watch_free(struct store_watch **w)
{
	if (*w == NULL)
		return;
	timer_clear(&(*w)->tick);
	map_each((*w)->stores, forget, NULL);
	map_free(&(*w)->stores);
	MEM_FREE(w);
}

bool store_watch_ready(const struct mmp *m)
{
	int rule = (int)m->setup->mmp->ready_stores;
	for (size_t i = 0; i < MMP_PROTOCOLS; i++) {
		uint64_t down = slots_sum(&mmp_metrics[gauges[i].down]);
		bool none = slots_sum(&mmp_metrics[gauges[i].up]) == 0;
		if (down > 0 && (rule == READY_ALL || (rule == READY_ANY && none)))
			return false;
	}
	return true;
}
