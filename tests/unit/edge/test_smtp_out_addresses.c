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
#define TAKES                                                                                      \
	"S 220 hi", "C EHLO", "S 250 x", "C MAIL", "S 250 ok", "C RCPT", "S 250 ok", "C DATA",     \
	    "S 354 go", "B", "S 250 taken"
#define GOOD STEPS(TAKES)

static struct fake_peer first, second;
static struct outcome outcome;
static struct out_result got;
static struct out_session sessions[OUT_ADDRESSES_MAX];
static bool answered;
static struct tls_ctx *client;
static enum out_tls wanted;

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
	assert_true(!r->absent || r->end == OUT_UNREACHED);
	if (r->session_n > 0)
		memcpy(sessions, r->sessions, r->session_n * sizeof *sessions);
	answered = true;
}

static void send_mail(struct out_pool *pool, uint16_t port, bool foreign)
{
	struct out_recipient to = { .address = "a@x.example", .outcome = &outcome };
	struct out_mail mail = { .sender = "s@y.example", .recipients = &to, .recipient_count = 1 };
	struct out_target way = { .kind = OUT_SMTP,
		.host = "two.test",
		.port = port,
		.tls = wanted,
		.foreign = foreign };
	outcome = (struct outcome){ .fate = FATE_OPEN };
	answered = false;
	mail.body = (struct mail_source){ read_body, NULL, strlen("Subject: x\r\n\r\n") };
	out_pool_send(pool, &way, &mail, on_done, NULL);
	WAIT_FOR(answered);
}

/* Both addresses at one port, with a pool that knows nothing yet. */
static void run_both(const char *const *bad, const char *const *then, unsigned mails, bool foreign)
{
	struct out_pool_opts opts = { .helo = "edge.example",
		.per_host_max = 2,
		.connect_ms = 2000,
		.reply_ms = 200,
		.final_ms = 2000,
		.idle_ms = 5000,
		.dead_ms = 1000,
		.tls = { [OUT_TLS_MAY] = client, [OUT_TLS_MUST] = client } };
	struct ip_port at;
	close(door_open_of_three(&at));
	struct out_pool *pool = out_pool_new(loop, dns, &opts);
	fake_start_tcp(&second, loop, then, at);
	assert_true(ip_parse(SPAN("127.0.0.2"), &at.addr));
	fake_start_tcp(&first, loop, bad, at);
	for (unsigned i = 0; i < mails; i++)
		send_mail(pool, at.port, foreign);
	out_pool_free(&pool);
}

static void run_pair(const char *const *bad, bool foreign)
{
	run_both(bad, GOOD, 1, foreign);
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
	run_both(STEPS("S 220 hi"), GOOD, 2, true);
	assert_int_equal(got.end, OUT_UNREACHED);
	assert_true(got.absent && !got.untried); /* the second mail is told the same */
	assert_int_equal(outcome.fate, FATE_LATER);
	assert_int_equal(first.connections + second.connections, 0);
	both_end();
}

static void check_session(size_t i, const char *peer, enum out_tls_fate fate)
{
	char text[IP_TEXT_SIZE];
	assert_true(i < got.session_n);
	assert_string_equal(ip_text(sessions[i].peer, text), peer);
	assert_string_equal(ip_text(sessions[i].local, text), "127.0.0.1");
	assert_int_equal(sessions[i].tls, fate);
}

#define OFFERED "S 220 hi", "C EHLO", "S 250-x", "S 250 STARTTLS", "C STARTTLS"

/* RFC 8460: whoever looks after one of the addresses hears of it, however it went at the others. */
static void test_each_session_is_told(void **state)
{
	wanted = OUT_TLS_MUST;
	client = tls_client_new(&(struct tls_client_opts){ .verify = TLS_VERIFY_NONE }, NULL);
	run_both(STEPS(OFFERED, "S 454 not now", "X"), STEPS(OFFERED, "S 220 go", "R nonsense\r\n"),
	    1, false);
	assert_int_equal(got.end, OUT_UNREACHED);
	assert_int_equal(got.session_n, 2);
	check_session(0, "127.0.0.2", OUT_TLS_NOT_OFFERED);
	check_session(1, "127.0.0.1", OUT_TLS_BROKEN);
	assert_int_equal(got.tls, OUT_TLS_BROKEN);
	both_end();
	/* the way back to plaintext is the same session */
	wanted = OUT_TLS_MAY;
	run_both(STEPS(OFFERED, "S 220 go", "X", "S 220 hi", "C EHLO", "S 421 busy", "X"), GOOD, 1,
	    false);
	assert_int_equal(outcome.fate, FATE_DELIVERED);
	assert_int_equal(got.session_n, 2);
	check_session(0, "127.0.0.2", OUT_TLS_FAILED);
	check_session(1, "127.0.0.1", OUT_TLS_NOT_OFFERED);
	both_end();
	/* nor does a handshake without an end lose the next hop */
	run_both(STEPS(OFFERED, "S 220 go", "W", TAKES), GOOD, 1, false);
	assert_int_equal(outcome.fate, FATE_DELIVERED);
	assert_int_equal(first.connections, 2);
	assert_int_equal(got.session_n, 1);
	check_session(0, "127.0.0.2", OUT_TLS_BROKEN);
	both_end();
	wanted = OUT_TLS_MUST;
	/* that came to nothing before a word on TLS */
	run_both(STEPS("S 421 busy", "X"), STEPS("S 220 hi", "C EHLO", "S 250 x", "X"), 1, false);
	assert_int_equal(got.session_n, 1);
	check_session(0, "127.0.0.1", OUT_TLS_NOT_OFFERED);
	both_end();
	run_both(STEPS("S 220 hi", "C EHLO", "S 250 x", "X"), STEPS("S 421 busy", "X"), 1, false);
	assert_int_equal(got.session_n, 1);
	check_session(0, "127.0.0.2", OUT_TLS_NOT_OFFERED);
	both_end();
	tls_ctx_unref(&client);
	wanted = OUT_TLS_NONE;
}

/* A connection that is kept for the next mail is no other session. */
static void test_a_session_is_told_once(void **state)
{
	wanted = OUT_TLS_MAY;
	run_both(STEPS("S 421 busy", "X"),
	    STEPS("S 220 hi", "C EHLO", "S 250 x", "C MAIL", "S 451 not now", "C RSET", "S 250 ok",
		"C MAIL", "S 451 not now"),
	    2, false);
	assert_int_equal(got.end, OUT_ANSWERED);
	assert_int_equal(second.connections, 1);
	assert_int_equal(got.session_n, 0);
	both_end();
	/* a server without extensions */
	run_both(STEPS("S 220 hi", "C EHLO", "S 502 what?", "C HELO", "S 250 x", "C MAIL", "X"),
	    GOOD, 1, false);
	assert_int_equal(got.end, OUT_BROKEN);
	assert_string_equal(outcome.enhanced, "4.4.2"); /* not for want of TLS */
	assert_int_equal(got.session_n, 1);
	check_session(0, "127.0.0.2", OUT_TLS_NOT_OFFERED);
	both_end();
	wanted = OUT_TLS_NONE;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_no_session_at_the_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_answer_is_an_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_to_this_host, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_session_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_session_is_told_once, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
