/* test_imap_items.c - what later RFCs ask of messages and mailboxes: WITHIN (5032), SAVEDATE (8514), OBJECTID (8474),
 * PREVIEW (8970), QUOTA (9208), APPENDLIMIT (7889); exact to the byte, also in pieces of one byte and with all
 * commands at once. */
#include "tests/unit/store/imap_fixture.h"

#define RUN(prepare, ...) PLAY(prepare, talk_select, __VA_ARGS__)
#define MAIL "Subject: x\r\n\r\ntext\r\n"
#define FOUND(keys, numbers)                                                                       \
	{                                                                                          \
		"a SEARCH " keys "\r\n", "* SEARCH" numbers "\r\na OK SEARCH completed\r\n"        \
	}

/* Received in 2023, and one that comes now. */
static void old_and_new(struct fixture *f)
{
	fixture_put(f, "INBOX", "", MAIL);
	fixture_put(f, "INBOX", "", MAIL);
	struct talk t = talk_login(f);
	talk(&t, "p APPEND INBOX {4+}\r\na:b\n\r\n");
	talk_close(&t);
}

static void test_within(void **state)
{
	RUN(old_and_new, FOUND("OLDER 86400", " 1 2"), FOUND("YOUNGER 86400", " 3"),
	    FOUND("NOT OLDER 86400 NOT YOUNGER 1000000000", ""),
	    FOUND("YOUNGER 4294967295", " 1 2 3"),
	    { "a SEARCH OLDER 0\r\n", "a BAD Number must not be zero\r\n" },
	    { "a SEARCH OLDER -1\r\n", "a BAD Number expected\r\n" },
	    { "a SEARCH YOUNGER\r\n", "a BAD Missing argument\r\n" });
}

/* fake_apply() saves at second 0 of 1970. */
static void test_savedate(void **state)
{
	RUN(old_and_new, FOUND("SAVEDATESUPPORTED", " 1 2 3"), FOUND("SAVEDON 2-Jan-1970", ""),
	    FOUND("NOT SAVEDSINCE 1-Jan-2038 SAVEDBEFORE 1-Jan-2038", " 1 2 3"),
	    FOUND("SAVEDSINCE 1-Jan-2038", ""), { "a SEARCH SAVEDON x\r\n", "a BAD Bad date\r\n" },
	    { "a FETCH 1 (SAVEDATES)\r\n", "a BAD Unknown FETCH item\r\n" });
}

static void test_savedate_fetch(void **state)
{
	struct fixture *f = fixture_open();
	old_and_new(f);
	struct talk t = talk_login(f);
	talk(&t, "s SELECT INBOX\r\n");
	const char *heard = talk(&t, "a FETCH 3 (SAVEDATE INTERNALDATE)\r\n");
	char saved[64], internal[64];
	assert_int_equal(
	    sscanf(heard, "* 3 FETCH (SAVEDATE \"%63[^\"]\" INTERNALDATE \"%63[^\"]\")", saved,
		internal),
	    2);
	assert_int_equal(strlen(saved), strlen(internal));
	talk_close(&t);
	fixture_close(&f);
}

static void test_objectid(void **state)
{
	RUN(old_and_new,
	    { "a STATUS INBOX (MAILBOXID)\r\n",
		"* STATUS INBOX (MAILBOXID (F@))\r\na OK STATUS completed\r\n" },
	    { "a FETCH 1 (EMAILID THREADID)\r\n",
		"* 1 FETCH (EMAILID (M@) THREADID NIL)\r\na OK FETCH completed\r\n" },
	    FOUND("EMAILID x", ""), FOUND("THREADID T1", ""), FOUND("NOT THREADID T1", " 1 2 3"),
	    { "a SEARCH EMAILID\r\n", "a BAD Missing argument\r\n" });
}

/* The same for each copy of a message; of a mailbox, whatever its name. */
static void test_ids_stay(void **state)
{
	struct fixture *f = fixture_open();
	char id[64], again[64], emailid[64];
	old_and_new(f);
	struct talk t = talk_login(f);
	assert_int_equal(sscanf(talk(&t, "a CREATE x\r\n"), "a OK [MAILBOXID (%63[^)])]", id), 1);
	talk(&t, "a RENAME x y\r\n");
	assert_int_equal(sscanf(talk(&t, "a STATUS y (MAILBOXID)\r\n"),
			     "* STATUS y (MAILBOXID (%63[^)]))", again),
	    1);
	assert_string_equal(id, again);
	talk(&t, "s SELECT INBOX\r\n");
	assert_int_equal(
	    sscanf(talk(&t, "a FETCH 2 EMAILID\r\n"), "* 2 FETCH (EMAILID (%63[^)]))", emailid), 1);
	talk(&t, "a COPY 2 y\r\n");
	talk(&t, "a MOVE 2 y\r\n");
	char command[128], want[256];
	snprintf(command, sizeof command, "a SEARCH EMAILID %s\r\n", emailid);
	talk_expect(&t, command, "* SEARCH\r\na OK SEARCH completed\r\n");
	talk(&t, "s SELECT y\r\n");
	talk_expect(&t, command, "* SEARCH 1 2\r\na OK SEARCH completed\r\n");
	snprintf(
	    want, sizeof want, "* 2 FETCH (EMAILID (%s))\r\na OK FETCH completed\r\n", emailid);
	talk_expect(&t, "a FETCH 2 EMAILID\r\n", want);
	talk_close(&t);
	fixture_close(&f);
}

/* ---- PREVIEW ------------------------------------------------------------------------------------------- */

static const char *const mails[] = {
	"Subject: x\r\n\r\n  Dear\r\n\tall,\r\n\r\nhello  there \r\n",
	"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: "
	"text/html\r\n\r\n"
	"<p>html</p>\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
	"Content-Transfer-Encoding: quoted-printable\r\n\r\ngr=FC=DFe\r\n--b--\r\n",
	"Content-Type: "
	"text/html\r\n\r\n<html><head><title>no</title></head><style>x{}</style><body>"
	"<b>bold</b>text <br>next</body>",
	"Content-Type: image/png\r\n\r\nxxxx\r\n",
	"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8gd29ybGQ=\r\n",
	"Subject: none\r\n\r\n",
};

static void six(struct fixture *f)
{
	for (size_t i = 0; i < COUNT_OF(mails); i++)
		fixture_put(f, "INBOX", "\\Seen", mails[i]);
}

#define PREVIEW(n, text)                                                                           \
	{                                                                                          \
		"a FETCH " n " PREVIEW\r\n",                                                       \
		    "* " n " FETCH (PREVIEW " text ")\r\na OK FETCH completed\r\n"                 \
	}

static void test_preview(void **state)
{
	RUN(six, PREVIEW("1", "\"Dear all, hello there\""),
	    PREVIEW("2", "{7}\r\ngr\xc3\xbc\xc3\x9f"
			 "e"),
	    PREVIEW("3", "\"bold text next\""), PREVIEW("4", "\"\""),
	    PREVIEW("5", "\"hello world\""), PREVIEW("6", "\"\""),
	    { "a FETCH 1 (UID PREVIEW (LAZY) FLAGS)\r\n",
		"* 1 FETCH (UID 1 PREVIEW \"Dear all, hello there\" FLAGS (\\Seen \\Recent))\r\n"
		"a OK FETCH completed\r\n" },
	    { "a FETCH 1 PREVIEW (LAZY)\r\n",
		"* 1 FETCH (PREVIEW \"Dear all, hello there\")\r\na OK FETCH completed\r\n" },
	    { "a FETCH 1 PREVIEW (CHANGEDSINCE 100)\r\n",
		"* OK [HIGHESTMODSEQ 7] Highest\r\na OK FETCH completed\r\n" },
	    { "a FETCH 1 PREVIEW (SLOW)\r\n", "a BAD Unknown FETCH modifier\r\n" },
	    { "a FETCH 1 (PREVIEW (SLOW))\r\n", "a BAD Unknown FETCH item\r\n" });
}

static void one_long(struct fixture *f)
{
	struct buf b = BUF_INIT(1 << 20);
	buf_add_str(&b, "Content-Type: text/plain; charset=utf-8\r\n\r\n");
	for (int i = 0; i < 30000; i++)
		buf_add_str(&b, i % 50 == 49 ? "\r\n" : "\xc3\xa4");
	fixture_put(f, "INBOX", "\\Seen", buf_cstr(&b));
	buf_end(&b);
}

/* 200 characters, of which three are spaces. */
static void test_preview_is_short(void **state)
{
	struct fixture *f = fixture_open();
	one_long(f);
	struct talk t = talk_login(f);
	talk(&t, "s SELECT INBOX\r\n");
	const char *heard = talk(&t, "a FETCH 1 PREVIEW\r\n");
	size_t n = 0;
	assert_int_equal(sscanf(heard, "* 1 FETCH (PREVIEW {%zu}", &n), 1);
	assert_in_range(n, 390, 400);
	assert_non_null(strstr(heard, "\xa4)\r\na OK FETCH completed\r\n"));
	talk_close(&t);
	fixture_close(&f);
}

/* ---- QUOTA, APPENDLIMIT ---------------------------------------------------------------------------------- */

static void limit(struct fixture *f, uint64_t bytes, uint64_t messages)
{
	struct operation op;
	operation_init(&op, OP_ENSURE_USER);
	op.user = SPAN("alice@example.org");
	op.quota_bytes = bytes;
	op.quota_messages = messages;
	assert_int_equal(fake_apply(f->committer, &op, NULL), OPR_OK);
}

static void test_quota(void **state)
{
	struct fixture *f = fixture_open();
	fixture_put(f, "INBOX", "\\Deleted", MAIL);
	fixture_put(f, "INBOX", "", MAIL);
	struct talk t = talk_login(f);
	limit(f, 0, 0);
	talk_expect(&t, "a GETQUOTA \"\"\r\n", "a NO [NONEXISTENT] No such quota root\r\n");
	talk_expect(
	    &t, "a GETQUOTAROOT INBOX\r\n", "* QUOTAROOT INBOX\r\na OK GETQUOTAROOT completed\r\n");
	limit(f, 10240, 3);
	talk_expect(&t, "a GETQUOTAROOT inbox\r\n",
	    "* QUOTAROOT INBOX \"\"\r\n* QUOTA \"\" (STORAGE 1 10 MESSAGE 2 3)\r\n"
	    "a OK GETQUOTAROOT completed\r\n");
	talk_expect(
	    &t, "p APPEND INBOX {4+}\r\na:b\n\r\n", "p OK [APPENDUID @ 3] APPEND completed\r\n");
	talk_expect(&t, "p APPEND INBOX {40000}\r\n", "p NO [OVERQUOTA] Quota exceeded\r\n");
	limit(f, 0, 3);
	talk_expect(&t, "a GETQUOTA {0+}\r\n\r\n",
	    "* QUOTA \"\" (MESSAGE 3 3)\r\na OK GETQUOTA completed\r\n");
	talk_expect(&t, "a GETQUOTA x\r\n", "a NO [NONEXISTENT] No such quota root\r\n");
	talk_expect(&t, "a GETQUOTAROOT x\r\n",
	    "* QUOTAROOT x \"\"\r\n* QUOTA \"\" (MESSAGE 3 3)\r\na OK GETQUOTAROOT completed\r\n");
	talk_expect(&t, "a GETQUOTAROOT \"Other Users/bob@example.org/x\"\r\n",
	    "a NO [NONEXISTENT] No such mailbox\r\n");
	talk_expect(&t, "a GETQUOTA\r\n", "a BAD Missing argument\r\n");
	talk_expect(&t, "a SETQUOTA \"\" (STORAGE 5)\r\n", "a BAD Unknown command\r\n");
	talk_expect(&t, "a STATUS INBOX (DELETED DELETED-STORAGE APPENDLIMIT)\r\n",
	    "* STATUS INBOX (DELETED 1 DELETED-STORAGE 20 APPENDLIMIT 1048576)\r\n"
	    "a OK STATUS completed\r\n");
	talk_close(&t);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_within),
		cmocka_unit_test(test_savedate),
		cmocka_unit_test(test_savedate_fetch),
		cmocka_unit_test(test_objectid),
		cmocka_unit_test(test_ids_stay),
		cmocka_unit_test(test_preview),
		cmocka_unit_test(test_preview_is_short),
		cmocka_unit_test(test_quota),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
