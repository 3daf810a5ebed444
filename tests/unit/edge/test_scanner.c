/* test_scanner.c - SMTP sessions whose mail is scanned by something that answers as spamd or clamd do, or does not. */
#define BENCH_EDGE                                                                                 \
	"	listener check { address 127.0.0.1:28; role mx; tls none; }\n"                           \
	"	listener tag { address 127.0.0.1:29; role mx; tls none; }\n"                             \
	"	listener whole { address 127.0.0.1:30; role mx; tls none; }\n"                           \
	"	listener virus { address 127.0.0.1:31; role mx; tls none; }\n"                           \
	"	listener soft { address 127.0.0.1:32; role mx; tls none; }\n"                            \
	"	listener some { address 127.0.0.1:33; role mx; tls none; }\n"                            \
	"	scanner a { type spamd; address $/none.sock, $/scan.sock; listeners check;\n"            \
	"		dead_time 0s; timeout 200ms; }\n"                                                       \
	"	scanner b { type spamd; address $/scan.sock; listeners tag; command symbols;\n"          \
	"		on_hit tag; refuse_score 10; dead_time 0s; timeout 200ms; }\n"                          \
	"	scanner c { type spamd; address $/scan.sock; listeners whole; command process;\n"        \
	"		on_hit tag; on_failure accept; dead_time 0s; timeout 200ms; }\n"                        \
	"	scanner d { type clamd; address $/scan.sock; listeners virus; dead_time 0s;\n"           \
	"		timeout 200ms; on_failure reject; }\n"                                                  \
	"	scanner e { type clamd; address $/scan.sock; listeners soft; on_hit discard;\n"          \
	"		on_failure accept; dead_time 0s; timeout 200ms; }\n"                                    \
	"	scanner f { type clamd; address $/scan.sock; listeners some; dead_time 0s;\n"            \
	"		recipient_domains other.example; }\n"                                                   \
	"	listener mixed { address 127.0.0.1:34; role mx; tls none; }\n"                           \
	"	scanner g { type clamd; address $/scan.sock; listeners mixed; dead_time 0s;\n"           \
	"		timeout 200ms; on_hit folder; folder Found; }\n"                                        \
	"	listener wants { address 127.0.0.1:35; role mx; tls none; }\n"                           \
	"	scanner h { type clamd; address $/scan.sock; listeners wants; dead_time 0s;\n"           \
	"		timeout 200ms; on_failure reject; recipient_domains alice@example.org; "                \
	"}\n"                                                                                      \
	"	listener far { address 127.0.0.1:36; role mx; tls none; }\n"                             \
	"	scanner i { type spamd; address $/scan.sock; listeners far; dead_time 0s;\n"             \
	"		timeout 200ms; on_hit tag; refuse_score 10; recipient_domains "                         \
	"alice@example.org; }\n"                                                                   \
	"	listener word { address 127.0.0.1:37; role mx; tls none; }\n"                            \
	"	scanner j { type clamd; address $/scan.sock; listeners word; dead_time 0s;\n"            \
	"		timeout 200ms; size_max 2k; wanted_by virus, other; }\n"                                \
	"	listener twice { address 127.0.0.1:38; role mx; tls none; }\n"                           \
	"	scanner k { type clamd; address $/none.sock, $/scan.sock; listeners twice;\n"            \
	"		timeout 200ms; dead_time 1m; }\n"                                                       \
	"	verdict strict { filters g, f; recipient alice@example.org; action refuse; }\n"          \
	"	verdict none { filters f; recipient example.org; action discard; }\n"                    \
	"	verdict deaf { recipient alice.alias@example.org, .none.example; action discard; "       \
	"}\n"
#include "tests/unit/edge/session_bench.h"

#include "edge/edge_tables.h"
#include "edge/verdict.h"

/* ---- the scanner ------------------------------------------------------------------------------------ */

static struct {
	struct listener *listener;
	int fd;
	char path[128];
	struct stream *io;
	struct buf seen;
	const char *reply; /* NULL: it hangs; "": it closes */
	size_t reply_n;
	unsigned connections;
} scan;

/* Of clamd the empty piece, of spamd as many bytes as were announced. */
static bool is_whole(struct span in)
{
	if (span_starts(in, SPAN("zINSTREAM")))
		return in.n > 14 && memcmp(in.p + in.n - 4, "\0\0\0\0", 4) == 0;
	size_t head = span_find_span(in, SPAN("\r\n\r\n")), at = span_find(in, ':');
	uint64_t length = 0;
	if (head == SIZE_MAX || at == SIZE_MAX)
		return false;
	struct span value = span_trim(span_from(span_first(in, head), at + 1));
	assert_true(span_u64(value, 1 << 20, &length));
	return in.n == head + 4 + length;
}

static void on_scan(void *arg, enum stream_event ev)
{
	struct span in = stream_input(scan.io);
	buf_add_span(&scan.seen, in);
	stream_eat(scan.io, in.n);
	if (ev == STREAM_EOF || ev == STREAM_FAILED) {
		stream_free(&scan.io);
		return;
	}
	if (!is_whole(buf_span(&scan.seen)) || scan.reply == NULL)
		return;
	stream_write(scan.io, scan.reply, scan.reply_n);
	stream_close(&scan.io, 1000);
}

static void on_scan_accept(void *arg, const struct accepted *a)
{
	scan.connections++;
	buf_clear(&scan.seen);
	if (scan.io != NULL)
		stream_free(&scan.io);
	scan.io =
	    stream_new(loop, a->fd, (struct stream_limits){ 1 << 20, 1 << 20 }, on_scan, NULL);
}

static int begin(void **state)
{
	memset(&given, 0, sizeof given);
	memset(&scan, 0, sizeof scan);
	given.code = 250;
	scan.seen = BUF_INIT(1 << 20);
	snprintf(scan.path, sizeof scan.path, "%s/scan.sock", dir);
	scan.fd = listen_open_unix(scan.path, 0600);
	assert_true(scan.fd >= 0);
	scan.listener = listener_new(
	    loop, scan.fd, &(struct listener_opts){ .proxy_ms = 1000 }, on_scan_accept, NULL);
	return 0;
}

static int end(void **state)
{
	if (scan.io != NULL)
		stream_free(&scan.io);
	listener_free(&scan.listener);
	close(scan.fd);
	unlink(scan.path);
	buf_end(&scan.seen);
	return 0;
}

static void check_once(const char *listener, const char *script)
{
	struct talk t = talk_whole(listener, "192.0.2.1", span_str(script), SIZE_MAX);
	assert_string_equal(codes(&t), "220 250 250 250 354 250 221");
	talk_close(&t);
}

static void answers(struct span reply)
{
	scan.reply = reply.p;
	scan.reply_n = reply.n;
}

/* ---- tests ------------------------------------------------------------------------------------------ */

#define MESSAGE "Subject: x\r\nX-Spam-Status: No, forged\r\nX-Virus-Status: Clean\r\n\r\nhello\r\n"
#define SEND ALICE "DATA\r\n" MESSAGE ".\r\n"
#define WANT(code) "220 250 250 250 354 " code " 221"
#define SPAMD "SPAMD/1.1 0 EX_OK\r\n"
#define HAM SPAMD "Spam: False ; -1.5 / 5.0\r\n\r\n"
#define SPAM SPAMD "Spam: True ; 7.5 / 5.0\r\n\r\n"
#define FAR SPAMD "Spam: True ; 10 / 5.0\r\n\r\n"

static void test_check(void **state)
{
	answers(SPAN(HAM));
	check("check", SEND QUIT, WANT("250"));
	assert_true(span_starts(buf_span(&scan.seen), SPAN("CHECK SPAMC/1.5\r\nContent-length: ")));
	assert_int_not_equal(
	    span_find_span(buf_span(&scan.seen), SPAN("\r\n\r\nReceived: from c.example")),
	    SIZE_MAX);
	assert_true(span_iends(buf_span(&scan.seen), SPAN("\r\n\r\nhello\r\n")));
	assert_non_null(strstr(given.head,
	    "\r\nSubject: x\r\nX-Virus-Status: Clean\r\nX-Spam-Status: No, score=-1.5 "
	    "required=5.0\r\n\r\nhello\r\n"));
	answers(SPAN(SPAM));
	given.calls = 0;
	check("check", SEND QUIT, WANT("550"));
	assert_int_equal(given.calls, 0);
}

static void test_symbols(void **state)
{
	answers(
	    SPAN(SPAMD "Content-length: 17\r\nSpam: True ; 7.5 / 5.0\r\n\r\nBAYES_99,EVIL\r\n: x"));
	check("tag", SEND QUIT, WANT("250"));
	assert_true(span_starts(buf_span(&scan.seen), SPAN("SYMBOLS ")));
	assert_non_null(
	    strstr(given.head, "\r\nX-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=7.5 required=5.0 "
			       "tests=BAYES_99,\r\n\tEVIL"));
	answers(SPAN(FAR));
	check("tag", SEND QUIT, WANT("550"));
}

static void test_process(void **state)
{
	answers(SPAN(SPAMD "Content-length: 45\r\nSpam: True ; 7 / 5\r\n\r\n"
			   "Subject: SPAM x\nX-Spam: 1\n  2\n\nwrapped\nhello\n"
			   "garbage"));
	check("whole", SEND QUIT, WANT("250"));
	assert_string_equal(
	    given.head, "Subject: SPAM x\r\nX-Spam: 1\r\n  2\r\n\r\nwrapped\r\nhello\r\n");
	/* half an answer changes nothing */
	answers(SPAN(SPAMD "Content-length: 4500\r\nSpam: True ; 7 / 5\r\n\r\nSubject: y\n\nhalf"));
	check("whole", SEND QUIT, WANT("250"));
	assert_non_null(strstr(given.head, "\r\n" MESSAGE));
	answers(SPAN(SPAMD "Content-length: 17\r\nSpam: True ; 7 / 5\r\n\r\nno header section"));
	check("whole", SEND QUIT, WANT("250"));
	assert_non_null(strstr(given.head, "\r\n" MESSAGE));
	answers(SPAN(SPAMD "Content-length: 2\r\nSpam: True ; 7 / 5\r\n\r\n\r\n"));
	check("whole", SEND QUIT, WANT("250"));
	assert_non_null(strstr(given.head, "\r\n" MESSAGE));
}

static void test_clamd(void **state)
{
	answers(SPAN("stream: OK\0"));
	check("virus", SEND QUIT, WANT("250"));
	assert_non_null(strstr(
	    given.head, "\r\nX-Spam-Status: No, forged\r\nX-Virus-Status: Clean\r\n\r\nhello"));
	answers(SPAN("stream: Eicar-Test FOUND\0"));
	given.calls = 0;
	check("virus", SEND QUIT, WANT("550"));
	check("soft", SEND QUIT, WANT("250"));
	assert_int_equal(given.calls, 0);
	scan.connections = 0;
	check("some", SEND QUIT, WANT("250"));
	assert_int_equal(scan.connections, 0);
	assert_int_equal(given.calls, 2);
}

#define TO(user) "RCPT TO:<" user "@example.org>\r\n"
#define TEXT_OF "DATA\r\n" MESSAGE ".\r\n" QUIT

/* Each recipient's own word counts; alice wants it refused, bob finds it in a folder. */
static void test_verdicts_of_recipients(void **state)
{
	answers(SPAN("stream: Eicar-Test FOUND\0"));
	given.code = 250;
	given.calls = 0;
	check("mixed", MAIL TO("alice") TEXT_OF, WANT("550"));
	assert_int_equal(given.calls, 0);
	check("mixed", MAIL TO("bob") TEXT_OF, WANT("250"));
	assert_string_equal(given.detail, "Found");
	assert_int_equal(given.fate, FATE_OPEN);
	assert_non_null(strstr(given.head, "X-Virus-Status: Infected"));
	check("mixed", MAIL TO("alice") TO("bob") TEXT_OF, "220 250 250 250 250 354 250 221");
	assert_int_equal(given.recipients, 2);
	assert_int_equal(given.fate, FATE_REFUSED);
	check("mixed", MAIL TO("bob+x") TEXT_OF, WANT("250"));
	assert_string_equal(given.detail, "Found");
	given.calls = 0;
	check("mixed", MAIL TO("alice.alias") TEXT_OF, WANT("250"));
	assert_int_equal(given.calls, 0); /* thrown away */
	check("mixed", MAIL TO("alice.alias") TO("bob") TEXT_OF, "220 250 250 250 250 354 250 221");
	assert_int_equal(given.recipients, 1);
	assert_string_equal(given.user, "bob@example.org");
	answers(SPAN("stream: OK\0"));
	check("mixed", MAIL TO("alice") TEXT_OF, WANT("250"));
	assert_string_equal(given.detail, "-");
}

/* What is found is held against those who want the scanner, whatever is done about it. */
static void test_wanted_by_some(void **state)
{
	static const struct {
		const char *listener;
		struct span said;
	} cases[] = {
		{ "wants", SPAN("stream: Eicar-Test FOUND\0") },
		{ "wants", SPAN("nonsense\0") }, /* on_failure */
		{ "far", SPAN(FAR) },
	};
	given.code = 250;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		answers(cases[i].said);
		given.calls = 0;
		check(cases[i].listener, MAIL TO("alice+x") TEXT_OF,
		    i == 1 ? WANT("554") : WANT("550"));
		assert_int_equal(given.calls, 0);
		check(cases[i].listener, MAIL TO("alice") TO("bob") TEXT_OF,
		    "220 250 250 250 250 354 250 221");
		assert_int_equal(given.recipients, 2);
		assert_string_equal(given.user, "alice@example.org");
		assert_int_equal(given.fate, FATE_REFUSED);
		scan.connections = 0;
		check(cases[i].listener, MAIL TO("bob") TEXT_OF, WANT("250"));
		assert_int_equal(scan.connections, 0);
		assert_int_equal(given.fate, FATE_OPEN);
	}
}

/* bob's entry says that he wants it. */
static void test_wanted_by_entry(void **state)
{
	struct recipient member = { .filters = "spam virus" };
	struct recipient group = {
		.address = "team@example.org", .members = &member, .member_count = 1
	};
	const char *words[] = { "VIRUS" };
	const struct conf_strings none = { 0 }, one = { .v = words, .n = 1 };
	assert_true(filter_wanted_by(&(struct filter_wish){ &none, &one }, &group));
	assert_true(filter_wanted_by(&(struct filter_wish){ &none, &none }, &group));
	member.filters = "viruses";
	assert_false(filter_wanted_by(&(struct filter_wish){ &none, &one }, &group));
	given.code = 250;
	answers(SPAN("stream: Eicar-Test FOUND\0"));
	given.calls = 0;
	check("word", MAIL TO("bob.alias") TEXT_OF, WANT("550"));
	assert_int_equal(given.calls, 0);
	check("word", MAIL TO("bob") TO("alice") TEXT_OF, "220 250 250 250 250 354 250 221");
	assert_int_equal(given.recipients, 2);
	assert_string_equal(given.user, "bob@example.org");
	assert_int_equal(given.fate, FATE_REFUSED);
	scan.connections = 0;
	check("word", MAIL TO("alice") TEXT_OF, WANT("250"));
	assert_int_equal(scan.connections, 0);
}

#define LINE "0123456789012345678901234567890123456789012345678901234567890123456789\r\n"
#define LINES LINE LINE LINE LINE LINE LINE LINE LINE LINE LINE

static void test_large_messages(void **state)
{
	answers(SPAN("stream: Eicar-Test FOUND\0"));
	given.code = 250;
	scan.connections = 0;
	check(
	    "word", MAIL TO("bob") "DATA\r\n" MESSAGE LINES LINES LINES ".\r\n" QUIT, WANT("250"));
	assert_int_equal(scan.connections, 0);
	check("word", MAIL TO("bob") "DATA\r\n" MESSAGE LINES ".\r\n" QUIT, WANT("550"));
}

/* An address that did not answer is left alone for a while. */
static void test_dead_addresses(void **state)
{
	uint64_t before = metric_get(&edge_metrics[EDGE_M_FILTER_FAILURES]);
	answers(SPAN("stream: OK\0"));
	given.code = 250;
	check_once("twice", SEND QUIT);
	check_once("twice", SEND QUIT);
	assert_int_equal(metric_get(&edge_metrics[EDGE_M_FILTER_FAILURES]) - before, 1);
}

/* An alias has no mailbox: its members' is meant. */
static void test_folders_of_members(void **state)
{
	static const struct conf_strings none = { 0 };
	const struct verdict_hit hit = { .filter = "g",
		.action = EDGE_VERDICT_FOLDER,
		.folder = "Found",
		.wanted = { &none, NULL } };
	struct transaction *t = transaction_new(ident_new());
	struct recipient *r =
	    transaction_add(t, 1, SPAN("team@example.org"), SPAN_NONE, SPAN_NONE, SPAN_NONE);
	r->members = mem_array(2, sizeof *r->members);
	r->member_count = 2;
	r->members[0] = (struct recipient){ .address = mem_str("x@far.example") };
	r->members[1] = (struct recipient){ .address = mem_str("bob@example.org"),
		.user = mem_str("bob@example.org"),
		.detail = mem_str("list") };
	assert_int_equal(verdict_apply(edge->setup->edge, t, &hit), VERDICT_ON);
	assert_null(r->detail);
	assert_null(r->members[0].detail);
	assert_string_equal(r->members[1].detail, "Found");
	transaction_free(&t);
}

static void test_failures(void **state)
{
	static const struct span bad[] = {
		{ NULL, 0 },
		{ "", 0 },
		{ "stream: ", 8 },
		{ "SPAMD/1.1 76 Bad\r\n\r\n", 20 },
		{ "INSTREAM size limit exceeded. ERROR", 36 },
		{ "HTTP/1.1 400 Bad Request\r\n\r\n", 28 },
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		answers(bad[i]);
		given.calls = 0;
		check("check", SEND QUIT, WANT("451"));
		check("virus", SEND QUIT, WANT("554"));
		assert_int_equal(given.calls, 0);
		check("soft", SEND QUIT, WANT("250"));
		assert_int_equal(given.calls, 2);
		assert_non_null(strstr(given.head, "\r\n" MESSAGE));
	}
}

static void test_client_goes_meanwhile(void **state)
{
	answers(SPAN_NONE);
	struct talk t = talk_open("soft", "192.0.2.1");
	talk_until(&t, "220");
	talk_send(&t, SPAN(SEND), SIZE_MAX);
	uint64_t until = clock_mono_ms() + TALK_MS;
	while (!is_whole(buf_span(&scan.seen))) {
		loop_step(loop, 5);
		assert_true(clock_mono_ms() < until);
	}
	edge_again();
	talk_close(&t);
	assert_int_equal(given.calls, 0);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(test_check),
		TEST(test_symbols),
		TEST(test_process),
		TEST(test_clamd),
		TEST(test_verdicts_of_recipients),
		TEST(test_wanted_by_some),
		TEST(test_wanted_by_entry),
		TEST(test_folders_of_members),
		TEST(test_large_messages),
		TEST(test_dead_addresses),
		TEST(test_failures),
		TEST(test_client_goes_meanwhile),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
