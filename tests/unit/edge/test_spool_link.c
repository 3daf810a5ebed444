/* test_spool_link.c - between worker and queue process: links that break, questions that are taken back or
 * make no sense, and strangers on the socket. */
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/edge/queue_bench.h"

/* Every question there is is asked; the store is away, so that all of them stay. */
static void open_with_puts(struct bench *b, const char *const *away)
{
	bench_open(b, away);
	b->edge->queue_retry_first = b->edge->queue_retry_max = LATE_MS;
	b->edge->dead_backoff = LATE_MS;
	queue_again(b);
	set_body(b, 700 * 1000);
	for (int i = 0; i < PUTS; i++)
		put(b, ident_new(), "s@far.example", TO(to("alice@x.example")));
}

/* Many questions, small and large; the queue goes and comes while they are asked. All are answered, each
 * message is there once. */
static void test_link_breaks(void **state)
{
	struct bench b;
	open_with_puts(&b, SCRIPT("S 421 no", "X"));
	for (int round = 0; round < 12; round++) {
		for (int i = 0; i < 3 + 2 * round; i++)
			loop_step(b.loop, 5);
		queue_again(&b);
	}
	for (int i = 0; i < PUTS; i++)
		WAIT_FOR(&b, b.puts[i].answered);
	for (int i = 0; i < PUTS; i++)
		assert_int_equal(b.puts[i].err, ERR_OK);
	assert_int_equal(queue_recipients(b.queue), PUTS);
	queue_again(&b);
	assert_int_equal(queue_recipients(b.queue), PUTS);
	bench_close(&b);
}

/* Questions that are taken back at any moment do not hurt the others. */
static void test_put_cancelled(void **state)
{
	struct bench b;
	open_with_puts(&b, SCRIPT("S 421 no", "X"));
	for (int i = 0; i < PUTS; i += 3) {
		loop_step(b.loop, 5);
		ticket_cancel(&b.puts[i].ticket);
	}
	for (int i = 0; i < PUTS; i++) {
		WAIT_FOR(&b, b.puts[i].answered || i % 3 == 0);
		assert_true(i % 3 == 0 || b.puts[i].err == ERR_OK);
	}
	size_t there = queue_recipients(b.queue);
	assert_true(there >= PUTS - (PUTS + 2) / 3 && there <= PUTS);
	bench_close(&b);
}

/* A question that the queue could not read is refused here and harms no other. */
static void test_unreadable(void **state)
{
	struct bench b;
	char *name = mem_alloc(SPOOL_STRING_MAX + 2);
	memset(name, 'a', SPOOL_STRING_MAX + 1);
	bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
	set_body(&b, 100);
	struct put *p = put(&b, ident_new(), "", TO(to(name)));
	put_and_wait(&b, "", TO(to("alice@x.example")));
	WAIT_FOR(&b, p->answered && EMPTY(&b));
	assert_int_equal(p->err, ERR_TOO_MANY);
	mem_free(name);
	bench_close(&b);
}

/* Whoever speaks nonsense on the socket is cut off; the others go on. */
static void test_nonsense(void **state)
{
	static const struct span nonsense[] = { SPAN("GET / HTTP/1.0\r\n\r\n"),
		SPAN("\0\0\0\2\1ab"), SPAN("\0\0\0\1\2x"), SPAN("\377\377\377\377\1"),
		SPAN("\0\0\0\0\3"), SPAN("\0\0\0\1\1\1"), SPAN("\0\0\0\1\6x"),
		SPAN("\0\0\0\3\5abc") };
	struct bench b;
	bench_open(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, DONE));
	set_body(&b, 100);
	for (size_t i = 0; i < COUNT_OF(nonsense); i++) {
		struct sockaddr_un at = { .sun_family = AF_UNIX };
		char byte;
		snprintf(at.sun_path, sizeof at.sun_path, "%s", b.path);
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
		assert_true(write(fd, nonsense[i].p, nonsense[i].n) == (ssize_t)nonsense[i].n);
		WAIT_FOR(&b, read(fd, &byte, 1) == 0 || errno != EAGAIN);
		close(fd);
	}
	put_and_wait(&b, "", TO(to("alice@x.example")));
	WAIT_FOR(&b, EMPTY(&b));
	bench_close(&b);
}

/* ETRN: what waits is started, once in a while; nobody hears of a question that was taken back. */
static struct {
	unsigned answers;
	err_t err;
	size_t recipients;
	bool more;
} kicked;

static void on_kicked(void *arg, err_t err, size_t recipients, bool more)
{
	kicked.answers++;
	kicked.err = err;
	kicked.recipients = recipients;
	kicked.more = more;
}

static void kick(struct bench *b, const char *node, err_t err, size_t recipients)
{
	unsigned before = kicked.answers;
	spool_kick(b->link, span_str(node), 10000, on_kicked, NULL);
	WAIT_FOR(b, kicked.answers > before);
	assert_int_equal(kicked.err, err);
	assert_int_equal(kicked.recipients, recipients);
	assert_false(kicked.more);
}

static bool has_tried(struct bench *b)
{
	const char *const list[] = { "list", "all" };
	struct buf out = BUF_INIT(1 << 20);
	queue_control(b->queue, list, 2, NULL, &out);
	bool tried = strstr(buf_cstr(&out), "\"attempts\":1") != NULL;
	buf_end(&out);
	return tried;
}

static void test_kick(void **state)
{
	struct bench b;
	open_with_puts(&b, SCRIPT("S 421 no", "X"));
	for (int i = 0; i < PUTS; i++)
		WAIT_FOR(&b, b.puts[i].answered);
	WAIT_FOR(&b, has_tried(&b));
	kick(&b, "far.example", ERR_OK, 0);
	kick(&b, "@example", ERR_OK, PUTS);
	kick(&b, "@EXAMPLE", ERR_BUSY, 0);
	struct ticket *t = spool_kick(b.link, SPAN("a.example"), 10000, on_kicked, NULL);
	unsigned before = kicked.answers;
	ticket_cancel(&t);
	kick(&b, "b.example", ERR_OK, 0);
	assert_int_equal(kicked.answers, before + 1);
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_link_breaks),
		cmocka_unit_test(test_put_cancelled),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_kick),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
