/* fake_milter.h - a filter that says what a test wants, on a unix socket in the test's own loop.
 *
 * Without a word of the test it wants everything and answers every command with "continue". What it was
 * told is kept in `seen`, a line for each packet: the command, then the data with | for NUL. */
#ifndef TESTS_FAKE_MILTER_H
#define TESTS_FAKE_MILTER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/stream.h"
#include "proto/milter_wire.h"

enum fake_act { FAKE_ANSWER, FAKE_HANG, FAKE_CLOSE };

struct fake_milter {
	struct loop *loop;
	struct listener *listener;
	int fd;
	char path[100];
	struct stream *io;
	uint32_t version, actions, steps;
	struct buf negotiated; /* macros that it names */
	struct buf replies[256];
	enum fake_act acts[256];
	bool mute; /* does not even negotiate */
	struct buf seen;
	unsigned connections;
};

static void fake_put(struct buf *out, char code, struct span data)
{
	uint32_t n = (uint32_t)data.n + 1;
	char head[5] = { (char)(n >> 24), (char)(n >> 16), (char)(n >> 8), (char)n, code };
	buf_add(out, head, sizeof head);
	buf_add_span(out, data);
}

/* One more packet of the answer to a command. */
__attribute__((unused)) static void fake_says(
    struct fake_milter *f, char cmd, char code, struct span data)
{
	fake_put(&f->replies[(unsigned char)cmd], code, data);
}

__attribute__((unused)) static void fake_does(struct fake_milter *f, char cmd, enum fake_act act)
{
	f->acts[(unsigned char)cmd] = act;
}

static void fake_u32(struct buf *out, uint32_t v)
{
	char b[4] = { (char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v };
	buf_add(out, b, sizeof b);
}

static void fake_negotiate(struct fake_milter *f)
{
	struct buf data = BUF_INIT(4096), out = BUF_INIT(4096);
	fake_u32(&data, f->version);
	fake_u32(&data, f->actions);
	fake_u32(&data, f->steps);
	buf_add_span(&data, buf_span(&f->negotiated));
	fake_put(&out, 'O', buf_span(&data));
	if (!f->mute)
		stream_write_span(f->io, buf_span(&out));
	buf_end(&data);
	buf_end(&out);
}

static bool fake_answers(const struct fake_milter *f, char cmd)
{
	static const struct {
		char cmd;
		uint32_t bit;
	} quiet[] = { { 'C', MILTER_NR_CONNECT }, { 'H', MILTER_NR_HELO }, { 'M', MILTER_NR_MAIL },
		{ 'R', MILTER_NR_RCPT }, { 'T', MILTER_NR_DATA }, { 'L', MILTER_NR_HEADER },
		{ 'N', MILTER_NR_EOH }, { 'B', MILTER_NR_BODY } };
	for (size_t i = 0; i < sizeof quiet / sizeof quiet[0]; i++)
		if (quiet[i].cmd == cmd && (f->steps & quiet[i].bit))
			return false;
	return cmd != 'D' && cmd != 'A' && cmd != 'Q';
}

static void fake_note(struct fake_milter *f, const struct milter_packet *p)
{
	buf_add_char(&f->seen, p->code);
	for (size_t i = 0; i < p->data.n && p->code != 'O'; i++)
		buf_add_char(&f->seen, p->data.p[i] == '\0' ? '|' : p->data.p[i]);
	buf_add_char(&f->seen, '\n');
}

static void fake_packet(struct fake_milter *f, char cmd)
{
	struct buf *reply = &f->replies[(unsigned char)cmd];
	if (f->acts[(unsigned char)cmd] == FAKE_CLOSE)
		stream_free(&f->io);
	else if (f->acts[(unsigned char)cmd] == FAKE_HANG || !fake_answers(f, cmd))
		return;
	else if (cmd == 'O')
		fake_negotiate(f);
	else if (buf_len(reply) > 0)
		stream_write_span(f->io, buf_span(reply));
	else
		stream_write_span(f->io, SPAN("\0\0\0\x01"
					      "c"));
}

static void fake_milter_event(void *arg, enum stream_event ev)
{
	struct fake_milter *f = arg;
	struct milter_packet p;
	size_t eat;
	while (f->io != NULL && milter_take(stream_input(f->io), &p, &eat) == MILTER_READY) {
		char cmd = p.code;
		fake_note(f, &p);
		stream_eat(f->io, eat);
		fake_packet(f, cmd);
	}
	if (f->io != NULL && (ev == STREAM_EOF || ev == STREAM_FAILED))
		stream_free(&f->io);
}

static void fake_milter_accept(void *arg, const struct accepted *a)
{
	struct fake_milter *f = arg;
	f->connections++;
	if (f->io != NULL)
		stream_free(&f->io);
	f->io = stream_new(
	    f->loop, a->fd, (struct stream_limits){ 1 << 21, 1 << 26 }, fake_milter_event, f);
}

static void fake_milter_start(struct fake_milter *f, struct loop *l, const char *path)
{
	*f = (struct fake_milter){
		.loop = l, .seen = BUF_INIT(1 << 24), .version = 6, .actions = MILTER_MAY_ALL
	};
	f->negotiated = BUF_INIT(4096);
	for (size_t i = 0; i < 256; i++)
		f->replies[i] = BUF_INIT(1 << 24);
	snprintf(f->path, sizeof f->path, "%s", path);
	f->fd = listen_open_unix(f->path, 0600);
	assert_true(f->fd >= 0);
	f->listener = listener_new(
	    l, f->fd, &(struct listener_opts){ .proxy_ms = 1000 }, fake_milter_accept, f);
}

static void fake_milter_end(struct fake_milter *f)
{
	if (f->io != NULL)
		stream_free(&f->io);
	listener_free(&f->listener);
	close(f->fd);
	unlink(f->path);
	for (size_t i = 0; i < 256; i++)
		buf_end(&f->replies[i]);
	buf_end(&f->negotiated);
	buf_end(&f->seen);
}

#endif
