/* fake_store.h - a store that follows a script, on loopback in the test's own loop.
 *
 * A script is a list of steps, NULL at its end; every connection begins with the first one:
 *	"S text"   sends text and CRLF            "R text"   sends text as it is
 *	"C text"   takes a line that begins so    "T"        becomes a TLS server
 *	"E"        echoes from here on            "F"        a flow: see struct flow
 *	"X"        closes                         "H"        does nothing any more
 *	"P"        takes a PROXY header           "L"        answers POP3's CAPA if that comes next
 *	"0 text"   sends text as it is, each '@' in it as a NUL
 * What came is kept in `seen`. */
#ifndef TESTS_MMP_FAKE_STORE_H
#define TESTS_MMP_FAKE_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "net/listen.h"
#include "net/stream.h"
#include "net/tls_ctx.h"
#include "proto/line.h"
#include "proto/proxy_hdr.h"

#define UNUSED __attribute__((unused))

enum { CONNS_MAX = 64, STREAM_MAX = 1 << 16, SEEN_MAX = 1 << 22 };

/* Bytes of a pattern both ways: `left` are still to be sent, `got` have come. */
struct flow {
	uint64_t left, sent, got;
	bool wrong;
};

struct fake;
struct fake_conn {
	struct fake *fake;
	struct stream *io;
	const char *const *step;
	struct line_scan lines;
	bool echo, flows, ending;
	struct flow flow;
};
struct fake {
	struct loop *loop;
	struct tls_ctx *server; /* borrowed: for "T" */
	int fd;
	uint16_t port;
	struct listener *listener;
	const char *const *script;
	struct fake_conn conns[CONNS_MAX];
	size_t conn_n; /* accepted so far */
	struct buf seen;
	const char *capa;  /* lines of the answer to "L"; NULL: TOP and UIDL */
	const char *wrong; /* a step that met something else */
	uint64_t flow_bytes;
};

/* ---- flows -------------------------------------------------------------------------------------- */

static unsigned char pattern(uint64_t at)
{
	return (unsigned char)(at * 31 + at / 251);
}

static void flow_send(struct flow *f, struct stream *io)
{
	char piece[4096];
	size_t room = stream_space(io);
	while (f->left > 0 && room > 0) {
		size_t n = f->left < sizeof piece ? (size_t)f->left : sizeof piece;
		n = n < room ? n : room;
		for (size_t i = 0; i < n; i++)
			piece[i] = (char)pattern(f->sent + i);
		assert_true(stream_write(io, piece, n));
		f->sent += n;
		f->left -= n;
		room -= n;
	}
}

static void flow_take(struct flow *f, struct stream *io)
{
	struct span in = stream_input(io);
	for (size_t i = 0; i < in.n; i++)
		f->wrong = f->wrong || (unsigned char)in.p[i] != pattern(f->got + i);
	f->got += in.n;
	stream_eat(io, in.n);
}

/* ---- the fake stores ----------------------------------------------------------------------------- */

static void fake_step(struct fake_conn *c);

static void fake_echo(struct fake_conn *c)
{
	struct span in = span_first(stream_input(c->io), stream_space(c->io));
	if (in.n == 0)
		return;
	assert_true(buf_add_span(&c->fake->seen, in));
	stream_write_span(c->io, in);
	stream_eat(c->io, in.n);
}

static void fake_flow(struct fake_conn *c)
{
	flow_take(&c->flow, c->io);
	flow_send(&c->flow, c->io);
}

static void fake_event(void *arg, enum stream_event ev)
{
	struct fake_conn *c = arg;
	c->ending = c->ending || ev == STREAM_EOF;
	if (ev == STREAM_FAILED)
		stream_free(&c->io);
	else if (c->flows)
		fake_flow(c);
	else if (c->echo)
		fake_echo(c);
	else if (!c->ending)
		fake_step(c);
	if (c->io != NULL && c->ending && c->flow.left == 0)
		stream_close(&c->io, 1000);
}

static bool fake_line(struct fake_conn *c, const char *want)
{
	struct span line;
	size_t eat;
	enum line_rx rx = line_take(&c->lines, stream_input(c->io), &line, &eat);
	if (rx == LINE_MORE)
		return false;
	buf_printf(&c->fake->seen, "%.*s\n", SPAN_ARG(line));
	if (rx != LINE_READY || !span_starts(line, span_str(want)))
		c->fake->wrong = want;
	stream_eat(c->io, eat);
	return true;
}

/* Kept in `seen` as "PROXY client -> local". */
static bool fake_proxy(struct fake_conn *c)
{
	struct proxy_hdr h;
	char from[IP_TEXT_SIZE], to[IP_TEXT_SIZE];
	enum proxy_rx rx = proxy_hdr_parse(stream_input(c->io), &h);
	if (rx == PROXY_BAD || (rx == PROXY_DONE && h.kind != PROXY_CLIENT))
		c->fake->wrong = "PROXY";
	if (rx != PROXY_DONE)
		return false;
	buf_printf(&c->fake->seen, "PROXY %s -> %s\n", ip_port_text(h.client, from),
	    ip_port_text(h.local, to));
	stream_eat(c->io, h.len);
	return true;
}

/* The multiplexor asks a POP3 store once; after that come the client's own words. */
static bool fake_capa(struct fake_conn *c)
{
	struct span in = stream_input(c->io), capa = SPAN("CAPA\r\n");
	if (in.n == 0 || (in.n < capa.n && span_starts(capa, in)))
		return false;
	if (!span_starts(in, capa))
		return true;
	stream_eat(c->io, capa.n);
	return stream_printf(
	    c->io, "+OK\r\n%s.\r\n", c->fake->capa != NULL ? c->fake->capa : "TOP\r\nUIDL\r\n");
}

/* One step; false: it waits. */
static bool fake_one(struct fake_conn *c)
{
	const char *step = *c->step, *text = step[1] == ' ' ? step + 2 : "";
	switch (step[0]) {
	case 'S':
		return stream_printf(c->io, "%s\r\n", text);
	case 'R':
		return stream_write_span(c->io, span_str(text));
	case '0':
		for (const char *at = text; *at != '\0'; at++)
			stream_write(c->io, *at == '@' ? "" : at, 1);
		return true;
	case 'C':
		return fake_line(c, text);
	case 'P':
		return fake_proxy(c);
	case 'L':
		return fake_capa(c);
	case 'T':
		stream_start_tls_server(c->io, c->fake->server);
		return true;
	case 'E':
		c->echo = true;
		fake_echo(c);
		return true;
	case 'F':
		c->flows = true;
		c->flow.left = c->fake->flow_bytes;
		fake_flow(c);
		return true;
	case 'X':
		stream_close(&c->io, 1000);
		return true;
	default:
		return false;
	}
}

static void fake_step(struct fake_conn *c)
{
	while (c->io != NULL && *c->step != NULL && !c->echo && !c->flows && fake_one(c))
		c->step++;
}

static void fake_accept(void *arg, const struct accepted *a)
{
	struct fake *f = arg;
	struct fake_conn *c = &f->conns[f->conn_n++ % CONNS_MAX];
	stream_free(&c->io);
	*c = (struct fake_conn){ .fake = f, .step = f->script, .lines = LINE_SCAN_INIT(4000) };
	c->io = stream_new(
	    f->loop, a->fd, (struct stream_limits){ STREAM_MAX, STREAM_MAX }, fake_event, c);
	stream_set_secret(c->io);
	fake_step(c);
}

static void fake_open(struct fake *f, struct loop *l)
{
	*f = (struct fake){ .loop = l, .fd = f->fd, .port = f->port, .seen = BUF_INIT(SEEN_MAX) };
	f->listener = listener_new(f->loop, f->fd, &(struct listener_opts){ 0 }, fake_accept, f);
}

static void fake_close(struct fake *f)
{
	for (size_t i = 0; i < CONNS_MAX; i++)
		stream_free(&f->conns[i].io);
	listener_free(&f->listener);
	buf_end(&f->seen);
}

/* ---- scripts of stores that most tests use -------------------------------------------------------- */

#define STORE_GREETING "S * OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL+ AUTH=PLAIN] store ready"
#define IMAP_DONE "S P3 OK [CAPABILITY IMAP4rev1 LITERAL+ ID IDLE X-STORE] in"
static UNUSED const char *const imap_good[] = { STORE_GREETING, "C P3 AUTHENTICATE PLAIN ",
	IMAP_DONE, "E", NULL };
#define RELAY_SAYS                                                                                 \
	"R 250-relay\r\n250-8BITMIME\r\n250-PIPELINING\r\n250-SIZE 9\r\n250 AUTH LOGIN PLAIN\r\n"
#define RELAY "S 220 relay ESMTP", "C EHLO mail.example.org", RELAY_SAYS, "C EHLO pc", RELAY_SAYS
static UNUSED const char *const relay_good[] = { RELAY, "C AUTH PLAIN ", "S 235 in", "E", NULL };
#define SIEVE_STORE                                                                                \
	"S \"IMPLEMENTATION\" \"Store\"", "S \"SASL\" \"EXTERNAL PLAIN\"",                         \
	    "S \"SIEVE\" \"fileinto vacation reject copy\"", "S \"VERSION\" \"1.0\"",              \
	    "S OK \"hi\""
static UNUSED const char *const sieve_good[] = { SIEVE_STORE, "C AUTHENTICATE \"PLAIN\" {", "C ",
	"S OK", "E", NULL };
static UNUSED const char *const pop3_good[] = { "S +OK store ready", "C USER ", "S +OK", "C PASS ",
	"S +OK in", "L", "E", NULL };

#endif
