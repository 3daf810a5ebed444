/* fake_ldap.h - an LDAP server in the test's own loop that does what real ones never do.
 *
 * A script is one function: it is given each request and says what is sent. Requests of the connection itself
 * (StartTLS, bind of searches, read of the base) are answered well unless `early` takes them too. */
#ifndef TEST_DIRECTORY_FAKE_LDAP_H
#define TEST_DIRECTORY_FAKE_LDAP_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "directory/ldap_msg.h"
#include "directory/name.h"
#include "net/listen.h"
#include "net/stream.h"
#include "tests/unit/directory/fixture.h"

enum {
	OP_BIND = 0x60,
	OP_SEARCH = 0x63,
	OP_ABANDON = 0x50,
	OP_EXTENDED = 0x77,
	RE_BIND = 0x61,
	RE_ENTRY = 0x64,
	RE_DONE = 0x65,
	RE_REFERENCE = 0x73,
	RE_EXTENDED = 0x78,
	FAKE_CONNS_MAX = 64,
	FAKE_BYTES_MAX = 1024 * 1024,
};

struct fake_ldap;

struct fake_conn {
	struct fake_ldap *fake;
	struct stream *io; /* NULL: closed */
};

/* One request, and where its answer goes. */
struct fake_ask {
	struct fake_ldap *fake;
	struct fake_conn *conn;
	struct span message;
	unsigned op;
	int32_t id;
	bool base; /* a read of the base */
};

struct fake_ldap {
	struct loop *loop;
	struct listener *listener;
	int fd;
	uint16_t port;
	void (*script)(struct fake_ask *a);
	bool early;
	int code;            /* for scripts that answer with one */
	struct tls_ctx *tls; /* for scripts that start TLS */
	struct fake_conn conns[FAKE_CONNS_MAX];
	size_t connections, searches, bases, binds, abandons;
	struct timer drip;
	struct buf slow; /* what drips */
	struct fake_conn *slow_conn;
};

/* ---- BER, written with long lengths as some servers do ---- */

static void put_tlv(struct buf *out, unsigned tag, struct span content)
{
	buf_add_char(out, (char)tag);
	buf_add_char(out, (char)0x83);
	buf_add_char(out, (char)(content.n >> 16));
	buf_add_char(out, (char)(content.n >> 8));
	buf_add_char(out, (char)content.n);
	buf_add_span(out, content);
}

/* Wraps what is in `inner` (which is emptied) into an element of out. */
static void put_wrapped(struct buf *out, unsigned tag, struct buf *inner)
{
	put_tlv(out, tag, buf_span(inner));
	buf_end(inner);
}

static void put_message(struct buf *out, int32_t id, unsigned op, struct buf *inner)
{
	struct buf whole = BUF_INIT(FAKE_BYTES_MAX);
	char number[4] = { (char)(id >> 24), (char)(id >> 16), (char)(id >> 8), (char)id };
	put_tlv(&whole, 0x02, span_of(number, sizeof number));
	put_wrapped(&whole, op, inner);
	put_wrapped(out, 0x30, &whole);
}

static void put_result(struct buf *out, int32_t id, unsigned op, int code)
{
	struct buf inner = BUF_INIT(1024);
	char byte = (char)code;
	put_tlv(&inner, 0x0a, span_of(&byte, 1));
	put_tlv(&inner, 0x04, SPAN(""));
	put_tlv(&inner, 0x04, SPAN("words of the fake"));
	put_message(out, id, op, &inner);
}

static void put_attribute(struct buf *out, const char *name, const char *value)
{
	struct buf one = BUF_INIT(FAKE_BYTES_MAX), values = BUF_INIT(FAKE_BYTES_MAX);
	put_tlv(&values, 0x04, span_str(value));
	put_tlv(&one, 0x04, span_str(name));
	put_wrapped(&one, 0x31, &values);
	put_wrapped(out, 0x30, &one);
}

/* attributes: emptied. */
static void put_entry(struct buf *out, int32_t id, const char *dn, struct buf *attributes)
{
	struct buf inner = BUF_INIT(FAKE_BYTES_MAX);
	put_tlv(&inner, 0x04, span_str(dn));
	put_wrapped(&inner, 0x30, attributes);
	put_message(out, id, RE_ENTRY, &inner);
}

__attribute__((unused)) static void put_user(
    struct buf *out, int32_t id, const char *dn, const char *mail)
{
	struct buf attributes = BUF_INIT(FAKE_BYTES_MAX);
	struct span uid = name_local(span_str(mail));
	char name[64];
	snprintf(name, sizeof name, "%.*s", SPAN_ARG(uid));
	put_attribute(&attributes, "uid", name);
	put_attribute(&attributes, "mail", mail);
	put_entry(out, id, dn, &attributes);
}

/* ---- the server ---- */

/* Sends what is in out, and empties it. */
static void fake_send(struct fake_conn *c, struct buf *out)
{
	if (c->io != NULL)
		stream_write_span(c->io, buf_span(out));
	buf_end(out);
}

__attribute__((unused)) static void fake_result(struct fake_ask *a, unsigned op, int code)
{
	struct buf out = BUF_INIT(FAKE_BYTES_MAX);
	put_result(&out, a->id, op, code);
	fake_send(a->conn, &out);
}

static void fake_count(struct fake_ask *a)
{
	struct fake_ldap *f = a->fake;
	f->searches += a->op == OP_SEARCH && !a->base;
	f->bases += a->base;
	f->binds += a->op == OP_BIND;
	f->abandons += a->op == OP_ABANDON;
}

static void fake_request(struct fake_ask *a)
{
	fake_count(a);
	if (a->op == OP_ABANDON)
		return;
	if (!a->fake->early && a->base)
		fake_result(a, RE_DONE, 0);
	else
		a->fake->script(a);
}

static void fake_event(void *arg, enum stream_event ev)
{
	struct fake_conn *c = arg;
	size_t n;
	if (ev == STREAM_EOF || ev == STREAM_FAILED) {
		stream_free(&c->io);
		return;
	}
	while (c->io != NULL && ldap_frame(stream_input(c->io), 65536, &n) == LDAP_FRAME_WHOLE) {
		struct buf copy = BUF_INIT(65536);
		buf_add_span(&copy, span_first(stream_input(c->io), n));
		struct span m = buf_span(&copy);
		/* liblber writes: sequence and operation with lengths of four bytes, small numbers short. */
		size_t head = (unsigned char)m.p[1] < 0x80 ? 2 : 2 + (size_t)(m.p[1] & 0x7f);
		struct fake_ask a = { .fake = c->fake,
			.conn = c,
			.message = m,
			.id = ldap_front_id(m),
			.op = (unsigned char)m.p[head + 2 + (size_t)m.p[head + 1]],
			.base = span_find_span(m, SPAN("\x04\x03"
						       "1.1")) != SIZE_MAX };
		stream_eat(c->io, n);
		fake_request(&a);
		buf_end(&copy);
	}
}

static void fake_accept(void *arg, const struct accepted *a)
{
	struct fake_ldap *f = arg;
	assert_true(f->connections < FAKE_CONNS_MAX);
	struct fake_conn *c = &f->conns[f->connections++];
	struct stream_limits limits = { .in_max = 65536, .out_max = FAKE_BYTES_MAX };
	c->fake = f;
	c->io = stream_new(f->loop, a->fd, limits, fake_event, c);
}

static void fake_drip(void *arg)
{
	struct fake_ldap *f = arg;
	if (f->slow_conn->io == NULL || buf_len(&f->slow) == 0)
		return;
	stream_write_span(f->slow_conn->io, span_first(buf_span(&f->slow), 1));
	buf_eat(&f->slow, 1);
	timer_set(&f->drip, 10);
}

/* Sends what is in out one byte at a time, 10 ms apart. */
__attribute__((unused)) static void fake_send_slowly(struct fake_conn *c, struct buf *out)
{
	struct fake_ldap *f = c->fake;
	buf_clear(&f->slow);
	buf_add_span(&f->slow, buf_span(out));
	buf_end(out);
	f->slow_conn = c;
	timer_set(&f->drip, 10);
}

/* Listens: connections are taken once the fixture's loop is known, by fake_run(). */
__attribute__((unused)) static void fake_open(
    struct fake_ldap *f, void (*script)(struct fake_ask *))
{
	struct sockaddr_in sa = { 0 };
	socklen_t n = sizeof sa;
	struct ip_port at = { .port = 0 };
	*f = (struct fake_ldap){ .script = script, .slow = BUF_INIT(FAKE_BYTES_MAX) };
	assert_true(ip_parse(SPAN("127.0.0.1"), &at.addr));
	f->fd = listen_open_tcp(at);
	assert_true(f->fd >= 0);
	assert_int_equal(getsockname(f->fd, (struct sockaddr *)&sa, &n), 0);
	f->port = ntohs(sa.sin_port);
}

__attribute__((unused)) static void fake_run(struct fake_ldap *f, struct loop *l)
{
	static const struct listener_opts opts = { .proxy_ms = 1000, .proxy_waiting_max = 1 };
	f->loop = l;
	timer_init(&f->drip, l, fake_drip, f);
	f->listener = listener_new(l, f->fd, &opts, fake_accept, f);
}

/* Before its loop is freed. */
__attribute__((unused)) static void fake_close(struct fake_ldap *f)
{
	timer_clear(&f->drip);
	for (size_t i = 0; i < f->connections; i++)
		stream_free(&f->conns[i].io);
	buf_end(&f->slow);
	listener_free(&f->listener);
	close(f->fd);
}

#endif
