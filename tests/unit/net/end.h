/* end.h - a stream's owner for tests: counts events, keeps what came, may free the stream at one. */
#ifndef TESTS_NET_END_H
#define TESTS_NET_END_H

#include "net_test.h"
#include "net/stream.h"

struct end {
	struct stream *s;
	struct buf got;
	unsigned n[STREAM_FAILED + 1]; /* events so far */
	char order[64];                /* their first letters: I S X(secured) E F */
	bool hold;                     /* leaves the input where it is */
	int free_at;                   /* event at which the stream is freed; -1: none */
	int close_at;                  /* event at which it is closed */
};

__attribute__((unused)) static void on_end_event(void *arg, enum stream_event ev)
{
	struct end *e = arg;
	size_t n = strlen(e->order);
	assert_non_null(e->s);
	e->n[ev]++;
	if (n + 1 < sizeof e->order)
		e->order[n] = "ISXEF"[ev];
	if (ev == STREAM_INPUT && !e->hold) {
		struct span in = stream_input(e->s);
		assert_true(buf_add_span(&e->got, in));
		stream_eat(e->s, in.n);
	}
	if ((int)ev == e->free_at)
		stream_free(&e->s);
	else if ((int)ev == e->close_at)
		stream_close(&e->s, WAIT_MS);
}

__attribute__((unused)) static void end_begin(
    struct end *e, int take_fd, size_t in_max, size_t out_max)
{
	*e = (struct end){ .got = BUF_INIT(1 << 26), .free_at = -1, .close_at = -1 };
	e->s =
	    stream_new(loop, take_fd, (struct stream_limits){ in_max, out_max }, on_end_event, e);
}

__attribute__((unused)) static void end_end(struct end *e)
{
	stream_free(&e->s);
	buf_end(&e->got);
}

/* A file without a name that holds these bytes. */
__attribute__((unused)) static struct file_ref *file_of(const char *p, size_t n)
{
	char path[] = "/tmp/postern-net-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(write(fd, p, n), n);
	return file_ref_new(fd);
}

#endif
