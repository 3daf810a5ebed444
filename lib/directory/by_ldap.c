/* by_ldap.c - the directory as LDAP servers: two pools of connections, and questions put to them.
 *
 * Questions about names are ldap_fetch.c's; whether a password is right is asked here, by a bind. Owns the
 * servers' state, the pools, and each bind until it answers. */
#include "base/check.h"
#include "base/mem.h"

#include "directory/backend.h"
#include "directory/ldap_fetch.h"
#include "directory/password.h"
#include "directory/tables.h"

#define ldap_backend_MAGIC 0x1dab4c4eu
#define bind_MAGIC 0x1dabb14du

struct ldap_backend {
	struct backend base; /* first */
	uint32_t magic;
	struct backend_env env;
	struct ldap_servers servers;
	struct ldap_pool *searches; /* owned */
	struct ldap_pool *binds;    /* owned */
};

struct bind {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct ldap_req req;
	struct record *user; /* owned reference */
	size_t secret_n;
	char secret[SECRET_BYTES_MAX];
	answer_fn *fn;
	void *arg;
};

/* ---- is this the password? ---- */

static struct bind *of_req(struct ldap_req *r)
{
	return OBJ(bind, LIST_OF(struct bind, req, r));
}

static void bind_free(struct bind *b)
{
	ldap_pool_forget(&b->req);
	record_unref(&b->user);
	mem_wipe(b, sizeof *b);
	mem_free(b);
}

static void on_cancel(struct ticket *t)
{
	bind_free(OBJ(bind, t));
}

static bool put_bind(struct ldap_req *r, struct buf *out, int32_t id)
{
	struct bind *b = of_req(r);
	return ldap_put_bind(
	    out, id, span_str(b->user->account.id), span_of(b->secret, b->secret_n));
}

static enum answer judge(
    const struct bind *b, enum ldap_outcome outcome, const struct ldap_answer *a)
{
	if (outcome != LDAP_ANSWERED)
		return outcome == LDAP_AWAY ? ANSWER_AWAY : ANSWER_UNKNOWN;
	if (a->code == LDAP_CODE_OK)
		return ANSWER_FOUND;
	if (a->code == LDAP_CODE_WRONG_SECRET)
		return ANSWER_ABSENT;
	directory_log(REFUSED, LOG_STR("uri", b->req.uri), LOG_STR("what", "bind"),
	    LOG_I64("code", a->code), LOG_SPAN("text", a->text));
	return ANSWER_UNKNOWN;
}

static void on_done(struct ldap_req *r, enum ldap_outcome outcome, const struct ldap_answer *a)
{
	struct bind *b = of_req(r);
	enum answer answer = judge(b, outcome, a);
	answer_fn *fn = b->fn;
	void *arg = b->arg;
	bind_free(b);
	fn(arg, answer, NULL);
}

static const struct ldap_req_ops bind_ops = { .put = put_bind, .done = on_done };

/* A bind without name or password succeeds at most servers, for anybody: never sent. */
static struct ticket *ask_bind(
    struct backend *back, const struct record *user, struct span secret, answer_fn *fn, void *arg)
{
	struct ldap_backend *l = OBJ(ldap_backend, back);
	struct bind *b = MEM_NEW(struct bind);
	CHECK(secret.n > 0 && secret.n <= sizeof b->secret && user->account.id[0] != '\0');
	b->ticket.cancel = on_cancel;
	b->magic = bind_MAGIC;
	b->req.ops = &bind_ops;
	b->user = record_ref(user);
	memcpy(b->secret, secret.p, secret.n);
	b->secret_n = secret.n;
	b->fn = fn;
	b->arg = arg;
	ldap_pool_ask(l->binds, &b->req, l->env.conf->deadline);
	return &b->ticket;
}

/* ---- the back end ---- */

static struct ticket *ask_fetch(
    struct backend *back, enum record_kind kind, struct span key, answer_fn *fn, void *arg)
{
	struct ldap_backend *l = OBJ(ldap_backend, back);
	struct ldap_fetch_ask ask = {
		.pool = l->searches,
		.conf = l->env.conf,
		.loop = l->env.loop,
		.kind = kind,
		.key = key,
	};
	return ldap_fetch_start(&ask, fn, arg);
}

static struct backend *ldap_open(const struct backend_env *env)
{
	struct ldap_backend *l = MEM_NEW(struct ldap_backend);
	l->base.ops = &backend_ldap;
	l->magic = ldap_backend_MAGIC;
	l->env = *env;
	ldap_servers_init(&l->servers, env);
	l->searches = ldap_pool_new(&l->servers, LDAP_SEARCHES);
	l->binds = ldap_pool_new(&l->servers, LDAP_BINDS);
	return &l->base;
}

static void ldap_close(struct backend **b)
{
	struct ldap_backend *l = OBJ(ldap_backend, *b);
	*b = NULL;
	ldap_pool_free(&l->searches);
	ldap_pool_free(&l->binds);
	ldap_servers_end(&l->servers);
	l->magic = 0;
	mem_free(l);
}

static bool ldap_healthy(const struct backend *b)
{
	return ldap_pool_is_up(OBJ(ldap_backend, (void *)b)->searches);
}

const struct backend_ops backend_ldap = {
	.open = ldap_open,
	.close = ldap_close,
	.healthy = ldap_healthy,
	.fetch = ask_fetch,
	.bind = ask_bind,
};
