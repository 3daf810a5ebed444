/* test_session.c - SMTP conversations: each script must get the same answers all at once and byte by byte. */
#include "tests/unit/edge/session_bench.h"

/* ---- tests ------------------------------------------------------------------------------------- */

static void test_commands(void **state)
{
	static const struct {
		const char *script, *want;
	} cases[] = {
		{ "", "220" },
		{ QUIT, "220 221" },
		{ HELLO QUIT, "220 250 221" },
		{ "HELO c\r\nNOOP\r\nRSET\r\nVRFY x\r\nHELP\r\n" QUIT,
		    "220 250 250 250 252 214 221" },
		{ "EHLO [192.0.2.1]\r\nEHLO [IPv6:::1]\r\n" QUIT, "220 250 250 221" },
		{ "EHLO\r\nEHLO a(b\r\nEHLO [1.2.3\r\n" QUIT, "220 501 501 501 221" },
		{ "MAIL FROM:<a@b.example>\r\n" QUIT, "220 503 221" },
		{ HELLO "RCPT TO:<alice@example.org>\r\nDATA\r\n" QUIT, "220 250 503 503 221" },
		{ MAIL "MAIL FROM:<s@far.example>\r\n" QUIT, "220 250 250 503 221" },
		{ MAIL "DATA\r\n" QUIT, "220 250 250 554 221" },
		{ MAIL "RSET\r\nMAIL FROM:<>\r\n" QUIT, "220 250 250 250 250 221" },
		{ MAIL HELLO "RCPT TO:<alice@example.org>\r\n" QUIT, "220 250 250 250 503 221" },
		{ HELLO "MAIL FROM:<a b@c>\r\nMAIL FROM:<a@b\r\nMAIL\r\n" QUIT,
		    "220 250 501 501 501 221" },
		{ HELLO "MAIL FROM:<a@b.example> SIZE=65536 BODY=8BITMIME\r\n" QUIT,
		    "220 250 250 221" },
		{ HELLO "MAIL FROM:<a@b.example> SIZE=65537\r\n" QUIT, "220 250 552 221" },
		{ HELLO "MAIL FROM:<a@b.example> FROB=1\r\n" QUIT, "220 250 555 221" },
		{ "HELO c\r\nMAIL FROM:<a@b.example> SIZE=1\r\n" QUIT, "220 250 555 221" },
		{ HELLO "MAIL FROM:<a@b.example> BODY=BINARY\r\n" QUIT, "220 250 501 221" },
		{ MAIL "RCPT TO:<alice@example.org> FROB\r\n" QUIT, "220 250 250 555 221" },
		{ HELLO "BDAT 3 LAST\r\nabcETRN x\r\nEXPN x\r\nXCLIENT ADDR=1.2.3.4\r\n" QUIT,
		    "220 250 503 459 502 550 221" },
		{ HELLO "AUTH PLAIN\r\n" QUIT, "220 250 502 221" },
		{ "FROB\r\nFROB\r\nFROB\r\nFROB\r\nFROB\r\n" QUIT, "220 500 500 500 500 500 421" },
		{ HELLO "QUIT now\r\n" QUIT, "220 250 501 221" },
		{ "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "220 554" },
		{ "PROXY TCP4 192.0.2.1 198.51.100.1 4000 25\r\nEHLO x\r\n", "220 554" },
		{ "EHLO a\nQUIT\r\n", "220 500" },
		{ HELLO "NOOP a\rb\r\n" QUIT, "220 250 500" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		check("mx", cases[i].script, cases[i].want);
}

static void test_odd_bytes(void **state)
{
	static const char nul[] = HELLO "NOOP \0\r\n" QUIT;
	static const char v2[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
				 "abcdefghijkl" HELLO;
	static const char tls[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
	static char line[100000];
	for (size_t cut = 1; cut < 100; cut += 98) {
		check_talk("mx", span_of(nul, sizeof nul - 1), "220 250 500", cut);
		check_talk("mx", span_of(v2, sizeof v2 - 1), "220 554", cut);
		check_talk("mx", span_of(tls, sizeof tls - 1), "220 554", cut);
	}
	memset(line, 'x', sizeof line);
	memcpy(line, "NOOP ", 5);
	memcpy(line + 3000, "\r\nQUIT\r\n", 8);
	check_talk("mx", span_of(line, 3008), "220 500 221", SIZE_MAX);
	check_talk("mx", span_of(line, 3008), "220 500 221", 1);
	memset(line + 3000, 'x', 8);
	memcpy(line + sizeof line - 8, "\r\nQUIT\r\n", 8);
	check_talk("mx", span_of(line, sizeof line), "220 500 221", SIZE_MAX);
}

static void test_recipients(void **state)
{
	static const struct {
		const char *to, *want;
	} cases[] = {
		{ "<alice@example.org>", "250" },
		{ "<ALICE@Example.ORG.>", "250" },
		{ "<alice+box@example.org>", "250" },
		{ "<@a.example,@b.example:alice@example.org>", "250" },
		{ "<alice.alias@example.org>", "250" },
		{ "<postmaster>", "250" },
		{ "<Postmaster@example.org>", "250" },
		{ "<nobody@example.org>", "550" },
		{ "<disabled@example.org>", "550" },
		{ "<deleted@example.org>", "550" },
		{ "<inactive@example.org>", "450" },
		{ "<held@example.org>", "250" },
		{ "<full@example.org>", "452" },
		{ "<x@elsewhere.example>", "550" },
		{ "<@example.org:x@elsewhere.example>", "550" },
		{ "<x%elsewhere.example@example.org>", "550" },
		{ "<elsewhere.example!x@example.org>", "550" },
		{ "<\"x@elsewhere.example\"@example.org>", "550" },
		{ "<x@[127.0.0.1]>", "550" },
		{ "<>", "501" },
		{ "alice", "501" },
	};
	char script[1024], want[64];
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		snprintf(script, sizeof script, MAIL "RCPT TO:%s\r\n" QUIT, cases[i].to);
		snprintf(want, sizeof want, "220 250 250 %s 221", cases[i].want);
		check("mx", script, want);
	}
}

static void test_relay(void **state)
{
	check("internal", MAIL "RCPT TO:<x@elsewhere.example>\r\n" QUIT, "220 250 250 550 221");
	struct talk t = talk_whole("internal", "192.0.2.9",
	    SPAN(MAIL "RCPT TO:<x@elsewhere.example>\r\nRCPT TO:<x@[127.0.0.1]>\r\n"
		      "RCPT TO:<x%y@elsewhere.example>\r\n" QUIT),
	    SIZE_MAX);
	assert_string_equal(codes(&t), "220 250 250 250 550 550 221");
	talk_close(&t);
}

/* Wishes for reports are taken from clients that may relay; from others they are unknown parameters. */
static void test_dsn(void **state)
{
	static const char ask[] = HELLO
	    "MAIL FROM:<s@far.example> RET=FULL ENVID=q+2B1\r\n"
	    "RCPT TO:<x@elsewhere.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+2B@y.example\r\n"
	    "DATA\r\nSubject: x\r\n\r\n.\r\n" QUIT;
	memset(&given, 0, sizeof given);
	given.code = 250;
	check("mx", HELLO "MAIL FROM:<a@b.example> RET=HDRS\r\n" QUIT, "220 250 555 221");
	check(
	    "mx", MAIL "RCPT TO:<alice@example.org> NOTIFY=NEVER\r\n" QUIT, "220 250 250 555 221");
	struct talk t = talk_whole("internal", "192.0.2.9", span_of(ask, sizeof ask - 1), SIZE_MAX);
	assert_string_equal(codes(&t), "220 250 250 250 354 250 221");
	assert_non_null(strstr(buf_cstr(&t.heard), "250-DSN\r\n"));
	talk_close(&t);
	assert_true(given.trusted);
	assert_int_equal(given.ret, SMTP_RET_FULL);
	assert_string_equal(given.envid, "q+2B1");
	assert_int_equal(given.notify, SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE);
	assert_string_equal(given.orcpt, "rfc822;x+2B@y.example");
}

/* Bytes of ORCPT above ASCII stand for a mail with SMTPUTF8 only. */
static void test_orcpt_utf8(void **state)
{
#define FROM(more) HELLO "MAIL FROM:<s@far.example>" more "\r\n"
#define TO_UTF8 "RCPT TO:<x@elsewhere.example> ORCPT=utf-8;\xc3\xb6@y.example\r\n"
	static const char whole[] =
	    FROM(" SMTPUTF8") TO_UTF8 "DATA\r\nSubject: x\r\n\r\n.\r\n" QUIT;
	memset(&given, 0, sizeof given);
	given.code = 250;
	struct talk t = talk_whole("internal", "192.0.2.9", SPAN(FROM("") TO_UTF8 QUIT), SIZE_MAX);
	assert_string_equal(codes(&t), "220 250 250 501 221");
	talk_close(&t);
	for (size_t cut = 1; cut < sizeof whole - 1; cut++) {
		t = talk_whole("internal", "192.0.2.9", span_of(whole, sizeof whole - 1), cut);
		assert_string_equal(codes(&t), "220 250 250 250 354 250 221");
		talk_close(&t);
		assert_string_equal(given.orcpt, "utf-8;\xc3\xb6@y.example");
	}
}

static void test_mail(void **state)
{
	memset(&given, 0, sizeof given);
	given.code = 250;
	check("mx", ALICE "DATA\r\n" TEXT ".\r\n" QUIT, "220 250 250 250 354 250 221");
	assert_int_equal(given.calls, 2);
	assert_string_equal(given.sender, "s@far.example");
	assert_string_equal(given.first, "alice@example.org");
	assert_string_equal(given.user, "alice@example.org");
	assert_string_equal(given.detail, "-");
	assert_string_equal(given.store, "store1");
	assert_string_equal(given.auth_user, "-");
	assert_non_null(strstr(given.head, "Received: from c.example ([192.0.2.1])\r\n\tby "
					   "mail.example.org (Postern) with ESMTP id "));
	assert_non_null(strstr(given.head, "\r\n\tfor <alice@example.org>;\r\n\t"));
	assert_non_null(strstr(given.head, "\r\nSubject: x\r\n\r\nhello\r\n"));
	assert_null(strstr(given.head, "Date: "));
	assert_int_equal(given.size, strlen(given.head));
	/* the replies of the last step come through, and the next mail of the session is its own */
	given.code = 451;
	check("mx", ALICE "DATA\r\n" TEXT ".\r\nDATA\r\n" QUIT, "220 250 250 250 354 451 503 221");
	given.code = 550;
	check("mx",
	    ALICE "DATA\r\n" TEXT ".\r\nMAIL FROM:<>\r\nRCPT TO:<bob+d@example.org>\r\nDATA\r\n"
		  "..\r\n.\r\n" QUIT,
	    "220 250 250 250 354 550 250 250 354 550 221");
	assert_string_equal(given.sender, "");
	assert_string_equal(given.user, "bob@example.org");
	assert_string_equal(given.detail, "d");
	assert_non_null(
	    strstr(given.head, "\r\n\r\n.\r\n")); /* no header: ours ends before the text */
}

static void test_recipients_collapse_and_are_bounded(void **state)
{
	memset(&given, 0, sizeof given);
	given.code = 250;
	check("mx",
	    MAIL "RCPT TO:<alice@example.org>\r\nRCPT TO:<alice.alias@example.org>\r\n"
		 "RCPT TO:<Alice+x@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n" TEXT
		 ".\r\n" QUIT,
	    "220 250 250 250 250 250 250 354 250 221");
	assert_int_equal(given.recipients, 2);
	assert_null(strstr(given.head, "\r\n\tfor <"));
	struct talk t = talk_whole("internal", "192.0.2.9",
	    SPAN(MAIL "RCPT TO:<a@far.example>\r\nRCPT TO:<b@far.example>\r\nRCPT "
		      "TO:<a@far.example>\r\nRCPT TO:<c@far.example>\r\nRCPT "
		      "TO:<d@far.example>\r\n" QUIT),
	    7);
	assert_string_equal(codes(&t), "220 250 250 250 250 250 250 452 221");
	talk_close(&t);
}

static void test_bad_messages(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "Subject: x\r\n\r\nhello\n.\nMAIL FROM:<evil@b.example>\r\n.\r\n", "550" },
		{ "Subject: x\r\n\r\nhello\r.\rMAIL FROM:<evil@b.example>\r\n.\r\n", "550" },
		{ "Subject: x\r\n\r\nhello\n.\r\nmore\r\n.\r\n", "550" },
		{ "Subject: x\r\n\r\nhello\r\n.\nmore\r\n.\r\n", "550" },
		{ "Received: a\r\nReceived: a\r\nReceived: a\r\nReceived: a\r\nReceived: "
		  "a\r\n\r\n.\r\n",
		    "554" },
		{ "Received: a\r\nReceived: a\r\nReceived: a\r\nReceived: a\r\n\r\n.\r\n", "250" },
		{ "\r\n.\r\n", "250" },
		{ ".\r\n", "250" },
	};
	memset(&given, 0, sizeof given);
	given.code = 250;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char script[1024], want[64];
		snprintf(script, sizeof script, ALICE "DATA\r\n%sNOOP\r\n" QUIT, cases[i].text);
		snprintf(want, sizeof want, "220 250 250 250 354 %s 250 221", cases[i].want);
		given.calls = 0;
		check("mx", script, want);
		assert_int_equal(given.calls, strcmp(cases[i].want, "250") == 0 ? 2 : 0);
	}
}

static void test_sizes(void **state)
{
	static char script[300000];
	static const struct {
		size_t lines; /* of 100 bytes */
		const char *want;
	} cases[] = {
		{ 10, "220 250 250 250 354 250 221" },
		{ 600, "220 250 250 250 354 250 221" }, /* in a file */
		{ 700, "220 250 250 250 354 552 221" }, /* over message_size_max, read to its end */
		{ 2000, "220 250 250 250 354 552" },    /* absurd: closed in the middle */
	};
	memset(&given, 0, sizeof given);
	given.code = 250;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		size_t n = (size_t)snprintf(script, sizeof script, ALICE "DATA\r\n");
		for (size_t k = 0; k < cases[i].lines; k++, n += 100)
			snprintf(script + n, sizeof script - n, "%098zu\r\n", k);
		n += (size_t)snprintf(script + n, sizeof script - n, ".\r\n" QUIT);
		check_talk("mx", span_of(script, n), cases[i].want, SIZE_MAX);
		check_talk("mx", span_of(script, n), cases[i].want, 997);
	}
	size_t n = (size_t)snprintf(script, sizeof script, ALICE "DATA\r\n");
	memset(script + n, 'x', 3000);
	n += 3000;
	n += (size_t)snprintf(script + n, sizeof script - n, "\r\n.\r\n" QUIT);
	check_talk("mx", span_of(script, n), "220 250 250 250 354 550 221", SIZE_MAX);
}

/* Base64 of "\0alice@example.org\0alice-secret" and friends. */
#define PLAIN_GOOD "AGFsaWNlQGV4YW1wbGUub3JnAGFsaWNlLXNlY3JldA=="
#define PLAIN_BAD "AGFsaWNlQGV4YW1wbGUub3JnAHdyb25n"
#define PLAIN_NOBODY "AG5vYm9keUBleGFtcGxlLm9yZwB3cm9uZw=="
#define PLAIN_FOREIGN "Ym9iQGV4YW1wbGUub3JnAGFsaWNlQGV4YW1wbGUub3JnAGFsaWNlLXNlY3JldA=="
#define PLAIN_DISABLED "AGRpc2FibGVkQGV4YW1wbGUub3JnAGRpc2FibGVkLXNlY3JldA=="
#define LOGIN_NAME "YWxpY2VAZXhhbXBsZS5vcmc="
#define LOGIN_GOOD "YWxpY2Utc2VjcmV0"

static void test_auth(void **state)
{
	static const struct {
		const char *script, *want;
	} cases[] = {
		{ "AUTH PLAIN " PLAIN_GOOD "\r\nAUTH PLAIN " PLAIN_GOOD "\r\n", "235 503" },
		{ "AUTH PLAIN\r\n" PLAIN_GOOD "\r\n", "334 235" },
		{ "AUTH LOGIN\r\n" LOGIN_NAME "\r\n" LOGIN_GOOD "\r\n", "334 334 235" },
		{ "AUTH LOGIN " LOGIN_NAME "\r\n" LOGIN_GOOD "\r\n", "334 235" },
		{ "AUTH LOGIN\r\n" LOGIN_NAME "\r\nd3Jvbmc=\r\n", "334 334 535" },
		{ "AUTH PLAIN " PLAIN_BAD "\r\nAUTH PLAIN " PLAIN_GOOD "\r\n", "535 235" },
		{ "AUTH PLAIN " PLAIN_NOBODY "\r\n", "535" },
		{ "AUTH PLAIN " PLAIN_FOREIGN "\r\n", "535" },
		{ "AUTH PLAIN " PLAIN_DISABLED "\r\n", "535" },
		{ "AUTH PLAIN\r\n*\r\nAUTH PLAIN !!!\r\nAUTH PLAIN =\r\n", "334 501 501 501" },
		{ "AUTH LOGIN\r\n!!\r\nNOOP\r\n", "334 501 250" },
		{ "AUTH CRAM-MD5\r\nAUTH\r\n", "504 501" },
		{ "MAIL FROM:<alice@example.org>\r\n", "530" },
		{ "AUTH PLAIN " PLAIN_GOOD "\r\nMAIL FROM:<alice@example.org>\r\nAUTH PLAIN x\r\n"
		  "RCPT TO:<x@far.example>\r\nRCPT TO:<nobody@example.org>\r\n",
		    "235 250 503 250 550" },
	};
	char script[1024], want[128];
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		snprintf(script, sizeof script, HELLO "%s" QUIT, cases[i].script);
		snprintf(want, sizeof want, "220 250 %s 221", cases[i].want);
		check("submission", script, want);
	}
	check("submission",
	    HELLO "AUTH PLAIN " PLAIN_BAD "\r\nAUTH PLAIN " PLAIN_BAD "\r\nAUTH PLAIN " PLAIN_BAD
		  "\r\nNOOP\r\n",
	    "220 250 535 535 535 421");
	check("strict", HELLO "AUTH PLAIN " PLAIN_GOOD "\r\nMAIL FROM:<a@b.example>\r\n" QUIT,
	    "220 250 538 530 221");
}

static void test_submission_completes_the_header(void **state)
{
	memset(&given, 0, sizeof given);
	given.code = 250;
	check("submission",
	    HELLO "AUTH PLAIN " PLAIN_GOOD
		  "\r\nMAIL FROM:<alice@example.org>\r\nRCPT TO:<x@far.example>\r\n"
		  "DATA\r\n" TEXT ".\r\n" QUIT,
	    "220 250 235 250 250 354 250 221");
	assert_string_equal(given.auth_user, "alice@example.org");
	assert_string_equal(given.user, "-");
	assert_string_equal(given.store, "-");
	assert_non_null(strstr(given.head, " with ESMTPA id "));
	assert_non_null(strstr(given.head, "\r\nDate: "));
	assert_non_null(strstr(given.head, "\r\nMessage-ID: <"));
	check("submission",
	    HELLO "AUTH PLAIN " PLAIN_GOOD
		  "\r\nMAIL FROM:<alice@example.org>\r\nRCPT TO:<x@far.example>\r\n"
		  "DATA\r\ndate: x\r\nMESSAGE-ID: <y>\r\n\r\n.\r\n" QUIT,
	    "220 250 235 250 250 354 250 221");
	assert_null(strstr(given.head, "Date: "));
	assert_null(strstr(given.head, "Message-ID: <"));
}

static void test_bytes_behind_starttls_end_the_session(void **state)
{
	struct talk t = talk_whole(
	    "mx", "192.0.2.1", SPAN(HELLO "STARTTLS\r\nMAIL FROM:<evil@b.example>\r\n"), SIZE_MAX);
	assert_string_equal(codes(&t), "220 250 554");
	talk_close(&t);
	t = talk_open("mx", "192.0.2.1");
	talk_until(&t, "220");
	talk_send(&t, SPAN(HELLO "STARTTLS\r\n"), SIZE_MAX);
	talk_until(&t, "ready to start TLS");
	talk_send(&t, SPAN("MAIL FROM:<evil@b.example>\r\n"), SIZE_MAX);
	talk_until(&t, NULL); /* that is no handshake */
	assert_null(strstr(buf_cstr(&t.heard), "sender ok"));
	talk_close(&t);
}

static void test_limits_before_the_greeting(void **state)
{
	static const char *const want[] = { "220 221", "220 221", "220 221", "421" };
	for (size_t i = 0; i < COUNT_OF(want); i++) {
		struct talk t = talk_open("mx", "198.51.100.1");
		talk_until(&t, "\r\n");
		talk_send(&t, SPAN(QUIT), SIZE_MAX);
		talk_until(&t, NULL);
		assert_string_equal(codes(&t), want[i]);
		talk_close(&t);
	}
	/* who talks first is refused; a probe is never counted, an exempt client neither */
	struct talk t = talk_open("mx", "198.51.100.2");
	assert_int_equal(write(t.fd, HELLO, sizeof HELLO - 1), sizeof HELLO - 1);
	talk_until(&t, NULL);
	assert_string_equal(codes(&t), "554");
	talk_close(&t);
	struct ip_addr one;
	assert_true(ip_parse(SPAN("192.0.2.50"), &one));
	assert_true(edge_client_enter(edge, one));
	assert_true(edge_client_enter(edge, one));
	assert_false(edge_client_enter(edge, one));
	edge_client_leave(edge, one);
	assert_true(edge_client_enter(edge, one));
	edge_client_leave(edge, one);
	edge_client_leave(edge, one);
	assert_int_equal(map_count(edge->clients), 0);
}

static void test_message_limit(void **state)
{
	memset(&given, 0, sizeof given);
	given.code = 250;
	static const char *const want[] = { "220 250 250 250 354 250 221",
		"220 250 250 250 354 451 221" };
	for (size_t i = 0; i < COUNT_OF(want); i++) {
		struct talk t = talk_whole(
		    "mx", "192.0.2.200", SPAN(ALICE "DATA\r\n" TEXT ".\r\n" QUIT), SIZE_MAX);
		assert_string_equal(codes(&t), want[i]);
		talk_close(&t);
	}
	assert_int_equal(given.calls, 1);
}

/* MAIL and RCPT: a refusal names the rule and the session goes on; a delay holds the answer back. */
static void test_envelope_limits(void **state)
{
	struct talk t = talk_whole("mx", "198.18.0.5",
	    SPAN(MAIL "RCPT TO:<alice@example.org>\r\nRCPT TO:<alice@example.org>\r\n"
		      "RCPT TO:<bob@example.org>\r\nRSET\r\n"
		      "MAIL FROM:<two@far.example>\r\nRSET\r\nMAIL FROM:<three@far.example>\r\n"
		      "RCPT TO:<bob@example.org>\r\n" QUIT),
	    SIZE_MAX);
	assert_string_equal(codes(&t), "220 250 250 250 550 250 250 250 250 450 503 221");
	assert_non_null(strstr(buf_cstr(&t.heard), "550 5.7.1 limit targets is reached"));
	assert_non_null(strstr(buf_cstr(&t.heard), "450 4.7.1 limit senders is reached"));
	talk_close(&t);
}

/* So many at the same time: the place is free again when one has ended. */
static void test_concurrent_sessions(void **state)
{
	struct talk one = talk_open("mx", "198.18.0.77");
	talk_until(&one, "220");
	struct talk two = talk_open("mx", "198.18.0.77");
	talk_until(&two, NULL);
	assert_string_equal(codes(&two), "421");
	close(two.fd);
	buf_end(&two.heard);
	talk_send(&one, SPAN(QUIT), SIZE_MAX);
	talk_until(&one, NULL);
	talk_close(&one);
	loop_step(loop, 0); /* what was held is given back */
	struct talk three = talk_open("mx", "203.0.113.77");
	talk_until(&three, "220");
	talk_close(&three);
}

static void test_connections_of_a_client(void **state)
{
	struct talk one = talk_open("mx", "192.0.2.78"), two = talk_open("mx", "192.0.2.78");
	struct ip_addr a;
	assert_true(ip_parse(SPAN("192.0.2.78"), &a));
	assert_false(edge_client_enter(edge, a)); /* connections_per_client_max 2 */
	close(one.fd);
	buf_end(&one.heard);
	while (edge->session_n > 1)
		loop_step(loop, 20);
	assert_true(edge_client_enter(edge, a));
	edge_client_leave(edge, a);
	talk_close(&two);
}

static void test_slow_clients(void **state)
{
	uint64_t begun = clock_mono_ms();
	struct talk t = talk_whole("mx", "192.0.2.1", SPAN("EHL"), SIZE_MAX);
	assert_string_equal(codes(&t), "220 421");
	assert_true(clock_mono_ms() - begun >= 900);
	talk_close(&t);
	t = talk_whole("mx", "192.0.2.1", SPAN(ALICE "DATA\r\nSubject: x\r\n"), SIZE_MAX);
	assert_string_equal(codes(&t), "220 250 250 250 354 421");
	talk_close(&t);
}

static void test_a_client_that_does_not_read(void **state)
{
	/* far more answers than fit in the output: commands wait, nobody is thrown out, none is lost */
	enum { MANY = 120000 };
	static char script[MANY * 6 + 1];
	size_t n = 0;
	for (int i = 0; i < MANY; i++)
		n += (size_t)snprintf(script + n, sizeof script - n, "NOOP\r\n");
	struct talk t = talk_open("mx", "192.0.2.1");
	talk_until(&t, "220");
	struct span rest = span_of(script, n);
	for (int stalled = 0; stalled < 20 && rest.n > 0; stalled++) {
		ssize_t sent = write(t.fd, rest.p, rest.n);
		if (sent > 0) {
			rest = span_from(rest, (size_t)sent);
			stalled = 0;
		}
		loop_step(loop, 1);
	}
	assert_true(rest.n > 0);
	talk_send(&t, rest, SIZE_MAX);
	talk_send(&t, SPAN(QUIT), SIZE_MAX);
	talk_until(&t, NULL);
	size_t oks = 0;
	struct span heard = buf_span(&t.heard);
	while (heard.n > 0)
		oks += span_starts(span_cut(&heard, '\n'), SPAN("250 "));
	assert_int_equal(oks, MANY);
	talk_close(&t);
}

static void on_drained(void *arg)
{
	*(bool *)arg = true;
}

/* The last of the tests: the worker takes no more sessions after it. */
static void test_drain(void **state)
{
	bool drained = false;
	memset(&given, 0, sizeof given);
	given.code = 250;
	struct talk idle = talk_open("mx", "192.0.2.1"), busy = talk_open("mx", "192.0.2.2");
	talk_until(&idle, "220");
	talk_until(&busy, "220");
	talk_send(&busy, SPAN(ALICE "DATA\r\n"), SIZE_MAX);
	talk_until(&busy, "354");
	struct buf who = BUF_INIT(4096);
	edge_who(edge, &who);
	assert_non_null(
	    strstr(buf_cstr(&who), "\"client\":\"192.0.2.2:4000\",\"protocol\":\"smtp\""));
	buf_end(&who);
	edge_drain(edge, on_drained, &drained);
	talk_until(&idle, NULL);
	assert_string_equal(codes(&idle), "220 421");
	assert_false(drained);
	talk_send(&busy, SPAN(TEXT ".\r\n"), SIZE_MAX);
	talk_until(&busy, NULL);
	assert_string_equal(codes(&busy), "220 250 250 250 354 250 421");
	assert_true(drained);
	close(idle.fd);
	buf_end(&idle.heard);
	talk_close(&busy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_odd_bytes),
		cmocka_unit_test(test_recipients),
		cmocka_unit_test(test_relay),
		cmocka_unit_test(test_dsn),
		cmocka_unit_test(test_orcpt_utf8),
		cmocka_unit_test(test_mail),
		cmocka_unit_test(test_recipients_collapse_and_are_bounded),
		cmocka_unit_test(test_bad_messages),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_auth),
		cmocka_unit_test(test_submission_completes_the_header),
		cmocka_unit_test(test_bytes_behind_starttls_end_the_session),
		cmocka_unit_test(test_limits_before_the_greeting),
		cmocka_unit_test(test_message_limit),
		cmocka_unit_test(test_envelope_limits),
		cmocka_unit_test(test_concurrent_sessions),
		cmocka_unit_test(test_connections_of_a_client),
		cmocka_unit_test(test_slow_clients),
		cmocka_unit_test(test_a_client_that_does_not_read),
		cmocka_unit_test(test_drain),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
