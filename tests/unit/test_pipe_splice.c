/* test_pipe_splice.c - bursts towards many clients that stop reading: more of them than there are kernel pipes. */
#include "net/pipe_ends.h"

enum { LANES = 12 };

static char pattern[MANY];

struct lane {
	int client, store; /* the far ends */
	struct pipe *pipe;
	size_t sent;
	unsigned done_n;
	struct buf got;
};

static struct lane lanes[LANES];

static void on_lane_done(void *arg, const struct pipe_done *d)
{
	struct lane *l = arg;
	l->done_n++;
	l->pipe = NULL;
}

/* So small that MANY bytes never fit between the far ends. */
static void narrow_pair(int v[2])
{
	const int size = 64 * 1024;
	tcp_pair(v);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(setsockopt(v[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
		assert_int_equal(setsockopt(v[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
	}
}

static void lane_begin(struct lane *l)
{
	sides_begin(narrow_pair);
	*l = (struct lane){ .client = ends[0], .store = ends[1], .got = BUF_INIT(MANY) };
	l->pipe =
	    pipe_start(loop, &side[0].s, &side[1].s, &(struct pipe_owner){ 0, on_lane_done, l, 0 });
	ends[0] = ends[1] = -1;
	sides_end();
}

static void lane_end(struct lane *l)
{
	pipe_free(&l->pipe);
	close(l->client);
	close(l->store);
	buf_end(&l->got);
}

/* Until nothing more goes: the client has stopped reading. */
static void lane_fill(struct lane *l)
{
	for (int quiet = 0; quiet < 10;) {
		ssize_t n = send(l->store, pattern + l->sent, MANY - l->sent, MSG_NOSIGNAL);
		l->sent += n > 0 ? (size_t)n : 0;
		quiet = n > 0 ? 0 : quiet + 1;
		loop_step(loop, 0);
	}
	assert_in_range(l->sent, 1, MANY - 1);
}

static void lane_take_all(struct lane *l)
{
	WAIT_FOR(raw_take(l->client, &l->got) == RAW_OPEN && buf_len(&l->got) == l->sent);
	assert_memory_equal(buf_span(&l->got).p, pattern, l->sent);
}

static void each(void (*fn)(struct lane *l), size_t from, size_t step)
{
	for (size_t i = from; i < LANES; i += step)
		fn(&lanes[i]);
}

static int group_setup(void **state)
{
	fill_pattern(pattern, MANY, 3);
	return certs_setup(state);
}

/* Each gets what was sent to it, whichever way it waited; those that are full again meanwhile do, too. */
static void test_many_stop(void **state)
{
	each(lane_begin, 0, 1);
	each(lane_fill, 0, 1);
	unsigned quiet = 0;
	WAIT_FOR((quiet = loop_step(loop, 0) ? 0 : quiet + 1) == 5); /* all are at rest then */
	each(lane_take_all, 1, 2);
	each(lane_fill, 1, 2);
	each(lane_take_all, 0, 1);
	each(lane_end, 0, 1);
}

/* The ends of such pipes leave their kernel pipes empty: nobody gets another one's bytes. */
static void test_ends_while_stuck(void **state)
{
	each(lane_begin, 0, 1);
	each(lane_fill, 0, 1);
	/* A client that breaks, an order to stop, a pipe that is dropped. */
	for (size_t i = 0; i < LANES; i += 3) {
		close_with_reset(lanes[i].client);
		lanes[i].client = -1;
		pipe_stop(lanes[i + 1].pipe, SPAN("never said in the middle of something"));
		pipe_free(&lanes[i + 2].pipe);
	}
	for (size_t i = 0; i < LANES; i += 3) {
		WAIT_FOR(lanes[i].done_n == 1 && lanes[i + 1].done_n == 1);
		struct lane *l = &lanes[i + 1];
		WAIT_FOR(raw_take(l->client, &l->got) == RAW_EOF);
		assert_memory_equal(buf_span(&l->got).p, pattern, buf_len(&l->got));
	}
	each(lane_end, 0, 1);
	each(lane_begin, 0, 1);
	each(lane_fill, 0, 1);
	each(lane_take_all, 0, 1);
	each(lane_end, 0, 1);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, loop_setup, loop_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_many_stop),
		CASE(test_ends_while_stuck),
	};
	return cmocka_run_group_tests_name("pipe_splice", tests, group_setup, certs_teardown);
}
