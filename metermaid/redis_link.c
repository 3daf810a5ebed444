/* redis_link.c - hiredis on our loop: connect, set up, call, notice a dead server, come back.
 *
 * hiredis frees its context by itself after a failed connect and after a disconnect; `ac` is set to
 * NULL in those callbacks and nowhere else is it trusted for longer than one call. */
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rand.h"
#include "metermaid/redis_link.h"
#include "metermaid/script.h"

enum { BACKOFF_FIRST_MS = 50, BACKOFF_MAX_MS = 3000 };

#define redis_link_MAGIC 0x4ed15117u
#define redis_call_MAGIC 0x4ed15ca1u

enum link_state { LINK_DOWN, LINK_RESOLVING, LINK_CONNECTING, LINK_SETUP, LINK_UP, LINK_ENDING };

struct redis_link {
	uint32_t magic;
	struct loop *loop;
	struct dns *dns;
	const struct metermaid_conf *conf;
	enum link_state state;
	struct redisAsyncContext *ac; /* hiredis frees it */
	struct watch *watch;          /* owned while ac lives */
	unsigned events;
	struct ticket *resolve; /* owned in LINK_RESOLVING */
	struct timer clock;     /* next try, connect deadline, or the oldest call's */
	struct soon drop;       /* give the connection up outside hiredis's callbacks */
	struct soon rewatch;    /* the watch follows `events`, once for many calls */
	const char *drop_why;
	uint64_t backoff_ms;
	size_t outstanding;
	bool said_down; /* one log line an outage */
	void (*up_fn)(void *arg);
	void *up_arg;
};

struct redis_call {
	uint32_t magic;
	struct redis_link *link;
	redis_fn *fn;
	void *arg;
};

static void log_link(const struct redis_link *l, enum meter_event e, const char *why)
{
	log_write(&meter_events[e], NULL,
	    LOG_FIELDS(LOG_STR("server", l->conf->redis.host), LOG_STR("why", why)));
}

bool redis_link_is_up(const struct redis_link *l)
{
	return l->state == LINK_UP;
}

static void lost(struct redis_link *l, const char *why)
{
	if (l->state == LINK_ENDING)
		return;
	if (!l->said_down)
		log_link(l, METER_EV_REDIS_DOWN, why);
	l->said_down = true;
	l->state = LINK_DOWN;
	l->backoff_ms = l->backoff_ms == 0 ? BACKOFF_FIRST_MS : l->backoff_ms * 2;
	if (l->backoff_ms > BACKOFF_MAX_MS)
		l->backoff_ms = BACKOFF_MAX_MS;
	timer_set(&l->clock, l->backoff_ms / 2 + rand_below(l->backoff_ms / 2 + 1));
}

/* ---- hiredis's idea of an event library ---- */

static void set_events(struct redis_link *l, unsigned events)
{
	l->events = events;
	soon_set(l->loop, &l->rewatch);
}

static void on_rewatch(void *arg)
{
	struct redis_link *l = OBJ(redis_link, arg);
	if (l->watch != NULL)
		watch_set(l->watch, l->events);
}

static void add_read(void *data)
{
	struct redis_link *l = OBJ(redis_link, data);
	set_events(l, l->events | WATCH_READ);
}

static void del_read(void *data)
{
	struct redis_link *l = OBJ(redis_link, data);
	set_events(l, l->events & ~(unsigned)WATCH_READ);
}

static void add_write(void *data)
{
	struct redis_link *l = OBJ(redis_link, data);
	set_events(l, l->events | WATCH_WRITE);
}

static void del_write(void *data)
{
	struct redis_link *l = OBJ(redis_link, data);
	set_events(l, l->events & ~(unsigned)WATCH_WRITE);
}

static void cleanup(void *data)
{
	struct redis_link *l = OBJ(redis_link, data);
	watch_free(&l->watch);
	l->events = 0;
}

static void on_socket(void *arg, unsigned events)
{
	struct redis_link *l = OBJ(redis_link, arg);
	struct redisAsyncContext *ac = l->ac;
	if ((events & WATCH_READ) != 0 && ac != NULL)
		redisAsyncHandleRead(ac);
	if ((events & WATCH_WRITE) != 0 && ac != NULL && l->ac == ac)
		redisAsyncHandleWrite(ac);
}

/* ---- giving up ---- */

static void end_connection(struct redis_link *l)
{
	struct redisAsyncContext *ac = l->ac;
	l->ac = NULL;
	if (ac != NULL)
		redisAsyncFree(ac); /* answers every outstanding call with no reply */
	l->outstanding = 0;
}

static void on_drop(void *arg)
{
	struct redis_link *l = OBJ(redis_link, arg);
	if (l->state == LINK_DOWN)
		return;
	enum link_state was = l->state;
	l->state = LINK_DOWN; /* calls made by those whose call is lost are refused */
	end_connection(l);
	l->state = was;
	lost(l, l->drop_why);
}

static void drop_later(struct redis_link *l, const char *why)
{
	l->drop_why = why;
	soon_set(l->loop, &l->drop);
}

/* ---- calls ---- */

static bool take_value(const redisReply *r, struct redis_reply *out, struct redis_value *v)
{
	*v = (struct redis_value){ .n = 0 };
	if (r == NULL)
		return false;
	if (r->type == REDIS_REPLY_INTEGER) {
		v->n = r->integer;
		return true;
	}
	out->texts++;
	if (r->type == REDIS_REPLY_STRING)
		v->text = span_of(r->str, (size_t)r->len);
	return r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_NIL;
}

/* Anything but a number, a text, or an array of them is no answer. */
static bool take_values(
    const redisReply *r, struct redis_value v[REDIS_VALUES_MAX], struct redis_reply *out)
{
	out->texts = 0;
	out->v = v;
	out->n = 1;
	if (r->type != REDIS_REPLY_ARRAY)
		return take_value(r, out, v);
	if (r->elements > REDIS_VALUES_MAX)
		return false;
	for (size_t i = 0; i < r->elements; i++)
		if (!take_value(r->element[i], out, &v[i]))
			return false;
	out->n = r->elements;
	return true;
}

static void judge_error(struct redis_link *l, const redisReply *r, struct redis_reply *out)
{
	struct span text = r->type == REDIS_REPLY_ERROR ? span_of(r->str, (size_t)r->len)
							: SPAN("unexpected type of reply");
	if (span_starts(text, SPAN("NOSCRIPT"))) {
		out->got = REDIS_NOSCRIPT;
		return;
	}
	log_write(&meter_events[METER_EV_REDIS_ERROR], NULL,
	    LOG_FIELDS(LOG_STR("server", l->conf->redis.host), LOG_SPAN("why", text)));
	drop_later(l, "the server refuses questions");
}

static void on_reply(struct redisAsyncContext *ac, void *reply, void *arg)
{
	static struct redis_value values[REDIS_VALUES_MAX];
	struct redis_call *call = OBJ(redis_call, arg);
	struct redis_link *l = call->link;
	struct redis_reply out = { .got = REDIS_LOST };
	const redisReply *r = reply;
	if (r != NULL && take_values(r, values, &out))
		out.got = REDIS_VALUES;
	else if (r != NULL)
		judge_error(l, r, &out);
	if (r != NULL && l->outstanding > 0 && --l->outstanding > 0)
		timer_set(&l->clock, REDIS_STUCK_MS);
	else if (r != NULL)
		timer_clear(&l->clock);
	redis_fn *fn = call->fn;
	void *fn_arg = call->arg;
	call->magic = 0;
	mem_free(call);
	fn(fn_arg, &out);
}

bool redis_link_call(
    struct redis_link *l, const struct span *words, size_t n, redis_fn *fn, void *arg)
{
	const char *argv[REDIS_WORDS_MAX];
	size_t lens[REDIS_WORDS_MAX];
	if (l->state != LINK_UP || n > REDIS_WORDS_MAX)
		return false;
	struct redis_call *call = MEM_NEW(struct redis_call);
	*call = (struct redis_call){ redis_call_MAGIC, l, fn, arg };
	for (size_t i = 0; i < n; i++) {
		argv[i] = words[i].p;
		lens[i] = words[i].n;
	}
	if (redisAsyncCommandArgv(l->ac, on_reply, call, (int)n, argv, lens) != REDIS_OK) {
		mem_free(call);
		return false;
	}
	if (l->outstanding++ == 0)
		timer_set(&l->clock, REDIS_STUCK_MS);
	return true;
}

void redis_link_push(struct redis_link *l)
{
	if (l->state == LINK_UP && l->ac != NULL && (l->events & WATCH_WRITE) != 0)
		redisAsyncHandleWrite(l->ac);
}

/* ---- coming up ---- */

static void on_setup_reply(struct redisAsyncContext *ac, void *reply, void *arg)
{
	struct redis_link *l = OBJ(redis_link, ac->data);
	const redisReply *r = reply;
	if (r == NULL || l->state != LINK_SETUP)
		return;
	if (r->type == REDIS_REPLY_ERROR) {
		log_write(&meter_events[METER_EV_REDIS_ERROR], NULL,
		    LOG_FIELDS(LOG_STR("server", l->conf->redis.host),
			LOG_SPAN("why", span_of(r->str, (size_t)r->len))));
		drop_later(l, "the server refuses to be set up");
		return;
	}
	if (arg == NULL)
		return;
	/* the last of the set-up commands */
	l->state = LINK_UP;
	l->backoff_ms = 0;
	l->said_down = false;
	timer_clear(&l->clock);
	metric_add(&meter_metrics[METER_M_RECONNECTS], 1);
	log_link(l, METER_EV_REDIS_UP, "");
	if (l->up_fn != NULL)
		l->up_fn(l->up_arg);
}

static void send_setup(struct redis_link *l)
{
	const struct metermaid_conf *c = l->conf;
	struct span password = span_trim(c->redis_password.bytes), script = meter_script();
	const char *user = c->redis_user;
	if (password.n > 0 && user != NULL)
		redisAsyncCommand(
		    l->ac, on_setup_reply, NULL, "AUTH %s %b", user, password.p, password.n);
	else if (password.n > 0)
		redisAsyncCommand(l->ac, on_setup_reply, NULL, "AUTH %b", password.p, password.n);
	if (c->redis_db > 0)
		redisAsyncCommand(
		    l->ac, on_setup_reply, NULL, "SELECT %lld", (long long)c->redis_db);
	redisAsyncCommand(l->ac, on_setup_reply, l, "SCRIPT LOAD %b", script.p, script.n);
}

static void on_connect(const struct redisAsyncContext *ac, int status)
{
	struct redis_link *l = OBJ(redis_link, ac->data);
	if (status != REDIS_OK) {
		l->ac = NULL; /* hiredis frees it behind this callback */
		lost(l, ac->errstr);
		return;
	}
	l->state = LINK_SETUP;
	send_setup(l);
}

static void on_disconnect(const struct redisAsyncContext *ac, int status)
{
	struct redis_link *l = OBJ(redis_link, ac->data);
	if (l->ac != ac)
		return; /* we ended it */
	l->ac = NULL;
	l->outstanding = 0;
	lost(l, ac->errstr != NULL && ac->errstr[0] != '\0' ? ac->errstr : "closed by the server");
}

static void connect_to(struct redis_link *l, const char *address)
{
	bool unix_socket = address[0] == '/';
	struct redisAsyncContext *ac =
	    unix_socket
		? redisAsyncConnectUnix(address)
		: redisAsyncConnect(address, l->conf->redis.port > 0 ? l->conf->redis.port : 6379);
	if (ac == NULL || ac->err != 0) {
		lost(l, ac == NULL ? "out of memory" : ac->errstr);
		if (ac != NULL)
			redisAsyncFree(ac);
		return;
	}
	l->ac = ac;
	l->state = LINK_CONNECTING;
	ac->data = l;
	ac->ev.data = l;
	ac->ev.addRead = add_read;
	ac->ev.delRead = del_read;
	ac->ev.addWrite = add_write;
	ac->ev.delWrite = del_write;
	ac->ev.cleanup = cleanup;
	l->watch = watch_new(l->loop, ac->c.fd, on_socket, l);
	redisAsyncSetConnectCallback(ac, on_connect);
	redisAsyncSetDisconnectCallback(ac, on_disconnect);
	timer_set(&l->clock, REDIS_CONNECT_MS);
}

static void on_resolved(void *arg, const struct dns_addrs *a)
{
	struct redis_link *l = OBJ(redis_link, arg);
	char text[IP_TEXT_SIZE];
	l->resolve = NULL;
	if (a->status != DNS_FOUND || a->n == 0)
		lost(l, "its name has no address");
	else
		connect_to(l, ip_text(a->v[0], text));
}

static void start(struct redis_link *l)
{
	const char *host = l->conf->redis.host;
	struct ip_addr literal;
	if (host[0] == '/' || ip_parse(span_str(host), &literal)) {
		connect_to(l, host);
		return;
	}
	l->state = LINK_RESOLVING;
	timer_set(&l->clock, REDIS_CONNECT_MS);
	l->resolve = dns_addr(l->dns, span_str(host), on_resolved, l);
}

static void on_clock(void *arg)
{
	struct redis_link *l = OBJ(redis_link, arg);
	switch (l->state) {
	case LINK_DOWN:
		start(l);
		break;
	case LINK_RESOLVING:
		ticket_cancel(&l->resolve);
		lost(l, "its name could not be looked up in time");
		break;
	case LINK_CONNECTING:
	case LINK_SETUP:
		drop_later(l, "no connection in time");
		break;
	case LINK_UP:
		drop_later(l, "no answer in time");
		break;
	case LINK_ENDING:
		break;
	}
}

struct redis_link *redis_link_new(
    struct loop *l, struct dns *dns, const struct metermaid_conf *conf)
{
	struct redis_link *r = MEM_NEW(struct redis_link);
	*r = (struct redis_link){ .magic = redis_link_MAGIC, .loop = l, .dns = dns, .conf = conf };
	timer_init(&r->clock, l, on_clock, r);
	soon_init(&r->drop, on_drop, r);
	soon_init(&r->rewatch, on_rewatch, r);
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
	ticket_cancel(&gone->resolve);
	end_connection(gone);
	timer_clear(&gone->clock);
	soon_clear(&gone->drop);
	soon_clear(&gone->rewatch);
	gone->magic = 0;
	mem_free(gone);
}
