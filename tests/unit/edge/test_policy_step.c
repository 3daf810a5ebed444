/* test_policy_step.c - SMTP sessions whose mail policy services are asked about: honest, dying and lying ones. */
#define BENCH_EDGE                                                                                 \
	"	listener asked { address 127.0.0.1:28; role mx; tls none; }\n"                           \
	"	listener kind { address 127.0.0.1:29; role mx; tls none; }\n"                            \
	"	listener every { address 127.0.0.1:30; role mx; tls none; }\n"                           \
	"	listener few { address 127.0.0.1:31; role mx; tls none; relay_from "                     \
	"198.51.100.0/24; }\n"                                                                     \
	"	policy one { address $/none.sock, $/one.sock; listeners asked; context \"of "            \
	"one\";\n"                                                                                 \
	"		timeout 200ms; dead_time 0s; }\n"                                                       \
	"	policy soft { address $/one.sock; listeners kind; on_failure accept;\n"                  \
	"		timeout 100ms; dead_time 0s; }\n"                                                       \
	"	policy all { address $/one.sock; listeners every; at mail, rcpt, data, end;\n"           \
	"		on_failure reject; timeout 100ms; dead_time 0s; }\n"                                    \
	"	policy few { address $/one.sock; listeners few; recipient_domains "                      \
	"other.example;\n"                                                                         \
	"		connections 1; dead_time 0s; }\n"
#include "tests/unit/edge/session_bench.h"

enum { CONNECTIONS = 8, REPLIES = 8 };

/* A policy service in the test's own loop. */
static struct {
	struct listener *listener;
	int fd;
	char path[128];
	struct stream *io[CONNECTIONS];
	unsigned connections;
	struct buf seen;           /* requests */
	const char *says[REPLIES]; /* the answers, in order; then DUNNO */
	size_t said;
	bool hangs, closes;
} fake;

static void fake_answers(struct stream **io)
{
	const char *words = fake.said < REPLIES ? fake.says[fake.said] : NULL;
	fake.said++;
	if (fake.closes)
		stream_free(io);
	else if (!fake.hangs)
		stream_write_span(*io, span_str(words != NULL ? words : "action=DUNNO\n\n"));
}

static void on_fake(void *arg, enum stream_event ev)
{
	struct stream **io = arg;
	struct span in = stream_input(*io);
	if (in.n >= 2 && in.p[in.n - 1] == '\n' && in.p[in.n - 2] == '\n') {
		buf_add_span(&fake.seen, in);
		stream_eat(*io, in.n);
		fake_answers(io);
	}
	if (*io != NULL && (ev == STREAM_EOF || ev == STREAM_FAILED))
		stream_free(io);
}

static void on_fake_accept(void *arg, const struct accepted *a)
{
	size_t i = 0;
	while (i < CONNECTIONS - 1 && fake.io[i] != NULL)
		i++;
	fake.connections++;
	fake.io[i] =
	    stream_new(loop, a->fd, (struct stream_limits){ 65536, 65536 }, on_fake, &fake.io[i]);
}

static int begin(void **state)
{
	memset(&given, 0, sizeof given);
	given.code = 250;
	memset(&fake, 0, sizeof fake);
	fake.seen = BUF_INIT(1 << 20);
	snprintf(fake.path, sizeof fake.path, "%s/one.sock", dir);
	fake.fd = listen_open_unix(fake.path, 0600);
	assert_true(fake.fd >= 0);
	fake.listener = listener_new(
	    loop, fake.fd, &(struct listener_opts){ .proxy_ms = 1000 }, on_fake_accept, NULL);
	return 0;
}

static int end(void **state)
{
	for (size_t i = 0; i < CONNECTIONS; i++)
		if (fake.io[i] != NULL)
			stream_free(&fake.io[i]);
	listener_free(&fake.listener);
	close(fake.fd);
	unlink(fake.path);
	buf_end(&fake.seen);
	for (int i = 0; i < 3; i++)
		loop_step(loop, 0);
	return 0;
}

static bool saw(const char *words)
{
	return strstr(buf_cstr(&fake.seen), words) != NULL;
}

static void check_once(const char *listener, const char *script, const char *want)
{
	struct talk t = talk_whole(listener, "192.0.2.1", span_str(script), SIZE_MAX);
	if (strcmp(codes(&t), want) != 0)
		print_error("%.*s\n", SPAN_ARG(buf_span(&t.heard)));
	assert_string_equal(codes(&t), want);
	talk_close(&t);
}

#define SEND ALICE "DATA\r\n" TEXT ".\r\n"
#define TAKEN "220 250 250 250 354 250 221"
#define SAY(n, words) fake.says[n] = "action=" words "\n\n"

static void test_the_question(void **state)
{
	check_once("asked", SEND "MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\n" QUIT,
	    "220 250 250 250 354 250 250 250 221");
	assert_true(saw("request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n"
			"client_address=192.0.2.1\n"));
	assert_true(saw("\nhelo_name=c.example\n"));
	assert_true(saw("\nsender=s@far.example\nrecipient=alice@example.org\n"));
	assert_true(saw("\nsender=\nrecipient=bob@example.org\n"));
	assert_true(saw("\nccert_subject=\nccert_issuer=\nccert_fingerprint=\n"
			"ccert_pubkey_fingerprint=\n"));
	assert_true(saw("\nstress=\npolicy_context=of one\n\n"));
	assert_false(saw("\nstress=yes\n"));
	assert_int_equal(fake.connections, 1); /* kept for the next question */
	assert_int_equal(given.calls, 1);
}

/* Services are told when the worker is short of memory, as Postfix tells that it is overloaded. */
static void test_the_question_under_stress(void **state)
{
	enum { BALLAST = 4 * 1024 * 1024 };
	struct edge_conf *c = (struct edge_conf *)(uintptr_t)edge->setup->edge;
	uint64_t usual = c->memory_max;
	void *ballast = mem_alloc(BALLAST);
	c->memory_max = mem_in_use() - edge->memory_start + BALLAST / 16;
	check_once("asked", SEND QUIT, TAKEN);
	assert_true(saw("\nstress=yes\n"));
	c->memory_max = usual;
	mem_free(ballast);
}

static void test_words_at_rcpt(void **state)
{
	static const struct {
		const char *action, *want;
	} cases[] = {
		{ "DUNNO", "250 354 250 221" },
		{ "OK", "250 354 250 221" },
		{ "REJECT 5.7.9 not today", "554 554 503 221" },
		{ "DEFER", "450 554 503 221" },
		{ "451 4.7.1 later", "451 554 503 221" },
		{ "DEFER_IF_PERMIT Greylisted", "450 554 503 221" },
		{ "421 4.7.0 go", "421" },
		{ "DISCARD", "250 354 250 221" },
		{ "HOLD", "250 354 250 221" },
		{ "NONSENSE", "451 554 503 221" },
		{ "PREPEND nothing", "451 554 503 221" },
		{ "REDIRECT nowhere", "451 554 503 221" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char want[100], words[100];
		bool sent = strstr(cases[i].want, "354") != NULL;
		snprintf(want, sizeof want, "220 250 250 %s", cases[i].want);
		snprintf(words, sizeof words, "action=%s\n\n", cases[i].action);
		fake.said = 0;
		fake.says[0] = words;
		check_once("asked",
		    sent ? SEND QUIT
			 : MAIL "RCPT TO:<alice@example.org>\r\nDATA\r\nBDAT 0 LAST\r\n" QUIT,
		    want);
	}
	assert_int_equal(given.calls, 3); /* DUNNO, OK and HOLD */
	assert_true(given.hold);
}

static void test_what_is_done_to_a_mail(void **state)
{
	SAY(0, "PREPEND X-Policy: one");
	check_once("asked", SEND QUIT, TAKEN);
	assert_non_null(strstr(given.head, "\r\nX-Policy: one\r\nSubject: x\r\n"));
	assert_true(span_starts(span_str(given.head), SPAN("Received:")));
	fake.said = 0;
	SAY(0, "REDIRECT bob@example.org");
	check_once("asked", SEND QUIT, TAKEN);
	assert_string_equal(given.first, "bob@example.org");
	assert_int_equal(given.recipients, 1);
	fake.said = 0;
	SAY(0, "BCC bob@example.org");
	check_once("asked", SEND QUIT, TAKEN);
	assert_string_equal(given.first, "alice@example.org");
	assert_int_equal(given.recipients, 2);
	fake.said = 0;
	SAY(0, "REDIRECT nobody@example.org");
	check_once("asked", SEND QUIT, "220 250 250 250 354 451 221");
}

static void test_every_moment(void **state)
{
	static const char *const wants[] = { "220 250 554 221", "220 250 250 554 221",
		"220 250 250 250 554 221", "220 250 250 250 354 554 221" };
	static const char *const scripts[] = { MAIL QUIT, ALICE QUIT, ALICE "DATA\r\n" QUIT,
		SEND QUIT };
	for (size_t i = 0; i < COUNT_OF(wants); i++) {
		memset(fake.says, 0, sizeof fake.says);
		fake.said = 0;
		fake.says[i] = "action=REJECT\n\n";
		check_once("every", scripts[i], wants[i]);
	}
	memset(fake.says, 0, sizeof fake.says);
	check_once("every", ALICE "BDAT 21 LAST\r\n" TEXT QUIT, "220 250 250 250 250 221");
	assert_true(saw("protocol_state=END-OF-MESSAGE\n"));
	assert_true(saw("\nrecipient_count=1\nsize=21\n"));
	fake.said = 0;
	fake.says[2] = "action=REJECT\n\n";
	check_once("every", ALICE "BDAT 4\r\na\r\n\nBDAT 4 LAST\r\nQUIT" QUIT,
	    "220 250 250 250 554 503 221");
	fake.said = 0;
	fake.says[2] = NULL;
	SAY(0, "DEFER_IF_PERMIT");
	check_once("every",
	    MAIL "RCPT TO:<alice@example.org>\r\nRCPT TO:<none@example.org>\r\n" QUIT,
	    "220 250 250 450 550 221");
	fake.said = 0;
	SAY(0, "DEFER_IF_REJECT");
	check_once("every",
	    MAIL "RCPT TO:<alice@example.org>\r\nRCPT TO:<none@example.org>\r\n" QUIT,
	    "220 250 250 250 450 221");
}

static void test_failures(void **state)
{
	static const char *const lies[] = { "HTTP/1.1 400 Bad Request\r\n\r\n", "\n", "a=b\n\n",
		"action\n\n" };
	fake.closes = true;
	check_once("asked", ALICE QUIT, "220 250 250 451 221");
	check_once("kind", ALICE QUIT, "220 250 250 250 221");
	check_once("every", MAIL QUIT, "220 250 554 221");
	fake.closes = false;
	fake.hangs = true;
	check_once("asked", ALICE QUIT, "220 250 250 451 221");
	check_once("kind", ALICE QUIT, "220 250 250 250 221");
	fake.hangs = false;
	for (size_t i = 0; i < COUNT_OF(lies); i++) {
		fake.said = 0;
		fake.says[0] = lies[i];
		check_once("asked", ALICE QUIT, "220 250 250 451 221");
	}
	fake.said = 0;
	fake.says[0] = NULL;
	check_once("asked", ALICE QUIT, "220 250 250 250 221");
}

/* A kept connection that the service has closed costs nobody an answer. */
static void test_a_stale_connection(void **state)
{
	struct talk t = talk_open("asked", "192.0.2.1");
	talk_until(&t, "220");
	talk_send(&t, SPAN(ALICE), SIZE_MAX);
	talk_until(&t, "recipient ok");
	stream_free(&fake.io[0]);
	talk_send(&t, SPAN("RCPT TO:<bob@example.org>\r\n" QUIT), SIZE_MAX);
	talk_until(&t, NULL);
	assert_string_equal(codes(&t), "220 250 250 250 250 221");
	assert_int_equal(fake.connections, 2);
	talk_close(&t);
}

static void wait_asked(void)
{
	uint64_t until = clock_mono_ms() + TALK_MS;
	while (buf_len(&fake.seen) == 0) {
		loop_step(loop, 5);
		assert_true(clock_mono_ms() < until);
	}
}

/* Two questions and one connection: the second waits for the first. */
static void test_few_connections(void **state)
{
	struct talk t[2] = { talk_open("few", "198.51.100.1"), talk_open("few", "198.51.100.2") };
	fake.hangs = true;
	for (size_t i = 0; i < 2; i++) {
		talk_until(&t[i], "220");
		talk_send(&t[i], SPAN(ALICE), SIZE_MAX);
		talk_until(&t[i], "recipient ok");
		assert_int_equal(fake.connections, 0); /* alice has not opted in */
	}
	for (size_t i = 0; i < 2; i++)
		talk_send(&t[i], SPAN("RCPT TO:<x@other.example>\r\n" QUIT), SIZE_MAX);
	wait_asked();
	fake.hangs = false;
	stream_write_span(fake.io[0], SPAN("action=REJECT\n\n"));
	for (size_t i = 0; i < 2; i++) {
		talk_until(&t[i], NULL);
		assert_string_equal(
		    codes(&t[i]), i == 0 ? "220 250 250 250 554 221" : "220 250 250 250 250 221");
		close(t[i].fd);
		buf_end(&t[i].heard);
	}
	assert_int_equal(fake.connections, 1);
}

static void test_client_goes_meanwhile(void **state)
{
	fake.hangs = true;
	struct talk t = talk_open("every", "192.0.2.1");
	talk_until(&t, "220");
	talk_send(&t, SPAN(MAIL), SIZE_MAX);
	wait_asked();
	edge_again();
	close(t.fd);
	buf_end(&t.heard);
	assert_int_equal(given.calls, 0);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(test_the_question),
		TEST(test_the_question_under_stress),
		TEST(test_words_at_rcpt),
		TEST(test_what_is_done_to_a_mail),
		TEST(test_every_moment),
		TEST(test_failures),
		TEST(test_a_stale_connection),
		TEST(test_few_connections),
		TEST(test_client_goes_meanwhile),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
