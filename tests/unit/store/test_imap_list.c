/* test_imap_list.c - LIST-EXTENDED (RFC 5258), LIST-STATUS (RFC 5819), SPECIAL-USE (RFC 6154) and the items of
 * STATUS; exact to the byte, also in pieces of one byte and with all commands at once. */
#include "tests/unit/store/imap_fixture.h"

#define RUN(...) PLAY(prepare, talk_login, __VA_ARGS__)
#define MAIL "Subject: x\r\n\r\ntext\r\n"

/* INBOX (subscribed, 2 messages), a/b/c (subscribed; a/b was deleted), Sent with its use, w/x; gone/y is subscribed
 * and no mailbox. */
static void prepare(struct fixture *f)
{
	static const char commands[] =
	    "c CREATE a/b/c\r\nc CREATE Sent (USE (\\Sent))\r\n"
	    "c CREATE w/x\r\nc DELETE a/b\r\n"
	    "c SUBSCRIBE INBOX\r\nc SUBSCRIBE a/b/c\r\nc SUBSCRIBE gone/y\r\n"
	    "d NOOP\r\n";
	fixture_put(f, "INBOX", "\\Seen", MAIL);
	fixture_put(f, "INBOX", "\\Deleted", MAIL);
	struct talk t = talk_login(f);
	talk_send(&t, commands);
	talk_until(&t, "d OK");
	talk_close(&t);
}

#define DONE "a OK LIST completed\r\n"
#define LIST(args, answer)                                                                         \
	{                                                                                          \
		"a LIST " args "\r\n", answer DONE                                                 \
	}
#define BAD(args, why)                                                                             \
	{                                                                                          \
		"a LIST " args "\r\n", "a BAD " why "\r\n"                                         \
	}
#define INBOX_LINE "* LIST (\\HasNoChildren) \"/\" INBOX\r\n"
#define SENT_LINE "* LIST (\\HasNoChildren \\Sent) \"/\" Sent\r\n"
#define C_LINE "* LIST (\\HasNoChildren \\Subscribed) \"/\" a/b/c\r\n"
#define Y_LINE "* LIST (\\NonExistent \\HasNoChildren \\Subscribed) \"/\" gone/y\r\n"

static void test_patterns(void **state)
{
	RUN(LIST("\"\" %", INBOX_LINE SENT_LINE "* LIST (\\HasChildren) \"/\" a\r\n"
						"* LIST (\\HasChildren) \"/\" w\r\n"),
	    LIST("\"\" a/%", "* LIST (\\Noselect \\HasChildren) \"/\" a/b\r\n"),
	    LIST("() \"\" a/%", "* LIST (\\NonExistent \\HasChildren) \"/\" a/b\r\n"),
	    LIST("\"\" (INBOX w/*)", INBOX_LINE "* LIST (\\HasNoChildren) \"/\" w/x\r\n"),
	    LIST("w (/x nothing)", "* LIST (\\HasNoChildren) \"/\" w/x\r\n"),
	    LIST("\"\" (\"\")", ""), LIST("\"\" \"\" RETURN ()", ""),
	    LIST("\"\" \"\"", "* LIST (\\Noselect) \"/\" \"\"\r\n"),
	    LIST("\"\" inbox return (children)", INBOX_LINE));
}

static void test_subscribed(void **state)
{
	RUN(LIST("(SUBSCRIBED) \"\" *",
		"* LIST (\\HasNoChildren \\Subscribed) \"/\" INBOX\r\n" C_LINE Y_LINE),
	    LIST("(SUBSCRIBED REMOTE) \"\" %",
		"* LIST (\\HasNoChildren \\Subscribed) \"/\" INBOX\r\n"),
	    LIST("\"\" (INBOX Sent) RETURN (SUBSCRIBED CHILDREN)",
		"* LIST (\\HasNoChildren \\Subscribed) \"/\" INBOX\r\n" SENT_LINE),
	    LIST("(SUBSCRIBED RECURSIVEMATCH) \"\" %",
		"* LIST (\\HasNoChildren \\Subscribed) \"/\" INBOX\r\n"
		"* LIST (\\HasChildren) \"/\" a (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n"
		"* LIST (\\NonExistent \\HasNoChildren) \"/\" gone (\"CHILDINFO\" "
		"(\"SUBSCRIBED\"))\r\n"),
	    LIST("(RECURSIVEMATCH SUBSCRIBED) \"\" a/*",
		"* LIST (\\NonExistent \\HasChildren) \"/\" a/b (\"CHILDINFO\" "
		"(\"SUBSCRIBED\"))\r\n" C_LINE),
	    { "a LSUB \"\" %\r\n", "* LSUB () \"/\" INBOX\r\n* LSUB (\\Noselect) \"/\" a\r\n"
				   "* LSUB (\\Noselect) \"/\" gone\r\na OK LSUB completed\r\n" });
}

static void test_special_use(void **state)
{
	RUN(LIST("(SPECIAL-USE) \"\" *", SENT_LINE), LIST("(SPECIAL-USE SUBSCRIBED) \"\" *", ""),
	    LIST("\"\" (Sent) RETURN (SPECIAL-USE)", SENT_LINE),
	    { "c CREATE a/d (USE (\\Drafts \\Junk))\r\n",
		"c OK [MAILBOXID (F@)] CREATE completed\r\n" },
	    LIST("(SPECIAL-USE RECURSIVEMATCH) \"\" %",
		SENT_LINE "* LIST (\\HasChildren) \"/\" a (\"CHILDINFO\" (\"SPECIAL-USE\"))\r\n"),
	    { "c CREATE e (USE (\\All))\r\n",
		"c NO [USEATTR] This use is not for mailboxes here\r\n" });
}

static void test_status(void **state)
{
	RUN(LIST("\"\" (INBOX a/%) RETURN (STATUS (MESSAGES UNSEEN SIZE DELETED))",
		INBOX_LINE "* STATUS INBOX (MESSAGES 2 UNSEEN 1 DELETED 1 SIZE 40)\r\n"
			   "* LIST (\\NonExistent \\HasChildren) \"/\" a/b\r\n"),
	    LIST("(SUBSCRIBED) \"\" (a/b/c gone/y) RETURN (STATUS (UIDNEXT) STATUS (RECENT))",
		C_LINE "* STATUS a/b/c (RECENT 0 UIDNEXT 1)\r\n" Y_LINE),
	    { "a STATUS INBOX (SIZE)\r\n",
		"* STATUS INBOX (SIZE 40)\r\na OK STATUS completed\r\n" },
	    { "a STATUS INBOX ()\r\n", "a BAD Atom expected\r\n" },
	    { "a STATUS INBOX (SIZES)\r\n", "a BAD Unknown status item\r\n" },
	    { "a STATUS nothing (SIZE)\r\n", "a NO [NONEXISTENT] No such mailbox\r\n" });
}

static void test_refused(void **state)
{
	RUN(BAD("(RECURSIVEMATCH) \"\" *", "RECURSIVEMATCH needs another selection option"),
	    BAD("(REMOTE RECURSIVEMATCH) \"\" *", "RECURSIVEMATCH needs another selection option"),
	    BAD("(X) \"\" *", "Unknown selection option"), BAD("\"\" ()", "A pattern expected"),
	    BAD("(SUBSCRIBED SPECIAL) \"\" *", "Unknown selection option"),
	    BAD("\"\" * RETURN (X)", "Unknown return option"),
	    BAD("\"\" * RETURN SUBSCRIBED", "Opening parenthesis expected"),
	    BAD("\"\" * RETURN (STATUS (X))", "Unknown status item"),
	    BAD("\"\" * RETURN (STATUS)", "Space expected"),
	    BAD("\"\" * GIVE ()", "RETURN expected"),
	    BAD("\"\" (a b c d e f g h i j k l m n o p q r s t u v w x y z 1 2 3 4 5 6 7)",
		"Too many patterns"),
	    BAD("(SUBSCRIBED) \"\"", "Missing argument"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_subscribed),
		cmocka_unit_test(test_special_use),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
