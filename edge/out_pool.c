/* out_pool.c - which connection a mail goes out on.
 *
 * Owns the connections, one peer for each host with its list of them, and the mails that wait for one.
 * A peer lives while it has connections, waiting mails or a memory of being dead. */
#include "edge/out_pool.h"

#include "base/check.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "edge/outcome.h"
#include "edge/tls_policy.h"

#define out_request_MAGIC 0x0a71e501u
#define out_conn_MAGIC 0x0a71e502u

enum {
	PEERS_MAX = 20000,
	PRUNE_FIRST = 1000,
	WAITING_MAX = 2000,
	DEAD_FIRST_MS = 1000,
	KEY_MAX = 600
};

struct out_pool {
	struct loop *loop;
	struct dns *dns;
	struct out_pool_opts opts;
	char *helo;                         /* owned; opts points here */
	struct tls_ctx *tls[OUT_TLS_KINDS]; /* owned references */
	struct map *peers;
	size_t prune_at;           /* that many peers: those that are of no use go */
	struct list_node all;      /* the same peers */
	struct out_peer *overflow; /* stands for hosts that do not fit: never answers */
	size_t connections;
};

struct out_peer {
	struct out_pool *pool;
	struct list_node link; /* in out_pool.all */
	struct span key;       /* owned bytes */
	enum out_kind kind;
	char *host;
	uint16_t port;
	enum out_tls tls;
	bool foreign;
	struct out_dane dane; /* owned strings; what was said last */
	struct list_node conns, waiting, refused;
	size_t conn_count, waiting_count;
	uint64_t backoff_ms, dead_until_ms; /* backoff_ms 0: alive as far as we know */
	bool probing;                       /* one mail tries whether it is back */
};

struct out_conn {
	uint32_t magic;
	struct out_peer *peer;
	struct list_node link;       /* in out_peer.conns */
	struct smtp_out *out;        /* owned */
	struct out_request *request; /* whose mail is on it; NULL: idle */
};

enum request_state { RQ_NEW, RQ_WAITING, RQ_SENDING };

struct out_request {
	struct ticket ticket; /* first */
	uint32_t magic;
	enum request_state state;
	struct out_peer *peer;
	struct list_node link; /* RQ_NEW: out_peer.refused; RQ_WAITING: out_peer.waiting */
	struct soon start;
	struct out_conn *conn; /* RQ_SENDING */
	struct ticket *sending;
	struct out_mail *mail;
	bool is_probe;
	out_done_fn *fn;
	void *arg;
};

/* ---- peers ---------------------------------------------------------------------------------------- */

static void put_key(struct buf *out, const struct out_target *to)
{
	buf_printf(out, "%d %d %d %u %s", (int)to->kind, (int)to->tls, (int)to->foreign, to->port,
	    to->host);
}

static struct out_peer *peer_new(struct out_pool *p, const struct out_target *to, struct span key)
{
	struct out_peer *peer = MEM_NEW(struct out_peer);
	if (!map_set(p->peers, key, peer, NULL)) {
		mem_free(peer);
		return NULL;
	}
	peer->pool = p;
	peer->key = span_of(mem_copy(key.p, key.n), key.n);
	peer->kind = to->kind;
	peer->host = mem_str(to->host);
	peer->port = to->port;
	peer->tls = to->tls;
	peer->foreign = to->foreign;
	if (to->dane != NULL)
		peer->dane = out_dane_copy(to->dane);
	list_init(&peer->conns);
	list_init(&peer->waiting);
	list_init(&peer->refused);
	list_add_tail(&p->all, &peer->link);
	return peer;
}

static void peer_free(struct out_peer *peer)
{
	map_remove(peer->pool->peers, peer->key);
	list_remove(&peer->link);
	mem_free((void *)(uintptr_t)peer->key.p);
	mem_free(peer->host);
	out_dane_end(&peer->dane);
	mem_free(peer);
}

static bool is_unused(const struct out_peer *peer)
{
	return peer->conn_count == 0 && peer->waiting_count == 0 && list_empty(&peer->refused);
}

/* Peers without connections are kept only for their memory, which ends by time. */
static void peers_prune(struct out_pool *p)
{
	uint64_t now = loop_now_ms(p->loop);
	for (struct list_node *n = p->all.next, *next; n != &p->all; n = next) {
		struct out_peer *peer = LIST_OF(struct out_peer, link, n);
		next = n->next;
		if (is_unused(peer) && now >= peer->dead_until_ms)
			peer_free(peer);
	}
	size_t twice = 2 * map_count(p->peers);
	p->prune_at = twice < PRUNE_FIRST ? PRUNE_FIRST : twice < PEERS_MAX ? twice : PEERS_MAX;
}

static struct out_peer *peer_get(struct out_pool *p, const struct out_target *to)
{
	struct buf key = BUF_INIT(KEY_MAX);
	struct out_peer *peer = NULL;
	put_key(&key, to);
	if (buf_ok(&key))
		peer = map_get(p->peers, buf_span(&key));
	if (peer == NULL && buf_ok(&key)) {
		if (map_count(p->peers) >= p->prune_at)
			peers_prune(p);
		peer = peer_new(p, to, buf_span(&key));
	} else if (peer != NULL && to->dane != NULL) { /* for connections from now on */
		out_dane_end(&peer->dane);
		peer->dane = out_dane_copy(to->dane);
	}
	buf_end(&key);
	return peer;
}

static void peer_is_dead(struct out_peer *peer)
{
	uint64_t next = peer->backoff_ms == 0 ? DEAD_FIRST_MS : 2 * peer->backoff_ms;
	peer->backoff_ms = next < peer->pool->opts.dead_ms ? next : peer->pool->opts.dead_ms;
	peer->dead_until_ms = loop_now_ms(peer->pool->loop) + peer->backoff_ms;
}

static void peer_is_alive(struct out_peer *peer)
{
	peer->backoff_ms = 0;
	peer->dead_until_ms = 0;
}

/* ---- connections ---------------------------------------------------------------------------------- */

static void conn_free(struct out_conn *c)
{
	list_remove(&c->link);
	c->peer->conn_count--;
	c->peer->pool->connections--;
	smtp_out_free(&c->out);
	c->magic = 0;
	mem_free(c);
}

static void on_conn_gone(void *arg, struct smtp_out *o)
{
	struct out_conn *c = OBJ(out_conn, arg);
	conn_free(c);
}

static struct out_conn *conn_new(struct out_peer *peer)
{
	struct out_pool *p = peer->pool;
	struct out_conn *c = MEM_NEW(struct out_conn);
	struct out_opts opts = {
		.loop = p->loop,
		.dns = p->dns,
		.kind = peer->kind,
		.host = peer->host,
		.port = peer->port,
		.helo = p->helo,
		.tls = peer->tls,
		.foreign = peer->foreign,
		.dane = peer->tls == OUT_TLS_DANE ? &peer->dane : NULL,
		.tls_ctx = p->tls[peer->tls],
		.connect_ms = p->opts.connect_ms,
		.reply_ms = p->opts.reply_ms,
		.final_ms = p->opts.final_ms,
		.idle_ms = p->opts.idle_ms,
	};
	c->magic = out_conn_MAGIC;
	c->peer = peer;
	c->out = smtp_out_new(&opts, on_conn_gone, c);
	list_add_tail(&peer->conns, &c->link);
	peer->conn_count++;
	p->connections++;
	return c;
}

/* The connection that was used last: the others may fall idle and close. */
static struct out_conn *conn_idle(struct out_peer *peer)
{
	for (struct list_node *n = peer->conns.prev; n != &peer->conns; n = n->prev) {
		struct out_conn *c = LIST_OF(struct out_conn, link, n);
		if (c->request == NULL && smtp_out_ready(c->out))
			return c;
	}
	return NULL;
}

/* ---- requests ------------------------------------------------------------------------------------- */

static void request_detach(struct out_request *r)
{
	if (r->state == RQ_WAITING)
		r->peer->waiting_count--;
	list_remove(&r->link);
	soon_clear(&r->start);
	if (r->is_probe)
		r->peer->probing = false;
	r->is_probe = false;
}

/* Last statement of whoever calls it. */
static void request_answer(struct out_request *r, const struct out_result *result)
{
	out_done_fn *fn = r->fn;
	void *arg = r->arg;
	request_detach(r);
	r->magic = 0;
	mem_free(r);
	fn(arg, result);
}

static void request_refuse(struct out_request *r, const char *why)
{
	struct out_result result = { .end = OUT_UNREACHED, .untried = true, .why = why };
	struct buf text = BUF_INIT(REPLY_TEXT_SIZE);
	buf_printf(&text, "%.200s: %s", r->peer->host, why);
	for (size_t i = 0; i < r->mail->recipient_count; i++)
		outcome_set(
		    r->mail->recipients[i].outcome, FATE_LATER, 451, "4.4.1", buf_span(&text));
	buf_end(&text);
	request_answer(r, &result);
}

static void on_sent(void *arg, const struct out_result *result);

static void request_send(struct out_request *r, struct out_conn *c)
{
	if (r->state == RQ_WAITING)
		r->peer->waiting_count--;
	list_remove(&r->link);
	r->state = RQ_SENDING;
	r->conn = c;
	c->request = r;
	list_remove(&c->link);
	list_add_tail(&r->peer->conns, &c->link);
	r->sending = smtp_out_send(c->out, r->mail, on_sent, r);
}

static bool has_room(const struct out_peer *peer)
{
	return peer->conn_count < peer->pool->opts.per_host_max;
}

/* The mail that waits longest gets the connection, or a new one in its place. */
static void serve_waiting(struct out_peer *peer)
{
	while (!list_empty(&peer->waiting)) {
		struct out_conn *c = conn_idle(peer);
		if (c == NULL && has_room(peer))
			c = conn_new(peer);
		if (c == NULL)
			return;
		request_send(LIST_OF(struct out_request, link, peer->waiting.next), c);
	}
}

/* Nobody waits for a host that has just turned out to be dead. */
static void refuse_waiting(struct out_peer *peer)
{
	while (!list_empty(&peer->waiting)) {
		struct out_request *r = LIST_OF(struct out_request, link, peer->waiting.next);
		peer->waiting_count--;
		list_remove(&r->link);
		r->state = RQ_NEW;
		list_add_tail(&peer->refused, &r->link);
		soon_set(peer->pool->loop, &r->start);
	}
}

static void on_sent(void *arg, const struct out_result *result)
{
	struct out_request *r = OBJ(out_request, arg);
	struct out_conn *c = r->conn;
	struct out_peer *peer = r->peer;
	r->sending = NULL;
	r->conn = NULL;
	c->request = NULL;
	if (!smtp_out_ready(c->out))
		conn_free(c);
	if (result->end == OUT_STALE) {
		request_send(r, conn_new(peer));
		return;
	}
	bool dead =
	    result->end == OUT_UNREACHED && !result->absent; /* that is for the DNS to remember */
	if (dead)
		peer_is_dead(peer);
	else if (result->end == OUT_ANSWERED)
		peer_is_alive(peer);
	if (dead)
		refuse_waiting(peer);
	else
		serve_waiting(peer);
	request_answer(r, result);
}

static void on_start(void *arg)
{
	struct out_request *r = OBJ(out_request, arg);
	struct out_peer *peer = r->peer;
	uint64_t now = loop_now_ms(peer->pool->loop);
	if (peer->backoff_ms > 0 && (now < peer->dead_until_ms || peer->probing)) {
		request_refuse(r, "did not answer a moment ago");
		return;
	}
	struct out_conn *c = conn_idle(peer);
	if (peer->backoff_ms > 0)
		peer->probing = r->is_probe = true;
	if (c == NULL && has_room(peer))
		c = conn_new(peer);
	if (c != NULL) {
		request_send(r, c);
	} else if (peer->waiting_count >= WAITING_MAX) {
		request_refuse(r, "too much mail waits for this host");
	} else {
		list_remove(&r->link);
		r->state = RQ_WAITING;
		peer->waiting_count++;
		list_add_tail(&peer->waiting, &r->link);
	}
}

/* A cancelled conversation cannot be taken up again: the connection goes with it. */
static void request_cancel(struct ticket *t)
{
	struct out_request *r = (struct out_request *)t;
	struct out_peer *peer = r->peer;
	CHECK(r->magic == out_request_MAGIC);
	ticket_cancel(&r->sending);
	if (r->conn != NULL)
		conn_free(r->conn);
	request_detach(r);
	r->magic = 0;
	mem_free(r);
	serve_waiting(peer);
}

struct ticket *out_pool_send(struct out_pool *p, const struct out_target *to, struct out_mail *mail,
    out_done_fn *fn, void *arg)
{
	struct out_request *r = MEM_NEW(struct out_request);
	r->ticket.cancel = request_cancel;
	r->magic = out_request_MAGIC;
	r->mail = mail;
	r->fn = fn;
	r->arg = arg;
	r->peer = peer_get(p, to);
	if (r->peer == NULL)
		r->peer = p->overflow;
	list_add_tail(&r->peer->refused, &r->link);
	soon_init(&r->start, on_start, r);
	soon_set(p->loop, &r->start);
	return &r->ticket;
}

bool out_pool_in_doubt(const struct ticket *t)
{
	const struct out_request *r = (const struct out_request *)t;
	CHECK(r->magic == out_request_MAGIC);
	return r->state == RQ_SENDING && smtp_out_in_doubt(r->conn->out);
}

size_t out_pool_connections(const struct out_pool *p)
{
	return p->connections;
}

/* ---- life ----------------------------------------------------------------------------------------- */

void out_pool_set(struct out_pool *p, const struct out_pool_opts *opts)
{
	char *helo = mem_str(opts->helo);
	mem_free(p->helo);
	p->opts = *opts;
	p->opts.helo = p->helo = helo;
	for (size_t k = 0; k < OUT_TLS_KINDS; k++) {
		struct tls_ctx *fresh = opts->tls[k] != NULL ? tls_ctx_ref(opts->tls[k]) : NULL;
		tls_ctx_unref(&p->tls[k]);
		p->opts.tls[k] = p->tls[k] = fresh;
	}
}

struct out_pool *out_pool_new(struct loop *l, struct dns *dns, const struct out_pool_opts *opts)
{
	struct out_pool *p = MEM_NEW(struct out_pool);
	p->loop = l;
	p->dns = dns;
	p->peers = map_new(PEERS_MAX + 1);
	p->prune_at = PRUNE_FIRST;
	list_init(&p->all);
	out_pool_set(p, opts);
	p->overflow = peer_get(p, &(struct out_target){ .host = "(too many hosts)" });
	p->overflow->backoff_ms = 1;
	p->overflow->dead_until_ms = UINT64_MAX;
	return p;
}

static void requests_free(struct list_node *list)
{
	while (!list_empty(list)) {
		struct out_request *r = LIST_OF(struct out_request, link, list->next);
		request_detach(r);
		mem_free(r);
	}
}

static void peer_end(struct out_peer *peer)
{
	while (!list_empty(&peer->conns)) {
		struct out_conn *c = LIST_OF(struct out_conn, link, peer->conns.next);
		struct out_request *r = c->request;
		if (r != NULL) {
			ticket_cancel(&r->sending);
			request_detach(r);
			mem_free(r);
		}
		conn_free(c);
	}
	requests_free(&peer->waiting);
	requests_free(&peer->refused);
	peer_free(peer);
}

void out_pool_free(struct out_pool **pp)
{
	struct out_pool *p = *pp;
	if (p == NULL)
		return;
	while (!list_empty(&p->all))
		peer_end(LIST_OF(struct out_peer, link, p->all.next));
	map_free(&p->peers);
	for (size_t k = 0; k < OUT_TLS_KINDS; k++)
		tls_ctx_unref(&p->tls[k]);
	mem_free(p->helo);
	MEM_FREE(pp);
}
