/* fake_spool.h - stands for the queue process on its socket: takes messages, or does what its mode says.
 * `who` has the recipients of the last one ("alice:W bob:R": waiting, refused), `body` its bytes. */
#ifndef TESTS_FAKE_SPOOL_H
#define TESTS_FAKE_SPOOL_H

#include "tests/unit/edge/place.h"

#include "edge/spool_wire.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/stream.h"

enum spool_mode {
	SPOOL_TAKES,
	SPOOL_REFUSES,
	SPOOL_IS_SILENT,
	SPOOL_IS_DOWN,
	SPOOL_BREAKS, /* the first connection, when the message is there; the next one takes it */
};

struct fake_spool {
	struct loop *loop;
	struct listener *listener;
	int fd;
	char path[SPOOL_PATH_SIZE];
	struct stream *io;
	enum spool_mode mode;
	struct ident id;
	uint64_t left; /* bytes of the message that is coming */
	unsigned puts; /* whole messages */
	unsigned withdrawn;
	struct buf who, body;
};

static void spool_note(struct fake_spool *s, struct span payload)
{
	static const char letters[] = "WDRT";
	struct spool_message m;
	assert_int_equal(spool_message_get(payload, &m), ERR_OK);
	buf_clear(&s->who);
	buf_clear(&s->body);
	s->id = m.id;
	s->left = m.body_bytes;
	for (size_t i = 0; i < m.recipient_count; i++)
		buf_printf(&s->who, "%s%.*s:%c", i > 0 ? " " : "",
		    (int)span_find(m.recipients[i].address, '@'), m.recipients[i].address.p,
		    letters[m.recipients[i].fate]);
	spool_message_end(&m);
}

static void spool_whole(struct fake_spool *s)
{
	struct spool_answer a = { s->id, SPAN("no") };
	struct buf out = BUF_INIT(2000);
	s->puts++;
	if (s->mode == SPOOL_BREAKS) {
		s->mode = SPOOL_TAKES;
		stream_free(&s->io);
		return;
	}
	if (s->mode == SPOOL_IS_SILENT)
		return;
	spool_answer_put(
	    &out, s->mode == SPOOL_TAKES ? SPOOL_FRAME_DURABLE : SPOOL_FRAME_FAILED, &a);
	stream_write_span(s->io, buf_span(&out));
	buf_end(&out);
}

/* As the queue does with what is not durable. */
static void spool_withdraw(struct fake_spool *s, struct span payload, size_t eat)
{
	struct spool_answer a = { .why = SPAN("withdrawn") };
	struct buf out = BUF_INIT(2000);
	bool adopted;
	assert_true(spool_id_get(payload, &a.id, &adopted));
	s->withdrawn++;
	spool_answer_put(&out, SPOOL_FRAME_FAILED, &a);
	stream_eat(s->io, eat);
	stream_write_span(s->io, buf_span(&out));
	buf_end(&out);
}

static void spool_event(void *arg, enum stream_event ev)
{
	struct fake_spool *s = arg;
	struct spool_frame f;
	size_t eat;
	if (ev == STREAM_EOF || ev == STREAM_FAILED)
		stream_free(&s->io);
	while (
	    s->io != NULL && spool_frame_take(stream_input(s->io), &f, &eat) == SPOOL_FRAME_READY) {
		if (f.type == SPOOL_FRAME_PUT) {
			spool_note(s, f.payload);
		} else if (f.type == SPOOL_FRAME_WITHDRAW) {
			spool_withdraw(s, f.payload, eat);
			return;
		} else {
			buf_add_span(&s->body, f.payload);
			s->left -= f.payload.n;
		}
		stream_eat(s->io, eat);
		if (s->left == 0)
			spool_whole(s);
	}
}

static void spool_accept(void *arg, const struct accepted *a)
{
	struct fake_spool *s = arg;
	if (s->io != NULL)
		stream_free(&s->io);
	s->io =
	    stream_new(s->loop, a->fd, (struct stream_limits){ 1 << 23, 1 << 20 }, spool_event, s);
}

static void spool_start(struct fake_spool *s, struct loop *l, enum spool_mode mode)
{
	*s = (struct fake_spool){ .loop = l, .mode = mode, .fd = -1 };
	s->who = BUF_INIT(4000);
	s->body = BUF_INIT(1 << 22);
	spool_socket_path(dir, s->path);
	if (mode == SPOOL_IS_DOWN)
		return;
	s->fd = listen_open_unix(s->path, 0600);
	assert_true(s->fd >= 0);
	s->listener =
	    listener_new(l, s->fd, &(struct listener_opts){ .proxy_ms = 1000 }, spool_accept, s);
}

static void spool_end(struct fake_spool *s)
{
	if (s->io != NULL)
		stream_free(&s->io);
	listener_free(&s->listener);
	if (s->fd >= 0)
		close(s->fd);
	unlink(s->path);
	buf_end(&s->who);
	buf_end(&s->body);
}

#endif
