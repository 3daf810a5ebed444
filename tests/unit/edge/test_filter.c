/* test_filter.c - SMTP sessions whose mail goes through filters: honest, slow, dying and lying ones. */
#define BENCH_EDGE                                                                                 \
	"	listener filtered { address 127.0.0.1:28; role mx; tls none; }\n"                        \
	"	listener kind { address 127.0.0.1:29; role mx; tls none; }\n"                            \
	"	listener harsh { address 127.0.0.1:30; role mx; tls none; }\n"                           \
	"	milter one { address $/none.sock, $/one.sock; listeners filtered;\n"                     \
	"		command_timeout 100ms; content_timeout 200ms; message_timeout 800ms;\n"                 \
	"		dead_time 0s; on_quarantine tag; }\n"                                                   \
	"	milter two { address $/two.sock; listeners filtered; dead_time 0s; on_quarantine "       \
	"refuse; }\n"                                                                              \
	"	milter soft { address $/one.sock; listeners kind; on_failure accept;\n"                  \
	"		command_timeout 100ms; content_timeout 200ms; dead_time 0s; }\n"                        \
	"	milter hard { address $/one.sock; listeners harsh; on_failure reject;\n"                 \
	"		command_timeout 100ms; content_timeout 200ms; dead_time 0s; }\n"
#include "tests/unit/edge/two_milters.h"

static void test_honest_filters(void **state)
{
	check("filtered", SEND QUIT, TAKEN);
	assert_int_equal(given.calls, 2);
	assert_non_null(strstr(given.head, "\r\n" MESSAGE));
	assert_int_equal(one.connections, 2);
	assert_true(saw(&one, "O\n"
			      "DCj|mail.example.org|{daemon_name}|filtered|"));
	assert_true(saw(&one, "C[192.0.2.1]|4\x0f\xa0"
			      "192.0.2.1|\n"));
	assert_true(saw(&one, "Hc.example|\nDMi|"));
	assert_true(saw(&one, "{mail_addr}|s@far.example|{mail_host}|far.example|"));
	assert_true(saw(&one, "M<s@far.example>|\nDR{rcpt_addr}|alice@example.org|"));
	assert_true(saw(&one, "R<alice@example.org>|\nDTi|"));
	assert_true(saw(&one, "T\nLSubject|x|\nLX-A|1|\nLX-A|2\n  folded|\n"));
	assert_true(saw(&one, "N\nBhello\r\n\nDEi|"));
	wait_seen(&one, "E\nQ\n", 2);
	wait_seen(&two, "E\nQ\n", 2);
	assert_false(saw(&one, "Received"));
	assert_false(saw(&one, "A\n"));
}

static void test_a_filter_gets_what_it_wants(void **state)
{
	one.steps = MILTER_NO_CONNECT | MILTER_NO_HELO | MILTER_NO_RCPT | MILTER_NO_BODY |
		    MILTER_NO_EOH | MILTER_NO_DATA | MILTER_LEADING_SPACE | MILTER_NR_HEADER |
		    MILTER_NR_MAIL;
	fake_u32(&one.negotiated, MILTER_M_MAIL);
	buf_add(&one.negotiated, "j, {no_such}\0", 13);
	two.version = 2;
	check_once("filtered", SEND QUIT, TAKEN);
	assert_true(
	    saw(&one, "O\nDMj|mail.example.org|\nM<s@far.example>|\nLSubject| x|\nLX-A| 1|\n"
		      "LX-A| 2\n  folded|\nDEi|"));
	assert_false(saw(&two, "\nT\n")); /* DATA is unknown to version 2 */
}

static void test_one_connection_for_the_session(void **state)
{
	check_once("filtered",
	    SEND "MAIL FROM:<> BODY=BinaryMIME\r\nRSET\r\n"
		 "MAIL FROM:<a@b.example> SIZE=9 BODY=8BITMIME\r\nRCPT "
		 "TO:<bob@example.org>\r\nDATA\r\n" MESSAGE ".\r\n" QUIT,
	    "220 250 250 250 354 250 250 250 250 250 354 250 221");
	assert_int_equal(one.connections, 1);
	assert_int_equal(count(&one, "\nC["), 1);
	assert_true(saw(&one, "M<>|BODY=8BITMIME|\nA\n"));
	assert_true(saw(&one, "M<a@b.example>|SIZE=9|BODY=8BITMIME|\n"));
	/* who says another name is another client to a filter */
	check_once("filtered", SEND "EHLO other.example\r\nMAIL FROM:<>\r\n" QUIT,
	    "220 250 250 250 354 250 250 250 221");
	assert_int_equal(one.connections, 3);
	assert_true(saw(&one, "Hother.example|"));
	/* who never sends mail costs no filter anything */
	check_once("filtered", HELLO QUIT, "220 250 221");
	check_once("mx", SEND QUIT, TAKEN);
	assert_int_equal(one.connections, 3);
}

static void test_refusals(void **state)
{
	static const struct {
		char cmd, code;
		struct span data;
		const char *want;
	} cases[] = {
		{ 'C', 'r', SPAN(""), "220 250 550 503 503 500" },
		{ 'H', 't', SPAN(""), "220 250 451 503 503 500" },
		{ 'M', 'y', SPAN("554 5.7.1 go away\0"), "220 250 554 503 503 500" },
		{ 'R', 'r', SPAN(""), "220 250 250 550 554 500" },
		{ 'R', 'y', SPAN("450 4.7.1 later\0"), "220 250 250 450 554 500" },
		{ 'T', 'r', SPAN(""), "220 250 250 250 550 500" },
		{ 'M', '4', SPAN(""), "220 250 421" },
		{ 'R', 'y', SPAN("421 4.3.2 gone\0"), "220 250 250 421" },
	};
	char want[100];
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		for (int who = 0; who < 2; who++) {
			struct fake_milter *f = who == 0 ? &one : &two;
			fake_says(f, cases[i].cmd, cases[i].code, cases[i].data);
			bool closed = strstr(cases[i].want, "421") != NULL;
			snprintf(want, sizeof want, "%s%s", cases[i].want, closed ? "" : " 221");
			check("filtered", ALICE "DATA\r\nFROB\r\n" QUIT, want);
			buf_clear(&f->replies[(unsigned char)cases[i].cmd]);
		}
	}
	assert_int_equal(given.calls, 0);
}

static void test_refusals_of_the_message(void **state)
{
	static const struct {
		char cmd, code;
		struct span data;
		const char *want;
	} cases[] = {
		{ 'L', 'r', SPAN(""), "550 250 221" },
		{ 'N', 't', SPAN(""), "451 250 221" },
		{ 'B', 'y', SPAN("552 5.3.4 too big for me\0"), "552 250 221" },
		{ 'E', 'r', SPAN(""), "550 250 221" },
		{ 'E', 'y', SPAN("550-5.7.1 one\r\n550 5.7.1 two %% %\0"), "550 250 221" },
		{ 'E', '4', SPAN(""), "421" },
		{ 'E', 'd', SPAN(""), "250 250 221" },
		{ 'M', 'd', SPAN(""), "250 250 221" },
		{ 'R', 'd', SPAN(""), "250 250 221" },
		{ 'B', 'd', SPAN(""), "250 250 221" },
	};
	char want[100];
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		fake_says(&two, cases[i].cmd, cases[i].code, cases[i].data);
		snprintf(want, sizeof want, "220 250 250 250 354 %s", cases[i].want);
		check("filtered", SEND "NOOP\r\n" QUIT, want);
		buf_clear(&two.replies[(unsigned char)cases[i].cmd]);
	}
	assert_int_equal(given.calls, 0);
	fake_says(&one, 'E', 'y', cases[4].data);
	struct talk t;
	talk_through("filtered", SEND QUIT, &t, SIZE_MAX);
	assert_non_null(strstr(buf_cstr(&t.heard), "\r\n550-5.7.1 one\r\n550 5.7.1 two %  ["));
	talk_close(&t);
}

static void test_discards_of_chunks(void **state)
{
	for (const char *stage = "RT"; *stage != '\0'; stage++) {
		fake_says(&two, *stage, 'd', SPAN_NONE);
		check("filtered", ALICE "BDAT 1\r\naBDAT 0\r\nBDAT 4 LAST\r\nQUIT" QUIT,
		    "220 250 250 250 250 250 250 221");
	}
}

/* A filter that has seen enough is asked no more: in this mail, or in this session. */
static void test_accept(void **state)
{
	fake_says(&one, 'M', 'a', SPAN_NONE);
	fake_says(&two, 'C', 'a', SPAN_NONE);
	check_once("filtered",
	    SEND "MAIL FROM:<a@b.example>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n" MESSAGE
		 ".\r\n" QUIT,
	    "220 250 250 250 354 250 250 250 354 250 221");
	assert_int_equal(count(&one, "\nM<"), 2);
	assert_int_equal(count(&one, "\nR<"), 0);
	wait_seen(&one, "\nA\n", 2);
	assert_false(saw(&two, "\nM<"));
	assert_int_equal(given.calls, 2);
}

static void test_skip(void **state)
{
	struct buf text = BUF_INIT(160000);
	/* message_size_max is 64k */
	buf_add_str(&text, ALICE "DATA\r\n\r\n");
	for (size_t i = 0; i < 838; i++)
		buf_printf(&text, "x%075zu\r\n", i);
	buf_add_str(&text, ".\r\n" QUIT);
	const char *script = buf_cstr(&text);
	check_once("filtered", script, TAKEN);
	assert_int_equal(count(&one, "\nBx"), 1);
	fake_says(&one, 'B', 's', SPAN_NONE);
	one.steps = 0;
	check_once("filtered", script, "220 250 250 250 354 451 221"); /* skip was not negotiated */
	one.steps = MILTER_CAN_SKIP;
	check_once("filtered", script, TAKEN);
	buf_end(&text);
}

/* ---- changes ------------------------------------------------------------------------------------- */

static struct span header(uint32_t index, const char *name_value)
{
	static char data[400];
	size_t n = strlen(name_value);
	data[0] = data[1] = data[2] = '\0';
	data[3] = (char)index;
	for (size_t i = 0; i <= n; i++)
		data[4 + i] = name_value[i] == '|' ? '\0' : name_value[i];
	return span_of(data, 4 + n);
}

static void test_header_changes(void **state)
{
	fake_says(&one, 'E', 'h', span_from(header(0, "X-End|v|"), 4));
	fake_says(&one, 'E', 'i', header(0, "X-Top|v|"));
	fake_says(&one, 'E', 'i', header(2, "X-Under|a\n b|"));
	fake_says(&one, 'E', 'm', header(2, "x-a|new|"));
	fake_says(&one, 'E', 'm', header(1, "Subject||"));
	fake_says(&one, 'E', 'm', header(1, "X-None||"));
	fake_says(&one, 'E', 'm', header(1, "X-Gone|is added|"));
	fake_says(&one, 'E', 'p', SPAN_NONE);
	fake_says(&one, 'E', 'c', SPAN_NONE);
	check("filtered", SEND QUIT, TAKEN);
	assert_true(
	    span_starts(span_str(given.head), SPAN("X-Top: v\r\nReceived: from c.example")));
	assert_non_null(strstr(given.head,
	    " +0000\r\nX-Under: a\r\n b\r\nX-A: 1\r\nx-a: new\r\nX-End: v\r\nX-Gone: is "
	    "added\r\n\r\nhello\r\n"));
	assert_int_equal(given.size, strlen(given.head));
	/* the next one has seen it all */
	assert_true(saw(&two, "LX-Top|v|\nLX-Under|a\n b|\nLX-A|1|\nLx-a|new|\nLX-End|v|\n"));
}

/* Nothing that a filter sends ends the header section, or begins a field that it has not named. */
static void test_hostile_values(void **state)
{
	fake_says(&one, 'E', 'h', SPAN("X-A\0one\r\n\r\ntwo\nEvil: x\n\n\0"));
	fake_says(&one, 'E', 'h', SPAN("X-B\0a\rb\0"));
	fake_says(&one, 'E', 'c', SPAN_NONE);
	check_once("filtered", SEND QUIT, TAKEN);
	assert_non_null(
	    strstr(given.head, "\r\nX-A: one\r\n\ttwo\r\n\tEvil: x\r\nX-B: a?b\r\n\r\nhello\r\n"));
}

static void test_new_text(void **state)
{
	fake_says(&one, 'E', 'b', SPAN("line one\nline two\r"));
	fake_says(&one, 'E', 'b', SPAN("\n.\rlast"));
	fake_says(&one, 'E', 'h', SPAN("X-B\0b\0"));
	fake_says(&one, 'E', 'c', SPAN_NONE);
	check("filtered", SEND QUIT, TAKEN);
	assert_non_null(
	    strstr(given.head, "  folded\r\nX-B: b\r\n\r\nline one\r\nline two\r\n.\r\nlast\r\n"));
	assert_int_equal(given.size, strlen(given.head));
	assert_true(saw(&two, "Bline one\r\nline two\r\n.\r\nlast\r\n\n"));
	/* of a filter that refuses in the end nothing is kept, and nothing of one that sends too much */
	buf_clear(&one.replies['E']);
	static char big[70000];
	memset(big, 'x', sizeof big);
	fake_says(&one, 'E', 'b', span_of(big, sizeof big));
	fake_says(&one, 'E', 'c', SPAN_NONE);
	check_once("filtered", SEND QUIT, "220 250 250 250 354 451 221");
	check_once("kind", SEND QUIT, TAKEN);
	assert_non_null(strstr(given.head, "  folded\r\n\r\nhello\r\n"));
}

static void test_envelope_changes(void **state)
{
	fake_says(&one, 'E', '+', SPAN("<bob@example.org>\0"));
	fake_says(&one, 'E', '+', SPAN("<Bob.Alias@example.org>\0"));
	fake_says(&one, 'E', '2', SPAN("x@elsewhere.example\0NOTIFY=NEVER\0"));
	fake_says(&one, 'E', '+', SPAN("<nobody@example.org>\0"));
	fake_says(&one, 'E', '+', SPAN("<disabled@example.org>\0"));
	fake_says(&one, 'E', '-', SPAN("<ALICE@example.org>\0"));
	fake_says(&one, 'E', 'e', SPAN("<new@far.example>\0SIZE=1\0"));
	fake_says(&one, 'E', 'c', SPAN_NONE);
	check("filtered", SEND QUIT, "220 250 250 250 354 250 221");
	assert_int_equal(given.recipients, 2);
	assert_string_equal(given.sender, "new@far.example");
	assert_true(strcmp(given.first, "bob@example.org") == 0 ||
		    strcmp(given.first, "alice@example.org") == 0);
	buf_clear(&one.replies['E']);
	fake_says(&one, 'E', 'e', SPAN("\0"));
	fake_says(&one, 'E', '+', SPAN("<bob+box@example.org>\0"));
	fake_says(&one, 'E', '-', SPAN("<alice@example.org>\0"));
	fake_says(&one, 'E', 'c', SPAN_NONE);
	check("filtered", SEND QUIT, TAKEN);
	assert_string_equal(given.sender, "");
	assert_string_equal(given.user, "bob@example.org");
	assert_string_equal(given.detail, "box");
	assert_string_equal(given.store, "store1");
	buf_clear(&one.replies['E']);
	fake_says(&one, 'E', '-', SPAN("<alice@example.org>\0"));
	fake_says(&one, 'E', 'c', SPAN_NONE);
	given.calls = 0;
	check("filtered", SEND QUIT, TAKEN);
	assert_int_equal(given.calls, 0);
}

static void test_quarantine(void **state)
{
	fake_says(&one, 'E', 'q', SPAN("smells\0"));
	fake_says(&one, 'E', 'c', SPAN_NONE);
	check_once("filtered", SEND QUIT, TAKEN);
	assert_non_null(strstr(given.head, "\r\nX-Quarantine: smells\r\n\r\nhello"));
	assert_false(given.hold);
	check_once("kind", SEND QUIT, TAKEN); /* by default */
	assert_non_null(strstr(given.head, "\r\nX-Quarantine: smells\r\n\r\nhello"));
	assert_true(given.hold);
	fake_says(&two, 'E', 'q', SPAN("smells\0"));
	fake_says(&two, 'E', 'c', SPAN_NONE);
	check_once("filtered", SEND QUIT, "220 250 250 250 354 550 221");
}

/* ---- failures ------------------------------------------------------------------------------------ */

/* Each way to fail, at each step: 4xx, 5xx or as if the filter were not there, and never a changed message. */
static void fails(char cmd)
{
	bool mail = strchr("OCHM", cmd) != NULL, rcpt = cmd == 'R', data = cmd == 'T';
	char want[100];
	for (int harsh = 0; harsh < 2; harsh++) {
		const char *code = harsh ? "554" : "451";
		snprintf(want, sizeof want,
		    mail   ? "220 250 %s 503 503 221"
		    : rcpt ? "220 250 250 %s 554 221"
		    : data ? "220 250 250 250 %s 221"
			   : "220 250 250 250 354 %s 221",
		    code);
		check_once(harsh ? "harsh" : "filtered",
		    mail || rcpt || data ? ALICE "DATA\r\n" QUIT : SEND QUIT, want);
	}
	assert_int_equal(given.calls, 0);
	check_once("kind", SEND QUIT, TAKEN);
	assert_int_equal(given.calls, 1);
	assert_non_null(strstr(given.head, "\r\n" MESSAGE));
	given.calls = 0;
}

static void test_failures(void **state)
{
	static const char commands[] = "OCHMRTLNBE";
	for (const char *c = commands; *c != '\0'; c++) {
		fake_does(&one, *c, FAKE_CLOSE);
		fails(*c);
		fake_does(&one, *c, FAKE_HANG);
		fails(*c);
		fake_does(&one, *c, FAKE_ANSWER);
	}
}

static void test_lies(void **state)
{
	static const struct {
		char cmd, code;
		struct span data;
	} cases[] = {
		{ 'C', 'd', SPAN("") },
		{ 'M', 's', SPAN("") },
		{ 'M', 'h', SPAN("X\0y\0") },
		{ 'M', 'p', SPAN("") },
		{ 'M', 'y', SPAN("250 ok\0") },
		{ 'R', 'y', SPAN("550 no\r\n\r\nQUIT\0") },
		{ 'R', 'z', SPAN("") },
		{ 'L', 'p', SPAN("") },
		{ 'B', 'b', SPAN("text") },
		{ 'E', 's', SPAN("") },
		{ 'E', 'h', SPAN("X: y\r\nZ\0y\0") },
		{ 'E', 'h', SPAN("X\0y") },
		{ 'E', '+', SPAN("<not an address>\0") },
		{ 'E', '+', SPAN("<>\0") },
		{ 'E', 'e', SPAN("<a@b\r\nRCPT TO:<c@d>\0") },
		{ 'E', 'b', SPAN("a\0b") },
		{ 'E', 'i', SPAN("\0\0") },
		{ 'E', 'O', SPAN("") },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf *to = &one.replies[(unsigned char)cases[i].cmd];
		fake_says(&one, 'E', 'h', SPAN("X-Mine\0never\0"));
		if (cases[i].cmd == 'E')
			fake_says(&one, 'E', '-', SPAN("<alice@example.org>\0"));
		fake_put(to, cases[i].code, cases[i].data);
		if (cases[i].cmd == 'E')
			fake_says(&one, 'E', 'c', SPAN_NONE);
		fails(cases[i].cmd);
		buf_clear(to);
		buf_clear(&one.replies['E']);
	}
	buf_add_str(&one.replies['E'], "HTTP/1.1 400 Bad Request\r\n");
	fails('E');
	buf_clear(&one.replies['E']);
	one.version = 7;
	fails('O');
	one.version = 6;
	one.actions = 0x200;
	fails('O');
	one.actions = MILTER_MAY_ADD_HEADERS;
	fake_says(&one, 'E', '-', SPAN("<alice@example.org>\0"));
	fake_says(&one, 'E', 'c', SPAN_NONE);
	fails('E');
}

/* After a failure every answer of that mail is the same; the next mail of the session has a new chance. */
static void test_a_failure_lasts_for_its_mail(void **state)
{
	fake_does(&one, 'R', FAKE_CLOSE);
	struct talk t = talk_open("filtered", "192.0.2.1");
	talk_until(&t, "220");
	talk_send(&t, SPAN(ALICE "RCPT TO:<bob@example.org>\r\nDATA\r\nNOOP x\r\n"), SIZE_MAX);
	talk_until(&t, "554");
	fake_does(&one, 'R', FAKE_ANSWER);
	talk_send(&t,
	    SPAN("RSET\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n" MESSAGE
		 ".\r\n" QUIT),
	    SIZE_MAX);
	talk_until(&t, NULL);
	assert_string_equal(codes(&t), "220 250 250 451 451 554 250 250 250 250 354 250 221");
	assert_int_equal(one.connections, 2);
	talk_close(&t);
}

/* A kept connection that the filter has closed is no failure. */
static void test_a_stale_connection(void **state)
{
	struct talk t = talk_open("filtered", "192.0.2.1");
	talk_until(&t, "220");
	talk_send(&t, SPAN(SEND), SIZE_MAX);
	talk_until(&t, "fate of");
	fake_does(&one, 'M', FAKE_CLOSE); /* it dies as it is asked */
	talk_send(&t, SPAN("MAIL FROM:<a@b.example>\r\n"), SIZE_MAX);
	wait_seen(&one, "\nM<", 2);
	fake_does(&one, 'M', FAKE_ANSWER);
	talk_send(&t, SPAN("RCPT TO:<bob@example.org>\r\n"), SIZE_MAX);
	wait_seen(&two, "\nR<", 2);
	stream_free(&two.io); /* it dies between two questions: that mail is lost to it */
	talk_send(&t, SPAN("DATA\r\n" QUIT), SIZE_MAX);
	talk_until(&t, NULL);
	assert_string_equal(codes(&t), "220 250 250 250 354 250 250 250 451 221");
	assert_int_equal(one.connections, 2);
	talk_close(&t);
}

static void test_progress_keeps_it_alive_but_not_for_ever(void **state)
{
	uint64_t begun = clock_mono_ms();
	one.steps = MILTER_NR_BODY;
	fake_does(&one, 'E', FAKE_HANG);
	struct talk t = talk_open("filtered", "192.0.2.1");
	talk_until(&t, "220");
	talk_send(&t, SPAN(SEND QUIT), SIZE_MAX);
	wait_seen(&one, "\nE\n", 1);
	while (!t.ended && clock_mono_ms() - begun < 10000) {
		loop_step(loop, 20);
		if (one.io != NULL)
			stream_write_span(one.io, SPAN("\0\0\0\x01"
						       "p"));
		talk_listen(&t);
	}
	assert_string_equal(codes(&t), "220 250 250 250 354 451 221");
	assert_true(clock_mono_ms() - begun >= 700);
	talk_close(&t);
}

static void test_client_goes_meanwhile(void **state)
{
	static const char commands[] = "OCHMRTLNBE";
	for (const char *c = commands; *c != '\0'; c++) {
		char mark[3] = { '\n', *c, '\0' };
		fake_does(&one, *c, FAKE_HANG);
		buf_clear(&one.seen);
		buf_add_char(&one.seen, '\n');
		struct talk t = talk_open("filtered", "192.0.2.1");
		talk_until(&t, "220");
		talk_send(&t, SPAN(SEND), SIZE_MAX);
		wait_seen(&one, mark, 1);
		fake_does(&one, *c, FAKE_ANSWER);
		edge_again();
		talk_close(&t);
	}
	assert_int_equal(given.calls, 0);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(test_honest_filters),
		TEST(test_a_filter_gets_what_it_wants),
		TEST(test_one_connection_for_the_session),
		TEST(test_refusals),
		TEST(test_refusals_of_the_message),
		TEST(test_discards_of_chunks),
		TEST(test_accept),
		TEST(test_skip),
		TEST(test_header_changes),
		TEST(test_hostile_values),
		TEST(test_new_text),
		TEST(test_envelope_changes),
		TEST(test_quarantine),
		TEST(test_failures),
		TEST(test_lies),
		TEST(test_a_failure_lasts_for_its_mail),
		TEST(test_a_stale_connection),
		TEST(test_progress_keeps_it_alive_but_not_for_ever),
		TEST(test_client_goes_meanwhile),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
