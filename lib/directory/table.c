/* table.c - the front of the tables: a question is a small state machine over the keys that a client, a name or an address
 * has, the first that is there being the answer. Answers are given from a deferred call of their own.
 *
 * Owns the tables in force; a question holds a reference to the one it began with, so a reload disturbs nobody. */
#include "directory/table.h"

#include "base/check.h"
#include "base/mem.h"

#include "directory/directory.h"
#include "directory/ldap_url.h"
#include "directory/table_kind.h"

#define table_ask_MAGIC 0x7ab1ea50u

struct table {
	unsigned refs;
	struct conf *conf; /* owned reference; holds settings */
	const struct table_conf *settings;
	const struct table_kind *kind;
	void *object; /* owned: of the kind */
};

struct tables {
	struct loop *loop;
	struct table *v[TABLES_MAX]; /* owned references */
	size_t n;
};

struct table_ask {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct loop *loop;
	struct table *table; /* owned reference; NULL: there is none with this name */
	struct table_keys keys;
	size_t at;           /* the key that is looked up */
	struct ticket *wait; /* owned */
	struct soon soon;
	struct buf value;
	struct table_found found;
	table_fn *fn;
	void *arg;
};

/* ---- tables ----------------------------------------------------------------------------------- */

/* Words of table.type and .subdomains. */
enum { TYPE_FILE, TYPE_LMDB, TYPE_LDAP };
enum { SUBDOMAINS_DOT, SUBDOMAINS_PLAIN };

static const struct table_kind *const kinds[] = {
	[TYPE_FILE] = &table_file_kind,
	[TYPE_LMDB] = &table_lmdb_kind,
	[TYPE_LDAP] = &table_ldap_kind,
};

static struct table *table_new(const struct tables_opts *o, const struct table_conf *c)
{
	struct table *t = MEM_NEW(struct table);
	t->refs = 1;
	t->conf = conf_ref(o->conf);
	t->settings = c;
	t->kind = kinds[c->type];
	struct table_env env = { .loop = o->loop,
		.dns = o->dns,
		.conf = c,
		.directory = conf_section(t->conf, &directory_block) };
	t->object = t->kind->open(&env);
	return t;
}

static void table_unref(struct table **t)
{
	struct table *gone = *t;
	*t = NULL;
	if (gone == NULL || --gone->refs > 0)
		return;
	gone->kind->close(gone->object);
	conf_unref(&gone->conf);
	mem_free(gone);
}

static void drop_all(struct tables *t)
{
	while (t->n > 0)
		table_unref(&t->v[--t->n]);
}

void tables_reload(struct tables *t, const struct tables_opts *o)
{
	drop_all(t);
	for (size_t i = 0; i < o->n && i < TABLES_MAX; i++)
		t->v[t->n++] = table_new(o, o->blocks[i]);
}

struct tables *tables_new(const struct tables_opts *o)
{
	struct tables *t = MEM_NEW(struct tables);
	t->loop = o->loop;
	tables_reload(t, o);
	return t;
}

void tables_free(struct tables **t)
{
	if (*t == NULL)
		return;
	drop_all(*t);
	MEM_FREE(t);
}

static struct table *find_table(const struct tables *t, const char *name)
{
	for (size_t i = 0; i < t->n; i++)
		if (span_eq_str(span_str(name), t->v[i]->settings->head.title)) {
			t->v[i]->refs++;
			return t->v[i];
		}
	return NULL;
}

/* ---- questions -------------------------------------------------------------------------------- */

static void ask_free(struct table_ask *a)
{
	ticket_cancel(&a->wait);
	soon_clear(&a->soon);
	table_keys_end(&a->keys);
	buf_end(&a->value);
	table_unref(&a->table);
	a->magic = 0;
	mem_free(a);
}

static void on_cancel(struct ticket *t)
{
	ask_free(OBJ(table_ask, t));
}

static void on_soon(void *arg)
{
	struct table_ask *a = OBJ(table_ask, arg);
	struct table_ask done = *a;
	a->keys = (struct table_keys){ 0 };
	a->value = (struct buf){ 0 };
	ask_free(a);
	if (done.found.answer == TABLE_FOUND) {
		done.found.key = table_key(&done.keys, done.at);
		done.found.value = buf_span(&done.value);
	}
	done.fn(done.arg, &done.found);
	table_keys_end(&done.keys);
	buf_end(&done.value);
}

static void on_fetched(void *arg, enum answer answer, struct record *r);

/* Looks from key `at` on; the deferred call gives what is known at the end. */
static void step(struct table_ask *a)
{
	while (a->at < a->keys.n) {
		struct span key = table_key(&a->keys, a->at);
		buf_clear(&a->value);
		if (!a->table->kind->look(a->table->object, key, &a->value, &a->found)) {
			a->wait = a->table->kind->fetch(a->table->object, key, on_fetched, a);
			return;
		}
		if (a->found.answer != TABLE_ABSENT)
			break;
		a->at++;
	}
	soon_set(a->loop, &a->soon);
}

static void on_fetched(void *arg, enum answer answer, struct record *r)
{
	struct table_ask *a = OBJ(table_ask, arg);
	a->wait = NULL;
	if (answer == ANSWER_ABSENT) {
		a->at++;
		step(a);
		return;
	}
	a->found.answer = answer == ANSWER_FOUND ? TABLE_FOUND : TABLE_UNKNOWN;
	if (answer == ANSWER_FOUND)
		buf_add_str(&a->value, r->list.p);
	else
		a->found.why =
		    answer == ANSWER_AWAY ? "no server answers" : "the answer decides nothing";
	soon_set(a->loop, &a->soon);
}

struct ticket *tables_find(
    struct tables *t, const struct table_question *q, table_fn *fn, void *arg)
{
	struct table_ask *a = MEM_NEW(struct table_ask);
	a->ticket.cancel = on_cancel;
	a->magic = table_ask_MAGIC;
	a->loop = t->loop;
	a->table = find_table(t, q->table);
	a->value = BUF_INIT(TABLE_VALUE_MAX + 1); /* and its NUL, in an LMDB file */
	a->fn = fn;
	a->arg = arg;
	soon_init(&a->soon, on_soon, a);
	a->found.answer = TABLE_ABSENT;
	if (a->table == NULL) {
		a->found = (struct table_found){ .answer = TABLE_UNKNOWN,
			.why = "there is no table with this name" };
		soon_set(a->loop, &a->soon);
		return &a->ticket;
	}
	table_keys_of(
	    q->use, q->what, a->table->settings->subdomains == SUBDOMAINS_PLAIN, &a->keys);
	step(a);
	return &a->ticket;
}

/* ---- mistakes --------------------------------------------------------------------------------- */

bool table_is_named(struct table_conf *const *blocks, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (span_eq_str(span_str(name), blocks[i]->head.title))
			return true;
	return false;
}

static void check_ldap(
    const struct table_conf *c, const struct directory_conf *d, struct conf_diag *diag)
{
	struct directory_conf settings;
	struct ldap_url url;
	if (!table_ldap_settings(c, d, &settings))
		conf_error(diag, c->head.pos,
		    "table %s: uri and base are wanted, here or in section directory",
		    c->head.title);
	for (size_t i = 0; i < c->uri.n; i++)
		if (!ldap_url_parse(span_str(c->uri.v[i]), &url) || i >= LDAP_URLS_MAX)
			conf_error(diag, c->head.pos, "table %s: uri: %s cannot be used",
			    c->head.title, c->uri.v[i]);
	if (!table_ldap_filter_ok(c))
		conf_error(diag, c->head.pos,
		    "table %s: filter is missing, or none that is known, or has a %% without s, u, "
		    "d or %%",
		    c->head.title);
	if (c->bind_dn != NULL && c->bind_password.bytes.n == 0)
		conf_error(
		    diag, c->head.pos, "table %s: bind_dn needs bind_password", c->head.title);
}

void table_check(const struct tables_opts *o, struct conf_diag *d)
{
	for (size_t i = 0; i < o->n; i++) {
		const struct table_conf *c = o->blocks[i];
		if (c->head.title[0] == '\0')
			conf_error(d, c->head.pos, "a table needs a name: table NAME { ... }");
		if (c->type == TYPE_LDAP)
			check_ldap(c, conf_section(o->conf, &directory_block), d);
		else if (c->path == NULL || c->path[0] == '\0')
			conf_error(d, c->head.pos, "table %s: path is missing", c->head.title);
	}
}

#define CONF_BLOCK table
#define CONF_DEF "directory/table.params.def"
#define CONF_PROSE "Keys and values kept elsewhere, which access rules look into."
#include "conf/params_table.h"
