/* table_ldap.c - a table as a search: the filter of the block with the key put into its values.
 *
 * The filter's text is parsed once, to a tree; a key is put into values of the tree and never into text, so there is
 * nothing to escape. Connections, failover and the cache (ages, one search per key) are those of the directory. Owns
 * servers, pool and cache of the table, and each search until it answers. */
#include "base/check.h"
#include "base/mem.h"

#include "directory/cache.h"
#include "directory/ldap_pool.h"
#include "directory/ldap_template.h"
#include "directory/table_kind.h"
#include "directory/tables.h"

#define table_ldap_MAGIC 0x7ab1e1dau
#define search_MAGIC 0x7ab15ea6u

enum { ENTRIES_MAX = 8 };
enum scope { SCOPE_SUB, SCOPE_ONE, SCOPE_BASE }; /* words of table.scope */

struct table_ldap {
	struct backend base; /* first: the cache stands before it */
	uint32_t magic;
	const struct table_conf *conf;
	struct directory_conf settings; /* of the connections and the cache */
	struct backend_env env;
	struct ldap_tree tree;
	bool usable; /* the filter is one */
	struct ldap_servers servers;
	struct ldap_pool *pool;
	struct cache *cache;
};

struct search {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct table_ldap *table;
	struct ldap_req req;
	struct buf key;
	struct buf value; /* with its NUL; empty: none yet */
	bool found, bad;
	answer_fn *fn;
	void *arg;
};

static struct search *of_req(struct ldap_req *r)
{
	return OBJ(search, LIST_OF(struct search, req, r));
}

/* ---- one search ------------------------------------------------------------------------------- */

static void search_free(struct search *s)
{
	ldap_pool_forget(&s->req);
	buf_end(&s->key);
	buf_end(&s->value);
	s->magic = 0;
	mem_free(s);
}

static void on_cancel(struct ticket *t)
{
	search_free(OBJ(search, t));
}

static bool put_request(struct ldap_req *req, struct buf *out, int32_t id)
{
	static const char none[] = "1.1"; /* RFC 4511 section 4.5.1.8 */
	struct search *s = of_req(req);
	const struct table_conf *c = s->table->conf;
	const char *attr = c->result != NULL ? c->result : none;
	struct ldap_filled *f = MEM_NEW(struct ldap_filled);
	struct ldap_search q = { .base = s->table->settings.base,
		.subtree = c->scope == SCOPE_SUB,
		.one_level = c->scope == SCOPE_ONE,
		.size_max = ENTRIES_MAX,
		.seconds = (unsigned)((c->deadline + 999) / 1000),
		.filter = &f->root,
		.attrs = &attr,
		.attr_n = 1 };
	bool ok = ldap_template_fill(&s->table->tree, buf_span(&s->key), f) &&
		  ldap_put_search(out, id, &q);
	buf_end(&f->text);
	mem_free(f);
	return ok;
}

static void on_restart(struct ldap_req *req)
{
	struct search *s = of_req(req);
	buf_clear(&s->value);
	s->found = s->bad = false;
}

static void contradicts(struct search *s, const struct entry *e)
{
	s->bad = true;
	directory_log(AMBIGUOUS, LOG_STR("what", s->table->conf->head.title),
	    LOG_SPAN("name", buf_span(&s->key)), LOG_SPAN("second", entry_dn(e)));
}

static void take_value(struct search *s, const struct entry *e, struct span value)
{
	struct span have = span_first(buf_span(&s->value), buf_len(&s->value) - s->found);
	if (value.n > TABLE_VALUE_MAX || span_find(value, '\0') != SIZE_MAX)
		s->bad = true;
	else if (s->found && !span_eq(have, value))
		contradicts(s, e);
	else if (!s->found)
		s->found = buf_add_span(&s->value, value) && buf_add_char(&s->value, '\0');
}

static void on_entry(struct ldap_req *req, const struct entry *e, bool cut)
{
	struct search *s = of_req(req);
	const char *attr = s->table->conf->result;
	struct span value;
	size_t at = 0;
	s->bad |= cut;
	if (attr == NULL)
		take_value(s, e, SPAN(""));
	while (attr != NULL && (value = entry_next(e, attr, &at)).p != NULL)
		take_value(s, e, value);
}

static enum answer judge(
    const struct search *s, enum ldap_outcome outcome, const struct ldap_answer *a)
{
	if (outcome == LDAP_AWAY)
		return ANSWER_AWAY;
	bool enough = outcome == LDAP_ANSWERED && a->code == LDAP_CODE_SIZE_LIMIT && s->found &&
		      s->table->conf->result == NULL;
	if (outcome != LDAP_ANSWERED || (a->code != LDAP_CODE_OK && !enough)) {
		directory_log(REFUSED, LOG_STR("uri", s->req.uri), LOG_STR("what", "table"),
		    LOG_I64("code", a != NULL ? a->code : 0),
		    LOG_SPAN("text", a != NULL ? a->text : SPAN("the answer is too large")));
		return ANSWER_UNKNOWN;
	}
	if (s->bad)
		return ANSWER_UNKNOWN;
	return s->found ? ANSWER_FOUND : ANSWER_ABSENT;
}

static void on_done(struct ldap_req *req, enum ldap_outcome outcome, const struct ldap_answer *a)
{
	struct search *s = of_req(req);
	enum answer answer = judge(s, outcome, a);
	struct record *r = answer == ANSWER_FOUND ? record_from_list(buf_span(&s->value), 1) : NULL;
	answer_fn *fn = s->fn;
	void *arg = s->arg;
	search_free(s);
	fn(arg, answer, r);
	record_unref(&r);
}

static const struct ldap_req_ops req_ops = {
	.put = put_request,
	.restart = on_restart,
	.entry = on_entry,
	.done = on_done,
};

static struct ticket *search_start(
    struct backend *b, enum record_kind kind, struct span key, answer_fn *fn, void *arg)
{
	struct table_ldap *t = OBJ(table_ldap, b);
	struct search *s = MEM_NEW(struct search);
	s->ticket.cancel = on_cancel;
	s->magic = search_MAGIC;
	s->table = t;
	s->key = BUF_INIT(TABLE_KEY_MAX);
	s->value = BUF_INIT(TABLE_VALUE_MAX + 1);
	buf_add_span(&s->key, key);
	s->req.ops = &req_ops;
	s->fn = fn;
	s->arg = arg;
	ldap_pool_ask(t->pool, &s->req, t->conf->deadline);
	return &s->ticket;
}

/* ---- the table -------------------------------------------------------------------------------- */

static const struct backend_ops ops = { .fetch = search_start };

static bool is_set(const char *s)
{
	return s != NULL && s[0] != '\0';
}

bool table_ldap_settings(
    const struct table_conf *c, const struct directory_conf *d, struct directory_conf *out)
{
	*out = *d;
	out->deadline = c->deadline;
	out->cache_ttl = c->cache_ttl;
	out->negative_ttl = c->negative_ttl;
	out->cache_size = c->cache_size;
	out->stale_max = 0; /* what is out of date decides nothing */
	if (is_set(c->base))
		out->base = c->base;
	if (c->uri.n > 0) {
		out->uri = c->uri;
		out->bind_dn = c->bind_dn;
		out->bind_password = c->bind_password;
		out->starttls = c->starttls;
		out->tls_ca = c->tls_ca;
		out->tls_verify = c->tls_verify;
	}
	return out->uri.n > 0 && is_set(out->base);
}

bool table_ldap_filter_ok(const struct table_conf *c)
{
	return is_set(c->filter) && ldap_template_ok(span_str(c->filter));
}

static void *ldap_open(const struct table_env *env)
{
	struct table_ldap *t = MEM_NEW(struct table_ldap);
	t->base.ops = &ops;
	t->magic = table_ldap_MAGIC;
	t->conf = env->conf;
	t->usable = table_ldap_settings(env->conf, env->directory, &t->settings) &&
		    is_set(env->conf->filter) &&
		    ldap_template_parse(span_str(env->conf->filter), &t->tree);
	t->env = (struct backend_env){ .loop = env->loop, .dns = env->dns, .conf = &t->settings };
	ldap_servers_init(&t->servers, &t->env);
	t->pool = ldap_pool_new(&t->servers, LDAP_SEARCHES);
	t->cache = cache_new(&t->env, &t->base);
	return t;
}

static void ldap_close(void *table)
{
	struct table_ldap *t = OBJ(table_ldap, table);
	cache_free(&t->cache);
	ldap_pool_free(&t->pool);
	ldap_servers_end(&t->servers);
	t->magic = 0;
	mem_free(t);
}

static const char no_use[] = "the block of the table cannot be used";

/* FOUND: it is worth a question. */
static enum table_answer may_be_there(const struct table_ldap *t, struct span key)
{
	struct ldap_filled *f = MEM_NEW(struct ldap_filled);
	enum table_answer a = t->usable ? TABLE_ABSENT : TABLE_UNKNOWN;
	if (t->usable && ldap_template_fill(&t->tree, key, f))
		a = TABLE_FOUND;
	else if (!buf_ok(&f->text))
		a = TABLE_UNKNOWN;
	buf_end(&f->text);
	mem_free(f);
	return a;
}

static bool ldap_look(void *table, struct span key, struct buf *out, struct table_found *found)
{
	struct table_ldap *t = OBJ(table_ldap, table);
	enum answer answer = ANSWER_ABSENT;
	struct record *r = NULL;
	found->answer = may_be_there(t, key);
	found->why = found->answer == TABLE_UNKNOWN ? no_use : NULL;
	if (found->answer != TABLE_FOUND)
		return true;
	if (!cache_get(t->cache, RECORD_LIST, key, &answer, &r))
		return false;
	found->answer = r != NULL ? TABLE_FOUND : TABLE_ABSENT;
	if (r != NULL)
		buf_add_str(out, r->list.p);
	record_unref(&r);
	return true;
}

static struct ticket *ldap_fetch(void *table, struct span key, answer_fn *fn, void *arg)
{
	return cache_fetch(OBJ(table_ldap, table)->cache, RECORD_LIST, key, fn, arg);
}

const struct table_kind table_ldap_kind = {
	.open = ldap_open,
	.close = ldap_close,
	.look = ldap_look,
	.fetch = ldap_fetch,
};
