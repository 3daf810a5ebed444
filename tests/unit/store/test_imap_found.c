/* test_imap_found.c - ESEARCH (RFC 4731) and SEARCHRES (RFC 5182): what a search tells and what it leaves behind;
 * exact to the byte, also in pieces of one byte and with all commands at once. */
#include "tests/unit/store/imap_fixture.h"

#define RUN(...) PLAY(put_five, talk_select, __VA_ARGS__)
#define TEXT "Subject: x\r\n\r\ntext\r\n"

/* INBOX with uids 2 3 4 6 7: seen are 3 6 7; modseq of n is n + 1, of what was expunged 9. */
static void put_five(struct fixture *f)
{
	static const char *const flags[] = { "", "", "\\Seen", "", "", "\\Seen", "\\Seen" };
	for (size_t i = 0; i < COUNT_OF(flags); i++)
		fixture_put(f, "INBOX", flags[i], TEXT);
	fixture_expunge(f, "INBOX", 1, 1);
	fixture_expunge(f, "INBOX", 5, 5);
}

#define FOUND(args, answer)                                                                        \
	{                                                                                          \
		"a SEARCH " args "\r\n", answer "a OK SEARCH completed\r\n"                        \
	}
#define FOUND_UID(args, answer)                                                                    \
	{                                                                                          \
		"a UID SEARCH " args "\r\n", answer "a OK SEARCH completed\r\n"                    \
	}
#define LINE(data) "* ESEARCH (TAG \"a\")" data "\r\n"

static void test_results(void **state)
{
	RUN(FOUND("RETURN () SEEN", LINE(" ALL 2,4:5")),
	    FOUND_UID("RETURN (ALL) SEEN", LINE(" UID ALL 3,6:7")),
	    FOUND("return (min max) seen", LINE(" MIN 2 MAX 5")),
	    FOUND_UID(
		"RETURN (MAX MIN COUNT ALL) SEEN", LINE(" UID ALL 3,6:7 COUNT 3 MIN 3 MAX 7")),
	    FOUND("RETURN (MIN) UNSEEN", LINE(" MIN 1")),
	    FOUND("RETURN (COUNT) CHARSET UTF-8 ALL", LINE(" COUNT 5")),
	    FOUND("RETURN (ALL MIN MAX COUNT) FLAGGED", LINE(" COUNT 0")),
	    FOUND("RETURN (MIN) FLAGGED", LINE("")), FOUND("RETURN (ALL) 2,4", LINE(" ALL 2,4")),
	    { "a SEARCH RETURN (ALL X) ALL\r\n", "a BAD Unknown return option\r\n" },
	    { "a SEARCH RETURN ALL\r\n", "a BAD Opening parenthesis expected\r\n" },
	    { "a SEARCH RETURN (ALL)\r\n", "a BAD Missing argument\r\n" },
	    { "a SEARCH RETURN (ALL  MIN) ALL\r\n", "a BAD Unknown return option\r\n" },
	    { "a SEARCH RETURN (ALL) CHARSET KOI8-R ALL\r\n",
		"a NO [BADCHARSET (US-ASCII UTF-8)] Charset is not supported\r\n" });
}

static void test_modseq(void **state)
{
	RUN({ "e ENABLE CONDSTORE\r\n", "* OK [HIGHESTMODSEQ 10] Highest\r\n* ENABLED CONDSTORE\r\n"
					"e OK ENABLE completed\r\n" },
	    FOUND("RETURN (MIN) SEEN MODSEQ 1", LINE(" MIN 2 MODSEQ 4")),
	    FOUND("RETURN (MAX) SEEN MODSEQ 1", LINE(" MAX 5 MODSEQ 8")),
	    FOUND("RETURN (MIN MAX) 1:3 MODSEQ 1", LINE(" MIN 1 MAX 3 MODSEQ 5")),
	    FOUND("RETURN (COUNT MIN) MODSEQ 1", LINE(" COUNT 5 MIN 1 MODSEQ 8")),
	    FOUND("RETURN () MODSEQ 9", LINE("")));
}

static void test_saved(void **state)
{
	RUN(FOUND("$", "* SEARCH\r\n"), { "b FETCH $ UID\r\n", "b OK FETCH completed\r\n" },
	    FOUND("RETURN (SAVE) SEEN", ""), FOUND("$", "* SEARCH 2 4 5\r\n"),
	    FOUND_UID("UID $ NOT 4", "* SEARCH 3 7\r\n"),
	    { "b FETCH $ UID\r\n", "* 2 FETCH (UID 3)\r\n* 4 FETCH (UID 6)\r\n* 5 FETCH (UID 7)\r\n"
				   "b OK FETCH completed\r\n" },
	    { "b UID FETCH $ UID\r\n",
		"* 2 FETCH (UID 3)\r\n* 4 FETCH (UID 6)\r\n* 5 FETCH (UID 7)\r\n"
		"b OK FETCH completed\r\n" },
	    { "b STORE $ +FLAGS.SILENT (\\Deleted)\r\n", "b OK STORE completed\r\n" });
}

static void test_saved_parts(void **state)
{
	RUN(FOUND("RETURN (SAVE MIN) SEEN", LINE(" MIN 2")), FOUND("$", "* SEARCH 2\r\n"),
	    FOUND("RETURN (SAVE MIN MAX) SEEN", LINE(" MIN 2 MAX 5")),
	    FOUND("$", "* SEARCH 2 5\r\n"), FOUND("RETURN (SAVE MAX) 3", LINE(" MAX 3")),
	    FOUND("$", "* SEARCH 3\r\n"), FOUND("RETURN (SAVE MIN MAX) 3", LINE(" MIN 3 MAX 3")),
	    FOUND("$", "* SEARCH 3\r\n"),
	    FOUND("RETURN (SAVE MIN COUNT) SEEN", LINE(" COUNT 3 MIN 2")),
	    FOUND("$", "* SEARCH 2 4 5\r\n"), FOUND("RETURN (SAVE) $ 4:5", ""),
	    FOUND("$", "* SEARCH 4 5\r\n"),
	    { "a SEARCH RETURN (SAVE) X\r\n", "a BAD Unknown search key\r\n" },
	    FOUND("$", "* SEARCH 4 5\r\n"),
	    { "a SEARCH RETURN (SAVE) CHARSET X ALL\r\n",
		"a NO [BADCHARSET (US-ASCII UTF-8)] Charset is not supported\r\n" },
	    FOUND("$", "* SEARCH\r\n"), FOUND("RETURN (SAVE MIN) FLAGGED", LINE("")),
	    FOUND("$", "* SEARCH\r\n"), { "a FETCH 1,$ UID\r\n", "a BAD Number expected\r\n" },
	    { "a FETCH $,1 UID\r\n", "a BAD Space expected\r\n" });
}

/* What was expunged leaves the result; numbers move. */
static void test_saved_moves(void **state)
{
	RUN(FOUND("RETURN (SAVE) 2:4", ""),
	    { "b STORE 1,3 +FLAGS.SILENT (\\Deleted)\r\n", "b OK STORE completed\r\n" },
	    { "b EXPUNGE\r\n", "* 3 EXPUNGE\r\n* 1 EXPUNGE\r\nb OK EXPUNGE completed\r\n" },
	    FOUND("$", "* SEARCH 1 2\r\n"), FOUND_UID("$", "* SEARCH 3 6\r\n"),
	    { "b STORE $ +FLAGS.SILENT (\\Deleted)\r\n", "b OK STORE completed\r\n" },
	    { "c CREATE x\r\n", "c OK [MAILBOXID (F@)] CREATE completed\r\n" },
	    { "c COPY $ x\r\n", "c OK [COPYUID @ 3,6 1:2] COPY completed\r\n" },
	    { "b UID EXPUNGE $\r\n", "* 2 EXPUNGE\r\n* 1 EXPUNGE\r\nb OK EXPUNGE completed\r\n" },
	    { "b UID EXPUNGE $\r\n", "b OK EXPUNGE completed\r\n" },
	    { "c MOVE $ x\r\n", "c OK MOVE completed\r\n" }, FOUND("RETURN (SAVE) ALL", ""),
	    { "s UNSELECT\r\n", "s OK UNSELECT completed\r\n" });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_results),
		cmocka_unit_test(test_modseq),
		cmocka_unit_test(test_saved),
		cmocka_unit_test(test_saved_parts),
		cmocka_unit_test(test_saved_moves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
