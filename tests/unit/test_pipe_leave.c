/* test_pipe_leave.c - a pipe goes on elsewhere: its record and its descriptors are all it needs, and no byte is lost or
 * doubled, whenever it moves. */
#include "net/pipe_ends.h"

enum { RECORD_MAX = 1 << 18, BLOCK = 50000 };

static char pattern[MANY];
static const struct pipe_owner owner = { 0, on_done, NULL, 0 };

static struct pipe *load(struct span record, const int fds[2])
{
	struct bytes_reader in = bytes_reader_of(record);
	struct pipe *p = pipe_load(loop, &in, fds, &owner);
	assert_true(p == NULL || (bytes_ok(&in) && in.rest.n == 0));
	return p;
}

static void copy_fds(int fds[2])
{
	for (int i = 0; i < 2; i++) {
		fds[i] = dup(fds[i]); /* as a message of a socket does */
		assert_true(fds[i] >= 0);
	}
}

/* False: it cannot move now. */
static bool move(void)
{
	struct buf record = BUF_INIT(RECORD_MAX);
	uint64_t before[2], after[2];
	int fds[2];
	if (!pipe_may_leave(running))
		return false;
	pipe_freeze(running);
	assert_true(pipe_save(running, &record, fds));
	copy_fds(fds);
	struct pipe *next = load(buf_span(&record), fds);
	assert_non_null(next);
	pipe_counts(running, &before[0], &before[1]);
	pipe_counts(next, &after[0], &after[1]);
	assert_memory_equal(before, after, sizeof before);
	assert_int_equal(pipe_idle_ms(running), pipe_idle_ms(next));
	pipe_free(&running);
	running = next;
	pipe_thaw(running);
	buf_wipe_end(&record);
	return true;
}

/* ---- plain ---- */

static size_t sent[2], got[2];

/* What end i takes now, at most n bytes, is what the other has sent. */
static void take(int i, size_t n)
{
	static char piece[BLOCK];
	ssize_t r = recv(ends[i], piece, n < BLOCK ? n : BLOCK, 0);
	if (r <= 0)
		return;
	assert_memory_equal(piece, pattern + got[i], (size_t)r);
	got[i] += (size_t)r;
}

static void give(int i, size_t n)
{
	n = n < MANY - sent[i] ? n : MANY - sent[i];
	ssize_t r = send(ends[i], pattern + sent[i], n, MSG_NOSIGNAL);
	sent[i] += r > 0 ? (size_t)r : 0;
}

/* Both send all the time, one takes slowly: what is held for it moves along. */
static void test_bytes_both_ways(void **state)
{
	size_t moved = 0;
	memset(sent, 0, sizeof sent);
	memset(got, 0, sizeof got);
	sides_begin(unix_pair); /* whose buffers are small, and full soon */
	begin_pipe(0);
	for (size_t turn = 0; got[0] < MANY || got[1] < MANY; turn++) {
		for (int i = 0; i < 2; i++) {
			give(i, BLOCK);
			take(i, i == 0 ? BLOCK : 1 + turn * 7919 % BLOCK);
		}
		run_rounds(1 + (unsigned)(turn % 3));
		moved += turn % 5 == 0 && move();
		assert_int_equal(done_n, 0);
	}
	assert_true(moved > 10);
	close_end(0);
	WAIT_FOR(recv(ends[1], &(char){ 0 }, 1, 0) == 0);
	close_end(1);
	WAIT_FOR(done_n == 1);
	assert_true(done.client_bytes == MANY && done.store_bytes == MANY);
	assert_int_equal(done.end, PIPE_CLIENT_CLOSED);
	sides_end();
}

/* What the streams had not sent, and not read, when they became a pipe. */
static void test_before_its_first_turn(void **state)
{
	struct buf had = BUF_INIT(100);
	sides_begin(tcp_pair);
	raw_send(ends[0], SPAN("behind the login"));
	WAIT_FOR(stream_input(side[0].s).n == 16);
	stream_write(side[0].s, "welcome", 7);
	begin_pipe(0);
	assert_true(move());
	WAIT_FOR(raw_take(ends[1], &had) == RAW_OPEN && buf_len(&had) == 16);
	buf_clear(&had);
	WAIT_FOR(raw_take(ends[0], &had) == RAW_OPEN && buf_len(&had) == 7);
	sides_end();
	buf_end(&had);
}

/* Frozen, nothing moves and nothing ends; thawed, it does. */
static void test_frozen(void **state)
{
	struct buf had = BUF_INIT(100);
	sides_begin(tcp_pair);
	clock_fake(1000, 0);
	running = pipe_start(
	    loop, &side[0].s, &side[1].s, &(struct pipe_owner){ 5000, on_done, NULL, 0 });
	run_rounds(2);
	pipe_freeze(running);
	assert_false(pipe_may_leave(running));
	raw_send(ends[0], SPAN("hello"));
	clock_fake_advance(6000);
	run_rounds(5);
	assert_int_equal(raw_take(ends[1], &had), RAW_OPEN);
	assert_int_equal(buf_len(&had), 0);
	assert_int_equal(done_n, 0);
	pipe_thaw(running);
	WAIT_FOR(raw_take(ends[1], &had) == RAW_OPEN && buf_len(&had) == 5);
	pipe_freeze(running);
	pipe_stop(running, SPAN("bye"));
	WAIT_FOR(done_n == 1);
	assert_int_equal(done.end, PIPE_STOPPED);
	sides_end();
	sides_begin(tcp_pair);
	running = pipe_start(
	    loop, &side[0].s, &side[1].s, &(struct pipe_owner){ 5000, on_done, NULL, 0 });
	run_rounds(2);
	clock_fake_advance(4000);
	pipe_freeze(running);
	clock_fake_advance(2000);
	run_rounds(2);
	pipe_thaw(running);
	run_rounds(3);
	assert_int_equal(done_n, 1); /* it knows since when it has been silent */
	assert_int_equal(done.end, PIPE_IDLE);
	clock_fake_off();
	sides_end();
	buf_end(&had);
}

static void test_what_cannot_leave(void **state)
{
	sides_begin(tcp_pair);
	begin_pipe(0);
	run_rounds(2);
	assert_true(pipe_may_leave(running));
	shutdown(ends[0], SHUT_WR); /* half closed */
	WAIT_FOR(recv(ends[1], &(char){ 0 }, 1, 0) == 0);
	assert_false(pipe_may_leave(running));
	sides_end();
	sides_begin(tcp_pair);
	begin_pipe(0);
	pipe_stop(running, SPAN_NONE);
	assert_false(pipe_may_leave(running));
	WAIT_FOR(done_n == 1);
	sides_end();
}

/* ---- records ---- */

static void test_records_that_are_none(void **state)
{
	struct buf record = BUF_INIT(RECORD_MAX);
	int fds[2];
	sides_begin(tcp_pair);
	raw_send(ends[0], SPAN("held"));
	WAIT_FOR(stream_input(side[0].s).n == 4);
	begin_pipe(0);
	pipe_freeze(running);
	assert_true(pipe_save(running, &record, fds));
	struct span whole = buf_span(&record);
	for (size_t n = 0; n < whole.n; n++)
		assert_null(load(span_first(whole, n), fds));
	buf_add_char(&record, 'x');
	assert_null(load(buf_span(&record), fds));
	pipe_thaw(running);
	WAIT_FOR(recv(ends[1], &(char){ 0 }, 1, MSG_PEEK) == 1); /* and it is as it was */
	sides_end();
	buf_end(&record);
}

/* ---- TLS ---- */

static void exchange(size_t at, size_t n)
{
	struct buf b = BUF_INIT(MANY);
	stream_write(far.s, pattern + at, n);
	WAIT_FOR(raw_take(ends[1], &b) == RAW_OPEN && buf_len(&b) == n);
	assert_memory_equal(buf_span(&b).p, pattern + at, n);
	raw_send(ends[1], span_of(pattern + at, n));
	WAIT_FOR(stream_input(far.s).n == n);
	assert_memory_equal(stream_input(far.s).p, pattern + at, n);
	stream_eat(far.s, n);
	buf_end(&b);
}

static void test_parked(void **state)
{
	may_park = true;
	tls_begin();
	far.hold = true;
	begin_pipe(0);
	run_rounds(3);
	for (size_t turn = 0; turn < 20; turn++) {
		assert_true(move());
		exchange(turn * 1000, 1 + turn * 997);
	}
	stream_close(&far.s, WAIT_MS);
	WAIT_FOR(recv(ends[1], &(char){ 0 }, 1, 0) == 0);
	close_end(1);
	WAIT_FOR(done_n == 1);
	tls_end();
	may_park = false;
}

static void test_under_openssl(void **state)
{
	tls_begin();
	far.hold = true;
	begin_pipe(0);
	run_rounds(3);
	assert_false(pipe_may_leave(running));
	exchange(0, 100);
	tls_end();
}

static int group_setup(void **state)
{
	fill_pattern(pattern, sizeof pattern, 5);
	return certs_setup(state);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, loop_setup, loop_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_bytes_both_ways),
		CASE(test_before_its_first_turn),
		CASE(test_frozen),
		CASE(test_what_cannot_leave),
		CASE(test_records_that_are_none),
		CASE(test_parked),
		CASE(test_under_openssl),
	};
	return cmocka_run_group_tests_name("pipe_leave", tests, group_setup, certs_teardown);
}
