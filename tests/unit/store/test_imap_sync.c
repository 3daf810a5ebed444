/* test_imap_sync.c - ENABLE (RFC 5161), CONDSTORE and QRESYNC (RFC 7162): what has changed since a modseq, told to
 * clients that come back and to those that are there; exact to the byte. Every script also in pieces of one byte
 * and with all its commands at once. */
#include "tests/unit/store/imap_fixture.h"

#define RUN(...) PLAY(put_five, talk_login, __VA_ARGS__)
#define TEXT "Subject: x\r\n\r\ntext\r\n"
#define FLAGS_LINE "* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft)\r\n"
#define CLOSED "* OK [CLOSED] The mailbox before is closed\r\n"
#define SELECTED(n, next, modseq)                                                                  \
	FLAGS_LINE "* OK [PERMANENTFLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft \\*)] "    \
		   "Flags that can be changed\r\n* " n " EXISTS\r\n* 0 RECENT\r\n"                 \
		   "* OK [UNSEEN 1] First unseen\r\n* OK [UIDVALIDITY @] UIDs are valid\r\n"       \
		   "* OK [UIDNEXT " next "] Next UID\r\n* OK [HIGHESTMODSEQ " modseq               \
		   "] Highest\r\n* OK [MAILBOXID (F@)] Id\r\n* OK [URLMECH INTERNAL] URLs can be " \
		   "authorized\r\n"
#define ENABLE                                                                                     \
	{                                                                                          \
		"e ENABLE QRESYNC\r\n", "* ENABLED QRESYNC\r\ne OK ENABLE completed\r\n"           \
	}
#define OPEN(n, next, modseq)                                                                      \
	{                                                                                          \
		"s SELECT INBOX\r\n",                                                              \
		    SELECTED(n, next, modseq) "s OK [READ-WRITE] SELECT completed\r\n"             \
	}

/* INBOX of five messages, \Recent for nobody: modseq 6. */
static void put_five(struct fixture *f)
{
	for (int i = 0; i < 5; i++)
		fixture_put(f, "INBOX", "", TEXT);
	struct talk t = talk_select(f);
	talk_close(&t);
}

static struct fixture *open_five(void)
{
	struct fixture *f = fixture_open();
	put_five(f);
	return f;
}

/* What another session changed. */
static void change(struct fixture *f, uint32_t uid, uint32_t flags)
{
	struct operation op;
	struct uid_range r = { uid, uid };
	operation_init(&op, OP_FLAGS);
	op.user = SPAN("alice@example.org");
	op.mailbox = fixture_mailbox(f, "alice@example.org", "INBOX");
	op.uids = (struct uid_set){ &r, 1 };
	op.how = FLAGS_SET;
	op.set.flags = flags;
	assert_int_equal(fake_apply(f->committer, &op, NULL), OPR_OK);
}

/* ---- ENABLE ------------------------------------------------------------------------------------------ */

static void test_enable(void **state)
{
	RUN({ "a ENABLE\r\n", "a BAD Missing argument\r\n" },
	    { "a ENABLE \r\n", "a BAD Atom expected\r\n" },
	    { "a ENABLE X-NONE\r\n", "* ENABLED\r\na OK ENABLE completed\r\n" },
	    { "a ENABLE condstore x QRESYNC\r\n",
		"* ENABLED CONDSTORE QRESYNC\r\na OK ENABLE completed\r\n" },
	    ENABLE, { "a ENABLE (QRESYNC)\r\n", "a BAD Atom expected\r\n" });
}

/* ---- CONDSTORE --------------------------------------------------------------------------------------- */

static void test_fetch_modseq(void **state)
{
	RUN(OPEN("5", "6", "6"),
	    { "a FETCH 1:2 (FLAGS)\r\n", "* 1 FETCH (FLAGS ())\r\n* 2 FETCH (FLAGS ())\r\n"
					 "a OK FETCH completed\r\n" },
	    { "a FETCH 2 MODSEQ\r\n", "* OK [HIGHESTMODSEQ 6] Highest\r\n"
				      "* 2 FETCH (MODSEQ (3))\r\na OK FETCH completed\r\n" },
	    { "a UID FETCH 4:* FLAGS (CHANGEDSINCE 5)\r\n",
		"* 5 FETCH (UID 5 FLAGS () MODSEQ (6))\r\na OK FETCH completed\r\n" },
	    { "a FETCH 1:* (UID) (changedsince 4)\r\n",
		"* 4 FETCH (UID 4 MODSEQ (5))\r\n* 5 FETCH (UID 5 MODSEQ (6))\r\n"
		"a OK FETCH completed\r\n" },
	    { "a FETCH 1:3 (UID) (CHANGEDSINCE 4)\r\n", "a OK FETCH completed\r\n" },
	    { "a FETCH 1:* (UID) (CHANGEDSINCE 6)\r\n", "a OK FETCH completed\r\n" },
	    { "a FETCH 1 (UID) (CHANGEDSINCE)\r\n", "a BAD Space expected\r\n" },
	    { "a FETCH 1 (UID) (CHANGEDSINCE 1 CHANGEDSINCE 2)\r\n",
		"a BAD Unknown FETCH modifier\r\n" },
	    { "a FETCH 1 (UID) (X)\r\n", "a BAD Unknown FETCH modifier\r\n" },
	    { "a FETCH 1 (UID) ()\r\n", "a BAD Unknown FETCH modifier\r\n" },
	    { "a UID FETCH 1 (UID) (CHANGEDSINCE 1 VANISHED)\r\n",
		"a BAD VANISHED is for UID FETCH after ENABLE QRESYNC\r\n" });
}

static void test_store_tells_modseq(void **state)
{
	RUN({ "s SELECT INBOX (CONDSTORE)\r\n",
		SELECTED("5", "6", "6") "s OK [READ-WRITE] SELECT completed\r\n" },
	    { "a STORE 2 +FLAGS (\\Seen)\r\n",
		"* 2 FETCH (UID 2 FLAGS (\\Seen) MODSEQ (7))\r\na OK STORE completed\r\n" },
	    { "a STORE 2:3 +FLAGS.SILENT (\\Seen)\r\n",
		"* 2 FETCH (UID 2 MODSEQ (7))\r\n* 3 FETCH (UID 3 MODSEQ (8))\r\n"
		"a OK STORE completed\r\n" },
	    { "a FETCH 1 BODY[TEXT]\r\n",
		"* 1 FETCH (BODY[TEXT] {6}\r\ntext\r\n)\r\n"
		"* 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (9))\r\na OK FETCH completed\r\n" },
	    { "a FETCH 1 FLAGS\r\n", "* 1 FETCH (FLAGS (\\Seen))\r\na OK FETCH completed\r\n" });
}

static void test_store_unchangedsince(void **state)
{
	RUN(OPEN("5", "6", "6"),
	    { "a STORE 1:3 (UNCHANGEDSINCE 3) +FLAGS.SILENT (\\Seen)\r\n",
		"* OK [HIGHESTMODSEQ 6] Highest\r\n* 1 FETCH (UID 1 MODSEQ (7))\r\n"
		"* 2 FETCH (UID 2 MODSEQ (7))\r\n"
		"a OK [MODIFIED 3] Some have been changed meanwhile\r\n" },
	    { "a UID STORE 1:5 (unchangedsince 4) FLAGS (\\Flagged)\r\n",
		"* 3 FETCH (UID 3 FLAGS (\\Flagged) MODSEQ (8))\r\n"
		"a OK [MODIFIED 1:2,4:5] Some have been changed meanwhile\r\n" },
	    { "a STORE 1:2 (UNCHANGEDSINCE 0) FLAGS (\\Seen)\r\n",
		"a OK [MODIFIED 1:2] Some have been changed meanwhile\r\n" },
	    { "a STORE 3 (UNCHANGEDSINCE 8) -FLAGS (\\Flagged)\r\n",
		"* 3 FETCH (UID 3 FLAGS () MODSEQ (9))\r\na OK STORE completed\r\n" },
	    { "a STORE 3 (UNCHANGED 8) -FLAGS (\\Flagged)\r\n",
		"a BAD Unknown STORE modifier\r\n" },
	    { "a STORE 3 (UNCHANGEDSINCE x) -FLAGS (\\Flagged)\r\n", "a BAD Number expected\r\n" },
	    { "a STORE 3 (UNCHANGEDSINCE 9223372036854775808) FLAGS ()\r\n",
		"a BAD Number out of range\r\n" });
}

static void test_search_and_status(void **state)
{
	RUN({ "a STATUS INBOX (HIGHESTMODSEQ MESSAGES)\r\n",
		"* STATUS INBOX (MESSAGES 5 HIGHESTMODSEQ 6)\r\na OK STATUS completed\r\n" },
	    OPEN("5", "6", "6"),
	    { "a SEARCH MODSEQ 5\r\n", "* SEARCH 4 5 (MODSEQ 6)\r\na OK SEARCH completed\r\n" },
	    { "a UID SEARCH OR ALL MODSEQ \"/flags/\\\\draft\" all 5 2:3\r\n",
		"* SEARCH 2 3 (MODSEQ 4)\r\na OK SEARCH completed\r\n" },
	    { "a SEARCH NOT MODSEQ 3\r\n", "* SEARCH 1 (MODSEQ 2)\r\na OK SEARCH completed\r\n" },
	    { "a SEARCH MODSEQ 7\r\n", "* SEARCH\r\na OK SEARCH completed\r\n" },
	    { "a SEARCH MODSEQ \"/flags/x\" some 7\r\n", "a BAD Unknown entry type\r\n" },
	    { "a SEARCH MODSEQ\r\n", "a BAD Missing argument\r\n" });
}

/* ---- QRESYNC ------------------------------------------------------------------------------------------ */

static void test_close(void **state)
{
	RUN(ENABLE, OPEN("5", "6", "6"),
	    { "a STORE 2 +FLAGS.SILENT (\\Deleted)\r\n",
		"* 2 FETCH (UID 2 MODSEQ (7))\r\na OK STORE completed\r\n" },
	    { "a CLOSE\r\n", "a OK [HIGHESTMODSEQ 8] CLOSE completed\r\n" });
}

static void test_expunges_by_uid(void **state)
{
	RUN(ENABLE, OPEN("5", "6", "6"),
	    { "a STORE 2,4:5 +FLAGS.SILENT (\\Deleted)\r\n",
		"* 2 FETCH (UID 2 MODSEQ (7))\r\n* 4 FETCH (UID 4 MODSEQ (7))\r\n"
		"* 5 FETCH (UID 5 MODSEQ (7))\r\na OK STORE completed\r\n" },
	    { "a UID EXPUNGE 5\r\n",
		"* VANISHED 5\r\na OK [HIGHESTMODSEQ 8] EXPUNGE completed\r\n" },
	    { "a EXPUNGE\r\n", "* VANISHED 2,4\r\na OK [HIGHESTMODSEQ 9] EXPUNGE completed\r\n" },
	    { "a EXPUNGE\r\n", "a OK EXPUNGE completed\r\n" },
	    { "c CREATE x\r\n", "c OK [MAILBOXID (F@)] CREATE completed\r\n" },
	    { "a MOVE 1 x\r\n", "* OK [COPYUID @ 1 1] Moved\r\n* VANISHED 1\r\n"
				"a OK [HIGHESTMODSEQ 10] MOVE completed\r\n" },
	    { "a UID FETCH 1:* FLAGS (CHANGEDSINCE 8 VANISHED)\r\n",
		"* VANISHED (EARLIER) 1:2,4\r\na OK FETCH completed\r\n" },
	    { "a UID FETCH 2:3,5 FLAGS (VANISHED CHANGEDSINCE 2)\r\n",
		"* VANISHED (EARLIER) 2,5\r\n* 1 FETCH (UID 3 FLAGS () MODSEQ (4))\r\n"
		"a OK FETCH completed\r\n" },
	    { "a FETCH 1 FLAGS (CHANGEDSINCE 2 VANISHED)\r\n",
		"a BAD VANISHED is for UID FETCH after ENABLE QRESYNC\r\n" },
	    { "a UID FETCH 1 FLAGS (VANISHED)\r\n", "a BAD VANISHED needs CHANGEDSINCE\r\n" });
}

/* Answers of SELECT with what the client says it knows; "U" stands for the UIDVALIDITY. */
static void select_with(struct talk *t, const char *arguments, const char *more)
{
	char command[256];
	struct buf want = BUF_INIT(4096);
	uint32_t uidvalidity = 0;
	struct index_mailbox m;
	struct index_view *v = index_view_begin(t->w->partition.index);
	if (index_mailbox_find(v, SPAN("alice@example.org"), SPAN("INBOX"), &m))
		uidvalidity = m.uidvalidity;
	index_view_end(&v);
	snprintf(command, sizeof command, "s SELECT INBOX (QRESYNC (%u %s))\r\n", uidvalidity,
	    arguments);
	buf_printf(&want, "%s%ss OK [READ-WRITE] SELECT completed\r\n",
	    CLOSED SELECTED("3", "6", "9"), more);
	talk_expect(t, command, buf_cstr(&want));
	buf_end(&want);
}

/* 5: \Flagged at 7; 2 expunged at 8, 4 at 9. */
static struct talk open_changed(struct fixture *f)
{
	change(f, 5, STORE_FLAGGED);
	fixture_expunge(f, "INBOX", 2, 2);
	fixture_expunge(f, "INBOX", 4, 4);
	struct talk t = talk_login(f);
	talk(&t, "e ENABLE QRESYNC\r\n");
	talk(&t, "s EXAMINE INBOX\r\n");
	return t;
}

static void test_select(void **state)
{
	struct fixture *f = open_five();
	struct talk t = open_changed(f);
	select_with(&t, "6",
	    "* VANISHED (EARLIER) 2,4\r\n* 3 FETCH (UID 5 FLAGS (\\Flagged) MODSEQ (7))\r\n");
	select_with(&t, "8", "* VANISHED (EARLIER) 4\r\n");
	select_with(&t, "9", "");
	select_with(&t, "9223372036854775807", "");
	select_with(&t, "6 1:3", "* VANISHED (EARLIER) 2\r\n");
	select_with(&t, "6 3:5",
	    "* VANISHED (EARLIER) 4\r\n* 3 FETCH (UID 5 FLAGS (\\Flagged) MODSEQ (7))\r\n");
	select_with(&t, "5 1:5 (1:5 1:5)",
	    "* VANISHED (EARLIER) 2,4\r\n"
	    "* 3 FETCH (UID 5 FLAGS (\\Flagged) MODSEQ (7))\r\n");
	select_with(&t, "6 (1:2 1,3)",
	    "* VANISHED (EARLIER) 4\r\n* 3 FETCH (UID 5 FLAGS (\\Flagged) MODSEQ (7))\r\n");
	/* another UIDVALIDITY: nothing the client knows is true */
	talk_expect(&t, "s SELECT INBOX (QRESYNC (1 6))\r\n",
	    CLOSED SELECTED("3", "6", "9") "s OK [READ-WRITE] SELECT completed\r\n");
	talk_close(&t);
	fixture_close(&f);
}

/* The index remembers only so many; then all that is not there has vanished. */
static void test_select_after_long(void **state)
{
	struct fixture *f = open_five();
	struct talk t = open_changed(f);
	select_with(&t, "0",
	    "* VANISHED (EARLIER) 2,4\r\n* 1 FETCH (UID 1 FLAGS () MODSEQ (2))\r\n"
	    "* 2 FETCH (UID 3 FLAGS () MODSEQ (4))\r\n"
	    "* 3 FETCH (UID 5 FLAGS (\\Flagged) MODSEQ (7))\r\n");
	select_with(&t, "0 1,4:100",
	    "* VANISHED (EARLIER) 4\r\n* 1 FETCH (UID 1 FLAGS () MODSEQ (2))\r\n"
	    "* 3 FETCH (UID 5 FLAGS (\\Flagged) MODSEQ (7))\r\n");
	talk_close(&t);
	fixture_close(&f);
}

static void test_select_refused(void **state)
{
	RUN({ "s SELECT INBOX (QRESYNC (1 6))\r\n", "s BAD ENABLE QRESYNC first\r\n" }, ENABLE,
	    { "s SELECT INBOX (QRESYNC (1 6) QRESYNC (1 6))\r\n", "s BAD Unknown parameter\r\n" },
	    { "s SELECT INBOX (QRESYNC 1 6)\r\n", "s BAD Opening parenthesis expected\r\n" },
	    { "s SELECT INBOX (QRESYNC (0 6))\r\n", "s BAD Number must not be zero\r\n" },
	    { "s SELECT INBOX (QRESYNC (1 6 1:*))\r\n", "s BAD No * in this set\r\n" },
	    { "s SELECT INBOX (QRESYNC (1 6 $))\r\n", "s BAD No $ in this set\r\n" },
	    { "s SELECT INBOX (QRESYNC (1 6 (1:2 1:2) 3))\r\n",
		"s BAD Closing parenthesis expected\r\n" },
	    { "s SELECT INBOX (QRESYNC (1 6 (1:2)))\r\n", "s BAD Space expected\r\n" },
	    { "s SELECT INBOX ()\r\n", "s BAD Unknown parameter\r\n" },
	    { "s SELECT INBOX (CONDSTORE\r\n", "s BAD Closing parenthesis expected\r\n" },
	    { "s SELECT nothing (QRESYNC (1 6))\r\n", "s NO [NONEXISTENT] No such mailbox\r\n" },
	    OPEN("5", "6", "6"));
}

/* ---- news --------------------------------------------------------------------------------------------- */

static void test_news(void **state)
{
	struct fixture *f = open_five();
	struct talk t = talk_login(f);
	talk(&t, "e ENABLE QRESYNC\r\n");
	talk(&t, "s SELECT INBOX\r\n");
	FIXTURE_WAIT(f, f->committer->watched_n == 1);
	talk(&t, "n NOOP\r\n");
	talk_send(&t, "i IDLE\r\n");
	talk_hear(&t, "+ idling\r\n");
	buf_clear(&t.heard);
	change(f, 3, STORE_SEEN);
	talk_hear(&t, "* 3 FETCH (UID 3 FLAGS (\\Seen) MODSEQ (7))\r\n");
	buf_clear(&t.heard);
	fixture_expunge(f, "INBOX", 1, 2);
	talk_hear(&t, "* VANISHED 1:2\r\n");
	buf_clear(&t.heard);
	change(f, 3, STORE_FLAGGED);
	fixture_put(f, "INBOX", "", TEXT);
	talk_hear(
	    &t, "* 4 EXISTS\r\n* 1 RECENT\r\n* 1 FETCH (UID 3 FLAGS (\\Flagged) MODSEQ (9))\r\n");
	talk_expect(&t, "DONE\r\n", "i OK IDLE completed\r\n");
	talk_close(&t);
	fixture_close(&f);
}

/* What is not told as expunged yet has not vanished earlier. */
static void test_vanished_later(void **state)
{
	struct fixture *f = open_five();
	struct talk t = talk_login(f);
	talk(&t, "e ENABLE QRESYNC\r\n");
	talk(&t, "s SELECT INBOX\r\n");
	fixture_expunge(f, "INBOX", 2, 3);
	talk_expect(&t, "a UID FETCH 1:* UID (CHANGEDSINCE 6 VANISHED)\r\n",
	    "* VANISHED 2:3\r\na OK FETCH completed\r\n");
	talk_expect(&t, "a UID FETCH 1:* UID (CHANGEDSINCE 6 VANISHED)\r\n",
	    "* VANISHED (EARLIER) 2:3\r\na OK FETCH completed\r\n");
	talk_close(&t);
	fixture_close(&f);
}

/* More ranges than one line takes. */
static void test_many(void **state)
{
	enum { N = 6000 };
	struct fixture *f = fixture_open();
	for (int i = 0; i < N; i++)
		fixture_put(f, "INBOX", i % 2 != 0 ? "\\Deleted" : "", TEXT);
	struct talk t = talk_login(f);
	talk(&t, "e ENABLE QRESYNC\r\n");
	talk(&t, "s SELECT INBOX\r\n");
	talk(&t, "x EXPUNGE\r\n");
	const char *heard = buf_cstr(&t.heard);
	unsigned lines = 0, uid = 0, want = 2;
	for (const char *p = heard; (p = strstr(p, "* VANISHED ")) != NULL; lines++) {
		for (p += 11; *p != '\r'; p += *p == ',') {
			uid = (unsigned)strtoul(p, (char **)&p, 10);
			assert_int_equal(uid, want);
			want += 2;
		}
	}
	assert_int_equal(uid, N);
	assert_true(lines > 1);
	assert_non_null(strstr(heard, "x OK [HIGHESTMODSEQ "));
	talk(&t, "u UID FETCH 1:* UID (CHANGEDSINCE 1 VANISHED)\r\n");
	heard = buf_cstr(&t.heard);
	assert_int_equal(strncmp(heard, "* VANISHED (EARLIER) 2,4,6,", 27), 0);
	assert_non_null(strstr(heard, "* 3000 FETCH (UID 5999 MODSEQ ("));
	talk_close(&t);
	fixture_close(&f);
}

/* A mailbox that was left is found as it is now, not as it was: flags, expunged, new, and who is recent. */
static void test_coming_back(void **state)
{
	enum { N = 300 };
	struct fixture *f = fixture_open();
	for (int i = 0; i < N; i++)
		fixture_put(f, "INBOX", "", TEXT);
	struct talk t = talk_login(f);
	talk(&t, "s SELECT INBOX\r\n");
	assert_non_null(strstr(buf_cstr(&t.heard), "* 300 EXISTS\r\n* 300 RECENT\r\n"));
	struct talk other = talk_login(f);
	talk(&other, "s SELECT INBOX\r\n");
	talk(&t, "a STORE 7 FLAGS (\\Flagged)\r\n");
	talk(&t, "u UNSELECT\r\n");
	change(f, 1, STORE_SEEN);
	change(f, 2, STORE_SEEN | STORE_DELETED);
	talk(&other, "x EXPUNGE\r\n");
	fixture_put(f, "INBOX", "", TEXT);
	talk(&t, "s SELECT INBOX\r\n");
	assert_non_null(
	    strstr(buf_cstr(&t.heard), "* 300 EXISTS\r\n* 1 RECENT\r\n* OK [UNSEEN 2]"));
	talk(&t, "n NOOP\r\n");
	assert_string_equal(buf_cstr(&t.heard), "n OK NOOP completed\r\n");
	talk(&t, "f FETCH 1,2,6,300 (UID FLAGS)\r\n");
	assert_string_equal(buf_cstr(&t.heard),
	    "* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n* 2 FETCH (UID 3 FLAGS ())\r\n"
	    "* 6 FETCH (UID 7 FLAGS (\\Flagged))\r\n* 300 FETCH (UID 301 FLAGS (\\Recent))\r\n"
	    "f OK FETCH completed\r\n");
	talk(&other, "u UNSELECT\r\n");
	talk(&other, "s EXAMINE INBOX\r\n");
	assert_non_null(strstr(buf_cstr(&other.heard), "* 300 EXISTS\r\n* 0 RECENT\r\n"));
	talk_close(&other);
	talk_close(&t);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_enable),
		cmocka_unit_test(test_fetch_modseq),
		cmocka_unit_test(test_store_tells_modseq),
		cmocka_unit_test(test_store_unchangedsince),
		cmocka_unit_test(test_search_and_status),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_expunges_by_uid),
		cmocka_unit_test(test_select),
		cmocka_unit_test(test_select_after_long),
		cmocka_unit_test(test_select_refused),
		cmocka_unit_test(test_news),
		cmocka_unit_test(test_vanished_later),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_coming_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
