/* test_queue_long.c - a long queue in little memory: what was added, what is read again at start, what an operator
 * does with all of it. Nothing answers at the destinations. */
#include "tests/unit/edge/queue_bench.h"

#include <malloc.h>

enum { MESSAGES = 100000, DOMAINS = 500, ROOM = 8 * 1024 * 1024, EACH = 57 };

static void add(struct bench *b, unsigned number)
{
	char address[60];
	struct spool_recipient to = { 0 };
	struct spool_message m = { .id = ident_new(),
		.session = ident_new(),
		.arrived_us = clock_wall_us(),
		.sender = SPAN("sender@far.example"),
		.recipients = &to,
		.recipient_count = 1,
		.body_bytes = buf_len(&b->body) };
	log_pos pos;
	snprintf(address, sizeof address, "user%u@[127.9.%u.%u]", number, number % DOMAINS / 250,
	    number % DOMAINS % 250);
	to.address = span_str(address);
	assert_int_equal(
	    spool_append_message(queue_spool(b->queue), &m, buf_span(&b->body), &pos), ERR_OK);
	queue_add(b->queue, pos, &m);
}

static size_t heap_bytes(void)
{
	struct mallinfo2 m = mallinfo2();
	return m.uordblks + m.hblkhd;
}

/* For a while, so that messages go out of memory and back. */
static void go_on(struct bench *b, int rounds)
{
	for (int i = 0; i < rounds; i++)
		loop_step(b->loop, 1);
}

/* A sanitizer's malloc does not tell. */
static void check_bound(size_t before)
{
	if (before > 0)
		assert_in_range(heap_bytes() - before, 0, (size_t)MESSAGES * EACH + ROOM);
}

static size_t order(struct bench *b, const char *first, const char *second)
{
	const char *words[] = { first, second };
	struct buf out = BUF_INIT(1 << 20);
	assert_true(queue_control(b->queue, words, 2, NULL, &out));
	const char *at = strstr(buf_cstr(&out), "\"recipients\":");
	assert_non_null(at);
	size_t n = strtoul(at + 13, NULL, 10);
	buf_end(&out);
	return n;
}

static void test_bound(void **state)
{
	struct bench b;
	int fd;
	bench_open(&b, SCRIPT("X"));
	b.edge->queue_retry_first = b.edge->queue_retry_max = LATE_MS;
	b.edge->relay_port = dead_port(&fd);
	b.edge->connect_timeout = 1000;
	queue_again(&b);
	set_body(&b, 200);
	size_t before = heap_bytes();
	for (unsigned i = 0; i < MESSAGES; i++) {
		add(&b, i);
		if (i % 50 == 0)
			go_on(&b, 1);
	}
	go_on(&b, 600);
	assert_int_equal(queue_recipients(b.queue), MESSAGES);
	check_bound(before);
	queue_again(&b);
	assert_int_equal(queue_recipients(b.queue), MESSAGES);
	go_on(&b, 600);
	check_bound(before);
	assert_int_equal(order(&b, "hold", "recipient=user7@*"), 1);
	assert_int_equal(order(&b, "hold", "recipient=user7@*"), 0);
	assert_int_equal(order(&b, "release", "state=held"), 1);
	for (size_t n = 0; n < MESSAGES;)
		n += order(&b, "delete", "all");
	assert_true(EMPTY(&b));
	queue_again(&b);
	assert_true(EMPTY(&b));
	bench_close(&b);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bound),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
