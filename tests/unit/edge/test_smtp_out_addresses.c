/* test_smtp_out_addresses.c - a mail server with two addresses, one of which is of no use. */
#include "tests/unit/net/asked_ns.h"

#include "edge/out_pool.h"
#include "edge/outcome.h"
#include "net/dns.h"
#include "tests/unit/edge/fake_peer.h"

#define STEPS(...)                                                                                 \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}
#define GOOD                                                                                       \
	STEPS("S 220 hi", "C EHLO", "S 250 x", "C MAIL", "S 250 ok", "C RCPT", "S 250 ok",         \
	    "C DATA", "S 354 go", "B", "S 250 taken")

static struct fake_peer first, second;
static struct outcome outcome;
static struct out_result got;
static bool answered;

static void on_question(struct ns_reply *r)
{
	put_addr(r, r->name, 60, "127.0.0.2");
	put_addr(r, r->name, 60, "127.0.0.1");
}

static struct span read_body(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	return span_first(span_from(SPAN("Subject: x\r\n\r\n"), (size_t)at), n);
}

static void on_done(void *arg, const struct out_result *r)
{
	got = *r;
	answered = true;
}

static void send_mail(struct out_pool *pool, uint16_t port, bool foreign)
{
	struct out_recipient to = { .address = "a@x.example", .outcome = &outcome };
	struct out_mail mail = { .sender = "s@y.example", .recipients = &to, .recipient_count = 1 };
	struct out_target way = {
		.kind = OUT_SMTP, .host = "two.test", .port = port, .foreign = foreign
	};
	outcome = (struct outcome){ .fate = FATE_OPEN };
	answered = false;
	mail.body = (struct mail_source){ read_body, NULL, strlen("Subject: x\r\n\r\n") };
	out_pool_send(pool, &way, &mail, on_done, NULL);
	WAIT_FOR(answered);
}

/* Both addresses at one port, with a pool that knows nothing yet. */
static void run_pair(const char *const *bad, bool foreign)
{
	static const struct out_pool_opts opts = { .helo = "edge.example",
		.per_host_max = 2,
		.connect_ms = 2000,
		.reply_ms = 200,
		.final_ms = 2000,
		.idle_ms = 5000,
		.dead_ms = 1000 };
	struct ip_port at;
	close(door_open_of_three(&at));
	struct out_pool *pool = out_pool_new(loop, dns, &opts);
	fake_start_tcp(&second, loop, GOOD, at);
	assert_true(ip_parse(SPAN("127.0.0.2"), &at.addr));
	fake_start_tcp(&first, loop, bad, at);
	send_mail(pool, at.port, foreign);
	out_pool_free(&pool);
}

static void both_end(void)
{
	fake_end(&first);
	fake_end(&second);
	run_rounds(3);
}

/* RFC 5321 section 5.1: the other address gets the mail when nothing of it was said at the first. */
static void test_no_session_at_the_first(void **state)
{
	static const char *const bad[][6] = {
		{ "S 554 not from there", "X", NULL },
		{ "S 421 busy", "X", NULL },
		{ "X", NULL },
		{ "R nonsense\r\n", "X", NULL },
		{ "H", NULL },
		{ "S 220 hi", "C EHLO", "S 421 busy", "X", NULL },
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		run_pair(bad[i], false);
		if (outcome.fate != FATE_DELIVERED)
			fail_msg("%zu: %s", i, outcome.text);
		assert_int_equal(first.connections, 1);
		assert_int_equal(second.connections, 1);
		both_end();
	}
}

/* What it says of the mail holds, whatever another address would say. */
static void test_an_answer_is_an_answer(void **state)
{
	run_pair(STEPS("S 220 hi", "C EHLO", "S 250 x", "C MAIL", "S 451 not now", "C RSET", "X"),
	    false);
	assert_int_equal(outcome.fate, FATE_LATER);
	assert_int_equal(second.connections, 0);
	both_end();
}

/* Neither is it asked where a stranger's name leads to this host. */
static void test_not_to_this_host(void **state)
{
	run_pair(STEPS("S 220 hi"), true);
	assert_int_equal(got.end, OUT_UNREACHED);
	assert_int_equal(outcome.fate, FATE_LATER);
	assert_int_equal(first.connections + second.connections, 0);
	both_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_no_session_at_the_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_answer_is_an_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_to_this_host, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
