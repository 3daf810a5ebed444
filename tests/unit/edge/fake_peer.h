/* fake_peer.h - a server that follows a script, on a unix socket in the test's own loop.
 *
 * A script is a list of steps, NULL at its end:
 *	"S text"   sends text and CRLF            "C text"   waits for a line that begins with text
 *	"B"        reads a message up to its dot  "X"        closes the connection
 *	"R text"   sends text as it is            "H"        hangs: reads nothing any more
 *	"W"        waits until the other end closes
 * A new connection goes on with the script behind "X" or "W". What came is kept in `seen`. */
#ifndef TESTS_FAKE_PEER_H
#define TESTS_FAKE_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/stream.h"
#include "proto/line.h"
#include "proto/smtp_body.h"

struct fake_peer {
	struct loop *loop;
	struct listener *listener;
	int fd;
	char path[100];
	const char *const *script;
	size_t at;
	struct stream *io;
	struct line_scan lines;
	struct smtp_body_decoder body;
	bool in_body;
	struct buf seen;   /* lines, and bodies between { and } */
	const char *wrong; /* a step that met something else */
	unsigned connections;
};

static void fake_step(struct fake_peer *f);

static void fake_event(void *arg, enum stream_event ev)
{
	struct fake_peer *f = arg;
	if (ev == STREAM_INPUT)
		fake_step(f);
	else if (ev == STREAM_EOF || ev == STREAM_FAILED) {
		stream_free(&f->io);
		if (f->script[f->at] != NULL && f->script[f->at][0] == 'W')
			f->at++;
	}
}

static bool fake_take_line(struct fake_peer *f, const char *want)
{
	struct span line;
	size_t eat;
	enum line_rx rx = line_take(&f->lines, stream_input(f->io), &line, &eat);
	if (rx == LINE_MORE)
		return false;
	buf_printf(&f->seen, "%.*s\n", SPAN_ARG(line));
	if (rx != LINE_READY || !span_starts(line, span_str(want)))
		f->wrong = want;
	stream_eat(f->io, eat);
	return true;
}

static bool fake_take_body(struct fake_peer *f)
{
	struct span in = stream_input(f->io), piece;
	size_t had = in.n;
	enum smtp_body_rx rx;
	if (!f->in_body) {
		smtp_body_decoder_init(&f->body, 1000);
		buf_add_str(&f->seen, "{");
		f->in_body = true;
	}
	while ((rx = smtp_body_decode(&f->body, &in, &piece)) == SMTP_BODY_SPAN)
		buf_add_span(&f->seen, piece);
	stream_eat(f->io, had - in.n);
	if (rx != SMTP_BODY_END)
		return false;
	buf_add_str(&f->seen, "}\n");
	f->in_body = false;
	return true;
}

/* One step of the script; false: it waits. */
static bool fake_one(struct fake_peer *f)
{
	const char *step = f->script[f->at];
	const char *text = step[0] != '\0' && step[1] == ' ' ? step + 2 : "";
	switch (step[0]) {
	case 'S':
		stream_printf(f->io, "%s\r\n", text);
		return true;
	case 'R':
		stream_write_span(f->io, span_str(text));
		return true;
	case 'C':
		return fake_take_line(f, text);
	case 'B':
		return fake_take_body(f);
	case 'X':
		stream_close(&f->io, 1000);
		return true;
	default:
		return false;
	}
}

static void fake_step(struct fake_peer *f)
{
	while (f->io != NULL && f->script[f->at] != NULL && fake_one(f))
		f->at++;
}

static void fake_accept(void *arg, const struct accepted *a)
{
	struct fake_peer *f = arg;
	f->connections++;
	if (f->io != NULL)
		stream_free(&f->io);
	f->io =
	    stream_new(f->loop, a->fd, (struct stream_limits){ 1 << 20, 1 << 20 }, fake_event, f);
	f->lines = LINE_SCAN_INIT(4000);
	fake_step(f);
}

static void fake_listen(
    struct fake_peer *f, struct loop *l, const char *const *script, const char *path, int fd)
{
	*f = (struct fake_peer){ .loop = l, .script = script, .seen = BUF_INIT(1 << 22) };
	snprintf(f->path, sizeof(f->path), "%s", path);
	f->fd = fd;
	assert_true(f->fd >= 0);
	f->listener =
	    listener_new(l, f->fd, &(struct listener_opts){ .proxy_ms = 1000 }, fake_accept, f);
}

static void fake_start_at(
    struct fake_peer *f, struct loop *l, const char *const *script, const char *path)
{
	fake_listen(f, l, script, path, listen_open_unix(path, 0600));
}

/* By TCP. */
__attribute__((unused)) static void fake_start_tcp(
    struct fake_peer *f, struct loop *l, const char *const *script, struct ip_port at)
{
	fake_listen(f, l, script, "", listen_open_tcp(at));
}

__attribute__((unused)) static void fake_start(
    struct fake_peer *f, struct loop *l, const char *const *script)
{
	char path[100];
	snprintf(path, sizeof(path), "/tmp/postern-fake-%d.sock", (int)getpid());
	fake_start_at(f, l, script, path);
}

/* How often a word stands in what came. */
__attribute__((unused)) static size_t fake_saw(struct fake_peer *f, const char *word)
{
	size_t n = 0;
	for (const char *at = buf_cstr(&f->seen); (at = strstr(at, word)) != NULL; at++)
		n++;
	return n;
}

static void fake_end(struct fake_peer *f)
{
	if (f->io != NULL)
		stream_free(&f->io);
	listener_free(&f->listener);
	close(f->fd);
	if (f->path[0] != '\0')
		unlink(f->path);
	buf_end(&f->seen);
}

#endif
