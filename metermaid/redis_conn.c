/* redis_conn.c - hiredis on our loop: look up, connect, call, notice a dead server.
 *
 * hiredis frees its context by itself after a failed connect and after a disconnect; `ac` is set to
 * NULL in those callbacks and nowhere else is it trusted for longer than one call. */
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/mem.h"
#include "metermaid/redis_conn.h"

enum { WHY_MAX = 160 };

#define redis_conn_MAGIC 0x4ed15c00u
#define redis_call_MAGIC 0x4ed15ca1u

enum conn_state { CONN_RESOLVING, CONN_CONNECTING, CONN_OPEN, CONN_ENDED };

struct redis_conn {
	uint32_t magic;
	enum conn_state state;
	struct loop *loop;
	struct redis_conn_owner owner;
	struct redisAsyncContext *ac; /* hiredis frees it */
	struct watch *watch;          /* owned while ac lives */
	unsigned events;
	struct ticket *resolve; /* owned in CONN_RESOLVING */
	struct timer clock;     /* connect deadline, or the oldest call's */
	struct soon drop;       /* the end, outside hiredis's callbacks */
	struct soon rewatch;    /* the watch follows `events`, once for many calls */
	size_t outstanding;
	uint16_t port;
	char why[WHY_MAX]; /* it is to end; empty: not */
};

struct redis_call {
	uint32_t magic;
	struct redis_conn *conn;
	redis_fn *fn;
	void *arg;
};

bool redis_conn_is_open(const struct redis_conn *c)
{
	return c->state == CONN_OPEN;
}

void redis_conn_drop(struct redis_conn *c, const char *why)
{
	if (c->state == CONN_ENDED || c->why[0] != '\0')
		return;
	snprintf(c->why, sizeof c->why, "%s", why);
	soon_set(c->loop, &c->drop);
}

/* ---- hiredis's idea of an event library ---- */

static void set_events(struct redis_conn *c, unsigned events)
{
	c->events = events;
	soon_set(c->loop, &c->rewatch);
}

static void on_rewatch(void *arg)
{
	struct redis_conn *c = OBJ(redis_conn, arg);
	if (c->watch != NULL)
		watch_set(c->watch, c->events);
}

static void add_read(void *data)
{
	struct redis_conn *c = OBJ(redis_conn, data);
	set_events(c, c->events | WATCH_READ);
}

static void del_read(void *data)
{
	struct redis_conn *c = OBJ(redis_conn, data);
	set_events(c, c->events & ~(unsigned)WATCH_READ);
}

static void add_write(void *data)
{
	struct redis_conn *c = OBJ(redis_conn, data);
	set_events(c, c->events | WATCH_WRITE);
}

static void del_write(void *data)
{
	struct redis_conn *c = OBJ(redis_conn, data);
	set_events(c, c->events & ~(unsigned)WATCH_WRITE);
}

static void cleanup(void *data)
{
	struct redis_conn *c = OBJ(redis_conn, data);
	watch_free(&c->watch);
	c->events = 0;
}

/* Bytes that nobody has asked for: hiredis would abort the process over them. */
static bool is_uncalled_for(const struct redis_conn *c)
{
	char one;
	return c->state == CONN_OPEN && c->outstanding == 0 &&
	       recv(c->ac->c.fd, &one, sizeof one, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void on_socket(void *arg, unsigned events)
{
	struct redis_conn *c = OBJ(redis_conn, arg);
	struct redisAsyncContext *ac = c->ac;
	if ((events & WATCH_READ) != 0 && ac != NULL && is_uncalled_for(c)) {
		watch_set(c->watch, 0);
		redis_conn_drop(c, "it speaks without being asked");
		return;
	}
	if ((events & WATCH_READ) != 0 && ac != NULL)
		redisAsyncHandleRead(ac);
	if ((events & WATCH_WRITE) != 0 && ac != NULL && c->ac == ac)
		redisAsyncHandleWrite(ac);
}

/* ---- the end ---- */

static void end_connection(struct redis_conn *c)
{
	struct redisAsyncContext *ac = c->ac;
	c->state = CONN_ENDED; /* calls made by those whose call is lost are refused */
	c->ac = NULL;
	if (ac != NULL)
		redisAsyncFree(ac); /* answers every outstanding call with no reply */
	timer_clear(&c->clock);
}

static void on_drop(void *arg)
{
	struct redis_conn *c = OBJ(redis_conn, arg);
	char why[WHY_MAX];
	end_connection(c);
	memcpy(why, c->why, sizeof why); /* the owner frees the connection, and may ask why after */
	c->owner.on_end(c->owner.arg, why);
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
	if (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS)
		v->text = span_of(r->str, (size_t)r->len);
	return v->text.p != NULL || r->type == REDIS_REPLY_NIL;
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

static enum redis_got judge_rest(struct redis_conn *c, const redisReply *r)
{
	if (r->type == REDIS_REPLY_ERROR)
		return c->owner.on_error(c->owner.arg, span_of(r->str, (size_t)r->len));
	redis_conn_drop(c, "unexpected type of reply");
	return REDIS_LOST;
}

/* The same behind the last answer: hiredis stops at once when its context is freed in a callback. */
static void refuse_rest(struct redis_conn *c, struct redisAsyncContext *ac)
{
	if (c->outstanding > 0 || ac->c.reader->pos >= ac->c.reader->len || c->ac != ac)
		return;
	redis_conn_drop(c, "it says more than it was asked");
	c->state = CONN_ENDED;
	c->ac = NULL;
	redisAsyncFree(ac);
}

static void on_reply(struct redisAsyncContext *ac, void *reply, void *arg)
{
	static struct redis_value values[REDIS_VALUES_MAX];
	struct redis_call *call = OBJ(redis_call, arg);
	struct redis_conn *c = call->conn;
	struct redis_reply out = { .got = REDIS_LOST };
	const redisReply *r = reply;
	if (r != NULL)
		out.got = take_values(r, values, &out) ? REDIS_VALUES : judge_rest(c, r);
	if (r != NULL && --c->outstanding > 0)
		timer_set(&c->clock, REDIS_STUCK_MS);
	else if (r != NULL)
		timer_clear(&c->clock);
	redis_fn *fn = call->fn;
	void *fn_arg = call->arg;
	call->magic = 0;
	mem_free(call);
	if (r != NULL)
		refuse_rest(c, ac);
	fn(fn_arg, &out);
}

bool redis_conn_call(
    struct redis_conn *c, const struct span *words, size_t n, redis_fn *fn, void *arg)
{
	const char *argv[REDIS_WORDS_MAX];
	size_t lens[REDIS_WORDS_MAX];
	if (c->state != CONN_OPEN || n > REDIS_WORDS_MAX)
		return false;
	struct redis_call *call = MEM_NEW(struct redis_call);
	*call = (struct redis_call){ redis_call_MAGIC, c, fn, arg };
	for (size_t i = 0; i < n; i++) {
		argv[i] = words[i].p;
		lens[i] = words[i].n;
	}
	if (redisAsyncCommandArgv(c->ac, on_reply, call, (int)n, argv, lens) != REDIS_OK) {
		mem_free(call);
		return false;
	}
	if (c->outstanding++ == 0)
		timer_set(&c->clock, REDIS_STUCK_MS);
	return true;
}

void redis_conn_push(struct redis_conn *c)
{
	if (c->state == CONN_OPEN && (c->events & WATCH_WRITE) != 0)
		redisAsyncHandleWrite(c->ac);
}

/* ---- coming up ---- */

static void on_connect(const struct redisAsyncContext *ac, int status)
{
	struct redis_conn *c = OBJ(redis_conn, ac->data);
	if (status != REDIS_OK) {
		c->ac = NULL; /* hiredis frees it behind this callback */
		redis_conn_drop(c, ac->errstr);
		return;
	}
	c->state = CONN_OPEN;
	timer_clear(&c->clock);
	c->owner.on_open(c->owner.arg);
}

static void on_disconnect(const struct redisAsyncContext *ac, int status)
{
	struct redis_conn *c = OBJ(redis_conn, ac->data);
	if (c->ac != ac)
		return; /* we ended it */
	c->ac = NULL;
	c->state = CONN_ENDED;
	bool why = ac->errstr != NULL && ac->errstr[0] != '\0';
	if (c->why[0] == '\0')
		snprintf(c->why, sizeof c->why, "%s", why ? ac->errstr : "closed by the server");
	soon_set(c->loop, &c->drop);
}

static void connect_to(struct redis_conn *c, const char *address)
{
	struct redisAsyncContext *ac = address[0] == '/' ? redisAsyncConnectUnix(address)
							 : redisAsyncConnect(address, c->port);
	if (ac == NULL || ac->err != 0) {
		redis_conn_drop(c, ac == NULL ? "out of memory" : ac->errstr);
		if (ac != NULL)
			redisAsyncFree(ac);
		return;
	}
	c->ac = ac;
	c->state = CONN_CONNECTING;
	ac->data = c;
	ac->ev.data = c;
	ac->ev.addRead = add_read;
	ac->ev.delRead = del_read;
	ac->ev.addWrite = add_write;
	ac->ev.delWrite = del_write;
	ac->ev.cleanup = cleanup;
	c->watch = watch_new(c->loop, ac->c.fd, on_socket, c);
	redisAsyncSetConnectCallback(ac, on_connect);
	redisAsyncSetDisconnectCallback(ac, on_disconnect);
}

static void on_resolved(void *arg, const struct dns_addrs *a)
{
	struct redis_conn *c = OBJ(redis_conn, arg);
	char text[IP_TEXT_SIZE];
	c->resolve = NULL;
	if (a->status != DNS_FOUND || a->n == 0)
		redis_conn_drop(c, "its name has no address");
	else
		connect_to(c, ip_text(a->v[0], text));
}

static void on_clock(void *arg)
{
	struct redis_conn *c = OBJ(redis_conn, arg);
	ticket_cancel(&c->resolve);
	redis_conn_drop(c, c->state == CONN_OPEN ? "no answer in time" : "no connection in time");
}

struct redis_conn *redis_conn_new(struct loop *l, struct dns *dns, const struct conf_hostport *to,
    const struct redis_conn_owner *owner)
{
	struct redis_conn *c = MEM_NEW(struct redis_conn);
	struct ip_addr literal;
	*c = (struct redis_conn){
		.magic = redis_conn_MAGIC, .loop = l, .owner = *owner, .port = to->port
	};
	timer_init(&c->clock, l, on_clock, c);
	soon_init(&c->drop, on_drop, c);
	soon_init(&c->rewatch, on_rewatch, c);
	timer_set(&c->clock, REDIS_CONNECT_MS);
	if (to->host[0] == '/' || ip_parse(span_str(to->host), &literal))
		connect_to(c, to->host);
	else if (dns == NULL)
		redis_conn_drop(c, "names cannot be looked up here");
	else
		c->resolve = dns_addr(dns, span_str(to->host), on_resolved, c);
	return c;
}

void redis_conn_free(struct redis_conn **c)
{
	struct redis_conn *gone = *c;
	*c = NULL;
	if (gone == NULL)
		return;
	ticket_cancel(&gone->resolve);
	end_connection(gone);
	soon_clear(&gone->drop);
	soon_clear(&gone->rewatch);
	gone->magic = 0;
	mem_free(gone);
}
