/* test_stream.c - plaintext streams: bounds both ways, order, files, half-close, lingering, resets. */
#include "net/end.h"

#include <sys/ioctl.h>

#include "net/stream_internal.h"

enum { MANY = 3 << 20 };

static char pattern[MANY];

static int group_setup(void **state)
{
	fill_pattern(pattern, sizeof pattern, 1);
	return 0;
}

static void assert_pattern(const struct buf *got, size_t n)
{
	assert_int_equal(buf_len(got), n);
	assert_memory_equal(buf_span(got).p, pattern, n);
}

static int open_fds(void)
{
	int n = 0;
	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* ---- input ---- */

static void test_input_in_pieces(void **state)
{
	int v[2];
	struct end e;
	tcp_pair(v);
	end_begin(&e, v[0], 1000, 1000);
	raw_send(v[1], SPAN("hel"));
	WAIT_FOR(buf_len(&e.got) == 3);
	raw_send(v[1], SPAN("lo"));
	WAIT_FOR(buf_len(&e.got) == 5);
	assert_memory_equal(buf_span(&e.got).p, "hello", 5);
	assert_int_equal(stream_bytes_in(e.s), 5);
	assert_string_equal(e.order, "II");
	end_end(&e);
	close(v[1]);
}

/* in_max holds; what is left unread holds the peer through the kernel. */
static void test_input_is_bounded(void **state)
{
	int v[2];
	struct end e;
	unix_pair(v);
	end_begin(&e, v[0], 1000, 1000);
	e.hold = true;
	size_t sent = 0;
	for (ssize_t n; (n = send(v[1], pattern + sent, 50000, MSG_NOSIGNAL)) > 0; run_rounds(2))
		sent += (size_t)n;
	assert_int_equal(stream_input(e.s).n, 1000);
	assert_int_equal(stream_bytes_in(e.s), 1000);
	assert_true(sent < MANY - 50000);
	stream_eat(e.s, 400);
	assert_true(span_eq(stream_input(e.s), span_of(pattern + 400, 600)));
	WAIT_FOR(stream_input(e.s).n == 1000);
	assert_true(span_eq(stream_input(e.s), span_of(pattern + 400, 1000)));
	e.hold = false;
	buf_add(&e.got, pattern, 400);
	on_end_event(&e, STREAM_INPUT);
	WAIT_FOR(buf_len(&e.got) == sent);
	assert_pattern(&e.got, sent);
	end_end(&e);
	close(v[1]);
}

/* A paused stream with unread bytes in the kernel: the loop comes to rest, others go on. */
static void test_pause(void **state)
{
	int v[2], u[2];
	struct end e, other;
	unix_pair(v);
	unix_pair(u);
	end_begin(&e, v[0], 1000, 1000);
	end_begin(&other, u[0], 1000, 1000);
	stream_pause(e.s, true);
	stream_pause(e.s, true);
	raw_send(v[1], SPAN("waiting"));
	run_rounds(3);
	assert_int_equal(e.n[STREAM_INPUT], 0);
	assert_false(loop_step(loop, 0)); /* at rest */
	raw_send(u[1], SPAN("served"));
	WAIT_FOR(buf_len(&other.got) == 6);
	assert_true(stream_write(e.s, "out", 3)); /* pausing is about reading only */
	struct buf got = BUF_INIT(100);
	WAIT_FOR(raw_take(v[1], &got) == RAW_OPEN && buf_len(&got) == 3);
	assert_int_equal(e.n[STREAM_INPUT], 0);
	stream_pause(e.s, false);
	WAIT_FOR(buf_len(&e.got) == 7);
	buf_end(&got);
	end_end(&e);
	end_end(&other);
	close(v[1]);
	close(u[1]);
}

/* While nothing waits a stream has no buffer. */
static void test_idle_holds_nothing(void **state)
{
	int v[2];
	struct end e;
	unix_pair(v);
	end_begin(&e, v[0], 100000, 100000);
	e.hold = true;
	raw_send(v[1], span_of(pattern, 50000));
	WAIT_FOR(stream_input(e.s).n == 50000);
	assert_non_null(e.s->in.p);
	stream_eat(e.s, 50000);
	assert_null(e.s->in.p);
	assert_int_equal(e.s->in.cap, 0);
	stream_write(e.s, pattern, 50000);
	struct buf got = BUF_INIT(100000);
	WAIT_FOR(raw_take(v[1], &got) == RAW_OPEN && e.n[STREAM_SENT] == 1);
	assert_null(e.s->out.first);
	assert_int_equal(e.s->out.bytes, 0);
	WAIT_FOR(raw_take(v[1], &got) == RAW_OPEN && buf_len(&got) == 50000);
	assert_pattern(&got, 50000);
	buf_end(&got);
	end_end(&e);
	close(v[1]);
}

/* ---- output ---- */

/* More than the kernel takes: partial writes, in order, one SENT. */
static void test_output_in_order(void **state)
{
	int v[2];
	struct end e;
	struct buf got = BUF_INIT(MANY);
	unix_pair(v);
	end_begin(&e, v[0], 1000, MANY);
	for (size_t at = 0, n = 1; at < MANY; at += n, n = n * 5 % 99991 + 1) {
		n = n < MANY - at ? n : MANY - at;
		assert_true(stream_write(e.s, pattern + at, n));
	}
	assert_int_equal(stream_pending(e.s), MANY);
	assert_int_equal(stream_space(e.s), 0);
	run_rounds(5);
	assert_true(stream_pending(e.s) > 0); /* the kernel has not taken all of it */
	assert_int_equal(e.n[STREAM_SENT], 0);
	WAIT_FOR(raw_take(v[1], &got) == RAW_OPEN && buf_len(&got) == MANY);
	assert_pattern(&got, MANY);
	WAIT_FOR(e.n[STREAM_SENT] == 1);
	assert_int_equal(stream_bytes_out(e.s), MANY);
	assert_int_equal(stream_space(e.s), MANY);
	buf_end(&got);
	end_end(&e);
	close(v[1]);
}

static void test_output_is_bounded(void **state)
{
	int v[2];
	struct end e;
	unix_pair(v);
	end_begin(&e, v[0], 1000, 5000);
	assert_true(stream_write(e.s, pattern, 5000));
	assert_int_equal(stream_space(e.s), 0);
	assert_false(stream_write(e.s, "x", 1));
	assert_int_equal(e.n[STREAM_FAILED], 0); /* from the loop, not from the call */
	assert_false(stream_write(e.s, "x", 1));
	run_rounds(3);
	assert_string_equal(e.order, "F");
	assert_int_equal(stream_err(e.s), ERR_TOO_MANY);
	assert_non_null(strstr(stream_err_text(e.s), "does not read"));
	assert_false(stream_printf(e.s, "late"));
	assert_false(stream_write_file(e.s, NULL, 0, 0));
	stream_close(&e.s, 0); /* of a failed one: free */
	assert_null(e.s);
	end_end(&e);
	struct buf got = BUF_INIT(5000);
	assert_int_equal(raw_take(v[1], &got), RAW_EOF);
	buf_end(&got);
	close(v[1]);
}

static void test_printf(void **state)
{
	int v[2];
	struct end e;
	struct buf got = BUF_INIT(100);
	unix_pair(v);
	end_begin(&e, v[0], 1000, 1 << 20);
	assert_true(stream_printf(e.s, "%d %s\r\n", 220, "hello"));
	WAIT_FOR(raw_take(v[1], &got) == RAW_OPEN && buf_len(&got) == 11);
	assert_memory_equal(buf_span(&got).p, "220 hello\r\n", 11);
	assert_false(stream_printf(e.s, "%70000s", "too long"));
	run_rounds(2);
	assert_int_equal(stream_err(e.s), ERR_TOO_LONG);
	buf_end(&got);
	end_end(&e);
	close(v[1]);
}

/* Ranges of a file between bytes, longer than the kernel takes at once. */
static void test_files_in_the_output(void **state)
{
	int v[2], before = open_fds();
	struct end e;
	struct file_ref *f = file_of(pattern, MANY);
	struct buf got = BUF_INIT(2 * MANY);
	tcp_pair(v);
	end_begin(&e, v[0], 1000, 10000);
	stream_write(e.s, pattern, 10);
	assert_true(stream_write_file(e.s, f, 10, 90));
	stream_write(e.s, pattern + 100, 50);
	assert_true(stream_write_file(e.s, f, 150, 0)); /* nothing of it: fine */
	assert_true(stream_write_file(e.s, f, 150, MANY - 1150));
	stream_write(e.s, pattern + MANY - 1000, 1000);
	assert_true(stream_space(e.s) > 8000); /* ranges count little */
	assert_true(stream_pending(e.s) >= MANY);
	file_ref_put(&f);
	assert_null(f); /* the queue keeps it open */
	WAIT_FOR(raw_take(v[1], &got) == RAW_OPEN && buf_len(&got) == MANY);
	assert_pattern(&got, MANY);
	WAIT_FOR(e.n[STREAM_SENT] == 1);
	assert_int_equal(stream_pending(e.s), 0);
	assert_int_equal(stream_bytes_out(e.s), MANY);
	buf_end(&got);
	end_end(&e);
	close(v[1]);
	assert_true(open_fds() == before);
}

static void test_file_too_short(void **state)
{
	int v[2];
	struct end e;
	struct file_ref *f = file_of(pattern, MANY), *second = file_ref_get(f);
	assert_int_equal(file_ref_fd(second), file_ref_fd(f));
	unix_pair(v);
	end_begin(&e, v[0], 1000, 10000);
	assert_true(stream_write_file(e.s, f, MANY - 5, 6));
	WAIT_FOR(e.n[STREAM_FAILED] == 1);
	assert_int_equal(stream_err(e.s), ERR_CORRUPT);
	end_end(&e);
	file_ref_put(&f);
	file_ref_put(&second);
	close(v[1]);
}

/* ---- the end ---- */

static void test_half_close(void **state)
{
	int v[2];
	struct end e;
	struct buf got = BUF_INIT(100);
	tcp_pair(v);
	end_begin(&e, v[0], 1000, 1000);
	raw_send(v[1], SPAN("last words"));
	shutdown(v[1], SHUT_WR);
	WAIT_FOR(e.n[STREAM_EOF] == 1);
	assert_string_equal(e.order, "IE"); /* input first */
	assert_true(stream_at_eof(e.s));
	assert_false(loop_step(loop, 0)); /* an EOF that stays is not told again and again */
	assert_true(stream_write(e.s, "answer", 6));
	WAIT_FOR(raw_take(v[1], &got) == RAW_OPEN && buf_len(&got) == 6);
	stream_close(&e.s, WAIT_MS);
	WAIT_FOR(raw_take(v[1], &got) == RAW_EOF);
	buf_end(&got);
	end_end(&e);
	close(v[1]);
}

/* EOF is there while input is held back: unread input stays readable after it. */
static void test_eof_behind_unread_input(void **state)
{
	int v[2];
	struct end e;
	unix_pair(v);
	end_begin(&e, v[0], 1000, 1000);
	e.hold = true;
	raw_send(v[1], span_of(pattern, 1500));
	close(v[1]);
	WAIT_FOR(stream_input(e.s).n == 1000);
	run_rounds(3);
	assert_false(stream_at_eof(e.s));
	stream_eat(e.s, 1000);
	WAIT_FOR(stream_at_eof(e.s));
	assert_true(span_eq(stream_input(e.s), span_of(pattern + 1000, 500)));
	end_end(&e);
}

/* The peer never stops sending: the last reply arrives all the same, and no reset with it. */
static void test_close_drains(void **state)
{
	int v[2], before = open_fds();
	struct end e;
	struct buf got = BUF_INIT(MANY);
	tcp_pair(v);
	end_begin(&e, v[0], 100, MANY);
	e.hold = true;
	raw_send(v[1], span_of(pattern, 200000));
	WAIT_FOR(e.n[STREAM_INPUT] == 1);
	assert_true(stream_write(e.s, pattern, MANY));
	stream_close(&e.s, 10 * WAIT_MS);
	assert_null(e.s);
	raw_send(v[1], span_of(pattern, 200000));
	WAIT_FOR(raw_take(v[1], &got) == RAW_EOF);
	assert_pattern(&got, MANY);
	raw_send(v[1], span_of(pattern, 100000)); /* still swallowed */
	run_rounds(10);
	assert_int_equal(raw_take(v[1], &got), RAW_EOF); /* and not a reset */
	close(v[1]);
	WAIT_FOR(open_fds() == before); /* its end is noticed */
	assert_int_equal(e.n[STREAM_EOF] + e.n[STREAM_SENT] + e.n[STREAM_FAILED], 0);
	buf_end(&got);
	end_end(&e);
}

/* A peer that neither reads nor closes is let go when the time is over. */
static void test_linger_ends(void **state)
{
	int v[2], before = open_fds();
	struct end e;
	unix_pair(v);
	end_begin(&e, v[0], 100, MANY);
	assert_true(stream_write(e.s, pattern, MANY));
	stream_close(&e.s, 30);
	struct pollfd p = { .fd = v[1], .events = POLLIN };
	WAIT_FOR(poll(&p, 1, 0) == 1 && (p.revents & POLLHUP));
	close(v[1]);
	end_end(&e);
	assert_true(open_fds() == before);
}

/* The peer breaks off while output leaves, or when none is left: it ends at once. */
static void test_reset_while_closing(void **state)
{
	for (int pending = 0; pending < 2; pending++) {
		int v[2], before = open_fds();
		struct end e;
		tcp_pair(v);
		end_begin(&e, v[0], 100, MANY);
		if (pending)
			stream_write(e.s, pattern, MANY);
		else
			close_with_reset(v[1]);
		stream_close(&e.s, WAIT_MS);
		if (pending)
			close_with_reset(v[1]);
		WAIT_FOR(open_fds() == before);
		end_end(&e);
	}
}

/* Streams that are still closing go with the loop. */
static void test_loop_ends_closing_streams(void **state)
{
	int v[2];
	struct end e;
	struct buf got = BUF_INIT(10);
	unix_pair(v);
	end_begin(&e, v[0], 100, 1000);
	stream_close(&e.s, WAIT_MS);
	run_rounds(2);
	loop_free(&loop);
	assert_int_equal(raw_take(v[1], &got), RAW_EOF);
	errno = 0;
	assert_true(send(v[1], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	close(v[1]);
	end_end(&e);
}

static void test_peer_resets(void **state)
{
	int v[2];
	struct end e;
	tcp_pair(v);
	end_begin(&e, v[0], 1000, 1000);
	raw_send(v[1], SPAN("before"));
	WAIT_FOR(buf_len(&e.got) == 6);
	close_with_reset(v[1]);
	WAIT_FOR(e.n[STREAM_FAILED] == 1);
	assert_int_equal(stream_err(e.s), ERR_CONN_RESET);
	assert_string_equal(e.order, "IF");
	assert_false(stream_write(e.s, "x", 1));
	run_rounds(3);
	assert_int_equal(e.n[STREAM_FAILED], 1);
	end_end(&e);
}

/* Every event may free or close the stream. */
static void test_free_and_close_in_callbacks(void **state)
{
	static const struct {
		int at;
		const char *order;
	} cases[] = { { STREAM_INPUT, "I" }, { STREAM_SENT, "IS" }, { STREAM_EOF, "ISE" } };
	for (size_t i = 0; i < 2 * COUNT_OF(cases); i++) {
		int v[2];
		struct end e;
		struct buf got = BUF_INIT(100);
		tcp_pair(v);
		end_begin(&e, v[0], 1000, 1000);
		*(i % 2 == 0 ? &e.free_at : &e.close_at) = cases[i / 2].at;
		raw_send(v[1], SPAN("words"));
		WAIT_FOR(e.n[STREAM_INPUT] == 1);
		if (e.s != NULL)
			stream_write(e.s, "x", 1);
		run_rounds(2);
		shutdown(v[1], SHUT_WR);
		WAIT_FOR(e.s == NULL);
		assert_string_equal(e.order, cases[i / 2].order);
		WAIT_FOR(raw_take(v[1], &got) == RAW_EOF);
		run_rounds(2);
		buf_end(&got);
		close(v[1]);
		end_end(&e);
	}
}

static void test_free_at_failure(void **state)
{
	for (int closing = 0; closing < 2; closing++) {
		int v[2];
		struct end e;
		tcp_pair(v);
		end_begin(&e, v[0], 1000, 1000);
		*(closing ? &e.close_at : &e.free_at) = STREAM_FAILED;
		close_with_reset(v[1]);
		WAIT_FOR(e.s == NULL);
		run_rounds(2);
		end_end(&e);
	}
}

/* ---- facts and owners ---- */

static void test_new_owner(void **state)
{
	int v[2];
	struct end first, second;
	unix_pair(v);
	end_begin(&first, v[0], 1000, 1000);
	first.hold = true;
	raw_send(v[1], SPAN("early"));
	close(v[1]);
	WAIT_FOR(first.n[STREAM_EOF] == 1);
	second = (struct end){ .got = BUF_INIT(100), .s = first.s, .free_at = -1, .close_at = -1 };
	first.s = NULL;
	stream_set_owner(second.s, (struct stream_limits){ 2, 1000 }, on_end_event, &second);
	assert_string_equal(second.order, "");
	WAIT_FOR(second.n[STREAM_EOF] == 1); /* what is known is told again */
	assert_string_equal(second.order, "IE");
	assert_int_equal(buf_len(&second.got), 5);
	end_end(&first);
	end_end(&second);
	/* It fails before the new owner has heard of the input: both are told, in this order. */
	unix_pair(v);
	end_begin(&first, v[0], 1000, 1000);
	first.hold = true;
	raw_send(v[1], SPAN("early"));
	WAIT_FOR(first.n[STREAM_INPUT] == 1);
	first.order[0] = '\0';
	stream_set_owner(first.s, (struct stream_limits){ 1000, 2 }, on_end_event, &first);
	assert_false(stream_write(first.s, "too much", 8));
	WAIT_FOR(first.n[STREAM_FAILED] == 1);
	assert_string_equal(first.order, "IF");
	end_end(&first);
	close(v[1]);
}

static void test_addresses(void **state)
{
	int v[2], on = -1;
	socklen_t n = sizeof on;
	struct end a, b;
	struct stream_tls tls;
	tcp_pair(v);
	end_begin(&a, v[0], 10, 10);
	end_begin(&b, v[1], 10, 10);
	assert_true(ip_is_loopback(stream_peer(a.s).addr));
	assert_int_equal(stream_peer(a.s).port, stream_local(b.s).port);
	assert_int_equal(stream_local(a.s).port, stream_peer(b.s).port);
	assert_int_equal(stream_fd(a.s), v[0]);
	assert_false(stream_is_tls(a.s));
	assert_false(stream_tls(a.s, &tls));
	assert_int_equal(stream_err(a.s), ERR_OK);
	stream_keepalive(a.s, 100000);
	assert_int_equal(getsockopt(v[0], SOL_SOCKET, SO_KEEPALIVE, &on, &n), 0);
	assert_int_equal(on, 1);
	stream_keepalive(a.s, 0);
	assert_int_equal(getsockopt(v[0], SOL_SOCKET, SO_KEEPALIVE, &on, &n), 0);
	assert_int_equal(on, 0);
	end_end(&a);
	end_end(&b);
	unix_pair(v);
	end_begin(&a, v[0], 10, 10);
	assert_true(ip_is_none(stream_peer(a.s).addr));
	stream_keepalive(a.s, 10);
	end_end(&a);
	close(v[1]);
}

/* Two streams that talk to each other, each with small bounds: nothing is lost either way. */
static void test_two_streams(void **state)
{
	int v[2];
	struct end e[2];
	size_t put[2] = { 0, 0 };
	unix_pair(v);
	end_begin(&e[0], v[0], 700, 3000);
	end_begin(&e[1], v[1], 1300, 2000);
	while (buf_len(&e[0].got) < MANY || buf_len(&e[1].got) < MANY) {
		for (int i = 0; i < 2; i++) {
			size_t room = stream_space(e[i].s), left = MANY - put[i];
			room = room < left ? room : left;
			assert_true(stream_write(e[i].s, pattern + put[i], room));
			put[i] += room;
		}
		assert_true(loop_step(loop, WAIT_MS));
		assert_int_equal(e[0].n[STREAM_FAILED] + e[1].n[STREAM_FAILED], 0);
	}
	assert_pattern(&e[0].got, MANY);
	assert_pattern(&e[1].got, MANY);
	end_end(&e[0]);
	end_end(&e[1]);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, loop_setup, loop_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_input_in_pieces),
		CASE(test_input_is_bounded),
		CASE(test_pause),
		CASE(test_idle_holds_nothing),
		CASE(test_output_in_order),
		CASE(test_output_is_bounded),
		CASE(test_printf),
		CASE(test_files_in_the_output),
		CASE(test_file_too_short),
		CASE(test_half_close),
		CASE(test_eof_behind_unread_input),
		CASE(test_close_drains),
		CASE(test_linger_ends),
		CASE(test_reset_while_closing),
		CASE(test_loop_ends_closing_streams),
		CASE(test_peer_resets),
		CASE(test_free_and_close_in_callbacks),
		CASE(test_free_at_failure),
		CASE(test_new_owner),
		CASE(test_addresses),
		CASE(test_two_streams),
	};
	return cmocka_run_group_tests_name("stream", tests, group_setup, NULL);
}
