/* http.c - /metrics and /healthz over evhttp, with the limits that evhttp lacks.
 *
 * evhttp's timeout is per read, so a peer that sends a byte now and then would stay for ever: every
 * connection's bufferevent is kept in a list with its age, and one that is too old is shut down,
 * upon which evhttp drops it. Owns evhttp and the references to the bufferevents. */
#include "net/http.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/ip.h"
#include "base/list.h"
#include "base/mem.h"

#include "net/loop_internal.h"
#include "net/net_facts.h"

#define http_admin_MAGIC 0x477b0001u

enum {
	HEAD_MAX = 16384,
	REQUEST_BODY_MAX = 65536,
	READ_TIMEOUT_S = 5,
	CONNECTION_MS = 10000,
	CONNECTIONS_MAX = 64,
	SWEEP_MS = 500
};

struct http_admin {
	uint32_t magic;
	struct loop *loop;
	struct evhttp *evhttp; /* owned */
	http_admin_fn *fn;
	void *arg;
	struct list_node conns; /* oldest first */
	size_t conn_n;
	struct list_node cut; /* shut down; evhttp has not let go of them yet */
	struct timer sweep;
	struct evconnlistener *listener; /* evhttp's */
	struct timer resume;
	bool failing;          /* logged already */
	struct list_node link; /* in servers */
};

/* libevent hands evhttp's argument, not ours, to the callback for a failing accept(). */
static struct list_node servers = { &servers, &servers };

struct http_conn {
	struct list_node link;
	struct bufferevent *io; /* one reference owned */
	uint64_t ends_ms;
};

/* ---- connections ---- */

/* bufferevent_free() takes the callbacks away: evhttp has let go of it. */
static bool is_done(const struct http_conn *c)
{
	bufferevent_data_cb on_read = NULL, on_write = NULL;
	bufferevent_event_cb on_event = NULL;
	bufferevent_getcb(c->io, &on_read, &on_write, &on_event, NULL);
	return on_read == NULL && on_write == NULL && on_event == NULL;
}

static void conn_end(struct http_conn *c)
{
	list_remove(&c->link);
	bufferevent_decref(c->io);
	mem_free(c);
}

/* How many of the list are gone. */
static size_t drop_done(struct list_node *head)
{
	size_t dropped = 0;
	for (struct list_node *n = head->next, *next; n != head; n = next) {
		struct http_conn *c = LIST_OF(struct http_conn, link, n);
		next = n->next;
		if (!is_done(c))
			continue;
		conn_end(c);
		dropped++;
	}
	return dropped;
}

static struct http_conn *oldest(struct http_admin *h)
{
	return LIST_OF(struct http_conn, link, h->conns.next);
}

static void cut_oldest(struct http_admin *h)
{
	struct http_conn *c = oldest(h);
	int fd = bufferevent_getfd(c->io);
	if (fd >= 0)
		shutdown(fd, SHUT_RDWR);
	list_remove(&c->link);
	list_add_tail(&h->cut, &c->link);
	h->conn_n--;
}

static void on_sweep(void *arg)
{
	struct http_admin *h = OBJ(http_admin, arg);
	drop_done(&h->cut);
	h->conn_n -= drop_done(&h->conns);
	while (h->conn_n > 0 && oldest(h)->ends_ms <= loop_now_ms(h->loop))
		cut_oldest(h);
	if (h->conn_n > 0 || !list_empty(&h->cut))
		timer_set(&h->sweep, SWEEP_MS);
}

/* evhttp: a connection was accepted and wants its bufferevent. */
static struct bufferevent *on_accepted(struct event_base *base, void *arg)
{
	struct http_admin *h = OBJ(http_admin, arg);
	/* It closes the descriptor, which must not be used again while events of its are left: we hold a reference. */
	struct bufferevent *io = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	CHECK(io != NULL);
	h->failing = false;
	if (h->conn_n >= CONNECTIONS_MAX)
		h->conn_n -= drop_done(&h->conns);
	if (h->conn_n >= CONNECTIONS_MAX)
		cut_oldest(h);
	struct http_conn *c = MEM_NEW(struct http_conn);
	bufferevent_incref(io);
	c->io = io;
	/* Not the loop's time: libevent calls straight, and the wait may have been long. */
	c->ends_ms = clock_mono_ms() + CONNECTION_MS;
	list_add_tail(&h->conns, &c->link);
	h->conn_n++;
	if (!timer_armed(&h->sweep))
		timer_set(&h->sweep, SWEEP_MS);
	return io;
}

static void on_resume(void *arg)
{
	evconnlistener_enable(OBJ(http_admin, arg)->listener);
}

/* The connection stays in the queue; without a pause the loop would spin on it. */
static void on_accept_failed(struct evconnlistener *listener, void *evhttp)
{
	int errnum = errno;
	struct list_node *n = servers.next;
	while (n != &servers && LIST_OF(struct http_admin, link, n)->listener != listener)
		n = n->next;
	CHECK(n != &servers);
	struct http_admin *h = LIST_OF(struct http_admin, link, n);
	net_accept_failed(errnum, &h->failing);
	evconnlistener_disable(listener);
	timer_set(&h->resume, NET_ACCEPT_PAUSE_MS);
}

/* ---- requests ---- */

static void reply(struct evhttp_request *req, int status, struct span body, const char *type)
{
	struct evbuffer *out = evbuffer_new();
	struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
	CHECK(out != NULL && evbuffer_add(out, body.n > 0 ? body.p : "", body.n) == 0);
	evhttp_add_header(headers, "Content-Type", type);
	evhttp_add_header(headers, "Cache-Control", "no-store");
	evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
	evhttp_add_header(headers, "Connection", "close");
	evhttp_send_reply(req, status, NULL, out);
	evbuffer_free(out);
}

/* "localhost", "127.0.0.1:20080", "[::1]:80": a name could have been pointed here by anybody. */
static bool is_host_allowed(const char *host)
{
	struct ip_port with_port;
	struct ip_addr alone;
	struct span h = span_str(host), rest = h;
	uint64_t port;
	if (host == NULL || ip_parse_port(h, &with_port) || ip_parse(h, &alone))
		return true;
	if (h.n > 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
		return ip_parse(span_of(h.p + 1, h.n - 2), &alone);
	struct span name = span_cut(&rest, ':');
	return span_ieq_str(name, "localhost") &&
	       (rest.p == NULL || span_u64(rest, UINT16_MAX, &port));
}

static void on_request(struct evhttp_request *req, void *arg)
{
	struct http_admin *h = OBJ(http_admin, arg);
	const char *type = "text/plain; charset=utf-8";
	const char *host = evhttp_find_header(evhttp_request_get_input_headers(req), "Host");
	const char *uri = evhttp_request_get_uri(req);
	if (!is_host_allowed(host)) {
		reply(
		    req, 421, SPAN("this server answers to localhost and addresses only\n"), type);
		return;
	}
	if (uri == NULL || uri[0] != '/') {
		reply(req, 400, SPAN("bad request\n"), type);
		return;
	}
	struct span path = span_str(uri);
	struct buf out = BUF_INIT(HTTP_ADMIN_BODY_MAX);
	int status = h->fn(h->arg, span_cut(&path, '?'), &out, &type);
	if (buf_ok(&out))
		reply(req, status, buf_span(&out), type);
	else
		reply(req, 500, SPAN("the answer is too large\n"), "text/plain");
	buf_end(&out);
}

/* ---- life ---- */

static bool is_private(int fd)
{
	struct sockaddr_storage sa = { 0 };
	socklen_t n = sizeof sa;
	if (getsockname(fd, (struct sockaddr *)&sa, &n) < 0)
		return false;
	return sa.ss_family == AF_UNIX ||
	       ip_is_loopback(ip_from_sockaddr((const struct sockaddr *)&sa).addr);
}

struct http_admin *http_admin_new(struct loop *l, int fd, http_admin_fn *fn, void *arg)
{
	if (!is_private(fd))
		return NULL;
	struct http_admin *h = MEM_NEW(struct http_admin);
	h->magic = http_admin_MAGIC;
	h->loop = l;
	h->fn = fn;
	h->arg = arg;
	list_init(&h->conns);
	list_init(&h->cut);
	timer_init(&h->sweep, l, on_sweep, h);
	timer_init(&h->resume, l, on_resume, h);
	h->evhttp = evhttp_new(loop_base(l));
	/* No LEV_OPT_CLOSE_ON_FREE: the descriptor is the master's. */
	h->listener = evconnlistener_new(loop_base(l), NULL, NULL, LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	CHECK(h->evhttp != NULL && h->listener != NULL);
	CHECK(evhttp_bind_listener(h->evhttp, h->listener) != NULL);
	evconnlistener_set_error_cb(h->listener, on_accept_failed);
	list_add_tail(&servers, &h->link);
	evhttp_set_max_headers_size(h->evhttp, HEAD_MAX);
	evhttp_set_max_body_size(h->evhttp, REQUEST_BODY_MAX);
	evhttp_set_allowed_methods(h->evhttp, EVHTTP_REQ_GET);
	evhttp_set_timeout(h->evhttp, READ_TIMEOUT_S);
	evhttp_set_bevcb(h->evhttp, on_accepted, h);
	evhttp_set_gencb(h->evhttp, on_request, h);
	return h;
}

void http_admin_free(struct http_admin **h)
{
	struct http_admin *dying = *h;
	if (dying == NULL)
		return;
	OBJ(http_admin, dying);
	evhttp_free(dying->evhttp); /* ends the connections */
	while (!list_empty(&dying->conns))
		conn_end(oldest(dying));
	while (!list_empty(&dying->cut))
		conn_end(LIST_OF(struct http_conn, link, dying->cut.next));
	timer_clear(&dying->sweep);
	timer_clear(&dying->resume);
	list_remove(&dying->link);
	dying->magic = 0;
	MEM_FREE(h);
}
