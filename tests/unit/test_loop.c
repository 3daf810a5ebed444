/* test_loop.c - timers, deferred calls, descriptors and signals of the event loop. */
#include "net/loop_trace.h"

#include <signal.h>
#include <sys/wait.h>

/* ---- timers ---- */

static void test_timers_in_order(void **state)
{
	clock_fake(1000, 0);
	timer_set(&t[0], 30);
	timer_set(&t[1], 10);
	timer_set(&t[2], 20);
	timer_set(&t[3], 40);
	timer_set(&t[3], 5);  /* moved to the front */
	timer_set(&t[1], 25); /* moved back */
	assert_false(loop_step(loop, 0));
	clock_fake_advance(24);
	assert_true(loop_step(loop, 0));
	assert_string_equal(trace, "32");
	assert_false(timer_armed(&t[3]));
	assert_true(timer_armed(&t[1]));
	clock_fake_advance(100);
	loop_step(loop, 0);
	assert_string_equal(trace, "3210");
	assert_false(loop_step(loop, 0));
}

/* Put off again and again, it fires at the last time said; brought forward, at that. */
static void test_timer_put_off(void **state)
{
	clock_fake(1000, 0);
	timer_set(&t[0], 10);
	for (int i = 0; i < 5; i++) { /* at 1060 in the end */
		clock_fake_advance(10);
		timer_set(&t[0], 10);
		assert_false(loop_step(loop, 0));
	}
	timer_set(&t[1], 8);
	clock_fake_advance(9);
	assert_true(loop_step(loop, 0));
	assert_string_equal(trace, "1");
	assert_true(timer_armed(&t[0]));
	timer_set(&t[0], 500);
	clock_fake_advance(20);
	assert_false(loop_step(loop, 0));
	timer_set(&t[0], 5);
	clock_fake_advance(5);
	assert_true(loop_step(loop, 0));
	assert_string_equal(trace, "10");
	timer_set(&t[0], 5);
	timer_set(&t[0], 50);
	timer_clear(&t[0]);
	clock_fake_advance(100);
	assert_false(loop_step(loop, 0));
}

static void test_timer_never_early(void **state)
{
	clock_fake(5, 0);
	timer_set(&t[0], 7);
	for (int ms = 0; ms < 6; ms++) {
		clock_fake_advance(1);
		assert_false(loop_step(loop, 0));
	}
	clock_fake_advance(1);
	assert_true(loop_step(loop, 0));
	clock_fake_off();
	for (uint64_t delay = 0; delay < 12; delay++) {
		uint64_t from = clock_mono_ms();
		trace[0] = '\0';
		timer_set(&t[0], delay);
		WAIT_FOR(trace[0] != '\0');
		assert_true(clock_mono_ms() - from >= delay);
	}
}

/* A callback that takes long makes neither its successor nor a timer set behind it early. */
static void on_long(void *arg)
{
	clock_fake_advance(50);
	timer_set(&t[1], 10);
	note('L');
}

static void test_timer_behind_a_long_callback(void **state)
{
	clock_fake(1000, 0);
	t[0].fn = on_long;
	timer_set(&t[0], 1);
	clock_fake_advance(1);
	loop_step(loop, 0);
	assert_false(loop_step(loop, 0));
	clock_fake_advance(9);
	assert_false(loop_step(loop, 0));
	clock_fake_advance(1);
	assert_true(loop_step(loop, 0));
	assert_string_equal(trace, "L1");
}

static void on_clear_other(void *arg)
{
	note('c');
	timer_clear(&t[1]);
	timer_clear(&t[1]);
	soon_clear(&s[1]);
}

static void test_clear_in_callback(void **state)
{
	clock_fake(1000, 0);
	t[0].fn = on_clear_other;
	timer_set(&t[0], 1);
	timer_set(&t[1], 2);
	timer_set(&t[2], 3);
	clock_fake_advance(10);
	loop_step(loop, 0);
	assert_string_equal(trace, "c2");
	trace[0] = '\0';
	s[0].fn = on_clear_other;
	for (size_t i = 0; i < 3; i++)
		soon_set(loop, &s[i]);
	loop_step(loop, 0);
	assert_string_equal(trace, "c2");
	timer_clear(&(struct timer){ .loop = NULL }); /* never initialised: fine */
}

static void on_again(void *arg)
{
	note('a');
	timer_set(&t[0], 0);
}

/* Once a round, whatever else is armed. */
static void test_timer_set_again_waits_a_round(void **state)
{
	clock_fake(1000, 0);
	t[0].fn = on_again;
	timer_set(&t[0], 0);
	timer_set(&t[1], 500);
	timer_set(&t[2], 600);
	timer_set(&t[3], 700);
	loop_step(loop, 0);
	assert_string_equal(trace, "a");
	clock_fake_advance(1);
	loop_step(loop, 0);
	assert_string_equal(trace, "aa");
	timer_clear(&t[0]);
}

static void test_timer_far_away(void **state)
{
	timer_set(&t[0], UINT64_MAX);
	timer_set(&t[1], 3);
	WAIT_FOR(trace[0] != '\0');
	assert_string_equal(trace, "1");
	assert_true(timer_armed(&t[0]));
	/* A wait that a far timer would allow to be long ends when the caller says. */
	uint64_t from = clock_mono_ms();
	assert_false(loop_step(loop, 20));
	assert_true(clock_mono_ms() - from < WAIT_MS);
	timer_clear(&t[0]);
}

static void test_many_timers(void **state)
{
	static struct timer many[3000];
	clock_fake(1000, 0);
	for (size_t i = 0; i < COUNT_OF(many); i++) {
		timer_init(&many[i], loop, on_note, &names[i % 10]);
		timer_set(&many[i], 1 + i * 7919 % 1000);
	}
	for (size_t i = 0; i < COUNT_OF(many); i += 3)
		timer_clear(&many[i]);
	unsigned due = 0, armed = 0;
	clock_fake_advance(500);
	loop_step(loop, 0);
	for (size_t i = 0; i < COUNT_OF(many); i++) {
		due += i % 3 != 0 && 1 + i * 7919 % 1000 <= 500;
		armed += timer_armed(&many[i]);
	}
	assert_int_equal(armed, COUNT_OF(many) - COUNT_OF(many) / 3 - due);
	for (size_t i = 0; i < COUNT_OF(many); i++)
		timer_clear(&many[i]);
}

/* ---- deferred calls ---- */

static void on_soon_again(void *arg)
{
	note('s');
	soon_set(loop, &s[0]);
	soon_set(loop, &s[0]); /* set already */
}

static void test_soon_runs_in_the_next_round(void **state)
{
	s[0].fn = on_soon_again;
	soon_set(loop, &s[0]);
	soon_set(loop, &s[1]);
	soon_set(loop, &s[0]);
	assert_string_equal(trace, "");
	assert_true(loop_step(loop, WAIT_MS)); /* does not wait */
	assert_string_equal(trace, "s1");
	loop_step(loop, WAIT_MS);
	assert_string_equal(trace, "s1s");
	soon_clear(&s[0]);
	assert_false(loop_step(loop, 0));
}

static void on_end_note(void *arg)
{
	note('e');
}

static void on_timer_sets_both(void *arg)
{
	static struct soon end;
	note('t');
	soon_init(&end, on_end_note, NULL);
	loop_at_end(loop, &end);
	loop_at_end(loop, &end);
	soon_set(loop, &s[1]);
}

/* Within one round: timers, then deferred calls, then the calls for its end. */
static void test_order_in_a_round(void **state)
{
	t[0].fn = on_timer_sets_both;
	timer_set(&t[0], 0);
	loop_step(loop, WAIT_MS);
	assert_string_equal(trace, "t1e");
}

static void on_end_again(void *arg)
{
	note('e');
	loop_at_end(loop, &s[0]);
}

static void test_end_set_at_the_end_does_not_wait(void **state)
{
	s[0].fn = on_end_again;
	loop_at_end(loop, &s[0]);
	loop_step(loop, WAIT_MS);
	loop_step(loop, WAIT_MS);
	assert_string_equal(trace, "ee");
	soon_clear(&s[0]);
}

/* ---- descriptors ---- */

static uint64_t seen_ms;

static void on_clock(void *arg, unsigned events)
{
	seen_ms = loop_now_ms(loop);
	watch_set(*(struct watch **)arg, 0);
}

static void test_time_is_of_the_round(void **state)
{
	int v[2];
	struct watch *w;
	unix_pair(v);
	clock_fake(7000, 0);
	w = watch_new(loop, v[0], on_clock, &w);
	watch_set(w, WATCH_WRITE);
	loop_step(loop, 0);
	assert_int_equal(seen_ms, 7000);
	clock_fake_advance(5);
	assert_int_equal(loop_now_ms(loop), 7000);
	loop_step(loop, 0);
	assert_int_equal(loop_now_ms(loop), 7005);
	watch_free(&w);
	close(v[0]);
	close(v[1]);
}

/* ---- signals, stopping, fork ---- */

static void test_signals(void **state)
{
	struct loop_signal *usr1 = loop_signal_new(loop, SIGUSR1, on_note, &names[1]);
	struct loop_signal *usr2 = loop_signal_new(loop, SIGUSR2, on_note, &names[2]);
	kill(getpid(), SIGUSR1);
	assert_string_equal(trace, ""); /* from the loop only */
	WAIT_FOR(strcmp(trace, "1") == 0);
	kill(getpid(), SIGUSR2);
	kill(getpid(), SIGUSR1);
	WAIT_FOR(strlen(trace) == 3);
	loop_signal_free(&usr1);
	loop_signal_free(&usr2);
	assert_null(usr1);
	loop_signal_free(&usr1);
	/* A peer that is gone is an error, not a signal. */
	int v[2];
	unix_pair(v);
	close(v[1]);
	assert_int_equal(write(v[0], "x", 1), -1);
	assert_int_equal(errno, EPIPE);
	close(v[0]);
}

static void on_stop(void *arg)
{
	note('x');
	loop_stop(loop);
}

static void test_run_and_stop(void **state)
{
	loop_stop(loop); /* before it runs: counts */
	loop_run(loop);
	assert_string_equal(trace, "");
	t[0].fn = on_stop;
	timer_set(&t[0], 2);
	soon_set(loop, &s[1]);
	loop_run(loop);
	assert_string_equal(trace, "1x");
}

static int child_of(struct loop *parents)
{
	struct loop *mine = parents;
	loop_after_fork(&mine);
	if (mine != NULL)
		return 1;
	loop_after_fork(&mine); /* none: fine */
	loop = loop_new();
	timer_init(&t[3], loop, on_stop, NULL);
	timer_set(&t[3], 1);
	struct loop_signal *usr1 = loop_signal_new(loop, SIGUSR1, on_note, &names[1]);
	kill(getpid(), SIGUSR1);
	while (strchr(trace, '1') == NULL)
		loop_step(loop, 100);
	loop_run(loop);
	loop_signal_free(&usr1);
	loop_free(&loop);
	return strcmp(trace, "1x") == 0 || strcmp(trace, "x1") == 0 ? 0 : 2;
}

/* The child's going away takes nothing of the parent's: descriptor, timer, signal. */
static void test_after_fork(void **state)
{
	int v[2], status = -1;
	unix_pair(v);
	struct watch *w = watch_new(loop, v[0], on_fd, NULL);
	struct loop_signal *usr1 = loop_signal_new(loop, SIGUSR1, on_note, &names[1]);
	watch_set(w, WATCH_READ);
	timer_set(&t[0], 1);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(child_of(loop));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	ready_n = 0;
	assert_int_equal(write(v[1], "x", 1), 1);
	kill(getpid(), SIGUSR1);
	WAIT_FOR(ready_n > 0 && strlen(trace) == 2);
	loop_signal_free(&usr1);
	watch_free(&w);
	close(v[0]);
	close(v[1]);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, loop_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_timers_in_order),
		CASE(test_timer_put_off),
		CASE(test_timer_never_early),
		CASE(test_timer_behind_a_long_callback),
		CASE(test_clear_in_callback),
		CASE(test_timer_set_again_waits_a_round),
		CASE(test_timer_far_away),
		CASE(test_many_timers),
		CASE(test_soon_runs_in_the_next_round),
		CASE(test_order_in_a_round),
		CASE(test_end_set_at_the_end_does_not_wait),
		CASE(test_time_is_of_the_round),
		CASE(test_signals),
		CASE(test_run_and_stop),
		CASE(test_after_fork),
	};
	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
