/* store_talk.h - conversations with a session of store_fixture.h's worker, over a socket pair. */
#ifndef TEST_STORE_TALK_H
#define TEST_STORE_TALK_H

#include "store_fixture.h"

enum { TALK_HEARD_MAX = 64 * 1024 * 1024 };

struct talk {
	int fd;
	struct buf heard;
	bool ended;
};

static const struct store_listener_conf *fixture_listener(const char *name)
{
	const struct store_conf *s = store_options(store.conf);
	for (size_t i = 0; i < s->listener_n; i++)
		if (strcmp(s->listener[i]->head.title, name) == 0)
			return s->listener[i];
	fail_msg("no listener %s", name);
	return NULL;
}

static struct talk talk_open(
    store_session_start_fn *start, const char *listener, const char *client)
{
	int pair[2];
	struct talk t = { .heard = BUF_INIT(TALK_HEARD_MAX) };
	struct accepted a = { 0 };
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	t.fd = pair[0];
	a.fd = pair[1];
	assert_true(ip_parse(span_str(client), &a.client.addr));
	a.client.port = 4000;
	a.peer = a.client;
	start(&store, &a, fixture_listener(listener));
	return t;
}

static void talk_listen(struct talk *t)
{
	char bytes[65536];
	ssize_t n;
	while ((n = read(t->fd, bytes, sizeof bytes)) > 0)
		assert_true(buf_add(&t->heard, bytes, (size_t)n));
	t->ended = n == 0;
}

static bool talk_has_heard(const struct talk *t, const char *words)
{
	return words != NULL && span_find_span(buf_span(&t->heard), span_str(words)) != SIZE_MAX;
}

/* Until these words were heard, or (NULL) the connection has ended. */
static void talk_until(struct talk *t, const char *words)
{
	for (unsigned i = 0; !t->ended && !talk_has_heard(t, words); i++) {
		assert_true(i < FIXTURE_WAIT_MS / 5);
		loop_step(store.loop, 5);
		talk_listen(t);
	}
	if (words != NULL && !talk_has_heard(t, words))
		print_error("not heard: %s\nbut: %s\n", words, buf_cstr(&t->heard));
	assert_true(words == NULL || talk_has_heard(t, words));
}

/* Says it in pieces of `cut` bytes. */
__attribute__((unused)) static void talk_send(struct talk *t, struct span bytes, size_t cut)
{
	while (bytes.n > 0 && !t->ended) {
		ssize_t n = write(t->fd, bytes.p, bytes.n < cut ? bytes.n : cut);
		if (n > 0)
			bytes = span_from(bytes, (size_t)n);
		loop_step(store.loop, 0);
		talk_listen(t);
	}
}

/* Closes it; the session ends. */
static void talk_close(struct talk *t)
{
	size_t before = store.session_n;
	bool lives = !t->ended && before > 0;
	close(t->fd);
	buf_end(&t->heard);
	if (lives)
		FIXTURE_WAIT(store.session_n < before);
}

#endif
