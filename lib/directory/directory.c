/* directory.c - the directory's front: questions, and the settings in force.
 *
 * Owns the generation in force (settings, back end, cache), and every ask (ask.c) that has not answered. */
#include "directory/directory.h"

#include "base/check.h"
#include "base/mem.h"

#include "directory/alias_file.h"
#include "directory/ask.h"
#include "directory/cache.h"
#include "directory/name.h"
#include "directory/tables.h"
#include "directory/verify.h"

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

struct generation *generation_ref(struct generation *g)
{
	g->refs++;
	return g;
}

void generation_unref(struct generation **g)
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
/* ---- questions ---- */

const struct account *directory_answer_account(const struct directory_answer *a)
{
	return a->record != NULL ? &a->record->account : NULL;
}

const struct store_place *directory_answer_place(const struct directory_answer *a)
{
	return a->record != NULL ? &a->record->place : NULL;
}

void directory_answer_end(struct directory_answer *a)
{
	record_unref(&a->record);
}

static void give_find(
    union ask_fn fn, void *arg, enum directory_status status, const struct record *r)
{
	fn.find(arg, status, r == NULL ? NULL : &r->account);
}

struct ticket *directory_find_now(struct directory *d, struct span address, directory_find_fn *fn,
    void *arg, struct directory_answer *now_out)
{
	struct ask *a = ask_new(d, arg);
	a->fn.find = fn;
	a->give = give_find;
	if (!name_user_key(&a->key, address, a->gen->settings->default_domain))
		ask_finish(a, DIRECTORY_ABSENT);
	else
		ask_start(a, ASK_WHOLE);
	return ask_ticket(a, now_out);
}

struct ticket *directory_find(
    struct directory *d, struct span address, directory_find_fn *fn, void *arg)
{
	return directory_find_now(d, address, fn, arg, NULL);
}

static void give_domain(
    union ask_fn fn, void *arg, enum directory_status status, const struct record *r)
{
	fn.domain(arg, status);
}

struct ticket *directory_domain(
    struct directory *d, struct span domain, directory_domain_fn *fn, void *arg)
{
	struct ask *a = ask_new(d, arg);
	a->fn.domain = fn;
	a->give = give_domain;
	if (!name_host_key(&a->key, domain))
		ask_finish(a, DIRECTORY_ABSENT);
	else if (directory_conf_lists(a->gen->settings, buf_span(&a->key)))
		ask_finish(a, DIRECTORY_FOUND);
	else
		ask_start(a, ASK_DOMAIN);
	return ask_ticket(a, NULL);
}

static void give_store(
    union ask_fn fn, void *arg, enum directory_status status, const struct record *r)
{
	fn.store(arg, status, r == NULL ? NULL : &r->place);
}

struct ticket *directory_store_now(struct directory *d, struct span name, directory_store_fn *fn,
    void *arg, struct directory_answer *now_out)
{
	struct ask *a = ask_new(d, arg);
	a->fn.store = fn;
	a->give = give_store;
	if (!name_host_key(&a->key, name))
		ask_finish(a, DIRECTORY_UNKNOWN);
	else
		ask_start(a, ASK_STORE);
	return ask_ticket(a, now_out);
}

struct ticket *directory_store(
    struct directory *d, struct span name, directory_store_fn *fn, void *arg)
{
	return directory_store_now(d, name, fn, arg, NULL);
}

static void give_look(
    union ask_fn fn, void *arg, enum directory_status status, const struct record *r)
{
	fn.look(arg, status, r);
}

struct ticket *directory_look(
    struct directory *d, enum record_kind kind, struct span key, directory_look_fn *fn, void *arg)
{
	struct ask *a = ask_new(d, arg);
	a->fn.look = fn;
	a->give = give_look;
	if (key.n == 0 || !buf_add_span(&a->key, key))
		ask_finish(a, DIRECTORY_ABSENT);
	else
		ask_start(a, (enum ask_state)(ASK_RAW_USER + (int)kind));
	return ask_ticket(a, NULL);
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

static void ask_secret(struct ask *a, const struct account *account, struct span secret)
{
	enum answer now = ANSWER_UNKNOWN;
	struct verify_ask ask = {
		.conf = a->gen->settings,
		.backend = a->gen->back,
		.user = record_of_account(account),
		.secret = secret,
	};
	a->state = ASK_SECRET;
	a->wait = verifier_ask(a->d->verifier, &ask, on_verified, a, &now);
	if (a->wait == NULL)
		on_verdict(a, now);
}

static struct ask *verify_ask(struct directory *d, const struct account *account,
    struct span secret, directory_verify_fn *fn, void *arg)
{
	struct ask *a = ask_new(d, arg);
	a->fn.verify = fn;
	a->give = give_verify;
	a->of_secret = true;
	if (account->verify_at_store)
		ask_finish(a, DIRECTORY_UNKNOWN);
	else
		ask_secret(a, account, secret);
	return a;
}

struct ticket *directory_verify(struct directory *d, const struct account *account,
    struct span secret, directory_verify_fn *fn, void *arg)
{
	return ask_ticket(verify_ask(d, account, secret, fn, arg), NULL);
}

struct ticket *directory_verify_now(struct directory *d, const struct directory_secret *what,
    directory_verify_fn *fn, void *arg, enum directory_status *now_out)
{
	struct directory_answer now = { .record = NULL };
	struct ticket *t = ask_ticket(verify_ask(d, what->account, what->secret, fn, arg), &now);
	*now_out = now.status;
	return t;
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
