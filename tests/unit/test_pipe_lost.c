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

static bool is_parting(void *arg, struct span bytes)
{
	return span_iends(bytes, SPAN("LOGOUT\r\n"));
}

static const struct pipe_lost parting = {
	.ms = on_lost, .is_goodbye = is_goodbye, .is_parting = is_parting
};

/* The store hears all, or its closing would be a reset. */
static void hear(size_t n)
{
	struct buf got = BUF_INIT(100);
	WAIT_FOR(raw_take(ends[1], &got) == RAW_OPEN && buf_len(&got) == n);
	buf_end(&got);
}

/* Whose client is not told later. */
static void begin_parting(void)
{
	begin_pipe(0);
	lost_answer = 0;
	pipe_on_lost(running, &parting);
}

static void say(struct span words)
{
	raw_send(ends[0], words);
	hear(words.n);
}

static void answer_and_close(void)
{
	raw_send(ends[1], SPAN("* BYE\r\na OK\r\n"));
	close_end(1);
}

/* Who has left is not waited for, and hears everything; who said more is. */
static void test_parting(void **state)
{
	struct span words[] = { SPAN("a LOGOUT\r\n"), SPAN("a NOOP\r\nb logout\r\n"),
		SPAN("a LOGOUT"), SPAN("a LOGOUT\r\nb") };
	struct buf got = BUF_INIT(100);
	for (unsigned i = 0; i < 4; i++) {
		sides_begin(tcp_pair);
		begin_parting();
		say(words[i]);
		answer_and_close();
		buf_clear(&got);
		WAIT_FOR(raw_take(ends[0], &got) == RAW_EOF && (i > 1 || done_n == 1));
		assert_int_equal(buf_len(&got), 13);
		run_rounds(5);
		assert_int_equal(done_n, i > 1 ? 0 : 1);
		close_end(0);
		WAIT_FOR(done_n == 1);
		assert_int_equal(done.end, PIPE_STORE_CLOSED);
		assert_int_equal(done.client_bytes, words[i].n);
		assert_int_equal(done.store_bytes, 13);
		sides_end();
	}
	buf_end(&got);
}

/* Its last words were others: it speaks again behind its parting, before the store closes. */
static void test_parting_that_is_none(void **state)
{
	struct buf got = BUF_INIT(100);
	sides_begin(tcp_pair);
	begin_parting();
	say(SPAN("a LOGOUT\r\n"));
	say(SPAN("more\r\n"));
	close_end(1);
	WAIT_FOR(raw_take(ends[0], &got) == RAW_EOF);
	run_rounds(5);
	assert_int_equal(done_n, 0);
	sides_end();
	buf_end(&got);
}

/* As much as the way takes while nobody reads at its end. */
static size_t fill_way(int fd)
{
	static char many[65536];
	size_t total = 0;
	for (ssize_t put; (put = send(fd, many, sizeof many, MSG_NOSIGNAL)) > 0; run_rounds(3))
		total += (size_t)put;
	return total;
}

/* A client that takes nothing for now gets all of it, then the end. */
static void test_parting_while_behind(void **state)
{
	struct buf got = BUF_INIT(64 << 20);
	sides_begin(tcp_pair);
	begin_parting();
	say(SPAN("a LOGOUT\r\n"));
	size_t sent = fill_way(ends[1]);
	close_end(1);
	run_rounds(5);
	assert_int_equal(done_n, 0);
	WAIT_FOR(raw_take(ends[0], &got) == RAW_EOF && done_n == 1);
	assert_int_equal(buf_len(&got), sent);
	assert_int_equal(done.store_bytes, sent);
	sides_end();
	buf_end(&got);
}

/* Under TLS it hears a close_notify before the end. */
static void test_tls_parting(void **state)
{
	tls_begin();
	begin_parting();
	stream_write_span(far.s, SPAN("a LOGOUT\r\n"));
	hear(10);
	answer_and_close();
	WAIT_FOR(done_n == 1 && far.n[STREAM_EOF] == 1);
	assert_int_equal(done.end, PIPE_STORE_CLOSED);
	assert_int_equal(far.n[STREAM_FAILED], 0);
	assert_int_equal(buf_len(&far.got), 13);
	tls_end();
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
		CASE(test_parting),
		CASE(test_parting_that_is_none),
		CASE(test_parting_while_behind),
		CASE(test_tls_parting),
		CASE(test_tls_lost),
	};
	return cmocka_run_group_tests_name("pipe_lost", tests, certs_setup, certs_teardown);
}
