/* directory.c - the directory's front: every question is an `ask`, a small state machine over look-ups.
 *
 * find: the whole name, then without its detail, then the domain of the user that was found (its status may
 * overrule the user's). Look-ups go to the back end itself when it answers at once, else through the cache.
 * Answers are given from a deferred call of their own, so that an asker may do anything in its callback.
 *
 * Owns the generation in force (settings, back end, cache); an ask holds a reference to the one it began with,
 * so a reload disturbs nobody. Owns every ask that has not answered. */
#include "directory/directory.h"

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"

#include "directory/alias_file.h"
#include "directory/backend.h"
#include "directory/cache.h"
#include "directory/directory_internal.h"
#include "directory/name.h"
#include "directory/tables.h"
#include "directory/verify.h"

#define ask_MAGIC 0xd12ea501u

struct generation {
	unsigned refs;
	struct conf *conf; /* owned reference; holds settings */
	const struct directory_conf *settings;
	struct backend *back;       /* owned */
	struct cache *cache;        /* owned; NULL when the back end answers at once */
	struct alias_file *aliases; /* owned; NULL: none are configured */
};

struct directory {
	struct loop *loop;
	struct dns *dns;
	struct generation *now; /* owned reference */
	struct verifier *verifier;
	struct list_node asks;
};

enum ask_state {
	ASK_WHOLE,       /* is the name as typed somebody's? */
	ASK_STRIPPED,    /* is it without its detail? */
	ASK_USER_DOMAIN, /* what is the status of the found user's domain? */
	ASK_DOMAIN,
	ASK_STORE,
	ASK_RAW_USER, /* one look-up as it is, for target.c: in the order of record_kind */
	ASK_RAW_DOMAIN,
	ASK_RAW_STORE,
	ASK_RAW_GROUP,
	ASK_RAW_DN,
	ASK_RAW_LIST,
	ASK_SECRET, /* the verifier works */
	ASK_READY,  /* the answer is known; the deferred call gives it */
	ASK_STATES
};

union ask_fn {
	directory_find_fn *find;
	directory_domain_fn *domain;
	directory_verify_fn *verify;
	directory_store_fn *store;
	directory_look_fn *look;
};

struct ask {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct directory *d;
	struct generation *gen; /* owned reference */
	struct list_node link;
	enum ask_state state; /* only ask_start() and the on_* handlers write this */
	struct buf key;
	struct ticket *wait; /* owned: cache or verifier */
	struct soon soon;
	enum directory_status status;
	struct record *record; /* owned reference: what was found */
	void (*give)(union ask_fn fn, void *arg, enum directory_status, const struct record *);
	union ask_fn fn;
	void *arg;
};

/* ---- generations ---- */

static const struct backend_ops *const backends[] = {
	[BACKEND_FILE] = &backend_file,
	[BACKEND_LDAP] = &backend_ldap,
	[BACKEND_STATIC] = &backend_static,
};

static struct generation *generation_new(struct directory *d, const struct conf *conf)
{
	struct generation *g = MEM_NEW(struct generation);
	g->refs = 1;
	g->conf = conf_ref(conf);
	g->settings = conf_section(g->conf, &directory_block);
	struct backend_env env = { .loop = d->loop, .dns = d->dns, .conf = g->settings };
	g->back = backends[g->settings->backend]->open(&env);
	if (g->back->ops->fetch != NULL)
		g->cache = cache_new(&env, g->back);
	g->aliases = alias_file_new(d->loop, g->settings);
	return g;
}

static struct generation *generation_ref(struct generation *g)
{
	g->refs++;
	return g;
}

static void generation_unref(struct generation **g)
{
	struct generation *gone = *g;
	*g = NULL;
	if (gone == NULL || --gone->refs > 0)
		return;
	cache_free(&gone->cache);
	alias_file_free(&gone->aliases);
	gone->back->ops->close(&gone->back);
	conf_unref(&gone->conf);
	mem_free(gone);
}

/* ---- the ask: life ---- */

static void ask_free(struct ask *a)
{
	ticket_cancel(&a->wait);
	soon_clear(&a->soon);
	list_remove(&a->link);
	record_unref(&a->record);
	buf_end(&a->key);
	generation_unref(&a->gen);
	a->magic = 0;
	mem_free(a);
}

static void on_cancel(struct ticket *t)
{
	ask_free(OBJ(ask, t));
}

static void on_soon(void *arg)
{
	struct ask *a = OBJ(ask, arg);
	struct ask done = *a;
	a->record = NULL;
	ask_free(a);
	done.give(done.fn, done.arg, done.status, done.record);
	record_unref(&done.record);
}

static struct ask *ask_new(struct directory *d, void *arg)
{
	struct ask *a = MEM_NEW(struct ask);
	a->ticket.cancel = on_cancel;
	a->magic = ask_MAGIC;
	a->d = d;
	a->gen = generation_ref(d->now);
	a->key = BUF_INIT(CACHE_KEY_MAX);
	a->arg = arg;
	soon_init(&a->soon, on_soon, a);
	list_add_tail(&d->asks, &a->link);
	return a;
}

static void ask_finish(struct ask *a, enum directory_status status)
{
	a->state = ASK_READY;
	a->status = status;
	if (status != DIRECTORY_FOUND)
		record_unref(&a->record);
	soon_set(a->d->loop, &a->soon);
}

static void keep_record(struct ask *a, const struct record *r)
{
	record_unref(&a->record);
	a->record = record_ref(r);
}

static void set_key(struct ask *a, struct span key)
{
	buf_clear(&a->key);
	buf_add_span(&a->key, key);
}

/* ---- the ask: answers of look-ups ---- */

static void on_user(struct ask *a, struct record *r)
{
	keep_record(a, r);
	set_key(a, span_str(r->account.domain));
	if (buf_len(&a->key) == 0)
		ask_finish(a, DIRECTORY_FOUND);
	else
		a->state = ASK_USER_DOMAIN;
}

static void on_whole(struct ask *a, enum answer answer, struct record *r)
{
	struct buf stripped = BUF_INIT(NAME_BYTES_MAX);
	if (answer == ANSWER_FOUND) {
		on_user(a, r);
	} else if (answer != ANSWER_ABSENT) {
		ask_finish(a, DIRECTORY_UNKNOWN);
	} else if (name_strip_detail(&stripped, buf_span(&a->key))) {
		set_key(a, buf_span(&stripped));
		a->state = ASK_STRIPPED;
	} else {
		ask_finish(a, DIRECTORY_ABSENT);
	}
	buf_end(&stripped);
}

static void on_stripped(struct ask *a, enum answer answer, struct record *r)
{
	if (answer == ANSWER_FOUND)
		on_user(a, r);
	else
		ask_finish(a, answer == ANSWER_ABSENT ? DIRECTORY_ABSENT : DIRECTORY_UNKNOWN);
}

/* A domain without an entry is active; one that could not be looked up decides nothing. */
static void on_user_domain(struct ask *a, enum answer answer, struct record *r)
{
	if (answer == ANSWER_FOUND) {
		struct record *user = a->record;
		a->record = record_in_domain(user, r);
		record_unref(&user);
	}
	bool known = answer != ANSWER_UNKNOWN && answer != ANSWER_AWAY;
	ask_finish(a, known ? DIRECTORY_FOUND : DIRECTORY_UNKNOWN);
}

static void on_domain(struct ask *a, enum answer answer, struct record *r)
{
	if (answer == ANSWER_FOUND)
		ask_finish(a, DIRECTORY_FOUND);
	else
		ask_finish(a, answer == ANSWER_ABSENT ? DIRECTORY_ABSENT : DIRECTORY_UNKNOWN);
}

static void on_store(struct ask *a, enum answer answer, struct record *r)
{
	if (answer == ANSWER_FOUND)
		keep_record(a, r);
	else if (answer == ANSWER_ABSENT || answer == ANSWER_WAS_ABSENT)
		a->record = record_default_store(a->gen->settings, buf_span(&a->key));
	ask_finish(a, a->record != NULL ? DIRECTORY_FOUND : DIRECTORY_UNKNOWN);
}

static void on_raw(struct ask *a, enum answer answer, struct record *r)
{
	if (answer == ANSWER_FOUND)
		keep_record(a, r);
	if (answer == ANSWER_FOUND)
		ask_finish(a, DIRECTORY_FOUND);
	else
		ask_finish(a, answer == ANSWER_ABSENT || answer == ANSWER_WAS_ABSENT
				  ? DIRECTORY_ABSENT
				  : DIRECTORY_UNKNOWN);
}

static const struct {
	enum record_kind kind;
	void (*on_answer)(struct ask *a, enum answer answer, struct record *r);
} states[ASK_STATES] = {
	[ASK_WHOLE] = { RECORD_USER, on_whole },
	[ASK_STRIPPED] = { RECORD_USER, on_stripped },
	[ASK_USER_DOMAIN] = { RECORD_DOMAIN, on_user_domain },
	[ASK_DOMAIN] = { RECORD_DOMAIN, on_domain },
	[ASK_STORE] = { RECORD_STORE, on_store },
	[ASK_RAW_USER] = { RECORD_USER, on_raw },
	[ASK_RAW_DOMAIN] = { RECORD_DOMAIN, on_raw },
	[ASK_RAW_STORE] = { RECORD_STORE, on_raw },
	[ASK_RAW_GROUP] = { RECORD_GROUP, on_raw },
	[ASK_RAW_DN] = { RECORD_DN, on_raw },
	[ASK_RAW_LIST] = { RECORD_LIST, on_raw },
	[ASK_SECRET] = { 0, NULL },
	[ASK_READY] = { 0, NULL },
};

/* ---- the ask: driver ---- */

static bool look_now(struct ask *a, enum answer *answer_out, struct record **record_out)
{
	struct generation *g = a->gen;
	enum record_kind kind = states[a->state].kind;
	*record_out = NULL;
	if (g->cache != NULL)
		return cache_get(g->cache, kind, buf_span(&a->key), answer_out, record_out);
	*answer_out = g->back->ops->look(g->back, kind, buf_span(&a->key), record_out);
	return true;
}

static void on_look(void *arg, enum answer answer, struct record *r);

static void ask_step(struct ask *a)
{
	enum answer answer;
	struct record *r;
	while (states[a->state].on_answer != NULL) {
		if (!look_now(a, &answer, &r)) {
			a->wait = cache_fetch(
			    a->gen->cache, states[a->state].kind, buf_span(&a->key), on_look, a);
			return;
		}
		states[a->state].on_answer(a, answer, r);
		record_unref(&r);
	}
}

static void on_look(void *arg, enum answer answer, struct record *r)
{
	struct ask *a = OBJ(ask, arg);
	a->wait = NULL;
	states[a->state].on_answer(a, answer, r);
	ask_step(a);
}

static struct ticket *ask_start(struct ask *a, enum ask_state first)
{
	a->state = first;
	ask_step(a);
	return &a->ticket;
}

static struct ticket *ask_known(struct ask *a, enum directory_status status)
{
	ask_finish(a, status);
	return &a->ticket;
}

/* ---- questions ---- */

static void count_status(enum directory_status status)
{
	if (status == DIRECTORY_FOUND)
		directory_count(FOUND);
	else if (status == DIRECTORY_ABSENT)
		directory_count(ABSENT);
	else
		directory_count(UNKNOWN);
}

static void give_find(
    union ask_fn fn, void *arg, enum directory_status status, const struct record *r)
{
	count_status(status);
	fn.find(arg, status, r == NULL ? NULL : &r->account);
}

struct ticket *directory_find(
    struct directory *d, struct span address, directory_find_fn *fn, void *arg)
{
	struct ask *a = ask_new(d, arg);
	a->fn.find = fn;
	a->give = give_find;
	if (!name_user_key(&a->key, address, a->gen->settings->default_domain))
		return ask_known(a, DIRECTORY_ABSENT);
	return ask_start(a, ASK_WHOLE);
}

static void give_domain(
    union ask_fn fn, void *arg, enum directory_status status, const struct record *r)
{
	count_status(status);
	fn.domain(arg, status);
}

struct ticket *directory_domain(
    struct directory *d, struct span domain, directory_domain_fn *fn, void *arg)
{
	struct ask *a = ask_new(d, arg);
	a->fn.domain = fn;
	a->give = give_domain;
	if (!name_host_key(&a->key, domain))
		return ask_known(a, DIRECTORY_ABSENT);
	if (directory_conf_lists(a->gen->settings, buf_span(&a->key)))
		return ask_known(a, DIRECTORY_FOUND);
	return ask_start(a, ASK_DOMAIN);
}

static void give_store(
    union ask_fn fn, void *arg, enum directory_status status, const struct record *r)
{
	count_status(status);
	fn.store(arg, status, r == NULL ? NULL : &r->place);
}

struct ticket *directory_store(
    struct directory *d, struct span name, directory_store_fn *fn, void *arg)
{
	struct ask *a = ask_new(d, arg);
	a->fn.store = fn;
	a->give = give_store;
	if (!name_host_key(&a->key, name))
		return ask_known(a, DIRECTORY_UNKNOWN);
	return ask_start(a, ASK_STORE);
}

static void give_look(
    union ask_fn fn, void *arg, enum directory_status status, const struct record *r)
{
	count_status(status);
	fn.look(arg, status, r);
}

struct ticket *directory_look(
    struct directory *d, enum record_kind kind, struct span key, directory_look_fn *fn, void *arg)
{
	struct ask *a = ask_new(d, arg);
	a->fn.look = fn;
	a->give = give_look;
	if (key.n == 0 || !buf_add_span(&a->key, key))
		return ask_known(a, DIRECTORY_ABSENT);
	return ask_start(a, (enum ask_state)(ASK_RAW_USER + (int)kind));
}

const struct directory_conf *directory_settings(const struct directory *d)
{
	return d->now->settings;
}

const struct alias_file *directory_aliases(const struct directory *d)
{
	return d->now->aliases;
}

static void give_verify(
    union ask_fn fn, void *arg, enum directory_status status, const struct record *r)
{
	if (status == DIRECTORY_FOUND)
		directory_count(VERIFY_RIGHT);
	else if (status == DIRECTORY_ABSENT)
		directory_count(VERIFY_WRONG);
	else
		directory_count(VERIFY_UNKNOWN);
	fn.verify(arg, status);
}

static void on_verdict(struct ask *a, enum answer answer)
{
	static const enum directory_status status[] = {
		[ANSWER_FOUND] = DIRECTORY_FOUND,
		[ANSWER_ABSENT] = DIRECTORY_ABSENT,
		[ANSWER_UNKNOWN] = DIRECTORY_UNKNOWN,
		[ANSWER_AWAY] = DIRECTORY_UNKNOWN,
		[ANSWER_WAS_ABSENT] = DIRECTORY_UNKNOWN,
	};
	ask_finish(a, status[answer]);
}

static void on_verified(void *arg, enum answer answer, struct record *r)
{
	struct ask *a = OBJ(ask, arg);
	a->wait = NULL;
	on_verdict(a, answer);
}

struct ticket *directory_verify(struct directory *d, const struct account *account,
    struct span secret, directory_verify_fn *fn, void *arg)
{
	struct ask *a = ask_new(d, arg);
	enum answer now = ANSWER_UNKNOWN;
	a->fn.verify = fn;
	a->give = give_verify;
	if (account->verify_at_store)
		return ask_known(a, DIRECTORY_UNKNOWN);
	struct verify_ask ask = {
		.conf = a->gen->settings,
		.backend = a->gen->back,
		.user = record_of_account(account),
		.secret = secret,
	};
	a->state = ASK_SECRET;
	a->wait = verifier_ask(d->verifier, &ask, on_verified, a, &now);
	if (a->wait == NULL)
		on_verdict(a, now);
	return &a->ticket;
}

/* ---- the rest ---- */

const struct account *directory_account_ref(const struct account *a)
{
	return &record_ref(record_of_account(a))->account;
}

void directory_account_unref(const struct account **a)
{
	struct record *r = *a == NULL ? NULL : record_of_account(*a);
	*a = NULL;
	record_unref(&r);
}

static struct record *forget_key(struct generation *g, struct span key)
{
	struct record *r = NULL;
	if (g->cache != NULL) {
		struct record *group = cache_forget(g->cache, RECORD_GROUP, key);
		record_unref(&group);
		return cache_forget(g->cache, RECORD_USER, key);
	}
	(void)g->back->ops->look(g->back, RECORD_USER, key, &r);
	return r;
}

void directory_forget(struct directory *d, struct span address)
{
	struct buf key = BUF_INIT(2 * NAME_BYTES_MAX), stripped = BUF_INIT(2 * NAME_BYTES_MAX);
	if (name_user_key(&key, address, d->now->settings->default_domain)) {
		struct record *r[2] = { forget_key(d->now, buf_span(&key)), NULL };
		if (name_strip_detail(&stripped, buf_span(&key)))
			r[1] = forget_key(d->now, buf_span(&stripped));
		for (size_t i = 0; i < COUNT_OF(r); i++) {
			if (r[i] != NULL)
				verifier_forget(d->verifier, r[i]->account.id);
			record_unref(&r[i]);
		}
	}
	buf_end(&key);
	buf_end(&stripped);
}

bool directory_takes_plain(const struct directory *d)
{
	return d->now->settings->backend == BACKEND_FILE;
}

bool directory_healthy(const struct directory *d)
{
	return d->now->back->ops->healthy(d->now->back);
}

struct directory *directory_new(struct loop *l, struct dns *dns, const struct conf *conf)
{
	struct directory *d = MEM_NEW(struct directory);
	d->loop = l;
	d->dns = dns;
	list_init(&d->asks);
	d->now = generation_new(d, conf);
	d->verifier = verifier_new(l, d->now->settings);
	return d;
}

/* The same settings keep cache and connections: what is known is worth most while LDAP is away. A file that
 * cannot be read does not replace one that could. */
void directory_reload(struct directory *d, const struct conf *fresh)
{
	const struct directory_conf *settings = conf_section(fresh, &directory_block);
	if (directory_conf_equal(d->now->settings, settings))
		return;
	struct generation *old = d->now, *next = generation_new(d, fresh);
	bool broken = settings->backend == BACKEND_FILE && !next->back->ops->healthy(next->back);
	if (broken && old->back->ops->healthy(old->back)) {
		directory_log(SETTINGS_BAD, LOG_STR("what", "reload"),
		    LOG_STR("why", "the file cannot be used; the former settings stay in force"));
		generation_unref(&next);
		return;
	}
	d->now = next;
	generation_unref(&old);
}

void directory_free(struct directory **d)
{
	if (*d == NULL)
		return;
	while (!list_empty(&(*d)->asks))
		ask_free(LIST_OF(struct ask, link, (*d)->asks.next));
	verifier_free(&(*d)->verifier);
	generation_unref(&(*d)->now);
	MEM_FREE(d);
}
