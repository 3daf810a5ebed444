/* test_spool_powercut.c - the power goes while messages come into the spool, are held and ended: what was acknowledged is
 * there again, whole, and what had ended does not come back. */
#define NO_SYNC false
#define LOADED_MAX 20000
#include "tests/unit/powercut.h"

#include "edge/queue_internal.h"
#include "tests/unit/edge/queue_bench.h"

enum { MESSAGES = 420, EVERY = 13, CUTS_WANTED = 30 };

/* When in the order of acknowledgements something is durable; 0: not yet. */
struct promise {
	struct ident id;
	unsigned there_at, held_at, gone_at;
	bool held, gone; /* ordered, durable or not */
};
static struct promise promises[MESSAGES];

static void text_of(unsigned number, struct buf *out)
{
	size_t size = number % 10 == 9 ? SPOOL_INLINE_MAX + 1000 * number : 100 * (number % 50);
	buf_clear(out);
	buf_printf(out, "Subject: %u\r\n\r\n", number);
	for (unsigned i = 0; buf_len(out) < size; i++)
		buf_printf(out, "line %u of the message number %u\r\n", i, number);
}

static unsigned acknowledge(void)
{
	return atomic_fetch_add(&cut.acknowledged, 1) + 1;
}

static bool order(struct bench *b, const char *what, unsigned number)
{
	const char *words[] = { what, promises[number].id.s };
	struct buf out = BUF_INIT(4000);
	assert_true(queue_control(b->queue, words, 2, NULL, &out));
	bool met = strstr(buf_cstr(&out), "\"recipients\":1,") != NULL;
	buf_end(&out);
	return met;
}

/* What was ordered before a message came is durable when that is acknowledged: one log, one order. */
static void settle(unsigned number)
{
	unsigned now = acknowledge();
	promises[number].there_at = now;
	for (unsigned i = 0; i < number; i++) {
		if (promises[i].held && promises[i].held_at == 0)
			promises[i].held_at = now;
		if (promises[i].gone && promises[i].gone_at == 0)
			promises[i].gone_at = now;
	}
}

static void work(struct bench *b)
{
	for (unsigned i = 0; i < MESSAGES; i++) {
		text_of(i, &b->body);
		promises[i].id = put_and_wait(b, "s@far.example", TO(to("u@[127.0.0.9]")));
		memset(b->puts, 0, sizeof b->puts);
		settle(i);
		if (i % 3 == 2)
			promises[i - 2].held = order(b, "hold", i - 2);
		if (i % 4 == 3)
			promises[i - 3].gone = order(b, "delete", i - 3);
	}
}

static bool has_bytes(struct q_entry *e, const struct buf *want)
{
	struct spool_reader *r = spool_reader_new(e->queue->spool, &e->body);
	struct mail_source src = spool_reader_source(r);
	struct span left = buf_span(want);
	bool same = src.size == left.n;
	while (same && left.n > 0) {
		err_t err;
		struct span piece = src.read(src.arg, src.size - left.n, left.n, &err);
		same = piece.n > 0 && span_eq(piece, span_first(left, piece.n));
		left = span_from(left, piece.n);
	}
	spool_reader_free(&r);
	return same;
}

static void check_promise(struct bench *b, unsigned number, unsigned promised)
{
	const struct promise *p = &promises[number];
	uint32_t row = shelf_find(b->queue->shelf, p->id);
	bool there = row != 0 && !shelf_row(b->queue->shelf, row)->done;
	if (p->there_at == 0 || p->there_at > promised)
		return;
	if (p->gone_at != 0 && p->gone_at <= promised)
		assert_false(there);
	if (!there) {
		assert_true(p->gone);
		return;
	}
	struct buf want = BUF_INIT(1 << 22);
	struct q_entry *e = row_load(b->queue, row);
	assert_non_null(e);
	text_of(number, &want);
	assert_true(has_bytes(e, &want));
	if (p->held_at != 0 && p->held_at <= promised)
		assert_true(e->items[0].on_hold);
	buf_end(&want);
}

static void use_spool(struct bench *b, const char *path)
{
	mem_free((char *)(uintptr_t)b->edge->spool);
	b->edge->spool = mem_str(path);
}

static void check_cut(struct bench *b, unsigned n)
{
	char path[200];
	snprintf(path, sizeof path, "%s.cut%u", cut.root, n);
	use_spool(b, path);
	queue_up(b);
	assert_non_null(queue_spool(b->queue));
	for (unsigned i = 0; i < MESSAGES; i++)
		check_promise(b, i, cut.promised[n]);
	for (int i = 0; i < 3; i++)
		loop_step(b->loop, 1);
	queue_gone(b);
}

static void test_nothing_acknowledged_is_lost(void **state)
{
	static const char *const parts[] = { "", NULL };
	struct bench b;
	int fd;
	bench_open(&b, SCRIPT("X"));
	b.edge->relay_port = dead_port(&fd);
	b.edge->queue_retry_first = b.edge->queue_retry_max = LATE_MS;
	b.edge->spool_segment = 1 << 20;
	b.edge->connect_timeout = 100;
	queue_gone(&b);
	char path[200]; /* the model knows nothing of what was there before */
	snprintf(path, sizeof path, "%s/fresh", dir);
	use_spool(&b, path);
	cut_begin(b.edge->spool, parts, NULL, EVERY);
	queue_up(&b);
	work(&b);
	cut.on = false;
	assert_in_range(cut.cuts, CUTS_WANTED, CUT_CUTS_MAX);
	queue_gone(&b);
	for (unsigned i = 0; i < cut.cuts; i++)
		check_cut(&b, i);
	use_spool(&b, cut.root);
	cut_end();
	queue_up(&b);
	bench_close(&b);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_nothing_acknowledged_is_lost) };
	return cmocka_run_group_tests(tests, setup, teardown);
}
