/* test_committer_peer.c - peers of the committer by hand: what comes twice, comes slowly, is not what it should
 * be, or is never read. */
#include "fixture.h"

#include <errno.h>
#include <sys/socket.h>

#include "store-backend/operation_wire.h"

struct raw {
	int fd;
	struct buf in;
	bool closed;
};

static struct raw raw_connect(struct world *w)
{
	int sv[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
	partition_accept(w->partition, sv[0]);
	return (struct raw){ .fd = sv[1], .in = BUF_INIT(1 << 20) };
}

static void raw_end(struct raw *r)
{
	close(r->fd);
	buf_end(&r->in);
}

static void raw_send(struct world *w, struct raw *r, struct span bytes)
{
	uint64_t until = clock_mono_ms() + DEADLINE_MS;
	while (bytes.n > 0 && clock_mono_ms() < until) {
		ssize_t n = send(r->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return; /* closed: the caller looks */
		bytes = span_from(bytes, n < 0 ? 0 : (size_t)n);
		loop_step(w->loop, n < 0 ? 5 : 0);
	}
	assert_int_equal(bytes.n, 0);
}

static void raw_read(struct world *w, struct raw *r)
{
	char chunk[4096];
	loop_step(w->loop, 5);
	ssize_t n = recv(r->fd, chunk, sizeof chunk, 0);
	if (n == 0 || (n < 0 && errno != EAGAIN))
		r->closed = true;
	else if (n > 0)
		buf_add(&r->in, chunk, (size_t)n);
}

/* The body of the next frame of that kind, valid until the next call; none when the peer was closed. */
static struct span raw_frame(struct world *w, struct raw *r, enum frame_kind want)
{
	static char kept[8192];
	uint64_t until = clock_mono_ms() + DEADLINE_MS;
	while (clock_mono_ms() < until) {
		enum frame_kind kind;
		struct span body;
		size_t used;
		if (frame_take(buf_span(&r->in), sizeof kept, &kind, &body, &used) == FRAME_OK) {
			size_t n = body.n;
			memcpy(kept, body.p, n);
			buf_eat(&r->in, used);
			if (kind == want)
				return span_of(kept, n);
			continue;
		}
		if (r->closed)
			return SPAN_NONE;
		raw_read(w, r);
	}
	fail_msg("no frame in time");
	return SPAN_NONE;
}

static bool raw_is_closed(struct world *w, struct raw *r)
{
	uint64_t until = clock_mono_ms() + DEADLINE_MS;
	while (!r->closed && clock_mono_ms() < until)
		raw_read(w, r);
	return r->closed;
}

static void put_hello(struct buf *b, uint32_t version, uint64_t client)
{
	size_t mark = frame_begin(b, FRAME_HELLO);
	wire_put_u32(b, version);
	wire_put_u64(b, client);
	frame_end(b, mark, 0);
}

static void put_operation(
    struct buf *b, uint64_t sequence, uint64_t below, const struct operation *op)
{
	struct buf head = BUF_INIT(OPERATION_HEAD_MAX);
	struct operation plain = *op;
	plain.message.size = op->message.bytes.n;
	assert_true(operation_encode(&plain, &head));
	size_t mark = frame_begin(b, FRAME_OPERATION);
	wire_put_u64(b, sequence);
	wire_put_u64(b, below);
	wire_put_u32(b, (uint32_t)buf_len(&head));
	buf_add_span(b, buf_span(&head));
	buf_add_span(b, op->message.bytes);
	frame_end(b, mark, 0);
	buf_end(&head);
}

static struct raw raw_hello(struct world *w, uint64_t client)
{
	struct raw r = raw_connect(w);
	struct buf b = BUF_INIT(64);
	put_hello(&b, WIRE_VERSION, client);
	raw_send(w, &r, buf_span(&b));
	buf_end(&b);
	assert_int_equal(raw_frame(w, &r, FRAME_READY).n, 8);
	return r;
}

static uint32_t raw_uid(struct world *w, struct raw *r, uint64_t sequence)
{
	struct operation_answer ans;
	struct operation_arena a = { 0 };
	struct wire_in in = { .rest = raw_frame(w, r, FRAME_ANSWER) };
	assert_int_equal(wire_get_u64(&in), sequence);
	assert_true(answer_decode(in.rest, &ans, &a));
	assert_int_equal(ans.result, OPR_OK);
	uint32_t uid = ans.uid;
	operation_arena_end(&a);
	return uid;
}

static struct operation append_op(uint64_t mailbox)
{
	struct operation op = op_of(OP_APPEND, "a@x");
	op.mailbox = mailbox;
	op.message.bytes = span_str(message);
	return op;
}

static void test_asked_again(void **state)
{
	struct world w;
	struct buf b = BUF_INIT(1 << 16);
	world_make(&w);
	struct operation op = append_op(ensure(&w, "a@x"));
	struct raw r = raw_hello(&w, 77);
	put_operation(&b, 1, 1, &op);
	put_operation(&b, 2, 1, &op);
	put_operation(&b, 2, 1, &op); /* in the same batch */
	raw_send(&w, &r, buf_span(&b));
	assert_int_equal(raw_uid(&w, &r, 1), 1);
	assert_int_equal(raw_uid(&w, &r, 2), 2);
	assert_int_equal(raw_uid(&w, &r, 2), 2);
	/* The client comes back on another connection: the old one is ended, the answers are the same. */
	struct raw again = raw_hello(&w, 77);
	assert_true(raw_is_closed(&w, &r));
	raw_send(&w, &again, buf_span(&b));
	assert_int_equal(raw_uid(&w, &again, 1), 1);
	assert_int_equal(raw_uid(&w, &again, 2), 2);
	assert_int_equal(raw_uid(&w, &again, 2), 2);
	/* After a restart as well. */
	raw_end(&r);
	raw_end(&again);
	world_close(&w);
	assert_int_equal(world_open(&w), ERR_OK);
	again = raw_hello(&w, 77);
	raw_send(&w, &again, buf_span(&b));
	assert_int_equal(raw_uid(&w, &again, 1), 1);
	assert_int_equal(raw_uid(&w, &again, 2), 2);
	assert_int_equal(raw_uid(&w, &again, 2), 2);
	/* Another client's number 1 is another matter. */
	struct raw other = raw_hello(&w, 78);
	raw_send(&w, &other, buf_span(&b));
	assert_int_equal(raw_uid(&w, &other, 1), 3);
	raw_end(&other);
	raw_end(&again);
	buf_end(&b);
	world_end(&w);
}

/* One byte at a time: every split point. */
static void test_slow_bytes(void **state)
{
	struct world w;
	struct buf b = BUF_INIT(1 << 16);
	world_make(&w);
	struct operation op = append_op(ensure(&w, "a@x"));
	struct raw r = raw_connect(&w);
	put_hello(&b, WIRE_VERSION, 5);
	put_operation(&b, 1, 1, &op);
	for (size_t i = 0; i < buf_len(&b); i++)
		raw_send(&w, &r, span_first(span_from(buf_span(&b), i), 1));
	assert_int_equal(raw_uid(&w, &r, 1), 1);
	raw_end(&r);
	buf_end(&b);
	world_end(&w);
}

static void put_raw_frame(struct buf *b, uint32_t length, uint8_t kind)
{
	wire_put_u32(b, length);
	wire_put_u8(b, kind);
}

static void test_bad_peers(void **state)
{
	struct world w;
	world_make(&w);
	log_setup("test", LOG_ERROR, false);
	struct operation op = append_op(ensure(&w, "a@x"));
	uint64_t ended = w.ready;
	for (int i = 0; i < 13; i++) {
		struct buf b = BUF_INIT(1 << 16);
		struct raw r = raw_connect(&w);
		if (i >= 4)
			put_hello(&b, WIRE_VERSION, 1000 + (uint64_t)i);
		switch (i) {
		case 0:
			put_hello(&b, WIRE_VERSION + 1, 9);
			break;
		case 1:
			put_hello(&b, WIRE_VERSION, 0);
			break;
		case 2:
			put_operation(&b, 1, 1, &op); /* before HELLO */
			break;
		case 3:
			buf_add_str(&b, "GET / HTTP/1.0\r\n\r\n");
			break;
		case 4:
			put_hello(&b, WIRE_VERSION, 9); /* twice */
			break;
		case 5:
			put_raw_frame(&b, 9, FRAME_KIND_COUNT);
			break;
		case 6:
			put_raw_frame(&b, 9, FRAME_ANSWER);
			wire_put_u64(&b, 1);
			break;
		case 7:
			put_operation(&b, 1, 2, &op); /* has heard what it asks */
			break;
		case 8: /* a head that is no operation */
			put_raw_frame(&b, 1 + 20 + 3, FRAME_OPERATION);
			wire_put_u64(&b, 1);
			wire_put_u64(&b, 1);
			wire_put_string(&b, SPAN("abc"));
			break;
		case 9: /* too big */
			put_raw_frame(&b, UINT32_MAX, FRAME_OPERATION);
			wire_put_u64(&b, 1);
			wire_put_u64(&b, 1);
			wire_put_u32(&b, 100);
			break;
		case 10: /* a head that is too big */
			put_raw_frame(&b, OPERATION_HEAD_MAX + 100, FRAME_OPERATION);
			wire_put_u64(&b, 1);
			wire_put_u64(&b, 1);
			wire_put_u32(&b, OPERATION_HEAD_MAX + 1);
			break;
		case 11: /* the message is longer than the operation says */
			put_operation(&b, 1, 1, &op);
			b.p[b.head + 17] = (char)(b.p[b.head + 17] + 1);
			buf_add_char(&b, 'x');
			break;
		case 12:
			put_raw_frame(&b, 5, FRAME_WATCH);
			wire_put_u32(&b, 1);
			break;
		}
		raw_send(&w, &r, buf_span(&b));
		assert_true(raw_is_closed(&w, &r));
		raw_end(&r);
		buf_end(&b);
	}
	/* The good one has noticed nothing, and nothing has changed. */
	struct answer r;
	assert_int_equal(append(&w, "a@x", op.mailbox, message, &r), OPR_OK);
	assert_int_equal(r.a.uid, 1);
	assert_int_equal(w.ready, ended);
	assert_int_equal(partition_facts(w.partition).peers, 1);
	world_end(&w);
}

/* A worker that asks and never reads: it is not read from any more, and others go on. */
static void test_deaf_peer(void **state)
{
	enum { ASKED_MAX = 3000000 };
	struct world w;
	struct answer a;
	struct buf b = BUF_INIT(1 << 20);
	world_make(&w);
	uint64_t inbox = ensure(&w, "a@x");
	struct op_recipient to[1000];
	for (size_t i = 0; i < 1000; i++)
		to[i] = (struct op_recipient){ SPAN("a@x"), SPAN_NONE };
	struct operation op = deliver_to(to, 1000, "same");
	struct raw r = raw_hello(&w, 5);
	int n = 0;
	uint64_t quiet_since = clock_mono_ms();
	/* Until nothing has been taken for a second: answers of 13 KB each fill what they may fill. */
	while (n < ASKED_MAX && clock_mono_ms() - quiet_since < 1000) {
		if (buf_len(&b) == 0)
			put_operation(&b, (uint64_t)++n, 1, &op);
		ssize_t did = send(r.fd, buf_span(&b).p, buf_len(&b), MSG_NOSIGNAL);
		if (did > 0) {
			buf_eat(&b, (size_t)did);
			quiet_since = clock_mono_ms();
		} else {
			assert_int_equal(errno, EAGAIN);
		}
		loop_step(w.loop, did > 0 ? 0 : 5);
	}
	assert_in_range(n, 2, 1000);
	assert_int_equal(append(&w, "a@x", inbox, message, &a), OPR_OK);
	/* It reads at last, and is served again. */
	raw_send(&w, &r, SPAN(""));
	uint64_t until = clock_mono_ms() + DEADLINE_MS;
	while (buf_len(&b) > 0 && clock_mono_ms() < until) {
		raw_read(&w, &r);
		buf_clear(&r.in);
		ssize_t did = send(r.fd, buf_span(&b).p, buf_len(&b), MSG_NOSIGNAL);
		if (did > 0)
			buf_eat(&b, (size_t)did);
	}
	assert_int_equal(buf_len(&b), 0);
	assert_false(r.closed);
	raw_end(&r);
	buf_end(&b);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_asked_again),
		cmocka_unit_test(test_slow_bytes),
		cmocka_unit_test(test_bad_peers),
		cmocka_unit_test(test_deaf_peer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
