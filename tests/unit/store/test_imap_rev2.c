/* test_imap_rev2.c - UTF8=ACCEPT (RFC 6855) and what is other in IMAP4rev2 (RFC 9051) once a client has enabled it; exact
 * to the byte, also in pieces of one byte and with all commands at once. */
#include "tests/unit/store/imap_fixture.h"

#define RUN(...) PLAY(put_one, talk_login, __VA_ARGS__)
#define GRUESSE                                                                                    \
	"Gr\xc3\xbc\xc3\x9f"                                                                       \
	"e"
#define CREATED "c OK [MAILBOXID (F@)] CREATE completed\r\n"
#define UTF8                                                                                       \
	{                                                                                          \
		"e ENABLE UTF8=ACCEPT\r\n", "* ENABLED UTF8=ACCEPT\r\ne OK ENABLE completed\r\n"   \
	}
#define REV2                                                                                       \
	{                                                                                          \
		"e ENABLE IMAP4rev2\r\n", "* ENABLED IMAP4rev2\r\ne OK ENABLE completed\r\n"       \
	}

static void put_one(struct fixture *f)
{
	fixture_put(f, "INBOX", "", "Subject: x\r\n\r\ntext\r\n");
}

static void test_names(void **state)
{
	RUN({ "c CREATE \"" GRUESSE "\"\r\n", "c NO [CANNOT] Bad name\r\n" }, UTF8,
	    { "c CREATE \"" GRUESSE "\"\r\n", CREATED },
	    { "c CREATE \"a&b \\\"c\\\\\"\r\n", CREATED },
	    { "c CREATE {3+}\r\n\xe2\x82\xac\r\n", CREATED },
	    { "c CREATE \"\xff\"\r\n", "c NO [CANNOT] Bad name\r\n" },
	    { "c CREATE \"a\xc2\x80\"\r\n", "c NO [CANNOT] Bad name\r\n" },
	    { "c CREATE \"\xe2\x80\xa8z\"\r\n", "c NO [CANNOT] Bad name\r\n" },
	    { "c RENAME INBOX \"\xe2\x80\xa9\"\r\n", "c NO [CANNOT] Bad name\r\n" },
	    { "a LIST \"\" %\r\n",
		"* LIST (\\HasNoChildren) \"/\" \"" GRUESSE
		"\"\r\n* LIST (\\HasNoChildren) \"/\" INBOX\r\n"
		"* LIST (\\HasNoChildren) \"/\" \"a&b \\\"c\\\\\"\r\n"
		"* LIST (\\HasNoChildren) \"/\" \"\xe2\x82\xac\"\r\na OK LIST completed\r\n" },
	    { "a LIST \"\" \"Gr\xc3\xbc%\"\r\n",
		"* LIST (\\HasNoChildren) \"/\" \"" GRUESSE "\"\r\na OK LIST completed\r\n" },
	    { "a STATUS \"" GRUESSE "\" (MESSAGES)\r\n",
		"* STATUS \"" GRUESSE "\" (MESSAGES 0)\r\na OK STATUS completed\r\n" },
	    { "a STATUS Gr&APwA3w-e (MESSAGES)\r\n", "a NO [NONEXISTENT] No such mailbox\r\n" });
}

/* What one sees in UTF-8 another sees in modified UTF-7. */
static void test_names_of_others(void **state)
{
	struct fixture *f = fixture_open();
	struct talk a = talk_login(f), b = talk_login(f);
	talk(&a, "e ENABLE IMAP4rev2\r\n");
	talk(&a, "c CREATE \"" GRUESSE "\"\r\n");
	talk_expect(&b, "a LIST \"\" G%\r\n",
	    "* LIST (\\HasNoChildren) \"/\" Gr&APwA3w-e\r\na OK LIST completed\r\n");
	talk_close(&a);
	talk_close(&b);
	fixture_close(&f);
}

static void test_append(void **state)
{
	RUN({ "a APPEND INBOX UTF8 (~{6+}\r\na: b\r\n)\r\n", "a BAD ENABLE UTF8=ACCEPT first\r\n" },
	    UTF8,
	    { "a APPEND INBOX UTF8 (~{6+}\r\na: b\r\n)\r\n",
		"a OK [APPENDUID @ 2] APPEND completed\r\n" },
	    { "a APPEND INBOX (\\Seen) UTF8 (~{8+}\r\na: \xc3\xa4"
	      "b\r\n)\r\n",
		"a OK [APPENDUID @ 3] APPEND completed\r\n" },
	    { "a APPEND INBOX UTF8 (~{6+}\r\na: b\r\n\r\n",
		"a BAD Closing parenthesis expected\r\n" },
	    { "a APPEND INBOX UTF8 ~{6+}\r\na: b\r\n\r\n",
		"a BAD Opening parenthesis expected\r\n" });
}

/* A literal that does not fit a command: the parenthesis comes behind it. */
static void test_append_large(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = talk_login(f);
	struct buf b = BUF_INIT(100000);
	talk(&t, "e ENABLE UTF8=ACCEPT\r\n");
	for (int good = 1; good >= 0; good--) {
		buf_clear(&b);
		buf_add_str(&b, "a APPEND INBOX UTF8 (~{40000+}\r\n");
		for (int i = 0; i < 39998; i++)
			buf_add_char(&b, 'x');
		buf_add_str(&b, good ? "\r\n)\r\n" : "\r\n\r\n");
		talk_expect(&t, buf_cstr(&b),
		    good ? "a OK [APPENDUID @ 1] APPEND completed\r\n"
			 : "a BAD Closing parenthesis expected\r\n");
	}
	buf_end(&b);
	talk_close(&t);
	fixture_close(&f);
}

static void test_search(void **state)
{
	RUN({ "s EXAMINE INBOX\r\n",
		"* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft)\r\n"
		"* OK [PERMANENTFLAGS ()] Flags that can be changed\r\n* 1 EXISTS\r\n* 1 RECENT\r\n"
		"* OK [UNSEEN 1] First unseen\r\n* OK [UIDVALIDITY @] UIDs are valid\r\n"
		"* OK [UIDNEXT 2] Next UID\r\n* OK [HIGHESTMODSEQ 2] Highest\r\n"
		"* OK [MAILBOXID (F@)] Id\r\n* OK [URLMECH INTERNAL] URLs can be authorized\r\ns "
		"OK [READ-ONLY] EXAMINE completed\r\n" },
	    { "a SEARCH CHARSET UTF-8 SUBJECT x\r\n", "* SEARCH 1\r\na OK SEARCH completed\r\n" },
	    UTF8,
	    { "a SEARCH CHARSET UTF-8 SUBJECT x\r\n",
		"a BAD No CHARSET after ENABLE UTF8=ACCEPT\r\n" },
	    { "a SEARCH SUBJECT \"\xc3\xa4\"\r\n", "* SEARCH\r\na OK SEARCH completed\r\n" }, REV2,
	    { "a SEARCH SUBJECT x\r\n",
		"* ESEARCH (TAG \"a\") ALL 1\r\na OK SEARCH completed\r\n" },
	    { "a UID SEARCH FLAGGED\r\n",
		"* ESEARCH (TAG \"a\") UID\r\na OK SEARCH completed\r\n" },
	    { "a SEARCH RETURN (COUNT) ALL\r\n",
		"* ESEARCH (TAG \"a\") COUNT 1\r\na OK SEARCH completed\r\n" });
}

static void test_select(void **state)
{
	RUN(REV2, { "c CREATE \"" GRUESSE "\"\r\n", CREATED },
	    { "s SELECT \"" GRUESSE "\"\r\n",
		"* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft)\r\n"
		"* OK [PERMANENTFLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft \\*)] "
		"Flags that can be changed\r\n* 0 EXISTS\r\n* LIST () \"/\" \"" GRUESSE "\"\r\n"
		"* OK [UIDVALIDITY @] UIDs are valid\r\n* OK [UIDNEXT 1] Next UID\r\n"
		"* OK [HIGHESTMODSEQ 1] Highest\r\n* OK [MAILBOXID (F@)] Id\r\n* OK [URLMECH "
		"INTERNAL] URLs can be authorized\r\n"
		"s OK [READ-WRITE] SELECT completed\r\n" },
	    { "a APPEND \"" GRUESSE "\" {4+}\r\na:b\n\r\n",
		"* 1 EXISTS\r\na OK [APPENDUID @ 1] APPEND completed\r\n" },
	    { "a FETCH 1 FLAGS\r\n", "* 1 FETCH (FLAGS ())\r\na OK FETCH completed\r\n" });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_names_of_others),
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_append_large),
		cmocka_unit_test(test_search),
		cmocka_unit_test(test_select),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
