/* policy.c - questions to Postfix policy services.
 *
 * Owns the connections of a worker to them, and each open question until its answer. A question either waits for a
 * connection (in pool->waiting), or has one. */
#include "edge/policy.h"

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"
#include "net/dial.h"
#include "net/stream.h"

#include "edge/edge_tables.h"

#define query_MAGIC 0x90110001u
#define link_MAGIC 0x90110002u

enum { IN_MAX = 2 * POLICY_REPLY_MAX, OUT_MAX = 2 * POLICY_QUESTION_MAX };
static const struct stream_limits limits = { .in_max = IN_MAX, .out_max = OUT_MAX };

struct policy_pool {
	struct loop *loop;
	struct dns *dns;
	struct milter_health *health;
	struct list_node links;   /* every connection, the one used last first */
	struct list_node waiting; /* questions without one, in order */
};

struct query;

/* A connection, open or being opened. */
struct link {
	uint32_t magic;
	struct policy_pool *pool;
	struct list_node node;
	char *name;              /* owned; title of the service */
	struct conf_hostport at; /* host is owned */
	struct query *query;     /* NULL: it is idle */
	struct stream *io;       /* owned; NULL while it is dialled */
	struct ticket *dialing;
	struct timer idle;
	bool kept; /* it has answered before */
};

struct query {
	struct ticket ticket; /* first */
	uint32_t magic;
	struct policy_pool *pool;
	struct policy_question q;
	char *request;     /* owned; q.request points here */
	struct link *link; /* NULL: it waits */
	struct list_node node;
	struct timer deadline;
	struct soon failed; /* there is no address left */
	size_t next;        /* address to be tried */
	policy_fn *fn;
	void *arg;
};

static void query_start(struct query *q);

/* ---- connections ------------------------------------------------------------------------------ */

static void link_free(struct link *k)
{
	ticket_cancel(&k->dialing);
	timer_clear(&k->idle);
	if (k->io != NULL)
		stream_free(&k->io);
	list_remove(&k->node);
	mem_free(k->name);
	mem_free((char *)(uintptr_t)k->at.host);
	k->magic = 0;
	mem_free(k);
}

static size_t links_of(const struct policy_pool *p, const char *name)
{
	size_t n = 0;
	for (const struct list_node *i = p->links.next; i != &p->links; i = i->next)
		n += strcmp(LIST_OF(const struct link, node, i)->name, name) == 0;
	return n;
}

static bool is_at(const struct link *k, const struct conf_hostports *at)
{
	for (size_t i = 0; i < at->n; i++)
		if (at->v[i].port == k->at.port && strcmp(at->v[i].host, k->at.host) == 0)
			return true;
	return false;
}

/* An idle connection to one of the service's addresses, or NULL. */
static struct link *idle_link(const struct policy_pool *p, const struct edge_policy_conf *c)
{
	for (struct list_node *i = p->links.next; i != &p->links; i = i->next) {
		struct link *k = LIST_OF(struct link, node, i);
		if (k->query == NULL && strcmp(k->name, c->head.title) == 0 &&
		    is_at(k, &c->address))
			return k;
	}
	return NULL;
}

/* A place is free: the first that waits for it goes on. */
static void serve_waiting(struct policy_pool *p, const char *name)
{
	for (struct list_node *i = p->waiting.next; i != &p->waiting; i = i->next) {
		struct query *q = LIST_OF(struct query, node, i);
		if (strcmp(q->q.conf->head.title, name) != 0)
			continue;
		query_start(q);
		return;
	}
}

/* ---- ends ------------------------------------------------------------------------------------- */

/* Without its connection, which stays or has gone. */
static void query_free(struct query *q)
{
	timer_clear(&q->deadline);
	soon_clear(&q->failed);
	list_remove(&q->node);
	mem_free(q->request);
	q->magic = 0;
	mem_free(q);
}

/* A connection that is in the middle of something is of no use to anybody else. */
static void drop_link(struct query *q)
{
	struct link *k = q->link;
	q->link = NULL;
	if (k != NULL)
		link_free(k);
}

static void cancel(struct ticket *t)
{
	struct query *q = OBJ(query, t);
	struct policy_pool *p = q->pool;
	char *name = mem_str(q->q.conf->head.title);
	drop_link(q);
	query_free(q);
	serve_waiting(p, name);
	mem_free(name);
}

/* Last statement of whoever calls it. */
static void finish(struct query *q, const struct policy_action *action)
{
	struct policy_pool *p = q->pool;
	char *name = mem_str(q->q.conf->head.title);
	policy_fn *fn = q->fn;
	void *arg = q->arg;
	query_free(q);
	serve_waiting(p, name);
	mem_free(name);
	fn(arg, action);
}

static void log_failure(const struct query *q, const struct conf_hostport *at, const char *why)
{
	metric_add(&edge_metrics[EDGE_M_FILTER_FAILURES], 1);
	log_write(&edge_events[EDGE_EV_FILTER_FAILED], q->q.log_id,
	    LOG_FIELDS(LOG_STR("filter", q->q.conf->head.title), LOG_STR("host", at->host),
		LOG_U64("port", at->port), LOG_STR("step", "policy"), LOG_STR("why", why)));
}

/* The connection is of no more use; its question goes on with another. */
static void link_failed(struct link *k, const char *why)
{
	struct query *q = k->query;
	bool stale = k->kept && k->io != NULL && stream_input(k->io).n == 0;
	if (q != NULL && !stale) {
		uint64_t until = loop_now_ms(q->pool->loop) + q->q.conf->dead_time;
		log_failure(q, &k->at, why);
		milter_health_bad(q->pool->health, &k->at, until);
	}
	if (q != NULL)
		q->link = NULL;
	link_free(k);
	if (q != NULL)
		query_start(q);
}

/* ---- answers ---------------------------------------------------------------------------------- */

static void link_rest(struct link *k)
{
	struct query *q = k->query;
	k->query = NULL;
	k->kept = true;
	q->link = NULL;
	if (q->q.conf->idle == 0 || stream_input(k->io).n > 0 || stream_at_eof(k->io))
		link_free(k);
	else
		timer_set(&k->idle, q->q.conf->idle);
}

static void on_reply(struct link *k)
{
	struct query *q = k->query;
	struct policy_action action;
	struct span words;
	size_t eat;
	enum policy_reply_rx rx = policy_reply_take(stream_input(k->io), &words, &eat);
	if (rx == POLICY_REPLY_MORE && !stream_at_eof(k->io))
		return;
	if (rx != POLICY_REPLY_READY) {
		link_failed(k, rx == POLICY_REPLY_BAD ? "not an answer" : "connection closed");
		return;
	}
	bool known = policy_action_parse(words, &action);
	stream_eat(k->io, eat);
	if (!known)
		log_failure(q, &k->at, "it said a word that is not known");
	link_rest(k);
	finish(q, known ? &action : NULL);
}

static void on_stream(void *arg, enum stream_event ev)
{
	struct link *k = OBJ(link, arg);
	if (ev == STREAM_SENT || ev == STREAM_SECURED)
		return;
	if (k->query == NULL) /* whatever it is, nobody asked */
		link_free(k);
	else if (ev == STREAM_FAILED)
		link_failed(k, err_text(stream_err(k->io)));
	else
		on_reply(k);
}

static void on_idle(void *arg)
{
	link_free(OBJ(link, arg));
}

static void on_deadline(void *arg)
{
	struct query *q = OBJ(query, arg);
	struct link *k = q->link;
	if (k == NULL) {
		log_failure(q, &q->q.conf->address.v[0], "no connection was free in time");
	} else {
		uint64_t until = loop_now_ms(q->pool->loop) + q->q.conf->dead_time;
		log_failure(q, &k->at, "no answer in time");
		milter_health_bad(q->pool->health, &k->at, until);
	}
	drop_link(q);
	finish(q, NULL);
}

/* ---- questions -------------------------------------------------------------------------------- */

static void send_request(struct link *k)
{
	timer_clear(&k->idle);
	stream_write_span(k->io, k->query->q.request);
}

static void on_dialled(void *arg, const struct dial_result *r)
{
	struct link *k = OBJ(link, arg);
	k->dialing = NULL;
	if (r->err) {
		link_failed(k, r->text != NULL ? r->text : err_text(r->err));
		return;
	}
	k->io = r->stream;
	stream_set_owner(k->io, limits, on_stream, k);
	milter_health_good(k->pool->health, &k->at);
	send_request(k);
}

static struct link *link_new(
    struct policy_pool *p, const char *name, const struct conf_hostport *at)
{
	struct link *k = MEM_NEW(struct link);
	k->magic = link_MAGIC;
	k->pool = p;
	k->name = mem_str(name);
	k->at = (struct conf_hostport){ .host = mem_str(at->host), .port = at->port };
	timer_init(&k->idle, p->loop, on_idle, k);
	list_insert(&p->links, &k->node);
	return k;
}

static void attach(struct query *q, struct link *k)
{
	list_remove(&q->node);
	q->link = k;
	k->query = q;
}

static void dial(struct query *q, size_t at)
{
	const struct edge_policy_conf *c = q->q.conf;
	struct link *k = link_new(q->pool, c->head.title, &c->address.v[at]);
	struct dial_target target = {
		.host = span_str(k->at.host),
		.port = k->at.port,
		.deadline_ms = c->connect_timeout,
		.limits = limits,
	};
	attach(q, k);
	k->dialing = dial_start(q->pool->loop, q->pool->dns, &target, on_dialled, k);
}

static void wait(struct query *q)
{
	if (q->node.next == NULL)
		list_add_tail(&q->pool->waiting, &q->node);
}

/* With a connection that is there, a new one, or none yet. */
static void query_start(struct query *q)
{
	struct policy_pool *p = q->pool;
	const struct edge_policy_conf *c = q->q.conf;
	struct link *k = idle_link(p, c);
	if (k != NULL) {
		attach(q, k);
		send_request(k);
		return;
	}
	if (links_of(p, c->head.title) >= (size_t)c->connections) {
		wait(q);
		return;
	}
	q->next = milter_health_next(p->health, &c->address, q->next, loop_now_ms(p->loop));
	if (q->next == c->address.n)
		soon_set(p->loop, &q->failed);
	else
		dial(q, q->next++);
}

static void on_failed(void *arg)
{
	finish(OBJ(query, arg), NULL);
}

/* ---- public ----------------------------------------------------------------------------------- */

struct ticket *policy_ask(
    struct policy_pool *p, const struct policy_question *ask, policy_fn *fn, void *arg)
{
	struct query *q = MEM_NEW(struct query);
	q->ticket.cancel = cancel;
	q->magic = query_MAGIC;
	q->pool = p;
	q->q = *ask;
	q->request = mem_array(ask->request.n + 1, 1);
	memcpy(q->request, ask->request.p, ask->request.n);
	q->q.request = span_of(q->request, ask->request.n);
	q->fn = fn;
	q->arg = arg;
	timer_init(&q->deadline, p->loop, on_deadline, q);
	timer_set(&q->deadline, ask->conf->timeout);
	soon_init(&q->failed, on_failed, q);
	query_start(q);
	return &q->ticket;
}

struct policy_pool *policy_pool_new(struct loop *l, struct dns *dns, struct milter_health *health)
{
	struct policy_pool *p = MEM_NEW(struct policy_pool);
	p->loop = l;
	p->dns = dns;
	p->health = health;
	list_init(&p->links);
	list_init(&p->waiting);
	return p;
}

void policy_pool_free(struct policy_pool **p)
{
	struct policy_pool *gone = *p;
	if (gone == NULL)
		return;
	CHECK(list_empty(&gone->waiting));
	while (!list_empty(&gone->links))
		link_free(LIST_OF(struct link, node, gone->links.next));
	MEM_FREE(p);
}
