/* ldap_pool.c - a queue of requests, a set of connections, and one function that brings both together.
 *
 * Whatever happens only notes it and asks for a turn(): from the loop it collects what is lost, retires, sends,
 * connects, and answers what is hopeless. So no connection is freed inside its own callback, and no request is
 * answered inside the asking call. Owns the connections; requests belong to their askers. */
#include "directory/ldap_pool.h"

#include "base/check.h"
#include "base/mem.h"

#include "directory/tables.h"

#define ldap_pool_MAGIC 0x1dab0071u

enum {
	/* The bound of the options, one on the way to a better server, and one try for each that is down. */
	CONNS_MAX = 64 + 1 + LDAP_URLS_MAX,
	TRIES_MAX = 4,
	WORTH_WAITING_MS = 1000, /* while all servers are down */
	OUTAGE_MS = 3000,
	LOOK_BACK_MS = 1000, /* how often a better server is looked for */
};

struct ldap_pool {
	uint32_t magic;
	enum ldap_role role;
	struct ldap_servers *servers;
	const struct directory_conf *conf;
	struct loop *loop;
	struct list_node waiting; /* requests, first come first */
	size_t waiting_n;
	struct ldap_conn *conns[CONNS_MAX]; /* owned */
	size_t n;
	struct soon soon;
	struct timer again;
};

static void ask_for_turn(void *arg)
{
	struct ldap_pool *p = OBJ(ldap_pool, arg);
	soon_set(p->loop, &p->soon);
}

/* ---- requests ---- */

static void enqueue(struct ldap_pool *p, struct ldap_req *r, bool first)
{
	if (first)
		list_add_head(&p->waiting, &r->link);
	else
		list_add_tail(&p->waiting, &r->link);
	p->waiting_n++;
}

static struct ldap_req *first_waiting(struct ldap_pool *p)
{
	if (list_empty(&p->waiting))
		return NULL;
	return LIST_OF(struct ldap_req, link, p->waiting.next);
}

static void unlink_waiting(struct ldap_req *r)
{
	list_remove(&r->link);
	r->pool->waiting_n--;
}

static void leave(struct ldap_req *r, bool late)
{
	timer_clear(&r->deadline);
	if (r->conn != NULL)
		ldap_conn_drop(r->conn, r, late);
	else if (r->link.next != NULL)
		unlink_waiting(r);
}

static void on_deadline(void *arg)
{
	struct ldap_req *r = OBJ(ldap_req, arg);
	leave(r, true);
	ldap_req_finish(r, LDAP_AWAY, NULL);
}

void ldap_pool_forget(struct ldap_req *r)
{
	if (r->pool == NULL)
		return;
	leave(r, false);
	r->pool = NULL;
}

void ldap_pool_ask(struct ldap_pool *p, struct ldap_req *r, uint64_t deadline_ms)
{
	r->magic = ldap_req_MAGIC;
	r->pool = p;
	r->conn = NULL;
	r->tries = 0;
	r->asked_ms = loop_now_ms(p->loop);
	timer_init(&r->deadline, p->loop, on_deadline, r);
	/* Without a place in the queue its time is over in the next round of the loop. */
	bool full = p->waiting_n >= (size_t)p->conf->queue_max;
	timer_set(&r->deadline, full ? 0 : deadline_ms);
	if (!full)
		enqueue(p, r, false);
	ask_for_turn(p);
}

/* ---- the steps of a turn ---- */

static bool is_usable(const struct ldap_conn *c)
{
	return ldap_conn_stage(c) == LDAP_CONNECTING || ldap_conn_stage(c) == LDAP_READY;
}

static void take_back(struct ldap_pool *p, struct ldap_conn *c)
{
	struct ldap_req *r;
	while ((r = ldap_conn_take_back(c)) != NULL) {
		if (r->ops->restart != NULL)
			r->ops->restart(r);
		if (r->tries < TRIES_MAX)
			enqueue(p, r, true);
		else
			ldap_req_finish(r, LDAP_AWAY, NULL);
	}
}

/* Frees what is lost, and what has retired and carries nothing. */
static void collect(struct ldap_pool *p)
{
	for (size_t i = 0; i < p->n;) {
		struct ldap_conn *c = p->conns[i];
		enum ldap_stage stage = ldap_conn_stage(c);
		if (stage == LDAP_LOST)
			take_back(p, c);
		if (stage == LDAP_LOST || (stage == LDAP_RETIRING && ldap_conn_load(c) == 0)) {
			p->conns[i] = p->conns[--p->n];
			ldap_conn_free(&c);
		} else {
			i++;
		}
	}
}

/* Rank of the best server that a connection is ready for. */
static size_t best_ready(const struct ldap_pool *p)
{
	size_t best = p->servers->n;
	for (size_t i = 0; i < p->n; i++)
		if (ldap_conn_stage(p->conns[i]) == LDAP_READY &&
		    ldap_conn_rank(p->conns[i]) < best)
			best = ldap_conn_rank(p->conns[i]);
	return best;
}

static void retire_lesser(struct ldap_pool *p)
{
	size_t best = best_ready(p);
	for (size_t i = 0; i < p->n; i++)
		if (ldap_conn_rank(p->conns[i]) > best)
			ldap_conn_retire(p->conns[i]);
}

/* The one with the least to do among those of the best server. */
static struct ldap_conn *choose(const struct ldap_pool *p)
{
	struct ldap_conn *best = NULL;
	for (size_t i = 0; i < p->n; i++) {
		struct ldap_conn *c = p->conns[i];
		if (ldap_conn_room(c) == 0)
			continue;
		if (best == NULL || ldap_conn_rank(c) < ldap_conn_rank(best) ||
		    (ldap_conn_rank(c) == ldap_conn_rank(best) &&
			ldap_conn_load(c) < ldap_conn_load(best)))
			best = c;
	}
	return best;
}

static void send_waiting(struct ldap_pool *p)
{
	struct ldap_conn *c;
	struct ldap_req *r;
	while ((r = first_waiting(p)) != NULL && (c = choose(p)) != NULL) {
		unlink_waiting(r);
		ldap_conn_send(c, r);
	}
}

static void connect_to(struct ldap_pool *p, size_t rank)
{
	struct ldap_conn_opts o = { .servers = p->servers,
		.server = &p->servers->v[rank],
		.role = p->role,
		.changed = ask_for_turn,
		.arg = p };
	if (p->n < CONNS_MAX)
		p->conns[p->n++] = ldap_conn_new(&o);
}

static size_t count_to(const struct ldap_pool *p, size_t rank, bool only_connecting)
{
	size_t n = 0;
	for (size_t i = 0; i < p->n; i++)
		if (ldap_conn_rank(p->conns[i]) == rank && is_usable(p->conns[i]) &&
		    (!only_connecting || ldap_conn_stage(p->conns[i]) == LDAP_CONNECTING))
			n++;
	return n;
}

static size_t count_usable(const struct ldap_pool *p)
{
	size_t n = 0;
	for (size_t i = 0; i < p->n; i++)
		n += is_usable(p->conns[i]);
	return n;
}

/* Binds need connections while there are binds; those that are there follow the best server. */
static bool is_needed(const struct ldap_pool *p)
{
	return p->role == LDAP_SEARCHES || p->waiting_n > 0 || count_usable(p) > 0;
}

/* New connections to the best server that is up or in use: the first one, and more while requests wait. */
static void grow(struct ldap_pool *p)
{
	size_t used = best_ready(p), best = ldap_servers_best(p->servers), connecting;
	size_t max = (size_t)(p->role == LDAP_SEARCHES ? p->conf->search_connections
						       : p->conf->bind_connections);
	if (best == p->servers->n || !is_needed(p))
		return;
	if (used > best && count_to(p, best, false) == 0)
		connect_to(p, best);
	while (used >= best && (connecting = count_to(p, best, true)) < p->waiting_n &&
	       count_usable(p) < max) {
		if (connecting > 0 && p->role == LDAP_SEARCHES)
			break;
		connect_to(p, best);
	}
}

/* Is there nothing but servers that are down, and somebody who waits? */
static bool is_urgent(const struct ldap_pool *p)
{
	return p->waiting_n > 0 && ldap_servers_best(p->servers) == p->servers->n;
}

/* Servers that are down and better than the one in use are tried beside it, when their pause is over. */
static void try_better(struct ldap_pool *p)
{
	size_t used = best_ready(p), best = ldap_servers_best(p->servers);
	uint64_t now = loop_now_ms(p->loop);
	bool urgent = is_urgent(p);
	for (size_t i = 0; i < best && i < used && is_needed(p); i++)
		if (ldap_server_due_ms(&p->servers->v[i], urgent) <= now &&
		    count_to(p, i, false) == 0)
			connect_to(p, i);
}

/* Each server has failed since it was asked; and it has waited a little, for one may just be restarted, unless
 * the outage is older. */
static bool is_hopeless(const struct ldap_pool *p, const struct ldap_req *r)
{
	uint64_t now = loop_now_ms(p->loop);
	bool waited = now >= r->asked_ms + WORTH_WAITING_MS;
	for (size_t i = 0; i < p->servers->n; i++) {
		const struct ldap_server *v = &p->servers->v[i];
		if (v->failed_ms < r->asked_ms || !(waited || now >= v->down_ms + OUTAGE_MS))
			return false;
	}
	return true;
}

/* Callbacks may ask anew: only those who wait now are answered. The oldest are first. */
static void answer_hopeless(struct ldap_pool *p)
{
	struct ldap_req *r;
	if (!is_urgent(p) || count_usable(p) > 0)
		return;
	for (size_t n = p->waiting_n; n > 0 && (r = first_waiting(p)) != NULL && is_hopeless(p, r);
	     n--) {
		unlink_waiting(r);
		ldap_req_finish(r, LDAP_AWAY, NULL);
	}
}

/* For the next try of a server, or the end of the first one's hope. */
static void set_timer(struct ldap_pool *p)
{
	uint64_t now = loop_now_ms(p->loop), at = UINT64_MAX, due;
	const struct ldap_req *first = first_waiting(p);
	bool urgent = is_urgent(p);
	for (size_t i = 0; i < p->servers->n; i++)
		if (p->servers->v[i].down &&
		    (due = ldap_server_due_ms(&p->servers->v[i], urgent)) < at)
			at = due;
	if (urgent && first->asked_ms + WORTH_WAITING_MS > now &&
	    first->asked_ms + WORTH_WAITING_MS < at)
		at = first->asked_ms + WORTH_WAITING_MS;
	if (count_usable(p) > 0 && at < now + LOOK_BACK_MS)
		at = now + LOOK_BACK_MS;
	if (at == UINT64_MAX || !is_needed(p))
		timer_clear(&p->again);
	else
		timer_set(&p->again, at > now ? at - now : 0);
}

static void on_turn(void *arg)
{
	struct ldap_pool *p = OBJ(ldap_pool, arg);
	retire_lesser(p);
	collect(p);
	send_waiting(p);
	grow(p);
	try_better(p);
	answer_hopeless(p);
	set_timer(p);
}

/* ---- life ---- */

struct ldap_pool *ldap_pool_new(struct ldap_servers *servers, enum ldap_role role)
{
	struct ldap_pool *p = MEM_NEW(struct ldap_pool);
	p->magic = ldap_pool_MAGIC;
	p->role = role;
	p->servers = servers;
	p->conf = servers->env.conf;
	p->loop = servers->env.loop;
	list_init(&p->waiting);
	soon_init(&p->soon, on_turn, p);
	timer_init(&p->again, p->loop, ask_for_turn, p);
	ask_for_turn(p);
	return p;
}

void ldap_pool_free(struct ldap_pool **p)
{
	struct ldap_pool *gone = *p;
	*p = NULL;
	if (gone == NULL)
		return;
	CHECK(gone->waiting_n == 0);
	for (size_t i = 0; i < gone->n; i++)
		ldap_conn_free(&gone->conns[i]);
	soon_clear(&gone->soon);
	timer_clear(&gone->again);
	gone->magic = 0;
	mem_free(gone);
}

bool ldap_pool_is_up(const struct ldap_pool *p)
{
	return best_ready(p) < p->servers->n;
}
