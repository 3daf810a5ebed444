/* test_imap_binary.c - BINARY (RFC 3516) of FETCH and APPEND; exact to the byte, also in pieces of one byte and with
 * all commands at once. */
#include "tests/unit/store/imap_fixture.h"

#define RUN(...) PLAY(put_two, talk_examine, __VA_ARGS__)

/* 1: base64 "hello", 2: quoted-printable, 3: plain, 4: a multipart with 4.1, 5: no encoding we know. */
static const char mail[] =
    "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    "--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: Base64\r\n\r\naGVs\r\nbG8=\r\n"
    "--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=3Db=\r\nc\r\n"
    "--b\r\n\r\nplain\r\n"
    "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n"
    "Content-Transfer-Encoding: base64\r\n\r\neA==\r\n--c--\r\n"
    "--b\r\nContent-Transfer-Encoding: uuencode\r\n\r\nx\r\n"
    "--b--\r\n";

static void put_two(struct fixture *f)
{
	fixture_put(f, "INBOX", "", mail);
	fixture_put(f, "INBOX", "\\Seen", "a: b\r\n\r\nwhole");
}

#define GET(items, answer)                                                                         \
	{                                                                                          \
		"a FETCH 1 " items "\r\n", "* 1 FETCH (" answer ")\r\na OK FETCH completed\r\n"    \
	}

static void test_parts(void **state)
{
	RUN(GET("BINARY.PEEK[1]", "BINARY[1] {5}\r\nhello"),
	    GET("(BINARY.SIZE[1] BINARY.SIZE[2] UID)", "BINARY.SIZE[1] 5 BINARY.SIZE[2] 4 UID 1"),
	    GET("(binary[2] binary.peek[3])", "BINARY[2] {4}\r\na=bc BINARY[3] {5}\r\nplain"),
	    GET("BINARY.PEEK[4.1]", "BINARY[4.1] {1}\r\nx"),
	    GET("BINARY.SIZE[4]", "BINARY.SIZE[4] 53"), GET("BINARY[9]", "BINARY[9] NIL"),
	    GET("(BINARY.SIZE[1.1] UID)", "BINARY.SIZE[1.1] NIL UID 1"),
	    { "a FETCH 2 BINARY[]\r\n",
		"* 2 FETCH (BINARY[] {13}\r\na: b\r\n\r\nwhole)\r\na OK FETCH completed\r\n" },
	    { "a FETCH 2 BINARY.SIZE[]\r\n",
		"* 2 FETCH (BINARY.SIZE[] 13)\r\na OK FETCH completed\r\n" },
	    { "a FETCH 1 (UID BINARY[5])\r\n",
		"* 1 FETCH (UID 1)\r\na NO [UNKNOWN-CTE] Some parts cannot be decoded\r\n" },
	    { "a FETCH 1 BINARY[5]\r\n",
		"* 1 FETCH (UID 1)\r\na NO [UNKNOWN-CTE] Some parts cannot be decoded\r\n" });
}

static void test_partial(void **state)
{
	RUN(GET("BINARY[1]<0.2>", "BINARY[1]<0> {2}\r\nhe"),
	    GET("BINARY[1]<3.10>", "BINARY[1]<3> {2}\r\nlo"),
	    GET("BINARY[1]<5.1>", "BINARY[1]<5> {0}\r\n"),
	    GET("BINARY[1]<9.1>", "BINARY[1]<9> {0}\r\n"),
	    GET("BINARY[1]<1.3>", "BINARY[1]<1> {3}\r\nell"));
}

static void test_refused(void **state)
{
	RUN({ "a FETCH 1 BINARY\r\n", "a BAD Unexpected character\r\n" },
	    { "a FETCH 1 BINARY[HEADER]\r\n", "a BAD Part number expected\r\n" },
	    { "a FETCH 1 BINARY[1.MIME]\r\n", "a BAD Part number expected\r\n" },
	    { "a FETCH 1 BINARY.SIZE[1]<0.1>\r\n", "a BAD Too many arguments\r\n" },
	    { "a FETCH 1 BINARY[0]\r\n", "a BAD Number must not be zero\r\n" },
	    { "a FETCH 1 BINARY[1]<1.0>\r\n", "a BAD Number must not be zero\r\n" });
}

/* NULs go as a literal of their own kind; a part of several pieces; \Seen is set. */
static void test_large(void **state)
{
	enum { ROUNDS = 40000 };
	struct fixture *f = fixture_open();
	struct buf b = BUF_INIT(1 << 20);
	buf_add_str(&b, "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
			"Content-Transfer-Encoding: base64\r\n\r\n");
	for (int i = 0; i < ROUNDS; i++)
		buf_add_str(&b, i % 19 == 18 ? "AAEC\r\n" : "AAEC");
	buf_add_str(&b, "\r\n--b--\r\n");
	fixture_put(f, "INBOX", "", buf_cstr(&b));
	struct talk t = talk_login(f);
	talk(&t, "s SELECT INBOX\r\n");
	talk_send(&t, "a FETCH 1 BINARY[1]\r\n");
	talk_until(&t, "* 1 FETCH (BINARY[1] ~{120000}\r\n");
	FIXTURE_WAIT(f, (talk_listen(&t), buf_len(&t.heard) > 120070));
	const char *body = strstr(buf_cstr(&t.heard), "~{120000}\r\n") + 11;
	for (int i = 0; i < 3 * ROUNDS; i++)
		assert_int_equal(body[i], i % 3);
	assert_non_null(strstr(body + 3 * ROUNDS, " FLAGS (\\Seen \\Recent))\r\na OK"));
	talk(&t, "a FETCH 1 BINARY.PEEK[1]<119998.10>\r\n");
	assert_memory_equal(buf_cstr(&t.heard), "* 1 FETCH (BINARY[1]<119998> ~{2}\r\n\1\2)", 38);
	buf_end(&b);
	talk_close(&t);
	fixture_close(&f);
}

/* It is stored as it is or not at all. */
static void test_append(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = talk_login(f);
	talk_expect(&t, "a APPEND INBOX ~{9+}\r\na: b\r\n\r\nx\r\n",
	    "a OK [APPENDUID @ 1] APPEND completed\r\n");
	talk_expect(&t, "a APPEND INBOX (\\Seen) ~{9}\r\n", "+ go on\r\n");
	talk_expect(&t, "a: b\r\n\r\nx\r\n", "a OK [APPENDUID @ 2] APPEND completed\r\n");
	talk_expect(&t, "a APPEND INBOX ~{9+}\r\na: b\r\n\nxx\r\n",
	    "a NO [UNKNOWN-CTE] Only lines that end with CRLF can be stored\r\n");
	buf_clear(&t.heard);
	talk_send_cut(&t, SPAN("a APPEND INBOX ~{9+}\r\na: b\r\n\r\n\0\r\n"), SIZE_MAX);
	talk_hear(&t, "a NO [UNKNOWN-CTE] NUL cannot be stored\r\n");
	talk_expect(&t, "a APPEND INBOX ~x\r\n", "a BAD Unexpected character\r\n");
	talk_close(&t);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_partial),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_append),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
