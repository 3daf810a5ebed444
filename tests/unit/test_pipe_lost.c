/* test_pipe_lost.c - a store goes away from pipes whose clients are idle: told later, or at once where they would mind. */
#include "net/pipe_ends.h"

static uint64_t lost_asked, lost_answer;

static uint64_t on_lost(void *arg)
{
	lost_asked++;
	return lost_answer;
}

static bool is_goodbye(void *arg, struct span bytes)
{
	return span_starts(bytes, SPAN("* BYE"));
}

static const struct pipe_lost lost = { .ms = on_lost, .is_goodbye = is_goodbye };

/* The store closes, or breaks, and is let go at once; its client hears nothing of it yet. */
static void lose_store(bool reset)
{
	struct buf got = BUF_INIT(100);
	struct linger now = { .l_onoff = 1 };
	sides_begin(tcp_pair);
	clock_fake(1000, 0);
	begin_pipe(0);
	lost_asked = 0;
	lost_answer = 5000;
	pipe_on_lost(running, &lost);
	run_rounds(2);
	if (reset)
		setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close_end(1);
	run_rounds(5);
	clock_fake_advance(4999);
	run_rounds(3);
	assert_int_equal(lost_asked, 1);
	assert_int_equal(raw_take(ends[0], &got), RAW_OPEN);
	assert_int_equal(done_n, 0);
	buf_end(&got);
}

static void expect_lost(bool reset)
{
	WAIT_FOR(done_n == 1);
	assert_int_equal(done.end, reset ? PIPE_STORE_FAILED : PIPE_STORE_CLOSED);
	clock_fake_off();
	sides_end();
}

static void test_lost_and_told_later(void **state)
{
	struct buf got = BUF_INIT(100);
	for (int reset = 0; reset < 2; reset++) {
		lose_store(reset);
		clock_fake_advance(1);
		WAIT_FOR(raw_take(ends[0], &got) == RAW_EOF);
		expect_lost(reset);
	}
	buf_end(&got);
}

/* A client that wants something, leaves, or is ended by order does not wait. */
static void test_lost_and_told_at_once(void **state)
{
	struct buf got = BUF_INIT(100);
	lose_store(false);
	raw_send(ends[0], SPAN("n NOOP\r\n"));
	WAIT_FOR(raw_take(ends[0], &got) == RAW_EOF);
	expect_lost(false);
	lose_store(true);
	close_end(0);
	expect_lost(true);
	lose_store(false);
	pipe_stop(running, SPAN("* BYE\r\n"));
	WAIT_FOR(raw_take(ends[0], &got) == RAW_EOF);
	assert_int_equal(buf_len(&got), 7);
	assert_int_equal(done.end, PIPE_STOPPED);
	clock_fake_off();
	sides_end();
	lose_store(false);
	pipe_free(&running);
	clock_fake_off();
	sides_end();
	buf_end(&got);
}

/* A store says goodbye; before it has closed its words are kept, and behind them its end. */
static void say_goodbye(void)
{
	struct buf got = BUF_INIT(100);
	sides_begin(tcp_pair);
	clock_fake(1000, 0);
	begin_pipe(0);
	lost_asked = 0;
	lost_answer = 5000;
	pipe_on_lost(running, &lost);
	run_rounds(2);
	raw_send(ends[1], SPAN("* BYE\r\n"));
	run_rounds(5);
	assert_int_equal(raw_take(ends[0], &got), RAW_OPEN);
	buf_end(&got);
}

static void expect_words(const char *words, enum raw_end end)
{
	struct buf got = BUF_INIT(100);
	WAIT_FOR(raw_take(ends[0], &got) == end && buf_len(&got) == strlen(words));
	assert_memory_equal(buf_span(&got).p, words, strlen(words));
	buf_end(&got);
}

static void goodbye_end(void)
{
	clock_fake_off();
	sides_end();
}

static void test_goodbye_is_told_later(void **state)
{
	struct buf got = BUF_INIT(100);
	for (int how = 0; how < 4; how++) {
		say_goodbye();
		lost_answer = how == 0 ? 0 : 5000;
		close_end(1);
		run_rounds(5);
		assert_int_equal(lost_asked, 1);
		if (how > 0) {
			clock_fake_advance(4999);
			run_rounds(3);
			assert_int_equal(raw_take(ends[0], &got), RAW_OPEN);
			assert_int_equal(buf_len(&got), 0);
		}
		if (how == 1)
			clock_fake_advance(1);
		else if (how == 2)
			raw_send(ends[0], SPAN("n NOOP\r\n"));
		else if (how == 3)
			pipe_stop(running, SPAN("* BYE Ours\r\n"));
		expect_words("* BYE\r\n", RAW_EOF);
		goodbye_end();
	}
	buf_end(&got);
}

/* It was none: the store goes on, the client does, or neither does anything. */
static void test_goodbye_that_is_none(void **state)
{
	say_goodbye();
	raw_send(ends[1], SPAN("more\r\n"));
	expect_words("* BYE\r\nmore\r\n", RAW_OPEN);
	raw_send(ends[1], SPAN("and more\r\n"));
	expect_words("and more\r\n", RAW_OPEN);
	goodbye_end();
	say_goodbye();
	raw_send(ends[0], SPAN("n NOOP\r\n"));
	expect_words("* BYE\r\n", RAW_OPEN);
	goodbye_end();
	say_goodbye();
	clock_fake_advance(1000);
	expect_words("* BYE\r\n", RAW_OPEN);
	assert_int_equal(lost_asked, 0);
	close_end(1);
	run_rounds(5);
	assert_int_equal(lost_asked, 1);
	goodbye_end();
	say_goodbye();
	shutdown(ends[0], SHUT_WR);
	expect_words("* BYE\r\n", RAW_OPEN);
	goodbye_end();
}

/* Other last words reach the client at once; who is not to wait sees the end behind them. */
static void test_lost_after_last_words(void **state)
{
	struct buf got = BUF_INIT(100);
	for (lost_answer = 0; lost_answer <= 5000; lost_answer += 5000) {
		sides_begin(tcp_pair);
		begin_pipe(0);
		pipe_on_lost(running, &lost);
		raw_send(ends[1], SPAN("* OK B\r\n"));
		close_end(1);
		buf_clear(&got);
		WAIT_FOR((raw_take(ends[0], &got) == RAW_EOF) == (lost_answer == 0) &&
			 buf_len(&got) == 8);
		sides_end();
	}
	buf_end(&got);
}

static void test_tls_lost(void **state)
{
	tls_begin();
	begin_pipe(0);
	lost_answer = 100;
	pipe_on_lost(running, &lost);
	close_end(1);
	WAIT_FOR(far.n[STREAM_EOF] == 1); /* a close_notify, when its time has come */
	assert_int_equal(far.n[STREAM_FAILED], 0);
	stream_close(&far.s, WAIT_MS);
	WAIT_FOR(done_n == 1);
	assert_int_equal(done.end, PIPE_STORE_CLOSED);
	tls_end();
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, loop_setup, loop_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_lost_and_told_later),
		CASE(test_lost_and_told_at_once),
		CASE(test_goodbye_is_told_later),
		CASE(test_goodbye_that_is_none),
		CASE(test_lost_after_last_words),
		CASE(test_tls_lost),
	};
	return cmocka_run_group_tests_name("pipe_lost", tests, certs_setup, certs_teardown);
}
