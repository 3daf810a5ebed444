/* test_queue_down.c - a destination that complains, and whose mail waits for that: not that of others behind one message
 * that it does not want. */
#include "tests/unit/edge/queue_bench.h"

#define COMPLAINT "S 451 4.3.0 come again"

/* Nothing is tried again by itself but what a probe lets go. */
static void open_patient(struct bench *b, const char *const *script)
{
	open_late(b, script);
	b->edge->dead_backoff = LATE_MS;
	queue_again(b);
}

#define ANY "C MAIL", "C RCPT", "C DATA"

/* Four messages, before the first has its answer; which is tried when is the queue's own business. */
static const char *const senders[] = { "s0@far.example", "s1@far.example", "s2@far.example",
	"s3@far.example" };

static void put_four(struct bench *b)
{
	for (size_t i = 0; i < COUNT_OF(senders); i++)
		(void)put(b, ident_new(), senders[i], TO(to("alice@x.example")));
	WAIT_FOR(b, b->puts[3].answered);
}

/* One message alone: its store is left in peace, but the next one asks at once; then both are tried. */
static void test_new_mail_asks(void **state)
{
	struct bench b;
	open_patient(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, COMPLAINT, MAIL("", "bob"), GO, DONE,
			     MAIL("", "alice"), GO, DONE));
	put_and_wait(&b, "", TO(to("alice@x.example")));
	WAIT_FOR(&b, seen(&b, "}") == 1);
	put_and_wait(&b, "", TO(to("bob@x.example")));
	WAIT_FOR(&b, EMPTY(&b));
	assert_int_equal(seen(&b, "}"), 3);
	bench_close(&b);
}

/* A message for two of its users asks with both. */
static void test_new_mail_asks_for_all(void **state)
{
	struct bench b;
	open_patient(&b, SCRIPT(LHLO, MAIL("", "alice"), GO, COMPLAINT, "C MAIL", "C RCPT TO:<bob@",
			     "C RCPT TO:<carol@", "C DATA", "S 250 ok", "S 250 ok", "S 250 ok",
			     "S 354 go", "B", DONE, DONE, MAIL("", "alice"), GO, DONE));
	put_and_wait(&b, "", TO(to("alice@x.example")));
	WAIT_FOR(&b, seen(&b, "}") == 1);
	put_and_wait(&b, "", TO(to("bob@x.example"), to("carol@x.example")));
	WAIT_FOR(&b, EMPTY(&b));
	bench_close(&b);
}

/* It complains of the first of several: the others are not held up. The first has its own time. */
static void test_others_go_on(void **state)
{
	struct bench b;
	open_patient(
	    &b, SCRIPT(LHLO, ANY, GO, COMPLAINT, ANY, GO, COMPLAINT, ANY, GO, DONE, ANY, GO, DONE));
	put_four(&b);
	WAIT_FOR(&b, queue_recipients(b.queue) == 2);
	assert_int_equal(seen(&b, "}"), 4);
	for (size_t i = 0; i < COUNT_OF(senders); i++)
		assert_int_equal(seen(&b, senders[i]), 1);
	bench_close(&b);
}

/* Three in a row are believed. After its peace it is asked with the one that has not been tried. */
static void test_complaints_are_believed(void **state)
{
	struct bench b;
	open_patient(&b, SCRIPT(LHLO, ANY, GO, COMPLAINT, ANY, GO, COMPLAINT, ANY, GO, COMPLAINT,
			     ANY, GO, DONE, ANY, GO, DONE));
	put_four(&b);
	WAIT_FOR(&b, seen(&b, "}") == 3);
	for (int i = 0; i < 10; i++)
		loop_step(b.loop, 10);
	assert_int_equal(seen(&b, "}"), 3);
	WAIT_FOR(&b, seen(&b, "}") >= 4);
	for (size_t i = 0; i < COUNT_OF(senders); i++)
		assert_true(seen(&b, senders[i]) > 0);
	WAIT_FOR(&b, queue_recipients(b.queue) == 2); /* the third was held until then */
	assert_int_equal(seen(&b, "}"), 5);
	bench_close(&b);
}

/* A host of others: each message has its own times, and nobody waits for another. */
static void test_far_complaints(void **state)
{
	struct sockaddr_in a;
	socklen_t n = sizeof a;
	struct ip_port at;
	struct bench b;
	struct fake_peer far;
	static const char *const script[] = { "S 220 hi", "C EHLO edge.example", "S 250 x",
		"C MAIL", "S 250 ok", "C RCPT TO:<a@", COMPLAINT, "C RSET", "S 250 ok", "C MAIL",
		"S 250 ok", "C RCPT TO:<b@", "S 250 ok", "C DATA", "S 354 go", "B", "S 250 done",
		NULL };
	open_patient(&b, SCRIPT(LHLO));
	assert_true(ip_parse_port(SPAN("127.0.0.1:0"), &at));
	fake_start_tcp(&far, b.loop, script, at);
	assert_int_equal(getsockname(far.fd, (struct sockaddr *)&a, &n), 0);
	b.edge->relay_port = ntohs(a.sin_port);
	queue_again(&b);
	put_and_wait(&b, "", TO(to("a@[127.0.0.1]")));
	WAIT_FOR(&b, fake_saw(&far, "<a@") == 1);
	put_and_wait(&b, "", TO(to("b@[127.0.0.1]")));
	WAIT_FOR(&b, queue_recipients(b.queue) == 1);
	assert_int_equal(fake_saw(&far, "<a@"), 1);
	assert_null(far.wrong);
	fake_end(&far);
	bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_mail_asks),
		cmocka_unit_test(test_new_mail_asks_for_all),
		cmocka_unit_test(test_others_go_on),
		cmocka_unit_test(test_complaints_are_believed),
		cmocka_unit_test(test_far_complaints),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
