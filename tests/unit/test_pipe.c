/* test_pipe.c - pipes: bytes exact both ways, back-pressure, half-close, resets, TLS, the end. */
#include "net/pipe_ends.h"

#include "net/wire.h"

enum { SMALL = 20000 };

static char pattern[2][MANY]; /* what the client sends; what the store sends */

static int group_setup(void **state)
{
	fill_pattern(pattern[0], MANY, 1);
	fill_pattern(pattern[1], MANY, 2);
	return certs_setup(state);
}

/* ---- bytes ---- */

struct flow {
	size_t put, step;
	struct buf got;
};

/* Sends a piece of an odd length from each end and takes what has come, until all is there. */
static void exchange(size_t total, size_t piece_max)
{
	struct flow f[2] = { { .got = BUF_INIT(MANY) }, { .got = BUF_INIT(MANY) } };
	uint64_t ends_at = clock_mono_ms() + WAIT_MS;
	while (buf_len(&f[0].got) < total || buf_len(&f[1].got) < total) {
		for (int i = 0; i < 2; i++) {
			size_t n = (f[i].step = f[i].step * 7 + 12345) % piece_max + 1;
			n = n < total - f[i].put ? n : total - f[i].put;
			ssize_t sent =
			    n > 0 ? send(ends[i], pattern[i] + f[i].put, n, MSG_NOSIGNAL) : 0;
			assert_true(sent >= 0 || errno == EAGAIN);
			f[i].put += sent > 0 ? (size_t)sent : 0;
			if (f[i].step % 3 != 0) /* now and then it does not read */
				assert_int_equal(raw_take(ends[!i], &f[i].got), RAW_OPEN);
		}
		loop_step(loop, 0);
		assert_true(clock_mono_ms() < ends_at);
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(buf_len(&f[i].got), total);
		assert_memory_equal(buf_span(&f[i].got).p, pattern[i], total);
		buf_end(&f[i].got);
	}
}

static void test_both_ways(void **state)
{
	static const size_t pieces[] = { 1, 100, 5000, 70000, 1000000 };
	for (size_t i = 0; i < COUNT_OF(pieces); i++) {
		size_t total = pieces[i] == 1 ? 3000 : pieces[i] == 100 ? 100000 : MANY;
		uint64_t client, store;
		sides_begin(i % 2 == 0 ? unix_pair : tcp_pair);
		begin_pipe(0);
		exchange(total, pieces[i]);
		run_rounds(3);
		assert_false(loop_step(loop, 0)); /* idle costs nothing */
		pipe_counts(running, &client, &store);
		assert_int_equal(client, total);
		assert_int_equal(store, total);
		sides_end();
	}
}

/* What the streams had before: unread input and unsent output, in order, counted. */
static void test_starts_with_what_waits(void **state)
{
	struct buf got[2] = { BUF_INIT(1000), BUF_INIT(1000) };
	sides_begin(unix_pair);
	raw_send(ends[0], SPAN("from client 1,"));
	raw_send(ends[1], SPAN("from store 1,"));
	WAIT_FOR(side[0].n[STREAM_INPUT] == 1 && side[1].n[STREAM_INPUT] == 1);
	stream_write(side[0].s, "greeting,", 9);
	stream_write(side[1].s, "login,", 6);
	raw_send(ends[0], SPAN("2"));
	begin_pipe(0);
	raw_send(ends[1], SPAN("2"));
	WAIT_FOR(raw_take(ends[0], &got[0]) == RAW_OPEN && buf_len(&got[0]) == 23);
	WAIT_FOR(raw_take(ends[1], &got[1]) == RAW_OPEN && buf_len(&got[1]) == 21);
	assert_memory_equal(buf_span(&got[0]).p, "greeting,from store 1,2", 23);
	assert_memory_equal(buf_span(&got[1]).p, "login,from client 1,2", 21);
	uint64_t client, store;
	pipe_counts(running, &client, &store);
	assert_int_equal(client, 15);
	assert_int_equal(store, 14);
	sides_end();
	buf_end(&got[0]);
	buf_end(&got[1]);
}

/* The pipe may be started in the callback of one of its streams. */
static void on_start_here(void *arg, enum stream_event ev)
{
	if (ev == STREAM_INPUT && side[0].s != NULL)
		begin_pipe(0);
}

static void test_start_in_a_callback(void **state)
{
	struct buf got = BUF_INIT(100);
	sides_begin(tcp_pair);
	stream_set_owner(side[0].s, (struct stream_limits){ 1000, 1000 }, on_start_here, NULL);
	raw_send(ends[0], SPAN("first bytes"));
	WAIT_FOR(raw_take(ends[1], &got) == RAW_OPEN && buf_len(&got) == 11);
	buf_end(&got);
	sides_end();
}

/* A store that does not read stops the client; neither memory nor the loop runs away. */
static void test_back_pressure(void **state)
{
	for (int from = 0; from < 2; from++) {
		struct buf got = BUF_INIT(MANY);
		size_t sent = 0, quiet = 0;
		sides_begin(unix_pair);
		begin_pipe(0);
		while (quiet < 10) {
			ssize_t n = send(ends[from], pattern[from] + sent,
			    MANY - sent < 30000 ? MANY - sent : 30000, MSG_NOSIGNAL);
			sent += n > 0 ? (size_t)n : 0;
			quiet = n > 0 ? 0 : quiet + 1;
			loop_step(loop, 0);
		}
		assert_true(sent < 2 << 20);
		assert_false(loop_step(loop, 0)); /* at rest */
		raw_send(ends[!from], SPAN("still goes the other way"));
		WAIT_FOR(raw_take(ends[from], &got) == RAW_OPEN && buf_len(&got) == 24);
		buf_clear(&got);
		WAIT_FOR(raw_take(ends[!from], &got) == RAW_OPEN && buf_len(&got) == sent);
		assert_memory_equal(buf_span(&got).p, pattern[from], sent);
		buf_end(&got);
		sides_end();
	}
}

/* ---- ends ---- */

static void test_half_close(void **state)
{
	for (int first = 0; first < 2; first++) {
		struct buf got[2] = { BUF_INIT(MANY), BUF_INIT(MANY) };
		sides_begin(tcp_pair);
		begin_pipe(0);
		raw_send(ends[first], span_of(pattern[0], MANY));
		shutdown(ends[first], SHUT_WR);
		WAIT_FOR(raw_take(ends[!first], &got[0]) == RAW_EOF);
		assert_int_equal(buf_len(&got[0]), MANY);
		assert_memory_equal(buf_span(&got[0]).p, pattern[0], MANY);
		assert_int_equal(done_n, 0);
		raw_send(ends[!first], span_of(pattern[1], SMALL)); /* the answer still goes back */
		close_end(!first);
		WAIT_FOR(raw_take(ends[first], &got[1]) == RAW_EOF && done_n == 1);
		assert_int_equal(buf_len(&got[1]), SMALL);
		assert_int_equal(done.end, first == 0 ? PIPE_CLIENT_CLOSED : PIPE_STORE_CLOSED);
		assert_int_equal(done.client_bytes, first == 0 ? MANY : SMALL);
		assert_int_equal(done.store_bytes, first == 0 ? SMALL : MANY);
		buf_end(&got[0]);
		buf_end(&got[1]);
		sides_end();
	}
}

static void test_closed_before_it_began(void **state)
{
	struct buf got = BUF_INIT(100);
	sides_begin(tcp_pair);
	raw_send(ends[1], SPAN("bye"));
	close_end(1);
	WAIT_FOR(side[1].n[STREAM_EOF] == 1);
	begin_pipe(0);
	WAIT_FOR(raw_take(ends[0], &got) == RAW_EOF);
	assert_int_equal(buf_len(&got), 3);
	close_end(0);
	WAIT_FOR(done_n == 1);
	assert_int_equal(done.end, PIPE_STORE_CLOSED);
	buf_end(&got);
	sides_end();
}

static void test_failed_before_it_began(void **state)
{
	struct buf got = BUF_INIT(100);
	sides_begin(tcp_pair);
	close_with_reset(ends[0]);
	ends[0] = -1;
	WAIT_FOR(side[0].n[STREAM_FAILED] == 1);
	begin_pipe(0);
	assert_int_equal(done_n, 0);
	WAIT_FOR(done_n == 1 && raw_take(ends[1], &got) == RAW_EOF);
	assert_int_equal(done.end, PIPE_CLIENT_FAILED);
	buf_end(&got);
	sides_end();
}

static void test_reset(void **state)
{
	for (int who = 0; who < 2; who++) {
		struct buf got = BUF_INIT(100);
		sides_begin(tcp_pair);
		begin_pipe(0);
		raw_send(ends[who], SPAN("x"));
		WAIT_FOR(raw_take(ends[!who], &got) == RAW_OPEN && buf_len(&got) == 1);
		close_with_reset(ends[who]);
		ends[who] = -1;
		WAIT_FOR(done_n == 1 && raw_take(ends[!who], &got) != RAW_OPEN);
		assert_int_equal(done.end, who == 0 ? PIPE_CLIENT_FAILED : PIPE_STORE_FAILED);
		buf_end(&got);
		sides_end();
	}
}

/* The store says its last words and closes while the client still sends: they arrive. */
static void test_last_words_of_a_store(void **state)
{
	struct buf got = BUF_INIT(100);
	sides_begin(tcp_pair);
	begin_pipe(0);
	raw_send(ends[1], SPAN("* BYE"));
	close_end(1);
	raw_send(ends[0], SPAN("more"));
	raw_send(ends[0], SPAN("and more"));
	WAIT_FOR(raw_take(ends[0], &got) == RAW_EOF);
	assert_int_equal(buf_len(&got), 5);
	close_end(0);
	WAIT_FOR(done_n == 1);
	buf_end(&got);
	sides_end();
}

/* Bytes and the end behind them come in one round: all is passed on, however much it is and whoever ends. */
static void test_last_bytes_with_the_end(void **state)
{
	static const size_t sizes[] = { 1, 1000, WIRE_SCRATCH - 1, WIRE_SCRATCH, WIRE_SCRATCH + 1,
		3 * WIRE_SCRATCH };
	for (size_t i = 0; i < 2 * COUNT_OF(sizes); i++) {
		struct buf got = BUF_INIT(MANY);
		int from = (int)(i % 2), to = !from;
		size_t n = sizes[i / 2];
		sides_begin(tcp_pair);
		begin_pipe(0);
		run_rounds(3);
		raw_send(ends[from], span_of(pattern[from], n));
		shutdown(ends[from], SHUT_WR);
		WAIT_FOR(raw_take(ends[to], &got) == RAW_EOF);
		assert_int_equal(buf_len(&got), n);
		assert_memory_equal(buf_span(&got).p, pattern[from], n);
		assert_int_equal(done_n, 0);
		raw_send(ends[to], SPAN("answer"));
		close_end(to);
		buf_clear(&got);
		WAIT_FOR(raw_take(ends[from], &got) == RAW_EOF && done_n == 1);
		assert_int_equal(buf_len(&got), 6);
		assert_int_equal(done.end, from == 0 ? PIPE_CLIENT_CLOSED : PIPE_STORE_CLOSED);
		buf_end(&got);
		sides_end();
	}
}

/* A store that takes no more: what it says is passed on, and then the pipe is over. */
static void test_store_takes_no_more(void **state)
{
	for (int filled = 0; filled < 2; filled++) {
		struct buf got = BUF_INIT(100);
		sides_begin(unix_pair);
		begin_pipe(0);
		run_rounds(2);
		while (filled && send(ends[0], pattern[0], 30000, MSG_NOSIGNAL) > 0)
			run_rounds(3);
		raw_send(ends[1], SPAN("* BYE"));
		if (filled) {
			close_end(1);
		} else {
			shutdown(ends[1], SHUT_RD);
			raw_send(ends[0], SPAN("x"));
		}
		WAIT_FOR(done_n == 1);
		WAIT_FOR(raw_take(ends[0], &got) == RAW_EOF);
		assert_int_equal(buf_len(&got), 5);
		assert_int_equal(done.end, PIPE_STORE_FAILED);
		buf_end(&got);
		sides_end();
	}
}

static void test_idle(void **state)
{
	sides_begin(unix_pair);
	clock_fake(1000, 0);
	run_rounds(1);
	begin_pipe(5000);
	run_rounds(2);
	clock_fake_advance(4000);
	raw_send(ends[0], SPAN("x"));
	run_rounds(2);
	clock_fake_advance(4999);
	run_rounds(2);
	assert_int_equal(done_n, 0);
	assert_int_equal(pipe_idle_ms(running), 4999);
	clock_fake_advance(1);
	run_rounds(2);
	assert_int_equal(done_n, 1);
	assert_int_equal(done.end, PIPE_IDLE);
	sides_end();
}

/* Half closed and without an idle limit: it does not stay for ever. */
static void test_half_closed_and_silent(void **state)
{
	sides_begin(unix_pair);
	clock_fake(1000, 0);
	begin_pipe(0);
	run_rounds(2);
	clock_fake_advance(3600000);
	run_rounds(2);
	assert_int_equal(done_n, 0);
	shutdown(ends[0], SHUT_WR);
	run_rounds(3);
	clock_fake_advance(59000);
	run_rounds(2);
	assert_int_equal(done_n, 0);
	raw_send(ends[1], SPAN("x"));
	run_rounds(2);
	clock_fake_advance(59000);
	run_rounds(2);
	assert_int_equal(done_n, 0);
	clock_fake_advance(60000);
	run_rounds(2);
	assert_int_equal(done_n, 1);
	assert_int_equal(done.end, PIPE_CLIENT_CLOSED);
	sides_end();
}

static void test_stop(void **state)
{
	struct buf got = BUF_INIT(100);
	sides_begin(tcp_pair);
	begin_pipe(0);
	run_rounds(2);
	pipe_stop(running, SPAN("* BYE shutting down\r\n"));
	assert_int_equal(done_n, 0); /* from the loop */
	WAIT_FOR(raw_take(ends[0], &got) == RAW_EOF && done_n == 1);
	assert_int_equal(done.end, PIPE_STOPPED);
	assert_int_equal(buf_len(&got), 21);
	buf_clear(&got);
	assert_int_equal(raw_take(ends[1], &got), RAW_EOF);
	assert_int_equal(buf_len(&got), 0);
	buf_end(&got);
	sides_end();
}

/* In the middle of something else the last words would be a lie. */
static void test_stop_while_bytes_wait(void **state)
{
	struct buf got = BUF_INIT(MANY);
	size_t sent = 0;
	sides_begin(unix_pair);
	begin_pipe(0);
	for (ssize_t n; (n = send(ends[1], pattern[1] + sent, 30000, MSG_NOSIGNAL)) > 0;
	     run_rounds(3))
		sent += (size_t)n;
	pipe_stop(running, SPAN("* BYE"));
	WAIT_FOR(done_n == 1);
	WAIT_FOR(raw_take(ends[0], &got) == RAW_EOF);
	assert_true(buf_len(&got) <= sent && buf_len(&got) > 100000);
	assert_memory_equal(buf_span(&got).p, pattern[1], buf_len(&got));
	buf_end(&got);
	sides_end();
}

static void test_freed(void **state)
{
	struct buf got = BUF_INIT(100);
	for (int rounds = 0; rounds < 3; rounds++) {
		sides_begin(unix_pair);
		begin_pipe(100);
		run_rounds((unsigned)rounds);
		pipe_free(&running);
		run_rounds(2);
		assert_int_equal(done_n, 0);
		assert_int_equal(raw_take(ends[0], &got), RAW_EOF);
		assert_int_equal(raw_take(ends[1], &got), RAW_EOF);
		sides_end();
	}
	buf_end(&got);
}

/* ---- TLS on the client's side ---- */

/* A record longer than the stream's bound: part of it is decrypted and no event will tell. */
static void test_tls_bytes_inside_openssl(void **state)
{
	struct buf got = BUF_INIT(MANY);
	tls_begin();
	stream_write(far.s, pattern[0], 10000);
	WAIT_FOR(side[0].n[STREAM_INPUT] == 1);
	run_rounds(3);
	assert_int_equal(stream_input(side[0].s).n, 1000);
	begin_pipe(0);
	WAIT_FOR(raw_take(ends[1], &got) == RAW_OPEN && buf_len(&got) == 10000);
	assert_memory_equal(buf_span(&got).p, pattern[0], 10000);
	buf_end(&got);
	tls_end();
}

static void test_tls_both_ways(void **state)
{
	struct buf got = BUF_INIT(MANY);
	size_t put = 0;
	tls_begin();
	begin_pipe(0);
	stream_write(far.s, pattern[0], MANY);
	uint64_t ends_at = clock_mono_ms() + WAIT_MS;
	while (buf_len(&got) < MANY || buf_len(&far.got) < MANY) {
		ssize_t n =
		    put == MANY ? 0 : send(ends[1], pattern[1] + put, MANY - put, MSG_NOSIGNAL);
		put += n > 0 ? (size_t)n : 0;
		assert_int_equal(raw_take(ends[1], &got), RAW_OPEN);
		loop_step(loop, 0);
		assert_true(clock_mono_ms() < ends_at);
	}
	assert_memory_equal(buf_span(&got).p, pattern[0], MANY);
	assert_memory_equal(buf_span(&far.got).p, pattern[1], MANY);
	stream_close(&far.s, WAIT_MS);
	WAIT_FOR(raw_take(ends[1], &got) == RAW_EOF);
	close_end(1);
	WAIT_FOR(done_n == 1);
	assert_int_equal(done.end, PIPE_CLIENT_CLOSED);
	assert_int_equal(done.client_bytes, MANY);
	assert_int_equal(done.store_bytes, MANY);
	buf_end(&got);
	tls_end();
}

/* The store ends: the client sees a close_notify, not a cut. */
static void test_tls_store_closes(void **state)
{
	tls_begin();
	begin_pipe(0);
	WAIT_FOR(parked_n() == (may_park ? 1 : 0));
	raw_send(ends[1], span_of(pattern[1], SMALL));
	close_end(1);
	WAIT_FOR(far.n[STREAM_EOF] == 1);
	assert_int_equal(buf_len(&far.got), SMALL);
	assert_memory_equal(buf_span(&far.got).p, pattern[1], SMALL);
	stream_close(&far.s, WAIT_MS);
	WAIT_FOR(done_n == 1);
	assert_int_equal(done.end, PIPE_STORE_CLOSED);
	tls_end();
}

/* A client under TLS that does not read: what waits for it goes on from where it was. */
static void test_tls_back_pressure(void **state)
{
	size_t sent = 0, before = 0;
	tls_begin();
	begin_pipe(0);
	for (int quiet = 0; quiet<50; quiet = sent> before ? 0 : quiet + 1) {
		before = sent;
		ssize_t n = send(ends[1], pattern[1] + sent,
		    MANY - sent < 30000 ? MANY - sent : 30000, MSG_NOSIGNAL);
		sent += n > 0 ? (size_t)n : 0;
		stream_pause(far.s, true);
		loop_step(loop, 0);
	}
	assert_true(sent < 2 << 20);
	stream_write(far.s, "still goes the other way", 24);
	struct buf got = BUF_INIT(100);
	WAIT_FOR(raw_take(ends[1], &got) == RAW_OPEN && buf_len(&got) == 24);
	stream_pause(far.s, false);
	WAIT_FOR(buf_len(&far.got) == sent);
	assert_memory_equal(buf_span(&far.got).p, pattern[1], sent);
	buf_end(&got);
	tls_end();
}

static int parking_setup(void **state)
{
	may_park = true;
	return loop_setup(state);
}

static int parking_teardown(void **state)
{
	may_park = false;
	return loop_teardown(state);
}

#define PARKED(f) cmocka_unit_test_setup_teardown(f, parking_setup, parking_teardown)
#define CASE(f) cmocka_unit_test_setup_teardown(f, loop_setup, loop_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_both_ways),
		CASE(test_starts_with_what_waits),
		CASE(test_start_in_a_callback),
		CASE(test_back_pressure),
		CASE(test_half_close),
		CASE(test_closed_before_it_began),
		CASE(test_failed_before_it_began),
		CASE(test_reset),
		CASE(test_last_words_of_a_store),
		CASE(test_last_bytes_with_the_end),
		CASE(test_store_takes_no_more),
		CASE(test_idle),
		CASE(test_half_closed_and_silent),
		CASE(test_stop),
		CASE(test_stop_while_bytes_wait),
		CASE(test_freed),
		CASE(test_tls_bytes_inside_openssl),
		CASE(test_tls_both_ways),
		CASE(test_tls_store_closes),
		CASE(test_tls_back_pressure),
		PARKED(test_tls_bytes_inside_openssl),
		PARKED(test_tls_both_ways),
		PARKED(test_tls_store_closes),
		PARKED(test_tls_back_pressure),
	};
	return cmocka_run_group_tests_name("pipe", tests, group_setup, certs_teardown);
}
