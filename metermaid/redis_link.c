/* redis_link.c - which server, set up, lost and found again; see redis_link.h. Owns the connection and
 * the questions to Sentinel. Before: redis_conn.c, redis_sentinel.c; after: batch.c. */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rand.h"
#include "metermaid/redis_link.h"
#include "metermaid/redis_sentinel.h"
#include "metermaid/script.h"

enum {
	REDIS_PORT = 6379,
	BACKOFF_FIRST_MS = 50,
	BACKOFF_MAX_MS = 3000,
	REDIRECTS_MAX = 4, /* one after the other, without coming up */
	SAID_MAX = 48
};

#define redis_link_MAGIC 0x4ed15117u

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_SETUP, LINK_UP, LINK_ENDING };

/* A server, with the bytes of its name. */
struct place {
	char host[DNS_NAME_SIZE]; /* empty: not known */
	uint16_t port;
};

struct redis_link {
	uint32_t magic;
	struct loop *loop;
	struct dns *dns;
	const struct metermaid_conf *conf;
	enum link_state state;
	struct redis_conn *conn;         /* NULL in LINK_DOWN */
	struct redis_sentinel *sentinel; /* NULL: none is configured */
	struct place to;                 /* where the connection goes to */
	struct place master;             /* what Sentinel said last */
	struct place moved; /* where a cluster says the keys are; empty: nowhere else */
	size_t next;        /* of the configured servers */
	unsigned redirects;
	struct timer clock; /* next try */
	uint64_t backoff_ms;
	bool at_once;   /* the next try follows the end of the connection */
	bool said_down; /* one log line an outage */
	char said_error[SAID_MAX];
	void (*up_fn)(void *arg);
	void *up_arg;
};

static void place_set(struct place *p, const char *host, uint16_t port)
{
	snprintf(p->host, sizeof p->host, "%s", host);
	p->port = port != 0 ? port : REDIS_PORT;
}

static bool place_is(const struct place *p, const struct place *q)
{
	return p->port == q->port && strcmp(p->host, q->host) == 0;
}

static void log_link(const struct redis_link *l, enum meter_event e, const char *why)
{
	char server[DNS_NAME_SIZE + 8];
	snprintf(server, sizeof server, "%s:%u", l->to.host, l->to.port);
	log_write(
	    &meter_events[e], NULL, LOG_FIELDS(LOG_STR("server", server), LOG_STR("why", why)));
}

bool redis_link_wanted(const struct metermaid_conf *conf)
{
	return conf->redis.n > 0 || conf->redis_sentinel.n > 0;
}

bool redis_link_is_up(const struct redis_link *l)
{
	return l->state == LINK_UP && redis_conn_is_open(l->conn);
}

/* ---- lost ---- */

static void start(struct redis_link *l);

/* Another server may do what this one does not. */
static void look_elsewhere(struct redis_link *l)
{
	l->redirects = 0;
	l->next++;
	if (l->sentinel != NULL && l->state != LINK_UP)
		redis_sentinel_doubt(l->sentinel);
	if (l->sentinel != NULL)
		redis_sentinel_hurry(l->sentinel, true);
}

static void lost(struct redis_link *l, const char *why)
{
	if (!l->said_down)
		log_link(l, METER_EV_REDIS_DOWN, why);
	l->said_down = true;
	look_elsewhere(l);
	l->state = LINK_DOWN;
	l->backoff_ms = l->backoff_ms == 0 ? BACKOFF_FIRST_MS : l->backoff_ms * 2;
	if (l->backoff_ms > BACKOFF_MAX_MS)
		l->backoff_ms = BACKOFF_MAX_MS;
	timer_set(&l->clock, l->backoff_ms / 2 + rand_below(l->backoff_ms / 2 + 1));
}

static void on_end(void *arg, const char *why)
{
	struct redis_link *l = OBJ(redis_link, arg);
	bool at_once = l->at_once;
	redis_conn_free(&l->conn);
	l->at_once = false;
	if (!at_once) {
		lost(l, why);
		return;
	}
	l->state = LINK_DOWN;
	start(l);
}

/* "MOVED 3999 192.0.2.1:6381"; without an address it is this host. False: this is none of that. */
static bool take_moved(struct redis_link *l, struct span text)
{
	uint64_t slot, port;
	struct span word = span_cut(&text, ' ');
	if (!span_eq(word, SPAN("MOVED")) || !span_u64(span_cut(&text, ' '), 16383, &slot))
		return false;
	size_t colon = span_rfind(text, ':');
	if (colon == SIZE_MAX || colon >= sizeof l->moved.host ||
	    !span_u64(span_from(text, colon + 1), UINT16_MAX, &port) || port == 0)
		return false;
	memcpy(
	    l->moved.host, colon > 0 ? text.p : l->to.host, colon > 0 ? colon : sizeof l->to.host);
	if (colon > 0)
		l->moved.host[colon] = '\0';
	l->moved.port = (uint16_t)port;
	return l->moved.host[0] != '/' && l->moved.host[0] != '\0';
}

/* The same error is logged once an outage. */
static void say_error(struct redis_link *l, struct span text)
{
	struct span head = span_first(text, sizeof l->said_error - 1);
	if (span_eq_str(head, l->said_error))
		return;
	memcpy(l->said_error, head.p, head.n);
	l->said_error[head.n] = '\0';
	log_write(&meter_events[METER_EV_REDIS_ERROR], NULL,
	    LOG_FIELDS(LOG_STR("server", l->to.host), LOG_SPAN("why", text)));
}

static enum redis_got on_error(void *arg, struct span text)
{
	struct redis_link *l = OBJ(redis_link, arg);
	if (span_starts(text, SPAN("NOSCRIPT")))
		return REDIS_NOSCRIPT;
	if (l->at_once) /* it is on its way elsewhere */
		return REDIS_LOST;
	if (l->redirects < REDIRECTS_MAX && take_moved(l, text)) {
		l->redirects++;
		l->at_once = true;
		redis_conn_drop(l->conn, "the keys are at another node");
		return REDIS_LOST;
	}
	l->moved.host[0] = '\0';
	say_error(l, text);
	redis_conn_drop(l->conn, l->state == LINK_UP ? "the server refuses questions"
						     : "the server refuses to be set up");
	return REDIS_LOST;
}

/* ---- calls ---- */

bool redis_link_call(
    struct redis_link *l, const struct span *words, size_t n, redis_fn *fn, void *arg)
{
	return l->state == LINK_UP && redis_conn_call(l->conn, words, n, fn, arg);
}

void redis_link_doubt(struct redis_link *l, const char *why)
{
	if (l->conn != NULL)
		redis_conn_drop(l->conn, why);
}

void redis_link_push(struct redis_link *l)
{
	if (l->state == LINK_UP)
		redis_conn_push(l->conn);
}

/* ---- coming up ---- */

static bool is_said(struct redis_link *l, const struct redis_reply *r, const char *text)
{
	if (r->got != REDIS_VALUES)
		return false; /* the connection ends by itself */
	bool ok = r->n == 1 && span_eq_str(r->v[0].text, text);
	if (!ok)
		redis_conn_drop(l->conn, "it does not answer as Redis does");
	return ok;
}

static void on_ok(void *arg, const struct redis_reply *r)
{
	is_said(OBJ(redis_link, arg), r, "OK");
}

static void on_script(void *arg, const struct redis_reply *r)
{
	is_said(OBJ(redis_link, arg), r, meter_script_sha1());
}

/* The answer to the last of the set-up's commands. */
static void on_written(void *arg, const struct redis_reply *r)
{
	struct redis_link *l = OBJ(redis_link, arg);
	if (l->state != LINK_SETUP || !is_said(l, r, "OK") || !redis_conn_is_open(l->conn))
		return;
	l->state = LINK_UP;
	l->backoff_ms = 0;
	l->redirects = 0;
	l->said_down = false;
	l->said_error[0] = '\0';
	metric_add(&meter_metrics[METER_M_RECONNECTS], 1);
	log_link(l, METER_EV_REDIS_UP, "");
	if (l->sentinel != NULL)
		redis_sentinel_hurry(l->sentinel, false);
	if (l->up_fn != NULL)
		l->up_fn(l->up_arg);
}

static void send_auth(struct redis_link *l)
{
	const char *user = l->conf->redis_user;
	struct span password = span_trim(l->conf->redis_password.bytes);
	const struct span words[] = { SPAN("AUTH"), user != NULL ? span_str(user) : password,
		password };
	if (password.n > 0)
		redis_conn_call(l->conn, words, user != NULL ? 3 : 2, on_ok, l);
}

/* The key that is written proves that this is no replica, has memory, and is the node that has all
 * our keys. */
static void on_open(void *arg)
{
	struct redis_link *l = OBJ(redis_link, arg);
	char db[24];
	snprintf(db, sizeof db, "%d", (int)l->conf->redis_db);
	const struct span select[] = { SPAN("SELECT"), span_str(db) };
	const struct span script[] = { SPAN("SCRIPT"), SPAN("LOAD"), meter_script() };
	const struct span written[] = { SPAN("SET"), SPAN("{postern}:up"), SPAN("1"), SPAN("PX"),
		SPAN("1000") };
	l->state = LINK_SETUP;
	send_auth(l);
	if (l->conf->redis_db > 0)
		redis_conn_call(l->conn, select, COUNT_OF(select), on_ok, l);
	redis_conn_call(l->conn, script, COUNT_OF(script), on_script, l);
	redis_conn_call(l->conn, written, COUNT_OF(written), on_written, l);
}

static bool pick_server(struct redis_link *l)
{
	const struct conf_hostports *all = &l->conf->redis;
	if (l->moved.host[0] != '\0')
		l->to = l->moved;
	else if (l->sentinel != NULL)
		l->to = l->master;
	else
		place_set(&l->to, all->v[l->next % all->n].host, all->v[l->next % all->n].port);
	l->moved.host[0] = '\0';
	return l->to.host[0] != '\0';
}

static void start(struct redis_link *l)
{
	const struct redis_conn_owner me = { on_open, on_end, on_error, l };
	if (!pick_server(l)) { /* Sentinel will say */
		timer_set(&l->clock, BACKOFF_MAX_MS);
		return;
	}
	const struct conf_hostport to = { l->to.host, l->to.port };
	timer_clear(&l->clock);
	l->state = LINK_CONNECTING;
	l->conn = redis_conn_new(l->loop, l->dns, &to, &me);
}

static void on_clock(void *arg)
{
	struct redis_link *l = OBJ(redis_link, arg);
	if (l->state == LINK_DOWN)
		start(l);
}

/* A master that is new is gone to at once; the one that was lost when its pause is over. */
static void on_master(void *arg, const struct conf_hostport *master)
{
	struct redis_link *l = OBJ(redis_link, arg);
	place_set(&l->master, master->host, master->port);
	if (place_is(&l->master, &l->to) || l->state == LINK_ENDING)
		return;
	l->backoff_ms = 0;
	if (l->conn == NULL) {
		start(l);
		return;
	}
	l->at_once = true;
	redis_conn_drop(l->conn, "another server is the master now");
}

struct redis_link *redis_link_new(
    struct loop *l, struct dns *dns, const struct metermaid_conf *conf)
{
	struct redis_link *r = MEM_NEW(struct redis_link);
	*r = (struct redis_link){ .magic = redis_link_MAGIC, .loop = l, .dns = dns, .conf = conf };
	timer_init(&r->clock, l, on_clock, r);
	if (conf->redis_sentinel.n > 0)
		r->sentinel = redis_sentinel_new(l, dns, conf, on_master, r);
	timer_set(&r->clock, 0);
	return r;
}

void redis_link_on_up(struct redis_link *l, void (*fn)(void *arg), void *arg)
{
	l->up_fn = fn;
	l->up_arg = arg;
}

void redis_link_free(struct redis_link **l)
{
	struct redis_link *gone = *l;
	*l = NULL;
	if (gone == NULL)
		return;
	gone->state = LINK_ENDING;
	redis_sentinel_free(&gone->sentinel);
	redis_conn_free(&gone->conn);
	timer_clear(&gone->clock);
	gone->magic = 0;
	mem_free(gone);
}
