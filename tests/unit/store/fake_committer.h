/* fake_committer.h - a committer inside the test: a real index and a real log behind the real wire, each operation
 * applied and answered at once; or held back, or refused, as the test says. */
#ifndef TEST_STORE_FAKE_COMMITTER_H
#define TEST_STORE_FAKE_COMMITTER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "commitlog/commitlog.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/stream.h"
#include "store-backend/index_write.h"
#include "store-backend/operation_wire.h"
#include "store-backend/parse.h"

enum {
	FAKE_WATCHES_MAX = 64,
	FAKE_FRAME_MAX = 8 * 1024 * 1024,
	FAKE_INDEX_SIZE = 256 * 1024 * 1024
};

struct fake_committer {
	struct loop *loop; /* borrowed */
	struct index_writer *writer;
	struct commitlog *log;
	struct listener *listener;
	int listen_fd;
	struct stream *peer; /* one link at a time */
	uint64_t watched[FAKE_WATCHES_MAX];
	size_t watched_n;
	bool hold;                    /* operations wait in the stream until it is false again */
	enum operation_result refuse; /* not OPR_OK: the answer to whatever comes */
	unsigned operations;          /* seen so far */
};

static void fake_say_news(void *arg, uint64_t mailbox, uint64_t modseq, bool gone)
{
	struct fake_committer *c = arg;
	struct buf b = BUF_INIT(64);
	bool wanted = false;
	for (size_t i = 0; i < c->watched_n; i++)
		wanted = wanted || c->watched[i] == mailbox;
	if (wanted && c->peer != NULL) {
		size_t mark = frame_begin(&b, FRAME_NEWS);
		wire_put_u64(&b, mailbox);
		wire_put_u64(&b, modseq);
		wire_put_u8(&b, gone);
		frame_end(&b, mark, 0);
		assert_true(stream_write_span(c->peer, buf_span(&b)));
	}
	buf_end(&b);
}

static log_pos fake_log_message(struct fake_committer *c, const struct operation *op)
{
	struct op_message *v = (struct op_message *)(uintptr_t)op->messages;
	struct span rest = op->message.bytes;
	log_pos pos = 0;
	for (size_t i = 0; i < op->message_n; i++) {
		struct span one = span_first(rest, (size_t)v[i].size);
		assert_int_equal(commitlog_append(c->log, LOG_BLOB, &one, 1, &v[i].blob), ERR_OK);
		rest = span_from(rest, one.n);
	}
	if (op->kind != OP_DELIVER && op->kind != OP_APPEND)
		return 0;
	assert_int_equal(commitlog_append(c->log, LOG_BLOB, &op->message.bytes, 1, &pos), ERR_OK);
	return pos;
}

/* Carries out op as somebody would who is not connected; then tells the watchers. The answer is encoded into
 * `out` (may be NULL). */
static enum operation_result fake_apply(
    struct fake_committer *c, const struct operation *op, struct buf *out)
{
	err_t err;
	struct index_facts facts = { .wall_s = clock_wall_us() / 1000000,
		.blob = fake_log_message(c, op) };
	struct index_txn *t = index_txn_begin(c->writer, &err);
	assert_non_null(t);
	const struct operation_answer *a = index_apply(t, op, &facts);
	enum operation_result result = a->result;
	if (out != NULL)
		assert_true(answer_encode(a, out));
	assert_int_equal(index_txn_err(t), ERR_OK);
	index_txn_touched(t, fake_say_news, c);
	assert_int_equal(index_txn_commit(&t, commitlog_end(c->log)), ERR_OK);
	return result;
}

static void fake_answer(struct fake_committer *c, struct span body)
{
	struct wire_in w = { .rest = body };
	struct operation op;
	struct operation_arena arena = { 0 };
	struct buf answer = BUF_INIT(ANSWER_MAX), frame = BUF_INIT(ANSWER_MAX + 64);
	uint64_t sequence = wire_get_u64(&w);
	(void)wire_get_u64(&w);
	uint32_t head = wire_get_u32(&w);
	assert_false(w.bad);
	/* what a session asks must be a legal operation */
	assert_true(operation_decode(span_first(w.rest, head), &op, &arena));
	op.message.bytes = span_from(w.rest, head);
	assert_int_equal(op.message.bytes.n, op.message.size);
	c->operations++;
	if (c->refuse != OPR_OK)
		assert_true(
		    answer_encode(&(struct operation_answer){ .result = c->refuse }, &answer));
	else
		(void)fake_apply(c, &op, &answer);
	size_t mark = frame_begin(&frame, FRAME_ANSWER);
	wire_put_u64(&frame, sequence);
	buf_add_span(&frame, buf_span(&answer));
	frame_end(&frame, mark, 0);
	assert_true(stream_write_span(c->peer, buf_span(&frame)));
	operation_arena_end(&arena);
	buf_end(&answer);
	buf_end(&frame);
}

static void fake_watch(struct fake_committer *c, struct span body, bool on)
{
	struct wire_in w = { .rest = body };
	uint64_t mailbox = wire_get_u64(&w), modseq = index_writer_modseq(c->writer, mailbox);
	if (on) {
		assert_true(c->watched_n < FAKE_WATCHES_MAX);
		c->watched[c->watched_n++] = mailbox;
		fake_say_news(c, mailbox, modseq, modseq == 0);
		return;
	}
	for (size_t i = 0; i < c->watched_n; i++)
		if (c->watched[i] == mailbox)
			c->watched[i--] = c->watched[--c->watched_n];
}

static void fake_ready(struct fake_committer *c)
{
	struct index_state state;
	struct buf b = BUF_INIT(64);
	assert_true(index_writer_state(c->writer, &state));
	size_t mark = frame_begin(&b, FRAME_READY);
	wire_put_u64(&b, state.epoch);
	frame_end(&b, mark, 0);
	assert_true(stream_write_span(c->peer, buf_span(&b)));
	buf_end(&b);
}

static void fake_pump(struct fake_committer *c)
{
	enum frame_kind kind;
	struct span body;
	size_t used;
	while (c->peer != NULL &&
	       frame_take(stream_input(c->peer), FAKE_FRAME_MAX, &kind, &body, &used) == FRAME_OK) {
		if (kind == FRAME_OPERATION && c->hold)
			return;
		if (kind == FRAME_HELLO)
			fake_ready(c);
		else if (kind == FRAME_OPERATION)
			fake_answer(c, body);
		else
			fake_watch(c, body, kind == FRAME_WATCH);
		stream_eat(c->peer, used);
	}
}

static void fake_on_stream(void *arg, enum stream_event ev)
{
	struct fake_committer *c = arg;
	if (ev == STREAM_INPUT)
		fake_pump(c);
	else if (ev != STREAM_SENT)
		stream_free(&c->peer);
}

static void fake_on_accept(void *arg, const struct accepted *a)
{
	struct fake_committer *c = arg;
	struct stream_limits limits = { FAKE_FRAME_MAX + 64, ANSWER_MAX + 64 };
	assert_null(c->peer);
	c->watched_n = 0;
	c->peer = stream_new(c->loop, a->fd, limits, fake_on_stream, c);
}

__attribute__((unused)) static void fake_release(struct fake_committer *c)
{
	c->hold = false;
	fake_pump(c);
}

/* dir must be there; the index is in dir/index, the log in dir/log, the socket at socket_path. */
__attribute__((unused)) static struct fake_committer *fake_committer_open(
    struct loop *loop, const char *dir, const char *socket_path)
{
	struct fake_committer *c = MEM_NEW(struct fake_committer);
	char path[256];
	struct buf why = BUF_INIT(512);
	err_t err;
	c->loop = loop;
	snprintf(path, sizeof path, "%s/index", dir);
	c->writer = index_writer_open(path, FAKE_INDEX_SIZE, &err);
	assert_non_null(c->writer);
	snprintf(path, sizeof path, "%s/log", dir);
	struct commitlog_opts opts = { path, 64 * 1024 * 1024, true };
	c->log = commitlog_open(loop, &opts, &err, &why);
	assert_non_null(c->log);
	buf_end(&why);
	c->listen_fd = listen_open_unix(socket_path, 0600);
	assert_true(c->listen_fd >= 0);
	struct listener_opts lo = { .proxy_ms = 1000, .proxy_waiting_max = 1 };
	c->listener = listener_new(loop, c->listen_fd, &lo, fake_on_accept, c);
	return c;
}

__attribute__((unused)) static void fake_committer_close(struct fake_committer **cp)
{
	struct fake_committer *c = *cp;
	listener_free(&c->listener);
	close(c->listen_fd);
	if (c->peer != NULL)
		stream_free(&c->peer);
	commitlog_close(&c->log);
	index_writer_close(&c->writer, false);
	MEM_FREE(cp);
}

#endif
