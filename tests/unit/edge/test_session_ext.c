/* test_session_ext.c - SMTP extensions in conversations: CHUNKING, SMTPUTF8, XCLIENT. */
#include "tests/unit/edge/session_bench.h"

static void test_chunks(void **state)
{
	static const struct {
		const char *script, *want;
	} cases[] = {
		{ "BDAT 12\r\nSubject: x\r\nBDAT 9 LAST\r\n\r\nhello\r\n", "250 250" },
		{ "BDAT 21 LAST\r\nSubject: x\r\n\r\nhello\r\n", "250" },
		{ "BDAT 12\r\nSubject: x\r\nBDAT 0 LAST\r\n", "250 250" },
		{ "BDAT 0 LAST\r\n", "250" },
		{ "BDAT 3\r\na\r\nDATA\r\nRSET\r\n", "250 503 250" },
		{ "BDAT 3\r\na\r\nRCPT TO:<bob@example.org>\r\nRSET\r\n", "250 503 250" },
		{ "BDAT 5 LAST\r\nQUIT\nBDAT 5 LAST\r\nQUIT\nNOOP\r\n", "550 503 250" },
		{ "BDAT 6\r\na\nb\r\nxBDAT 3 LAST\r\na\r\n", "550 503" },
		{ "BDAT 3\r\na\rbBDAT 3 LAST\r\na\r\n", "550 503" },
		{ "BDAT 1\r\n\rBDAT 1 LAST\r\n\n", "250 250" },
		{ "BDAT 1\r\n\rBDAT 1 LAST\r\nx", "250 550" },
		{ "BDAT x\r\nBDAT\r\nBDAT 1 LOST\r\nNOOP\r\n", "501 501 501 250" },
		{ "RSET\r\nBDAT 6 LAST\r\nNOOP\r\nNOOP\r\n", "250 503 250" },
	};
	char script[1024], want[128];
	given.code = 250;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		snprintf(script, sizeof script, ALICE "%s" QUIT, cases[i].script);
		snprintf(want, sizeof want, "220 250 250 250 %s 221", cases[i].want);
		check("mx", script, want);
	}
	memset(&given, 0, sizeof given);
	given.code = 250;
	check("mx",
	    ALICE "BDAT 15 LAST\r\nSubject: x\r\n\r\n.BDAT 11 LAST\r\n\r\n.\r\nNOOP\r\n" QUIT,
	    "220 250 250 250 250 503 221");
	assert_non_null(strstr(given.head, "\r\nSubject: x\r\n\r\n.\r\n")); /* dots are dots */
	check("mx", ALICE "BDAT 200000 LAST\r\n", "220 250 250 250 552");
}

#define BINARY HELLO "MAIL FROM:<s@far.example> BODY=BINARYMIME\r\nRCPT TO:<alice@example.org>\r\n"
#define BASED "Subject: x\r\nContent-Transfer-Encoding: base64\r\n\r\n"

/* What is binary at the door is base64 behind it. */
static void test_binarymime(void **state)
{
	static const char part[] = "Subject: x\r\nContent-Transfer-Encoding: binary\r\n\r\n";
	static const struct {
		struct span rest;
		const char *want, *got;
	} cases[] = {
		{ SPAN("BDAT 5 LAST\r\n\n\r\0.\n"), "250 250", BASED "Cg0ALgo=\r\n" },
		{ SPAN("BDAT 3\r\n\n\r\0BDAT 2\r\n.\nBDAT 0 LAST\r\n"), "250 250 250 250",
		    BASED "Cg0ALgo=\r\n" },
		{ SPAN("DATA\r\nRSET\r\n"), "250 503 250", NULL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf script = BUF_INIT(4096);
		char want[100];
		memset(&given, 0, sizeof given);
		given.code = 250;
		snprintf(want, sizeof want, "220 250 250 250 %s 221", cases[i].want);
		buf_printf(&script, BINARY "BDAT %zu\r\n%s", sizeof part - 1, part);
		buf_add_span(&script, cases[i].rest);
		buf_add_str(&script, QUIT);
		check_talk("mx", buf_span(&script), want, SIZE_MAX);
		check_talk("mx", buf_span(&script), want, 1);
		assert_int_equal(given.calls, cases[i].got == NULL ? 0 : 2);
		if (cases[i].got != NULL)
			assert_non_null(strstr(given.head, cases[i].got));
		buf_end(&script);
	}
	check("mx", BINARY "DATA\r\n" QUIT, "220 250 250 250 503 221");
	/* what says it is text must be text, and what cannot be converted is refused */
	check("mx", BINARY "BDAT 7 LAST\r\nA: b\nc\n" QUIT, "220 250 250 250 550 221");
	check("mx", BINARY "BDAT 33 LAST\r\nContent-Type: multipart/mixed\r\n\r\n" QUIT,
	    "220 250 250 250 554 221");
	check("mx", BINARY "BDAT 33\r\nContent-Type: multipart/mixed\r\n\r\nBDAT 1 LAST\r\nx" QUIT,
	    "220 250 250 250 554 503 221");
}

static void test_utf8(void **state)
{
	static const struct {
		const char *mail, *to, *want;
	} cases[] = {
		{ "<j\xc3\xb6rg@far.example> SMTPUTF8", "<alice@example.org>", "250 250" },
		{ "<j\xc3\xb6rg@far.example>", "<alice@example.org>", "501 503" },
		{ "<s@b\xc3\xbc.example> SMTPUTF8 BODY=8BITMIME", "<alice@example.org>",
		    "250 250" },
		{ "<j\xc3@far.example> SMTPUTF8", "<alice@example.org>", "501 503" },
		{ "<s@far.example> SMTPUTF8=1", "<alice@example.org>", "501 503" },
		{ "<s@far.example>", "<\xc3\xa4@example.org>", "250 501" },
		{ "<s@far.example> SMTPUTF8", "<\xc3\xa4@example.org>", "250 550" },
		{ "<s@far.example> SMTPUTF8", "<alice@ex\xd0\xb0mple.org>",
		    "250 550" }, /* a Cyrillic a */
		{ "<s@far.example> SMTPUTF8", "<alice@\xef\xbd\x85xample.org>", "250 550" },
		{ "<s@far.example> SMTPUTF8", "<alice@example\xe3\x80\x82org>", "250 550" },
	};
	char script[1024], want[128];
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		snprintf(script, sizeof script, HELLO "MAIL FROM:%s\r\nRCPT TO:%s\r\n" QUIT,
		    cases[i].mail, cases[i].to);
		snprintf(want, sizeof want, "220 250 %s 221", cases[i].want);
		check("mx", script, want);
	}
	memset(&given, 0, sizeof given);
	given.code = 250;
	check("mx",
	    HELLO "MAIL FROM:<j\xc3\xb6@far.example> SMTPUTF8\r\nRCPT "
		  "TO:<alice@example.org>\r\nDATA\r\n" TEXT ".\r\n" QUIT,
	    "220 250 250 250 354 250 221");
	assert_string_equal(given.sender, "j\xc3\xb6@far.example");
	assert_non_null(strstr(given.head, " with UTF8SMTP id "));
}

static void test_xclient(void **state)
{
	static const struct {
		const char *client, *script, *want;
	} cases[] = {
		/* from our own host: what it says decides, and what was said before is gone */
		{ "192.0.2.20", HELLO "XCLIENT ADDR=192.0.2.9\r\n", "220 250 220" },
		{ "192.0.2.20",
		    HELLO
		    "XCLIENT ADDR=192.0.2.9 PORT=77 HELO=x+20y PROTO=ESMTP NAME=[UNAVAILABLE]\r\n",
		    "220 250 220" },
		{ "192.0.2.20", HELLO "XCLIENT ADDR=IPV6:2001:db8::1\r\n", "220 250 220" },
		{ "192.0.2.20", HELLO "XCLIENT ADDR=2001:db8::1\r\n" QUIT, "220 250 501 221" },
		{ "192.0.2.20", HELLO "XCLIENT\r\n" QUIT, "220 250 501 221" },
		{ "192.0.2.20", HELLO "XCLIENT LOGIN=alice@example.org\r\n" QUIT,
		    "220 250 501 221" },
		{ "192.0.2.20",
		    HELLO "XCLIENT ADDR=300.1.1.1\r\nXCLIENT ADDR\r\nXCLIENT PORT=65536\r\n" QUIT,
		    "220 250 501 501 501 221" },
		{ "192.0.2.20", MAIL "XCLIENT ADDR=192.0.2.9\r\n" QUIT, "220 250 250 503 221" },
		{ "192.0.2.1", HELLO "XCLIENT ADDR=192.0.2.9\r\n" QUIT, "220 250 550 221" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct talk t = talk_open("internal", cases[i].client);
		talk_until(&t, "220");
		talk_send(&t, span_str(cases[i].script), SIZE_MAX);
		for (int k = 0; k < 20; k++) {
			loop_step(loop, 1);
			talk_listen(&t);
		}
		assert_string_equal(codes(&t), cases[i].want);
		talk_close(&t);
	}
	struct talk t = talk_open("internal", "192.0.2.20");
	talk_until(&t, "220");
	talk_send(&t,
	    SPAN(HELLO "MAIL FROM:<s@far.example>\r\nRCPT TO:<x@elsewhere.example>\r\nRSET\r\n"
		       "XCLIENT ADDR=192.0.2.9\r\n"),
	    SIZE_MAX);
	talk_until(&t, "\r\n220");
	talk_send(&t,
	    SPAN("MAIL FROM:<s@far.example>\r\n" MAIL "RCPT TO:<x@elsewhere.example>\r\n" QUIT),
	    SIZE_MAX);
	talk_until(&t, NULL);
	assert_string_equal(codes(&t), "220 250 250 550 250 220 503 250 250 250 221");
	talk_close(&t);
}

#define RESULTS "Authentication-Results: "

/* Results in our name are ours, or they are not there; those of others stay, whatever the client. */
static void test_forged_results(void **state)
{
	static const struct {
		const char *field;
		bool stays;
	} cases[] = {
		{ RESULTS "mail.example.org; dkim=pass", false },
		{ RESULTS "MAIL.Example.Org 1; dkim=pass", false },
		{ "authentication-results :\r\n (;\\) x (a)) \"mail.example.org\"; dkim=pass",
		    false },
		{ RESULTS "mail.example.org(x); none", false },
		{ RESULTS "\"mail\\.ex\\ample.org\"; dkim=pass", false },
		{ RESULTS "\"mail.example.org.far\"; dkim=pass", true },
		{ RESULTS "mail.example.org", false },
		{ RESULTS "mail.example.org.far.example; dkim=pass", true },
		{ RESULTS "far.example; mail.example.org", true },
		{ "X-Results: mail.example.org; dkim=pass", true },
	};
	char script[1024], field[300];
	given.code = 250;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		snprintf(field, sizeof field, "\r\n%s\r\n", cases[i].field);
		snprintf(script, sizeof script,
		    ALICE "DATA\r\nA: 1%sSubject: x\r\n\r\n%s\r\n.\r\n" QUIT, field,
		    cases[i].field);
		check("mx", script, "220 250 250 250 354 250 221");
		const char *body = strstr(given.head, "\r\n\r\n");
		const char *at = strstr(given.head, field);
		assert_non_null(strstr(given.head, "\r\nSubject: x\r\n\r\n"));
		assert_non_null(strstr(body, cases[i].field)); /* of the text nothing is taken */
		assert_int_equal(at != NULL && at < body, cases[i].stays);
		assert_true(span_starts(span_str(given.head), SPAN("Received:")));
		check("internal", script, "220 250 250 250 354 250 221");
		at = strstr(given.head, field);
		assert_true(at != NULL && at < strstr(given.head, "\r\n\r\n"));
	}
}

static void check_from(const char *client, const char *script, const char *want);

/* Marks are ours, or of hosts whose marks count (192.0.2.22). */
static void test_forged_marks(void **state)
{
	static const char *const fields[] = { "\r\nX-Postern-Tag: good\r\n",
		"\r\nx-postern-listed:\r\n zen.example 127.0.0.2 +4\r\n" };
	char script[1024];
	given.code = 250;
	for (size_t i = 0; i < COUNT_OF(fields); i++) {
		snprintf(script, sizeof script,
		    ALICE "DATA\r\nA: 1%sSubject: x\r\n\r\nhello\r\n.\r\n" QUIT, fields[i]);
		check("mx", script, "220 250 250 250 354 250 221");
		assert_null(strstr(given.head, fields[i]));
		assert_non_null(strstr(given.head, "\r\nA: 1\r\nSubject: x\r\n"));
		check_from("192.0.2.21", script, "220 250 250 250 354 250 221");
		assert_null(strstr(given.head, fields[i]));
		check_from("192.0.2.22", script, "220 250 250 250 354 250 221");
		assert_non_null(strstr(given.head, fields[i]));
	}
}

static void check_from(const char *client, const char *script, const char *want)
{
	struct talk t = talk_whole("internal", client, span_str(script), SIZE_MAX);
	if (strcmp(codes(&t), want) != 0)
		print_error("%.*s\n", SPAN_ARG(buf_span(&t.heard)));
	assert_string_equal(codes(&t), want);
	talk_close(&t);
}

/* It is taken from hosts of our own only, and nothing is decided by it. */
static void test_xforward(void **state)
{
	given.code = 250;
	check_from("192.0.2.1", HELLO "XFORWARD NAME=x\r\n" QUIT, "220 250 550 221");
	check_from("192.0.2.21",
	    HELLO "XFORWARD NAME=a.example ADDR=203.0.113.9 PORT=77\r\n"
		  "XFORWARD HELO=b PROTO=ESMTP IDENT=ABC SOURCE=REMOTE\r\n"
		  "MAIL FROM:<s@far.example>\r\nXFORWARD NAME=late\r\n"
		  "RCPT TO:<alice@example.org>\r\nRCPT TO:<x@elsewhere.example>\r\n"
		  "DATA\r\n" TEXT ".\r\n" QUIT,
	    "220 250 250 250 250 503 250 550 354 250 221");
	assert_non_null(strstr(given.head, "from c.example ([192.0.2.21])"));
	check_from("192.0.2.21",
	    HELLO "XFORWARD\r\nXFORWARD ADDR=1.2.3\r\nXFORWARD PORT=x\r\nXFORWARD FROB=1\r\n"
		  "XFORWARD NAME=a+0Ab\r\nXFORWARD NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE]\r\n" QUIT,
	    "220 250 501 501 501 501 501 250 221");
}

/* One host may end lines with LF; what comes out has CRLF, and the data ends where it did. */
static void test_normalized(void **state)
{
	static const char data[] =
	    "EHLO c.example\nMAIL FROM:<s@far.example>\nRCPT TO:<alice@example.org>\r\nDATA\n"
	    "Subject: x\n\na\rb\n.\nMAIL FROM:<q@far.example>\n.\r\nRSET\n\r\n.\r\nQUIT\n";
	given.code = 250;
	given.calls = 0;
	check_from("192.0.2.22", data, "220 250 250 250 354 250 221");
	assert_int_equal(given.calls, 1);
	assert_non_null(strstr(given.head,
	    "\r\nSubject: x\r\n\r\na b\r\n.\r\nMAIL FROM:<q@far.example>\r\n.\r\nRSET\r\n\r\n"));
	check_from("192.0.2.22", ALICE "BDAT 19 LAST\r\nSubject: x\n\na\rb\n.\r\n" QUIT,
	    "220 250 250 250 250 221");
	assert_non_null(strstr(given.head, "\r\nSubject: x\r\n\r\na b\r\n.\r\n"));
	check_from("192.0.2.1", "EHLO c.example\nQUIT\n", "220 500");
}

static struct session *only_session(void)
{
	assert_int_equal(edge->session_n, 1);
	return LIST_OF(struct session, link, edge->sessions.next);
}

/* Who makes many errors waits for the next command, and is not cut short for having closed its half. */
static void test_errors_slow_down(void **state)
{
	struct edge_conf *c = (struct edge_conf *)(uintptr_t)edge->setup->edge;
	const struct edge_conf was = *c;
	c->errors_free = 1;
	c->error_delay = 3600 * 1000;
	struct talk t = talk_open("internal", "192.0.2.1");
	talk_until(&t, "220");
	talk_send(&t, SPAN("FROB\r\n"), SIZE_MAX);
	talk_until(&t, "500");
	assert_int_equal(only_session()->state, ST_COMMAND);
	talk_send(&t, SPAN("RCPT\r\nNOOP\r\nQUIT\r\n"), SIZE_MAX);
	talk_until(&t, "503");
	loop_step(loop, 1);
	assert_int_equal(only_session()->state, ST_ERROR);
	assert_null(strstr(buf_cstr(&t.heard), "250"));
	session_hold(only_session(), ST_ERROR, 0);
	talk_until(&t, NULL);
	assert_string_equal(codes(&t), "220 500 503 250 221");
	talk_close(&t);
	*c = was;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_binarymime),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_xclient),
		cmocka_unit_test(test_forged_results),
		cmocka_unit_test(test_forged_marks),
		cmocka_unit_test(test_xforward),
		cmocka_unit_test(test_normalized),
		cmocka_unit_test(test_errors_slow_down),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
