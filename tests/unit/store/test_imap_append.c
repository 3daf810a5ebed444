/* test_imap_append.c - several messages in one APPEND (RFC 3502) and messages put together (RFC 4469): exact to the byte, in
 * pieces of one byte and with all commands at once. */
#include "tests/unit/store/imap_fixture.h"

#define RUN(...) PLAY(NULL, open_drafts, __VA_ARGS__)
#define A "{6+}\r\na: 1\r\n"
#define B "{6+}\r\nb: 2\r\n"
#define DONE(uids) "a OK [APPENDUID @ " uids "] APPEND completed\r\n"

static struct talk open_drafts(struct fixture *f)
{
	fixture_put(f, "INBOX", "\\Seen", "Subject: part\r\nX: y\r\n\r\nhello\r\n");
	fixture_put(f, "drafts", "", "Subject: d\r\n\r\nd\r\n");
	return talk_login(f);
}

/* The texts of messages from uid on. */
static void expect_text(struct talk *t, const char *uid, const char *want)
{
	char send[64], hear[2048];
	snprintf(send, sizeof send, "f UID FETCH %s BODY.PEEK[]\r\n", uid);
	snprintf(hear, sizeof hear,
	    "* @ FETCH (UID %s BODY[] {%zu}\r\n%s)\r\nf OK FETCH completed\r\n", uid, strlen(want),
	    want);
	talk_expect(t, send, hear);
}

static void test_many(void **state)
{
	RUN({ "a APPEND INBOX " A " " B "\r\n", DONE("2:3") },
	    { "a APPEND INBOX (\\Seen $One) \"17-Jul-1996 02:44:25 -0700\" {6}\r\n",
		"+ go on\r\n" },
	    { "a: 1\r\n ($Two \\Draft) {6}\r\n", "+ go on\r\n" },
	    { "b: 2\r\n \"18-Jul-1996 02:44:25 -0700\" ~{6+}\r\nc: 3\r\n\r\n", DONE("4:6") },
	    { "b EXAMINE INBOX\r\n",
		"* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft $One $Two)\r\n* OK "
		"[PERMANENTFLAGS "
		"()] Flags that can be changed\r\n* 6 EXISTS\r\n* 6 RECENT\r\n* OK [UNSEEN 2] "
		"First "
		"unseen\r\n* OK [UIDVALIDITY @] UIDs are valid\r\n* OK [UIDNEXT 7] Next UID\r\n* "
		"OK "
		"[HIGHESTMODSEQ 4] Highest\r\n* OK [MAILBOXID (F@)] Id\r\n* OK [URLMECH INTERNAL] "
		"URLs can be authorized\r\nb OK [READ-ONLY] EXAMINE "
		"completed\r\n" },
	    { "c FETCH 4:6 (FLAGS)\r\n",
		"* 4 FETCH (FLAGS (\\Seen \\Recent $One))\r\n* 5 FETCH (FLAGS (\\Draft \\Recent "
		"$Two))\r\n* 6 FETCH (FLAGS (\\Recent))\r\nc OK FETCH completed\r\n" },
	    { "d FETCH 4,6 (INTERNALDATE)\r\n",
		"* 4 FETCH (INTERNALDATE \"17-Jul-1996 09:44:25 +0000\")\r\n* 6 FETCH "
		"(INTERNALDATE "
		"\"18-Jul-1996 09:44:25 +0000\")\r\nd OK FETCH completed\r\n" });
}

/* One that cannot be is the end of all, and the rest of the command is understood as such. */
static void test_none_of_many(void **state)
{
	RUN({ "a APPEND none " A " " B "\r\n", "a NO [TRYCREATE] No such mailbox\r\n" },
	    { "a APPEND INBOX " A " {0+}\r\n\r\n", "a NO [CANNOT] An empty message\r\n" },
	    { "a APPEND INBOX " A " (\\Recent) " B "\r\n", "a BAD \\Recent cannot be set\r\n" },
	    { "a APPEND INBOX " A " " B " \r\n", "a BAD Unexpected character\r\n" },
	    { "b STATUS INBOX (MESSAGES)\r\n",
		"* STATUS INBOX (MESSAGES 1)\r\nb OK STATUS completed\r\n" });
}

static void test_refused_large(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = open_drafts(f);
	struct buf big = BUF_INIT(1 << 21);
	while (buf_len(&big) < 1100000)
		buf_add_str(&big, "0123456789\r\n");
	talk_send(&t, "a APPEND INBOX " A " {1100004+}\r\n");
	talk_send_cut(&t, buf_span(&big), 100000);
	talk_send_cut(&t, SPAN(" {6+}\r\nb: 2\r\n {6}\r\n"), SIZE_MAX);
	talk_hear(&t, "a NO [TOOBIG] Message too large\r\n");
	talk_expect(&t, "b STATUS INBOX (MESSAGES)\r\n",
	    "* STATUS INBOX (MESSAGES 1)\r\nb OK STATUS completed\r\n");
	/* each is small enough, and so are all */
	talk_send(&t, "a APPEND INBOX {600000+}\r\n");
	talk_send_cut(&t, span_first(buf_span(&big), 600000), SIZE_MAX);
	talk_send_cut(&t, SPAN(" {600000}\r\n"), SIZE_MAX);
	talk_hear(&t, "+ go on\r\n");
	buf_clear(&t.heard);
	talk_send_cut(&t, span_first(buf_span(&big), 600000), 77777);
	talk_send_cut(&t, SPAN(" {6+}\r\nb: 2\r\n\r\n"), SIZE_MAX);
	talk_hear(&t, DONE("2:4"));
	buf_end(&big);
	talk_close(&t);
	fixture_close(&f);
}

/* More literals than one command may hold, and more bytes. */
static void test_hundreds(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = open_drafts(f);
	struct buf b = BUF_INIT(1 << 22);
	buf_add_str(&b, "a APPEND INBOX");
	for (int i = 0; i < 300; i++)
		buf_printf(&b, " (k%d) {%d+}\r\nn: %04d%*s\r\n", i % 60, 1009, i, 1000, "");
	buf_add_str(&b, "\r\n");
	buf_clear(&t.heard);
	talk_send_cut(&t, buf_span(&b), SIZE_MAX);
	talk_hear(&t, DONE("2:301"));
	talk(&t, "s EXAMINE INBOX\r\n");
	talk_expect(&t, "c SEARCH KEYWORD k59 HEADER n 0299\r\n",
	    "* SEARCH 301\r\nc OK SEARCH completed\r\n");
	/* one more than may be is refused, the rest swallowed */
	buf_clear(&b);
	buf_add_str(&b, "a APPEND INBOX");
	for (int i = 0; i < STORE_AT_ONCE_MAX + 1; i++)
		buf_add_str(&b, " " A);
	buf_add_str(&b, "\r\nb NOOP\r\n");
	buf_clear(&t.heard);
	talk_send_cut(&t, buf_span(&b), SIZE_MAX);
	talk_hear(&t, "a NO [LIMIT] Too many messages at once\r\nb OK NOOP completed\r\n");
	buf_end(&b);
	talk_close(&t);
	fixture_close(&f);
}

static void test_quota(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = open_drafts(f);
	struct operation op;
	operation_init(&op, OP_ENSURE_USER);
	op.user = SPAN("alice@example.org");
	op.quota_messages = 4;
	op.quota_bytes = 80;
	assert_int_equal(fake_apply(f->committer, &op, NULL), OPR_OK);
	talk_expect(
	    &t, "a APPEND INBOX " A " " B " " A "\r\n", "a NO [OVERQUOTA] Quota exceeded\r\n");
	talk_expect(&t, "a APPEND INBOX " A " {40000}\r\n", "a NO [OVERQUOTA] Quota exceeded\r\n");
	talk_expect(&t, "b STATUS INBOX (MESSAGES)\r\n",
	    "* STATUS INBOX (MESSAGES 1)\r\nb OK STATUS completed\r\n");
	talk_expect(&t, "a APPEND INBOX " A " " B "\r\n", DONE("2:3"));
	talk_close(&t);
	fixture_close(&f);
}

static void test_catenate(void **state)
{
	RUN({ "a APPEND INBOX (\\Draft) CATENATE (TEXT {6+}\r\na: 1\r\n URL /INBOX/;UID=1)\r\n",
		DONE("2") },
	    { "a APPEND INBOX CATENATE (URL \"/inbox/;UID=1/;SECTION=HEADER\" TEXT {2}\r\n",
		"+ go on\r\n" },
	    { "x\n URL {27}\r\n", "+ go on\r\n" },
	    { "/INBOX/;UID=1/;SECTION=TEXT)\r\n", DONE("3") },
	    { "b STATUS INBOX (MESSAGES SIZE)\r\n",
		"* STATUS INBOX (MESSAGES 3 SIZE 99)\r\nb OK STATUS completed\r\n" });
}

static void test_catenated(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = open_drafts(f);
	talk_expect(&t,
	    "a APPEND INBOX (\\Draft) CATENATE (TEXT {6+}\r\na: 1\r\n URL /INBOX/;UID=1)\r\n",
	    DONE("2"));
	talk_expect(&t,
	    "a APPEND INBOX CATENATE (URL \"/inbox/;UID=1/;SECTION=HEADER.FIELDS%20(SUBJECT)\" URL "
	    "{27+}\r\n/INBOX/;UID=1/;SECTION=TEXT TEXT {3+}\r\nx\ny TEXT {0+}\r\n) (\\Seen) "
	    "CATENATE (URL "
	    "\"imap://alice@anywhere/INBOX/;UID=1/;PARTIAL=3.5\")\r\n",
	    DONE("3:4"));
	talk(&t, "s EXAMINE INBOX\r\n");
	expect_text(&t, "2", "a: 1\r\nSubject: part\r\nX: y\r\n\r\nhello\r\n");
	expect_text(&t, "3", "Subject: part\r\n\r\nhello\r\nx\r\ny");
	expect_text(&t, "4", "ject:");
	/* of the selected mailbox */
	talk_expect(&t, "a APPEND drafts CATENATE (URL ;UID=4 URL /;UID=4)\r\n", DONE("2"));
	talk(&t, "s SELECT drafts\r\n");
	expect_text(&t, "2", "ject:ject:");
	talk_send(&t,
	    "a REPLACE 2 drafts CATENATE (URL /INBOX/;UID=4/;SECTION=TEXT TEXT {3+}\r\nnew)\r\n");
	talk_hear(&t,
	    "* OK [APPENDUID @ 3] The replacement is there\r\n* 2 EXPUNGE\r\n* 2 EXISTS\r\n* 2 "
	    "RECENT\r\na OK REPLACE completed\r\n");
	talk_close(&t);
	fixture_close(&f);
}

static void test_bad_urls(void **state)
{
#define BAD(url) "a NO [BADURL " url "] There is no such message\r\n"
	RUN({ "a APPEND INBOX CATENATE (URL /INBOX/;UID=9)\r\n", BAD("/INBOX/;UID=9") },
	    { "a APPEND INBOX CATENATE (TEXT " A " URL nonsense TEXT " B ")\r\n", BAD("nonsense") },
	    { "a APPEND INBOX CATENATE (URL /none/;UID=1)\r\n", BAD("/none/;UID=1") },
	    { "a APPEND INBOX CATENATE (URL /INBOX;UIDVALIDITY=5/;UID=1)\r\n",
		BAD("/INBOX;UIDVALIDITY=5/;UID=1") },
	    { "a APPEND INBOX CATENATE (URL /INBOX/;UID=1/;SECTION=7)\r\n",
		BAD("/INBOX/;UID=1/;SECTION=7") },
	    { "a APPEND INBOX CATENATE (URL \"/INBOX/;UID=1/;SECTION=1]\")\r\n",
		BAD("/INBOX/;UID=1/;SECTION=1?") },
	    { "a APPEND INBOX CATENATE (URL ;UID=1)\r\n", BAD(";UID=1") },
	    { "a APPEND INBOX CATENATE ()\r\n", "a BAD TEXT or URL expected\r\n" },
	    { "a APPEND INBOX CATENATE (TEXT text)\r\n", "a BAD Unexpected character\r\n" },
	    { "a APPEND INBOX CATENATE (TEXT " A "\r\n", "a BAD Closing parenthesis expected\r\n" },
	    { "a APPEND INBOX CATENATE (TEXT {0+}\r\n)\r\n", "a NO [CANNOT] An empty message\r\n" },
	    { "a APPEND INBOX CATENATE (TEXT {1+}\r\n\n TEXT {1+}\r\nx) " A "\r\n", DONE("2:3") });
}

static void test_urls_of_others(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = open_drafts(f);
	assert_non_null(
	    strstr(talk(&t, "a APPEND INBOX CATENATE (URL imap://bob@h/INBOX/;UID=1)\r\n"),
		"a NO [BADURL imap://bob@h/INBOX/;UID=1] There is no such message\r\n"));
	assert_non_null(strstr(
	    talk(&t,
		"a APPEND INBOX CATENATE (URL \"/Other Users/bob@example.org/INBOX/;UID=1\")\r\n"),
	    "a NO [BADURL /Other?Users/bob@example.org/INBOX/;UID=1] There is no such "
	    "message\r\n"));
	talk_expect(&t,
	    "a APPEND INBOX CATENATE (URL \"imap://alice%40example.org@h/INBOX/;UID=1\")\r\n",
	    DONE("2"));
	talk_close(&t);
	fixture_close(&f);
}

/* Behind a literal that streams, of a message and of a text, whatever may come. */
static void test_large_parts(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = open_drafts(f);
	struct buf big = BUF_INIT(1 << 21);
	while (buf_len(&big) < 60000)
		buf_add_str(&big, "0123456789\r\n");
	talk_send(&t, "a APPEND INBOX CATENATE (TEXT {60000+}\r\n");
	talk_send_cut(&t, buf_span(&big), 1013);
	talk_send_cut(&t, SPAN(" URL {13+}\r\n/INBOX/;UID=1 TEXT {60000}\r\n"), 1);
	talk_hear(&t, "+ go on\r\n");
	buf_clear(&t.heard);
	talk_send_cut(&t, buf_span(&big), 40000);
	talk_send_cut(&t, SPAN(" URL {5000}\r\n"), SIZE_MAX);
	talk_hear(&t, "a BAD URL too long\r\n");
	talk_send(&t, "a APPEND INBOX CATENATE (TEXT {60000+}\r\n");
	talk_send_cut(&t, buf_span(&big), 1013);
	talk_send_cut(&t, SPAN(" URL {12}\r\n"), SIZE_MAX);
	talk_hear(&t, "+ go on\r\n");
	talk_expect(&t, "/none/;UID=1 TEXT {60000}\r\n", BAD("/none/;UID=1"));
	talk_send(&t, "a APPEND INBOX CATENATE (TEXT {60000+}\r\n");
	talk_send_cut(&t, buf_span(&big), SIZE_MAX);
	talk_send_cut(&t, SPAN(" URL {13}\r\n"), SIZE_MAX);
	talk_hear(&t, "+ go on\r\n");
	talk_expect(&t, "/INBOX/;UID=1 TEXT {2+}\r\nxy)\r\n", DONE("2"));
	talk(&t, "s EXAMINE INBOX\r\n");
	talk_expect(&t, "f FETCH 2 (RFC822.SIZE BODY.PEEK[]<59996.15>)\r\n",
	    "* 2 FETCH (RFC822.SIZE 60032 BODY[]<59996> {15}\r\n89\r\nSubject: pa)\r\nf OK FETCH "
	    "completed\r\n");
	buf_end(&big);
	talk_close(&t);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_none_of_many),
		cmocka_unit_test(test_refused_large),
		cmocka_unit_test(test_hundreds),
		cmocka_unit_test(test_quota),
		cmocka_unit_test(test_catenate),
		cmocka_unit_test(test_catenated),
		cmocka_unit_test(test_bad_urls),
		cmocka_unit_test(test_urls_of_others),
		cmocka_unit_test(test_large_parts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
