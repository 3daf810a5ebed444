/* dry.c - a login that does not happen: what each step would find (beside steps 2 to 4).
 *
 * The steps ask what real logins ask, by the functions that these are made of; what they find is a row each. The first
 * one that would refuse is the decision, and the others are told all the same. Owns a struct dry for each run. */
#include "mmp/dry.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "base/fmt.h"
#include "base/mem.h"

#include "mmp/authenticate.h"
#include "mmp/back.h"
#include "mmp/failures.h"
#include "mmp/front.h"
#include "mmp/orders.h"
#include "mmp/route.h"
#include "mmp/store_load.h"
#include "mmp/store_policy.h"

#define dry_MAGIC 0x6d6d7039u

enum {
	DRY_MS = 8000,
	/* who asks waits 10 s */ ROWS_MAX = 64 * 1024,
	TEXT_MAX = 4096,
	WORD_MAX = 512
};

struct dry {
	uint32_t magic;
	struct list_node link; /* in mmp->dries */
	struct mmp *mmp;
	struct mmp_setup *setup; /* referenced */
	const struct mmp_listener_conf *listener;
	const struct front *front;
	struct ip_addr client;
	char *user; /* owned: as typed */
	unsigned worker;
	const struct account *account; /* referenced; NULL: none */
	size_t step, next_host;
	enum reason why;    /* what refuses first */
	enum reason failed; /* why the last store would be passed over */
	char *store;        /* owned: the one that would be tried first */
	struct ticket *ask; /* owned; what the step waits for */
	struct timer deadline;
	struct soon done;
	struct buf rows, rules;
	enum meter_moment moment; /* that is looked at */
	uint64_t begun_ms;
	struct dry_owner owner;
};

/* ---- words ------------------------------------------------------------------------------------ */

static const char *const protocols[MMP_PROTOCOLS] = { "imap", "pop3", "managesieve", "submission" };

static const char *take_word(const char *name, const char *value, struct dry_ask *out)
{
	struct span option = span_str(name), word = span_str(value);
	if (word.n == 0 || word.n > WORD_MAX)
		return "a value is empty or too long";
	if (span_eq_str(option, "--login")) {
		out->user = value;
	} else if (span_eq_str(option, "--listener")) {
		out->listener = value;
	} else if (span_eq_str(option, "--ip")) {
		if (!ip_parse(word, &out->client))
			return "not an address";
	} else if (span_eq_str(option, "--protocol")) {
		for (int i = 0; i < MMP_PROTOCOLS; i++)
			if (span_ieq_str(word, protocols[i]))
				out->protocol = i;
		return out->protocol < 0 ? "no such protocol: imap, pop3, managesieve, submission"
					 : NULL;
	} else {
		return "expected: --login USER --ip A [--listener NAME] [--protocol P]";
	}
	return NULL;
}

const char *dry_parse(const char *const *words, size_t n, struct dry_ask *out)
{
	const char *why = n % 2 == 0 ? NULL : "a value is missing";
	*out = (struct dry_ask){ .protocol = -1 };
	for (size_t i = 0; i + 1 < n && why == NULL; i += 2)
		why = take_word(words[i], words[i + 1], out);
	if (why == NULL && (out->user == NULL || ip_is_none(out->client)))
		why = "--login and --ip are needed";
	return why;
}

/* ---- rows ------------------------------------------------------------------------------------- */

static void put(struct dry *d, const char *check, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void put(struct dry *d, const char *check, const char *fmt, ...)
{
	struct buf text = BUF_INIT(TEXT_MAX);
	va_list ap;
	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	buf_add_str(&d->rows, buf_len(&d->rows) > 1 ? ",{\"check\":" : "{\"check\":");
	fmt_json_string(&d->rows, span_str(check));
	buf_add_str(&d->rows, ",\"answer\":");
	fmt_json_string(&d->rows, buf_span(&text));
	buf_printf(&d->rows, ",\"ms\":%llu}",
	    (unsigned long long)(loop_now_ms(d->mmp->loop) - d->begun_ms));
	buf_end(&text);
}

/* What is the same in all workers is told by the first. */
static bool tells_all(const struct dry *d)
{
	return d->worker == 0;
}

static void refuse(struct dry *d, enum reason why)
{
	if (d->why == WHY_NONE)
		d->why = why;
}

/* ---- the end ---------------------------------------------------------------------------------- */

static void dry_free(struct dry *d)
{
	ticket_cancel(&d->ask);
	timer_clear(&d->deadline);
	soon_clear(&d->done);
	directory_account_unref(&d->account);
	mmp_setup_unref(&d->setup);
	list_remove(&d->link);
	mem_free(d->user);
	mem_free(d->store);
	buf_end(&d->rows);
	buf_end(&d->rules);
	d->magic = 0;
	mem_free(d);
}

static void on_done(void *arg)
{
	struct dry *d = OBJ(dry, arg);
	buf_add_char(&d->rows, ']');
	d->owner.fn(d->owner.arg, d->owner.id, buf_span(&d->rows));
	dry_free(d);
}

static void on_deadline(void *arg)
{
	struct dry *d = OBJ(dry, arg);
	put(d, "decision", "none: a helper did not answer in time");
	on_done(d);
}

/* ---- steps: true goes on at once, false when the answer has come ---------------------------------- */

typedef bool step_fn(struct dry *d);
static void go_on(struct dry *d);

static struct meter_facts facts_of(const struct dry *d, bool knows_user)
{
	return (struct meter_facts){
		.client = d->client,
		.user = !knows_user ? SPAN_NONE
				    : span_str(d->account != NULL ? d->account->user : d->user),
		.listener = span_str(d->listener->head.title),
	};
}

static void put_metered(struct dry *d, const struct meter_answer *a)
{
	static const char *const names[METER_MOMENTS] = { [METER_CONNECT] = "meter connect",
		[METER_AUTH] = "meter auth",
		[METER_LOGIN] = "meter login",
		[METER_SESSION] = "meter session" };
	static const char *const actions[] = {
		[METER_DEFER] = "defers", [METER_REFUSE] = "refuses", [METER_DELAY] = "delays"
	};
	const char *check = names[d->moment];
	if (a == NULL && buf_len(&d->rules) == 0)
		put(d, check, "no rule applies");
	else if (a == NULL || a->action == METER_ALLOW)
		put(d, check, "lets in; rules: %s", buf_cstr(&d->rules));
	else
		put(d, check, "%s by %s for %llu ms; rules: %s", actions[a->action], a->rule,
		    (unsigned long long)a->retry_ms, buf_cstr(&d->rules));
}

static void on_metered(void *arg, const struct meter_answer *a)
{
	struct dry *d = OBJ(dry, arg);
	d->ask = NULL;
	put_metered(d, a);
	if (!meter_lets_in(a))
		refuse(d, WHY_LIMITED);
	go_on(d);
}

static bool peek(struct dry *d, enum meter_moment moment, const struct meter_facts *facts)
{
	if (!tells_all(d))
		return true;
	buf_clear(&d->rules);
	d->moment = moment;
	const struct meter_look look = { moment, facts, &d->rules };
	d->ask = meter_peek(d->mmp->meter, &look, on_metered, d);
	if (d->ask == NULL)
		put_metered(d, NULL);
	return d->ask == NULL;
}

static bool step_connect(struct dry *d)
{
	struct meter_facts facts = facts_of(d, false);
	if (tells_all(d))
		put(d, "listener", "%s, %s", d->listener->head.title, d->front->name);
	return peek(d, METER_CONNECT, &facts);
}

static void on_found(void *arg, enum directory_status status, const struct account *a)
{
	static const char *const words[] = {
		[DIRECTORY_ABSENT] = "there is no such user",
		[DIRECTORY_UNKNOWN] = "could not be asked",
	};
	struct dry *d = OBJ(dry, arg);
	d->ask = NULL;
	if (status == DIRECTORY_FOUND)
		d->account = directory_account_ref(a);
	else
		refuse(d, status == DIRECTORY_UNKNOWN ? WHY_DIRECTORY_DOWN : WHY_UNKNOWN_USER);
	if (tells_all(d))
		put(d, "directory", "%s",
		    a != NULL && status == DIRECTORY_FOUND ? a->user : words[status]);
	go_on(d);
}

static bool step_find(struct dry *d)
{
	struct buf lower = BUF_INIT(WORD_MAX);
	char text[WORD_MAX];
	span_lower_to(text, span_str(d->user));
	buf_add(&lower, text, span_str(d->user).n);
	d->ask = directory_find(d->mmp->directory, buf_span(&lower), on_found, d);
	buf_end(&lower);
	return false;
}

static bool step_failures(struct dry *d)
{
	struct meter_facts facts = facts_of(d, true);
	struct failure what = { .client = d->client, .user = facts.user };
	char check[64];
	unsigned n = failures_look(d->mmp->failures, &what, loop_now_ms(d->mmp->loop));
	snprintf(check, sizeof check, "failures (worker %u)", d->worker);
	put(d, check,
	    "%u lately, of the network or the account; one more is answered after %llu ms", n,
	    (unsigned long long)authenticate_step_ms(d->setup->mmp, n + 1));
	return true;
}

static bool step_auth(struct dry *d)
{
	struct meter_facts facts = facts_of(d, true);
	return peek(d, METER_AUTH, &facts);
}

/* Would the directory check the password? Else the store does. */
static bool is_checked_here(const struct dry *d)
{
	return d->setup->mmp->preauth && !d->account->verify_at_store;
}

static bool step_account(struct dry *d)
{
	static const char *const statuses[] = {
		[ACCOUNT_ACTIVE] = "active",
		[ACCOUNT_INACTIVE] = "inactive",
		[ACCOUNT_DISABLED] = "disabled",
		[ACCOUNT_DELETED] = "deleted",
		[ACCOUNT_HOLD] = "hold",
		[ACCOUNT_DEFER] = "defer",
		[ACCOUNT_OVERQUOTA] = "overquota",
	};
	const struct account *a = d->account;
	if (a == NULL)
		return true;
	bool tls = d->listener->tls != MMP_TLS_NONE;
	enum reason why = authenticate_may(d->mmp, d->front, tls, a, d->client);
	if (why != WHY_NONE)
		refuse(d, why);
	if (!tells_all(d))
		return true;
	put(d, "password", "taken for right; %s checks it",
	    is_checked_here(d) ? "the directory" : "the store");
	put(d, "account", "status %s; services %s: %s", statuses[a->status],
	    a->allowed_services != NULL ? a->allowed_services : "all",
	    why == WHY_NONE ? "may log in" : reasons[why].word);
	return true;
}

static bool step_login(struct dry *d)
{
	struct meter_facts facts = facts_of(d, true);
	if (d->account == NULL)
		return true;
	facts.authenticated = is_checked_here(d);
	return peek(d, METER_LOGIN, &facts);
}

static bool step_session(struct dry *d)
{
	struct meter_facts facts = facts_of(d, true);
	if (d->account == NULL)
		return true;
	facts.authenticated = is_checked_here(d);
	return peek(d, METER_SESSION, &facts);
}

/* ---- stores ----------------------------------------------------------------------------------- */

struct found_store {
	const char *name;
	const struct store_place *place;
	const struct store_policy *policy;
	uint16_t port;
};

static const char *const logins[] = { "password", "proxy", "master", "certificate", "xclient" };

/* The state of a store that may be tried, or why it is passed over: then *why_out is what route.c would refuse with
 * when there is no other. */
static const char *state_of(
    struct dry *d, const struct found_store *f, uint64_t *ms_out, enum reason *why_out)
{
	struct buf key = BUF_INIT(WORD_MAX);
	const char *state = route_unfit(f->policy, d->listener->protocol, f->port);
	*ms_out = 0;
	*why_out = d->failed != WHY_NONE ? d->failed : WHY_NO_STORE;
	if (state != NULL)
		return state;
	*why_out = WHY_HELD;
	if (orders_hold_store(d->mmp->orders, f->name))
		return "held by order";
	buf_printf(&key, "%s:%u", f->place->host, f->port);
	state =
	    backend_health_look(d->mmp->health, buf_span(&key), loop_now_ms(d->mmp->loop), ms_out);
	buf_end(&key);
	bool good =
	    span_eq_str(span_str(state), "good") || span_eq_str(span_str(state), "returning");
	*why_out = good ? WHY_NONE : WHY_STORE_DOWN;
	if (good && route_is_silent(d->mmp, f->name)) {
		*why_out = WHY_STORE_DOWN;
		return "silent";
	}
	return state;
}

static void put_store(struct dry *d, const struct found_store *f)
{
	char check[WORD_MAX + 64], limit[32] = "any number", left[48] = "";
	uint64_t ms;
	size_t waiting, n = store_load_look(d->mmp->load, f->name, &waiting),
			most = f->policy->connections_max;
	enum reason why;
	const char *state = state_of(d, f, &ms, &why);
	bool full = most > 0 && (n >= most || waiting > 0);
	snprintf(check, sizeof check, "store %s (worker %u)", f->name, d->worker);
	if (most > 0)
		snprintf(limit, sizeof limit, "%zu", most);
	if (ms > 0)
		snprintf(left, sizeof left, " for %llu ms", (unsigned long long)ms);
	put(d, check, "%s:%u, login %s; %zu connections of %s, %zu wait; %s%s%s", f->place->host,
	    f->port, logins[f->policy->login], n, limit, waiting, state, left,
	    why == WHY_NONE && full ? ", full: it would wait in line" : "");
	d->failed = why;
	if (why == WHY_NONE && d->store == NULL)
		d->store = mem_str(f->name);
}

static void on_place(void *arg, enum directory_status status, const struct store_place *place)
{
	struct dry *d = OBJ(dry, arg);
	const char *name =
	    route_candidate(d->setup->mmp, d->listener->protocol, d->account, d->next_host++);
	d->ask = NULL;
	if (status == DIRECTORY_FOUND) {
		struct found_store f = { name, place, store_policy_of(d->setup->stores, name), 0 };
		f.port = d->front->back->port(place, f.policy->tls == MMP_TLS_IMPLICIT);
		if (f.policy->login != LOGIN_PASSWORD && !is_checked_here(d))
			refuse(d, WHY_UNPROVEN);
		put_store(d, &f);
	} else {
		put(d, name, "the directory could not be asked");
		d->failed = WHY_DIRECTORY_DOWN;
	}
	d->step--; /* the next one */
	go_on(d);
}

static bool step_stores(struct dry *d)
{
	const char *name =
	    d->account == NULL
		? NULL
		: route_candidate(d->setup->mmp, d->listener->protocol, d->account, d->next_host);
	if (name == NULL)
		return true;
	d->ask = directory_store(d->mmp->directory, span_str(name), on_place, d);
	return false;
}

static bool step_decision(struct dry *d)
{
	char check[64];
	if (d->store == NULL)
		refuse(d, d->failed != WHY_NONE ? d->failed : WHY_NO_STORE);
	snprintf(check, sizeof check, "decision (worker %u)", d->worker);
	if (d->why == WHY_NONE)
		put(d, check, "store %s", d->store);
	else
		put(d, check, "refused: %s", reasons[d->why].word);
	soon_set(d->mmp->loop, &d->done);
	return false;
}

static step_fn *const steps[] = { step_connect, step_find, step_failures, step_auth, step_account,
	step_login, step_session, step_stores, step_decision };

static void go_on(struct dry *d)
{
	while (steps[d->step++](d))
		;
}

/* ---- the start -------------------------------------------------------------------------------- */

static const struct mmp_listener_conf *find_listener(
    const struct mmp_setup *s, const struct dry_ask *ask)
{
	for (size_t i = 0; i < s->mmp->listener_n; i++) {
		const struct mmp_listener_conf *l = s->mmp->listener[i];
		if ((ask->listener == NULL ||
			span_eq_str(span_str(ask->listener), l->head.title)) &&
		    (ask->protocol < 0 || ask->protocol == l->protocol))
			return l;
	}
	return NULL;
}

bool dry_start(
    struct mmp *m, const struct dry_ask *ask, const struct dry_owner *owner, const char **why_out)
{
	const struct mmp_listener_conf *listener = find_listener(m->setup, ask);
	if (listener == NULL) {
		*why_out = "there is no such listener";
		return false;
	}
	struct dry *d = MEM_NEW(struct dry);
	d->magic = dry_MAGIC;
	d->mmp = m;
	d->setup = mmp_setup_ref(m->setup);
	d->listener = listener;
	d->front = front_of((enum mmp_protocol)listener->protocol);
	d->client = ask->client;
	d->user = mem_str(ask->user);
	d->worker = ask->worker;
	d->rows = BUF_INIT(ROWS_MAX);
	d->rules = BUF_INIT(TEXT_MAX);
	d->begun_ms = loop_now_ms(m->loop);
	d->owner = *owner;
	list_add_tail(&m->dries, &d->link);
	timer_init(&d->deadline, m->loop, on_deadline, d);
	timer_set(&d->deadline, DRY_MS);
	soon_init(&d->done, on_done, d);
	buf_add_char(&d->rows, '[');
	go_on(d);
	return true;
}

void dry_free_all(struct mmp *m)
{
	while (!list_empty(&m->dries))
		dry_free(LIST_OF(struct dry, link, m->dries.next));
}
