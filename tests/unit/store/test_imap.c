/* test_imap.c - IMAP conversations of one client, exact to the byte; see imap_fixture.h.
 *
 * Each script runs on mailboxes of its own: a command at a time, in pieces of one byte and of seven, and
 * with all commands sent at once. The answers must be the same. */
#include "tests/unit/store/imap_fixture.h"

#define ALL_FLAGS "\\Seen \\Answered \\Flagged \\Deleted \\Draft"
#define LOGGED_IN                                                                                  \
	"l OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ID IDLE NAMESPACE UIDPLUS UNSELECT "        \
	"CHILDREN MOVE "                                                                           \
	"SPECIAL-USE CREATE-SPECIAL-USE ENABLE CONDSTORE QRESYNC ESEARCH SEARCHRES LIST-EXTENDED " \
	"LIST-STATUS STATUS=SIZE SORT SORT=DISPLAY THREAD=ORDEREDSUBJECT THREAD=REFERENCES "       \
	"WITHIN SAVEDATE OBJECTID PREVIEW COMPRESS=DEFLATE BINARY UTF8=ACCEPT REPLACE ACL "        \
	"RIGHTS=texk LIST-MYRIGHTS LANGUAGE MULTIAPPEND CATENATE UIDONLY INPROGRESS METADATA "     \
	"URLAUTH URLAUTH=BINARY NOTIFY "                                                           \
	"QUOTA "                                                                                   \
	"QUOTA=RES-STORAGE "                                                                       \
	"QUOTA=RES-MESSAGE "                                                                       \
	"APPENDLIMIT=1048576] "                                                                    \
	"Logged in\r\n"
#define CLOSED "* OK [CLOSED] The mailbox before is closed\r\n"
#define SELECTED(n, recent, unseen, next)                                                          \
	"* FLAGS (" ALL_FLAGS ")\r\n* OK [PERMANENTFLAGS (" ALL_FLAGS                              \
	" \\*)] Flags that can be changed\r\n* " n " EXISTS\r\n* " recent " RECENT\r\n" unseen     \
	"* OK [UIDVALIDITY @] UIDs are valid\r\n* OK [UIDNEXT " next "] Next UID\r\n"              \
	"* OK [HIGHESTMODSEQ @] Highest\r\n* OK [MAILBOXID (F@)] Id\r\n* OK [URLMECH INTERNAL] "   \
	"URLs can be authorized\r\n"
#define MESSAGE "Subject: x\r\n\r\ntext\r\n"

#define RUN(prepare, ...) PLAY(prepare, talk_open, __VA_ARGS__)

static const struct step log_in = { "l LOGIN alice alice-secret\r\n", LOGGED_IN };

/* ---- before login ---------------------------------------------------------------------------------- */

static void test_before_login(void **state)
{
	RUN(NULL,
	    { "a1 CAPABILITY\r\n",
		"* CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ID SASL-IR AUTH=PLAIN AUTH=LOGIN\r\n"
		"a1 OK CAPABILITY completed\r\n" },
	    { "a2 noop\r\n", "a2 OK NOOP completed\r\n" },
	    { "a3 ID NIL\r\n", "* ID (\"name\" \"Postern\" \"version\" \"0.1\")\r\n"
			       "a3 OK ID completed\r\n" },
	    { "a4 ID (\"name\" \"x\" \"os\" NIL)\r\n",
		"* ID (\"name\" \"Postern\" \"version\" \"0.1\")\r\na4 OK ID completed\r\n" },
	    { "a5 SELECT INBOX\r\n", "a5 BAD Log in first\r\n" },
	    { "a6 XYZZY\r\n", "a6 BAD Unknown command\r\n" },
	    { "a7 UID NOOP\r\n", "a7 BAD Unknown command\r\n" },
	    { "a8 NOOP x\r\n", "a8 BAD Too many arguments\r\n" },
	    { "a9\r\n", "a9 BAD Missing argument\r\n" }, { "\r\n", "* BAD Missing or bad tag\r\n" },
	    { "+ NOOP\r\n", "* BAD Missing or bad tag\r\n" },
	    { "b1 LOGIN alice\r\n", "b1 BAD Missing argument\r\n" },
	    { "b2 STARTTLS\r\n", "b2 BAD TLS is not offered here\r\n" },
	    { "b3 LOGIN alice wrong\r\n",
		"b3 NO [AUTHENTICATIONFAILED] Wrong name or password (~)\r\n" },
	    { "b4 LOGIN nobody x\r\n",
		"b4 NO [AUTHENTICATIONFAILED] Wrong name or password (~)\r\n" },
	    { "b5 LOGIN popper popper-secret\r\n",
		"b5 NO [AUTHORIZATIONFAILED] This account may not use IMAP (~)\r\n" },
	    { "b6 LOGIN held held-secret\r\n",
		"b6 NO [UNAVAILABLE] Logins are not possible now, try again later (~)\r\n" },
	    log_in, { "c1 LOGIN alice alice-secret\r\n", "c1 BAD Logged in already\r\n" },
	    { "c2 FETCH 1 FLAGS\r\n", "c2 BAD Select a mailbox first\r\n" },
	    { "c3 NAMESPACE\r\n",
		"* NAMESPACE ((\"\" \"/\")) ((\"Other Users/\" \"/\")) NIL\r\nc3 OK NAMESPACE "
		"completed\r\n" });
}

static void test_language(void **state)
{
	RUN(NULL,
	    { "a LANGUAGE\r\n",
		"* LANGUAGE (\"en\" \"i-default\")\r\na OK LANGUAGE completed\r\n" },
	    { "b LANGUAGE fr-CA EN-gb-oed x\r\n",
		"* LANGUAGE (\"en\")\r\nb OK LANGUAGE completed\r\n" },
	    { "c LANGUAGE \"default\"\r\n",
		"* LANGUAGE (\"i-default\")\r\nc OK LANGUAGE completed\r\n" },
	    { "d LANGUAGE I-Default\r\n",
		"* LANGUAGE (\"i-default\")\r\nd OK LANGUAGE completed\r\n" },
	    { "e LANGUAGE \"*\"\r\n", "* LANGUAGE (\"en\")\r\ne OK LANGUAGE completed\r\n" },
	    { "f LANGUAGE de eng -\r\n", "f NO [CANNOT] None of these languages\r\n" },
	    { "g LANGUAGE (en)\r\n", "g BAD String expected\r\n" }, log_in,
	    { "h LANGUAGE en\r\n", "* LANGUAGE (\"en\")\r\nh OK LANGUAGE completed\r\n" });
}

static void test_login_with_literals(void **state)
{
	RUN(NULL, { "l LOGIN {5+}\r\nalice {12+}\r\nalice-secret\r\n", LOGGED_IN });
	RUN(NULL, { "l LOGIN {5}\r\n", "+ go on\r\n" }, { "alice {12}\r\n", "+ go on\r\n" },
	    { "alice-secret\r\n", LOGGED_IN });
	RUN(NULL, { "l LOGIN \"ali\\ce\" x\r\n", "l BAD Bad escape in quoted string\r\n" },
	    { "l LOGIN \"alice\" \"alice-secret\"\r\n", LOGGED_IN });
}

/* A literal too large for a command: refused, and the conversation stays in step. */
static void test_literal_too_large(void **state)
{
	struct buf b = BUF_INIT(100000);
	buf_add_str(&b, "a LOGIN {40000+}\r\n");
	for (int i = 0; i < 40000; i++)
		buf_add_char(&b, i % 7 == 0 ? '\n' : 'x');
	buf_add_str(&b, " y\r\n");
	RUN(NULL, { "a LOGIN {40000}\r\n", "a BAD Literal too long\r\n" },
	    { "b NOOP\r\n", "b OK NOOP completed\r\n" });
	const struct step v[] = { { buf_cstr(&b), "a BAD Literal too long\r\n" },
		{ "b NOOP\r\n", "b OK NOOP completed\r\n" } };
	struct play p = { NULL, talk_open, v, COUNT_OF(v) };
	play_cut(p, SIZE_MAX);
	play_cut(p, 1777);
	play_cut(p, 0);
	buf_end(&b);
}

static void test_sasl(void **state)
{
	/* alice NUL alice-secret; mux acting for bob; mux with a wrong secret */
	RUN(NULL, { "a AUTHENTICATE PLAIN\r\n", "+ \r\n" }, { "*\r\n", "a BAD Cancelled\r\n" },
	    { "a AUTHENTICATE PLAIN\r\n", "+ \r\n" }, { "!\r\n", "a BAD Bad SASL answer\r\n" },
	    { "a AUTHENTICATE PLAIN =\r\n", "a BAD Bad SASL answer\r\n" },
	    { "a AUTHENTICATE PLAIN \r\n", "a BAD Empty initial response\r\n" },
	    { "a AUTHENTICATE X\r\n", "a NO [CANNOT] This mechanism is not offered\r\n" },
	    { "a AUTHENTICATE PLAIN Ym9iAG11eAB3cm9uZw==\r\n",
		"a NO [AUTHENTICATIONFAILED] Wrong name or password (~)\r\n" },
	    { "a AUTHENTICATE PLAIN {70000}\r\n", "a BAD Literal too long\r\n" },
	    { "l authenticate plain\r\n", "+ \r\n" },
	    { "AGFsaWNlAGFsaWNlLXNlY3JldA==\r\n", LOGGED_IN });
	RUN(NULL, { "l AUTHENTICATE PLAIN AGFsaWNlAGFsaWNlLXNlY3JldA==\r\n", LOGGED_IN });
	RUN(NULL, { "l AUTHENTICATE PLAIN Ym9iAG11eABtdXgtc2VjcmV0\r\n", LOGGED_IN });
	RUN(NULL, { "l AUTHENTICATE LOGIN\r\n", "+ VXNlcm5hbWU6\r\n" },
	    { "YWxpY2U=\r\n", "+ UGFzc3dvcmQ6\r\n" }, { "YWxpY2Utc2VjcmV0\r\n", LOGGED_IN });
	RUN(NULL, { "l AUTHENTICATE LOGIN YWxpY2U=\r\n", "+ UGFzc3dvcmQ6\r\n" },
	    { "YWxpY2Utc2VjcmV0\r\n", LOGGED_IN });
}

/* ---- mailboxes --------------------------------------------------------------------------------------- */

static void three(struct fixture *f)
{
	fixture_put(f, "INBOX", "\\Seen", MESSAGE);
	fixture_put(f, "INBOX", "", MESSAGE);
	fixture_put(f, "INBOX", "\\Deleted", MESSAGE);
}

static void test_select(void **state)
{
	RUN(three, log_in,
	    { "a EXAMINE inbox\r\n",
		"* FLAGS (" ALL_FLAGS ")\r\n* OK [PERMANENTFLAGS ()] Flags that can be changed\r\n"
		"* 3 EXISTS\r\n* 3 RECENT\r\n* OK [UNSEEN 2] First unseen\r\n"
		"* OK [UIDVALIDITY @] UIDs are valid\r\n* OK [UIDNEXT 4] Next UID\r\n"
		"* OK [HIGHESTMODSEQ @] Highest\r\n* OK [MAILBOXID (F@)] Id\r\n* OK [URLMECH "
		"INTERNAL] URLs can be authorized\r\n"
		"a OK [READ-ONLY] EXAMINE completed\r\n" },
	    { "b STORE 1 FLAGS (\\Seen)\r\n",
		"b NO [NOPERM] The mailbox is open for reading only\r\n" },
	    { "b EXPUNGE\r\n", "b NO [NOPERM] The mailbox is open for reading only\r\n" },
	    { "b MOVE 1 INBOX\r\n", "b NO [NOPERM] The mailbox is open for reading only\r\n" },
	    { "b CLOSE\r\n", "b OK CLOSE completed\r\n" },
	    { "b CHECK\r\n", "b BAD Select a mailbox first\r\n" },
	    { "c SELECT INBOX\r\n", SELECTED("3", "3", "* OK [UNSEEN 2] First unseen\r\n",
					"4") "c OK [READ-WRITE] SELECT completed\r\n" },
	    { "c CHECK\r\n", "c OK CHECK completed\r\n" },
	    { "c UNSELECT\r\n", "c OK UNSELECT completed\r\n" },
	    { "d SELECT INBOX\r\n", SELECTED("3", "0", "* OK [UNSEEN 2] First unseen\r\n",
					"4") "d OK [READ-WRITE] SELECT completed\r\n" },
	    { "d SELECT nothing\r\n", CLOSED "d NO [NONEXISTENT] No such mailbox\r\n" },
	    { "d CHECK\r\n", "d BAD Select a mailbox first\r\n" },
	    { "d SELECT \"\"\r\n", "d NO [NONEXISTENT] No such mailbox\r\n" },
	    { "d SELECT &Jjo\r\n", "d NO [NONEXISTENT] No such mailbox\r\n" },
	    { "e SELECT INBOX\r\n", SELECTED("3", "0", "* OK [UNSEEN 2] First unseen\r\n",
					"4") "e OK [READ-WRITE] SELECT completed\r\n" },
	    { "e CLOSE\r\n", "e OK CLOSE completed\r\n" },
	    { "f SELECT INBOX\r\n", SELECTED("2", "0", "* OK [UNSEEN 2] First unseen\r\n",
					"4") "f OK [READ-WRITE] SELECT completed\r\n" });
}

static void test_mailboxes(void **state)
{
	RUN(NULL, log_in,
	    { "a CREATE INBOX\r\n", "a NO [ALREADYEXISTS] The mailbox exists already\r\n" },
	    { "a CREATE a/b/c/\r\n", "a OK [MAILBOXID (F@)] CREATE completed\r\n" },
	    { "a CREATE \"with space\"\r\n", "a OK [MAILBOXID (F@)] CREATE completed\r\n" },
	    { "a CREATE inbox/sub\r\n", "a OK [MAILBOXID (F@)] CREATE completed\r\n" },
	    { "a CREATE &ZeVnLIqe-\r\n", "a OK [MAILBOXID (F@)] CREATE completed\r\n" },
	    { "a CREATE a//b\r\n", "a NO [CANNOT] Bad name\r\n" },
	    { "a CREATE \"a*\"\r\n", "a NO [CANNOT] Bad name\r\n" },
	    { "a CREATE /\r\n", "a NO [CANNOT] Bad name\r\n" },
	    { "a CREATE sent (USE (\\Sent))\r\n", "a OK [MAILBOXID (F@)] CREATE completed\r\n" },
	    { "a CREATE x (USE (\\All))\r\n",
		"a NO [USEATTR] This use is not for mailboxes here\r\n" },
	    { "a CREATE x (BE (\\All))\r\n", "a BAD Unknown parameter\r\n" },
	    { "a CREATE x y\r\n", "a BAD Opening parenthesis expected\r\n" },
	    { "a LOGOUT\r\n", "* BYE Logging out\r\na OK LOGOUT completed\r\n" });
}

static void test_list(void **state)
{
	RUN(NULL, log_in, { "a CREATE a/b/c\r\n", "a OK [MAILBOXID (F@)] CREATE completed\r\n" },
	    { "a CREATE a-b\r\n", "a OK [MAILBOXID (F@)] CREATE completed\r\n" },
	    { "a CREATE \"with space\"\r\n", "a OK [MAILBOXID (F@)] CREATE completed\r\n" },
	    { "a CREATE &ZeVnLIqe-\r\n", "a OK [MAILBOXID (F@)] CREATE completed\r\n" },
	    { "a CREATE sent (USE (\\Sent))\r\n", "a OK [MAILBOXID (F@)] CREATE completed\r\n" },
	    { "a CREATE inbox/sub\r\n", "a OK [MAILBOXID (F@)] CREATE completed\r\n" },
	    { "a DELETE a/b\r\n", "a OK DELETE completed\r\n" },
	    { "b LIST \"\" *\r\n",
		"* LIST (\\HasChildren) \"/\" INBOX\r\n"
		"* LIST (\\HasNoChildren) \"/\" INBOX/sub\r\n"
		"* LIST (\\HasChildren) \"/\" a\r\n"
		"* LIST (\\HasNoChildren) \"/\" a-b\r\n"
		"* LIST (\\Noselect \\HasChildren) \"/\" a/b\r\n"
		"* LIST (\\HasNoChildren) \"/\" a/b/c\r\n"
		"* LIST (\\HasNoChildren \\Sent) \"/\" sent\r\n"
		"* LIST (\\HasNoChildren) \"/\" \"with space\"\r\n"
		"* LIST (\\HasNoChildren) \"/\" &ZeVnLIqe-\r\nb OK LIST completed\r\n" },
	    { "b LIST \"\" \"\"\r\n", "* LIST (\\Noselect) \"/\" \"\"\r\nb OK LIST completed\r\n" },
	    { "b LIST \"\" a/%\r\n",
		"* LIST (\\Noselect \\HasChildren) \"/\" a/b\r\nb OK LIST completed\r\n" },
	    { "b LIST a/ *c\r\n",
		"* LIST (\\HasNoChildren) \"/\" a/b/c\r\nb OK LIST completed\r\n" },
	    { "b LIST \"\" inbox\r\n",
		"* LIST (\\HasChildren) \"/\" INBOX\r\nb OK LIST completed\r\n" },
	    { "b LIST \"\" in%x\r\n",
		"* LIST (\\HasChildren) \"/\" INBOX\r\nb OK LIST completed\r\n" },
	    { "b LIST \"\" Inbox/%\r\n",
		"* LIST (\\HasNoChildren) \"/\" INBOX/sub\r\nb OK LIST completed\r\n" },
	    { "b LIST \"\" &ZeV%\r\n", "b OK LIST completed\r\n" },
	    { "b LIST \"\"\r\n", "b BAD Missing argument\r\n" },
	    { "b LIST (X) \"\" *\r\n", "b BAD Unknown selection option\r\n" });
}

static void test_subscriptions(void **state)
{
	RUN(NULL, log_in, { "a SUBSCRIBE INBOX\r\n", "a OK SUBSCRIBE completed\r\n" },
	    { "a SUBSCRIBE x/y/z\r\n", "a OK SUBSCRIBE completed\r\n" },
	    { "a SUBSCRIBE x/q\r\n", "a OK SUBSCRIBE completed\r\n" },
	    { "a SUBSCRIBE \"*\"\r\n", "a NO [CANNOT] Bad name\r\n" },
	    { "a LSUB \"\" *\r\n", "* LSUB () \"/\" INBOX\r\n* LSUB () \"/\" x/q\r\n"
				   "* LSUB () \"/\" x/y/z\r\na OK LSUB completed\r\n" },
	    { "a LSUB \"\" %\r\n", "* LSUB () \"/\" INBOX\r\n* LSUB (\\Noselect) \"/\" x\r\n"
				   "a OK LSUB completed\r\n" },
	    { "a LSUB x/ %\r\n", "* LSUB () \"/\" x/q\r\n* LSUB (\\Noselect) \"/\" x/y\r\n"
				 "a OK LSUB completed\r\n" },
	    { "a UNSUBSCRIBE x/q\r\n", "a OK UNSUBSCRIBE completed\r\n" },
	    { "a LSUB \"\" *\r\n",
		"* LSUB () \"/\" INBOX\r\n* LSUB () \"/\" x/y/z\r\na OK LSUB completed\r\n" });
}

static void test_delete_rename(void **state)
{
	RUN(three, log_in, { "a DELETE INBOX\r\n", "a NO [NOPERM] This cannot be done\r\n" },
	    { "a DELETE none\r\n", "a NO [NONEXISTENT] No such mailbox\r\n" },
	    { "a DELETE \"\"\r\n", "a NO [NONEXISTENT] No such mailbox\r\n" },
	    { "a RENAME none other\r\n", "a NO [NONEXISTENT] No such mailbox\r\n" },
	    { "a RENAME INBOX \"%\"\r\n", "a NO [CANNOT] Bad name\r\n" },
	    { "a RENAME INBOX old/mail\r\n", "a OK RENAME completed\r\n" },
	    { "a STATUS INBOX (MESSAGES)\r\n",
		"* STATUS INBOX (MESSAGES 0)\r\na OK STATUS completed\r\n" },
	    { "a STATUS old/mail (UNSEEN messages UIDNEXT RECENT)\r\n",
		"* STATUS old/mail (MESSAGES 3 RECENT 3 UIDNEXT 4 UNSEEN 2)\r\n"
		"a OK STATUS completed\r\n" },
	    { "a RENAME old new\r\n", "a OK RENAME completed\r\n" },
	    { "a STATUS new/mail (UIDVALIDITY)\r\n",
		"* STATUS new/mail (UIDVALIDITY @)\r\na OK STATUS completed\r\n" },
	    { "a STATUS old/mail (UNSEEN)\r\n", "a NO [NONEXISTENT] No such mailbox\r\n" },
	    { "a STATUS INBOX ()\r\n", "a BAD Atom expected\r\n" },
	    { "a STATUS INBOX (SIZES)\r\n", "a BAD Unknown status item\r\n" },
	    { "a SELECT new/mail\r\n", SELECTED("3", "3", "* OK [UNSEEN 2] First unseen\r\n",
					   "4") "a OK [READ-WRITE] SELECT completed\r\n" },
	    { "a DELETE new/mail\r\n", "a OK DELETE completed\r\n" },
	    { "a CHECK\r\n", "a BAD Select a mailbox first\r\n" });
}

/* ---- messages ---------------------------------------------------------------------------------------- */

#define SELECT_THREE                                                                               \
	{                                                                                          \
		"s SELECT INBOX\r\n", SELECTED("3", "3", "* OK [UNSEEN 2] First unseen\r\n",       \
					  "4") "s OK [READ-WRITE] SELECT completed\r\n"            \
	}

static void test_store(void **state)
{
	RUN(three, log_in, SELECT_THREE,
	    { "a STORE 1:2 +FLAGS (\\Flagged)\r\n",
		"* 1 FETCH (UID 1 FLAGS (\\Seen \\Flagged \\Recent))\r\n"
		"* 2 FETCH (UID 2 FLAGS (\\Flagged \\Recent))\r\na OK STORE completed\r\n" },
	    { "a STORE 1 -FLAGS.SILENT \\Flagged\r\n", "a OK STORE completed\r\n" },
	    { "a NOOP\r\n", "a OK NOOP completed\r\n" },
	    { "a STORE 1 FLAGS ()\r\n",
		"* 1 FETCH (UID 1 FLAGS (\\Recent))\r\na OK STORE completed\r\n" },
	    { "a STORE 1 FLAGS ()\r\n", /* no change is told all the same */
		"* 1 FETCH (UID 1 FLAGS (\\Recent))\r\na OK STORE completed\r\n" },
	    { "a UID STORE 2:* +FLAGS.SILENT $Junk\r\n",
		"* FLAGS (" ALL_FLAGS " $Junk)\r\na OK STORE completed\r\n" },
	    { "a STORE * FLAGS $junk \\seen\r\n",
		"* 3 FETCH (UID 3 FLAGS (\\Seen \\Recent $Junk))\r\na OK STORE completed\r\n" },
	    { "a STORE 4 FLAGS ()\r\n", "a BAD No such message\r\n" },
	    { "a STORE 0 FLAGS ()\r\n", "a BAD Number must not be zero\r\n" },
	    { "a STORE 1 FLAGS (\\Recent)\r\n", "a BAD \\Recent cannot be set\r\n" },
	    { "a STORE 1 FLAGS (\\Xyz)\r\n", "a BAD Unknown system flag\r\n" },
	    { "a STORE 1 FLUGS ()\r\n", "a BAD FLAGS, +FLAGS or -FLAGS expected\r\n" },
	    { "a STORE 1\r\n", "a BAD Missing argument\r\n" },
	    { "a UID STORE 77 FLAGS ()\r\n", "a OK STORE completed\r\n" });
}

static void test_copy_move_expunge(void **state)
{
	RUN(three, log_in, SELECT_THREE,
	    { "a COPY 1 other\r\n", "a NO [TRYCREATE] No such mailbox\r\n" },
	    { "a CREATE other\r\n", "a OK [MAILBOXID (F@)] CREATE completed\r\n" },
	    { "a COPY 3,1 other\r\n", "a OK [COPYUID @ 1,3 1:2] COPY completed\r\n" },
	    { "a UID COPY 99 other\r\n", "a OK COPY completed\r\n" },
	    { "a UID COPY 2:* other\r\n", "a OK [COPYUID @ 2:3 3:4] COPY completed\r\n" },
	    { "a COPY 9 other\r\n", "a BAD No such message\r\n" },
	    { "a COPY 1 INBOX\r\n",
		"* 4 EXISTS\r\n* 4 RECENT\r\na OK [COPYUID @ 1 4] COPY completed\r\n" },
	    { "a MOVE 2 other\r\n",
		"* OK [COPYUID @ 2 5] Moved\r\n* 2 EXPUNGE\r\na OK MOVE completed\r\n" },
	    { "a UID EXPUNGE 1:2\r\n", "a OK EXPUNGE completed\r\n" },
	    { "a STORE 1:* +FLAGS.SILENT (\\Deleted)\r\n", "a OK STORE completed\r\n" },
	    { "a UID EXPUNGE 4\r\n", "* 3 EXPUNGE\r\na OK EXPUNGE completed\r\n" },
	    { "a EXPUNGE\r\n", "* 2 EXPUNGE\r\n* 1 EXPUNGE\r\na OK EXPUNGE completed\r\n" },
	    { "a EXPUNGE 1\r\n", "a BAD Too many arguments\r\n" },
	    { "a UID EXPUNGE\r\n", "a BAD Missing argument\r\n" },
	    { "a COPY 1:* other\r\n", "a OK COPY completed\r\n" },
	    { "a SELECT other\r\n", CLOSED SELECTED("5", "5", "* OK [UNSEEN 2] First unseen\r\n",
					"6") "a OK [READ-WRITE] SELECT completed\r\n" });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before_login),
		cmocka_unit_test(test_language),
		cmocka_unit_test(test_login_with_literals),
		cmocka_unit_test(test_literal_too_large),
		cmocka_unit_test(test_sasl),
		cmocka_unit_test(test_select),
		cmocka_unit_test(test_mailboxes),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_subscriptions),
		cmocka_unit_test(test_delete_rename),
		cmocka_unit_test(test_store),
		cmocka_unit_test(test_copy_move_expunge),
	};
	return cmocka_run_group_tests_name("imap", tests, NULL, NULL);
}
