/* test_loop_watch.c - descriptors of the event loop: whose turn it is, who has which, what comes last. */
#include "net/loop_trace.h"

/* Two descriptors that nobody empties: timers, deferred calls and loop_step() itself go on. */
static void test_ready_descriptor_starves_nobody(void **state)
{
	int v[2];
	unix_pair(v);
	struct watch *w[2] = { watch_new(loop, v[0], on_fd, NULL),
		watch_new(loop, v[1], on_fd, NULL) };
	assert_int_equal(write(v[0], "x", 1), 1);
	assert_int_equal(write(v[1], "x", 1), 1);
	watch_set(w[0], WATCH_READ | WATCH_WRITE);
	watch_set(w[1], WATCH_READ);
	timer_set(&t[1], 3);
	soon_set(loop, &s[2]);
	ready_n = ready_events = 0;
	assert_true(loop_step(loop, 0));
	assert_int_equal(ready_n, 2);
	assert_int_equal(ready_events, WATCH_READ | WATCH_WRITE);
	assert_string_equal(trace, "2");
	WAIT_FOR(strcmp(trace, "21") == 0);
	assert_true(ready_n > 2); /* level-triggered */
	watch_set(w[0], 0);
	watch_set(w[1], 0);
	assert_false(loop_step(loop, 0));
	for (size_t i = 0; i < 2; i++) {
		watch_free(&w[i]);
		assert_null(w[i]);
		watch_free(&w[i]);
		close(v[i]);
	}
}

static struct watch *dying[2];

static void on_free_both(void *arg, unsigned events)
{
	ready_n++;
	watch_free(&dying[0]);
	watch_free(&dying[1]);
}

/* Both are ready; whichever comes first frees both, and the other one is not called. */
static void test_free_in_callback(void **state)
{
	int v[2];
	unix_pair(v);
	for (size_t i = 0; i < 2; i++) {
		dying[i] = watch_new(loop, v[i], on_free_both, NULL);
		watch_set(dying[i], WATCH_WRITE);
	}
	ready_n = 0;
	run_rounds(3);
	assert_int_equal(ready_n, 1);
	close(v[0]);
	close(v[1]);
}

static int reused[2];

static void on_reuse(void *arg, unsigned events)
{
	struct watch **mine = arg;
	ready_n++;
	watch_free(mine);
	close(reused[0]);
	close(reused[1]);
	unix_pair(reused); /* the same numbers */
	*mine = watch_new(loop, reused[0], on_fd, NULL);
	watch_set(*mine, WATCH_READ);
}

/* A descriptor number that is used again within the round is a new descriptor. */
/* Who sets a watch on a descriptor has it from then on; the one before gets nothing, also what was ready for it, and its end
 * takes nothing away. */
static struct watch *both[2];

static void on_first(void *arg, unsigned events)
{
	note('1');
	watch_set(both[1], WATCH_READ);
}

static void on_second(void *arg, unsigned events)
{
	char byte;
	note('2');
	assert_int_equal(read(*(int *)arg, &byte, 1), 1);
}

static void test_descriptor_taken_over(void **state)
{
	int v[2];
	tcp_pair(v);
	both[0] = watch_new(loop, v[0], on_first, NULL);
	both[1] = watch_new(loop, v[0], on_second, &v[0]);
	watch_set(both[0], WATCH_READ);
	raw_send(v[1], SPAN("ab"));
	WAIT_FOR(strlen(trace) == 3);
	assert_string_equal(trace, "122");
	watch_free(&both[0]);
	raw_send(v[1], SPAN("c"));
	WAIT_FOR(strlen(trace) == 4);
	both[0] = watch_new(loop, v[0], on_first, NULL);
	watch_set(both[0], WATCH_READ | WATCH_WRITE);
	watch_free(&both[0]); /* and nobody has it */
	raw_send(v[1], SPAN("d"));
	run_rounds(5);
	assert_string_equal(trace, "1222");
	watch_set(both[1], 0);
	watch_set(both[1], WATCH_READ);
	WAIT_FOR(strlen(trace) == 5);
	watch_free(&both[1]);
	close(v[0]);
	close(v[1]);
}

/* More are ready than one round takes: all have their turn, and whoever is ended by another's call has none. */
enum { CROWD = 300 };
static struct watch *crowd[CROWD];
static size_t called, never;

static void on_crowd(void *arg, unsigned events)
{
	size_t i = (size_t)((struct watch **)arg - crowd);
	called++;
	watch_free(&crowd[i]);
	if (i + 1 < CROWD && crowd[i + 1] != NULL) { /* its neighbour, in this batch or another */
		watch_free(&crowd[i + 1]);
		never++;
	}
}

static void test_more_than_a_batch(void **state)
{
	int pairs[CROWD][2];
	called = never = 0;
	for (size_t i = 0; i < CROWD; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]), 0);
		crowd[i] = watch_new(loop, pairs[i][0], on_crowd, &crowd[i]);
		watch_set(crowd[i], WATCH_READ);
		raw_send(pairs[i][1], SPAN("x"));
	}
	WAIT_FOR(called + never == CROWD);
	run_rounds(3);
	assert_int_equal(called + never, CROWD);
	assert_true(never > 0);
	for (size_t i = 0; i < CROWD; i++) {
		close(pairs[i][0]);
		close(pairs[i][1]);
	}
}

/* One that is forgotten with its descriptor gets nothing, and whoever gets the number next has it. */
static void test_forgotten(void **state)
{
	int v[2];
	tcp_pair(v);
	struct watch *w[2] = { watch_new(loop, v[0], on_first, NULL), NULL };
	both[1] = w[0];
	watch_set(w[0], WATCH_READ);
	raw_send(v[1], SPAN("x"));
	watch_forget(w[0]);
	close(v[0]);
	close(v[1]);
	watch_free(&w[0]);
	run_rounds(3);
	assert_string_equal(trace, "");
	int number = v[0];
	tcp_pair(v);
	assert_true(v[0] == number || v[1] == number);
	w[1] = watch_new(loop, number, on_second, &number);
	watch_set(w[1], WATCH_READ);
	raw_send(v[v[0] == number], SPAN("y"));
	WAIT_FOR(strlen(trace) == 1);
	assert_string_equal(trace, "2");
	watch_free(&w[1]);
	close(v[0]);
	close(v[1]);
}

static unsigned seen;

static void on_seen(void *arg, unsigned events)
{
	char bytes[16];
	seen = events;
	(void)!read(*(int *)arg, bytes, sizeof bytes);
}

/* That nothing more comes is told beside the last bytes, and with none. */
static void test_last_bytes(void **state)
{
	int v[2];
	tcp_pair(v);
	struct watch *w = watch_new(loop, v[0], on_seen, &v[0]);
	watch_set(w, WATCH_READ);
	raw_send(v[1], SPAN("some"));
	WAIT_FOR(seen != 0);
	assert_int_equal(seen, WATCH_READ);
	raw_send(v[1], SPAN("last"));
	shutdown(v[1], SHUT_WR);
	seen = 0;
	WAIT_FOR(seen != 0);
	WAIT_FOR(seen == (WATCH_READ | WATCH_LAST));
	watch_set(w, WATCH_WRITE);
	seen = 0;
	WAIT_FOR(seen != 0);
	assert_int_equal(seen, WATCH_WRITE); /* not to who does not read */
	watch_set(w, WATCH_READ);
	close_with_reset(v[1]);
	seen = 0;
	WAIT_FOR(seen == WATCH_READ); /* what a reset was is told by reading */
	watch_free(&w);
	close(v[0]);
}

static void test_descriptor_number_used_again(void **state)
{
	struct watch *w;
	unix_pair(reused);
	w = watch_new(loop, reused[0], on_reuse, &w);
	watch_set(w, WATCH_WRITE);
	ready_n = ready_events = 0;
	loop_step(loop, 0);
	run_rounds(3);
	assert_int_equal(ready_n, 1);
	assert_int_equal(write(reused[1], "x", 1), 1);
	WAIT_FOR(ready_events == WATCH_READ);
	watch_free(&w);
	close(reused[0]);
	close(reused[1]);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, loop_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_ready_descriptor_starves_nobody),
		CASE(test_free_in_callback),
		CASE(test_descriptor_taken_over),
		CASE(test_more_than_a_batch),
		CASE(test_forgotten),
		CASE(test_last_bytes),
		CASE(test_descriptor_number_used_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
