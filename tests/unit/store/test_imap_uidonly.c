/* test_imap_uidonly.c - UIDONLY (RFC 9586) and INPROGRESS (RFC 9585). */
#include "tests/unit/store/imap_fixture.h"

#include "store-backend/imap/session_parts.h"

#define RUN(...) PLAY(NULL, open_four, __VA_ARGS__)
#define REFUSED(tag) tag " BAD [UIDREQUIRED] Messages have no numbers after ENABLE UIDONLY\r\n"

/* Uids 2 to 5 in INBOX, UIDONLY enabled. */
static struct talk open_four(struct fixture *f)
{
	for (int i = 0; i < 5; i++)
		fixture_put(f, "INBOX", "", "Subject: s\r\n\r\ntext\r\n");
	fixture_expunge(f, "INBOX", 1, 1);
	struct talk t = talk_login(f);
	talk(&t, "c CREATE away\r\n");
	talk_expect(&t, "e ENABLE UIDONLY\r\n", "* ENABLED UIDONLY\r\ne OK ENABLE completed\r\n");
	assert_null(strstr(talk(&t, "s SELECT INBOX\r\n"), "UNSEEN"));
	FIXTURE_WAIT(f, f->committer->watched_n == 1);
	talk(&t, "n NOOP\r\n");
	buf_clear(&t.heard);
	return t;
}

static void test_refused(void **state)
{
	RUN({ "a FETCH 1 FLAGS\r\n", REFUSED("a") },
	    { "a STORE 1 FLAGS (\\Seen)\r\n", REFUSED("a") }, { "a SEARCH ALL\r\n", REFUSED("a") },
	    { "a SORT (DATE) UTF-8 ALL\r\n", REFUSED("a") },
	    { "a THREAD REFERENCES UTF-8 ALL\r\n", REFUSED("a") },
	    { "a COPY 1 away\r\n", REFUSED("a") }, { "a MOVE 1 away\r\n", REFUSED("a") },
	    { "a REPLACE 1 INBOX {6+}\r\na: 1\r\n\r\n", REFUSED("a") },
	    { "a UID SEARCH 1:2\r\n", REFUSED("a") },
	    { "a UID SEARCH OR SEEN NOT *\r\n", REFUSED("a") },
	    { "a UID SORT (DATE) UTF-8 1\r\n", REFUSED("a") },
	    { "n NOOP\r\n", "n OK NOOP completed\r\n" },
	    { "a UID SEARCH RETURN (SAVE) UID 3:4\r\n", "a OK SEARCH completed\r\n" },
	    { "a UID SEARCH $\r\n", "* SEARCH 3 4\r\na OK SEARCH completed\r\n" });
}

static void test_told_by_uid(void **state)
{
	RUN({ "a UID FETCH 2:3 (FLAGS RFC822.SIZE)\r\n",
		"* 2 UIDFETCH (FLAGS (\\Recent) RFC822.SIZE 20)\r\n* 3 UIDFETCH (FLAGS (\\Recent) "
		"RFC822.SIZE 20)\r\na OK FETCH completed\r\n" },
	    { "a UID FETCH 5 (UID)\r\n", "* 5 UIDFETCH (UID 5)\r\na OK FETCH completed\r\n" },
	    { "a UID STORE 4 +FLAGS (\\Seen)\r\n",
		"* 4 UIDFETCH (FLAGS (\\Seen \\Recent))\r\na OK STORE completed\r\n" },
	    { "a UID SEARCH RETURN (ALL) SEEN\r\n",
		"* ESEARCH (TAG \"a\") UID ALL 4\r\na OK SEARCH completed\r\n" },
	    { "a UID STORE 2,5 +FLAGS.SILENT (\\Deleted)\r\n", "a OK STORE completed\r\n" },
	    { "a UID EXPUNGE 5\r\n", "* VANISHED 5\r\na OK EXPUNGE completed\r\n" },
	    { "a EXPUNGE\r\n", "* VANISHED 2\r\na OK EXPUNGE completed\r\n" },
	    { "a UID MOVE 3 away\r\n",
		"* OK [COPYUID @ 3 1] Moved\r\n* VANISHED 3\r\na OK MOVE completed\r\n" },
	    { "a UID REPLACE 4 INBOX {6+}\r\na: 1\r\n\r\n",
		"* OK [APPENDUID @ 6] The replacement is there\r\n* VANISHED 4\r\n* 1 EXISTS\r\n* "
		"1 "
		"RECENT\r\na OK REPLACE completed\r\n" });
}

static void test_with_modseqs(void **state)
{
	RUN({ "e ENABLE QRESYNC\r\n", "* OK [HIGHESTMODSEQ 7] Highest\r\n* ENABLED QRESYNC\r\ne OK "
				      "ENABLE completed\r\n" },
	    { "a UID STORE 4 +FLAGS (\\Seen)\r\n",
		"* 4 UIDFETCH (FLAGS (\\Seen \\Recent) MODSEQ (8))\r\na OK STORE completed\r\n" },
	    { "a UID FETCH 1:* FLAGS (CHANGEDSINCE 7 VANISHED)\r\n",
		"* 4 UIDFETCH (FLAGS (\\Seen \\Recent) MODSEQ (8))\r\na OK FETCH completed\r\n" },
	    { "a SELECT INBOX (QRESYNC (7 8 1:5 (1:2 2:3)))\r\n", REFUSED("a") });
}

/* Another session's doings, while this one idles. */
static void test_idle(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = open_four(f);
	talk_send(&t, "i IDLE\r\n");
	talk_hear(&t, "+ idling\r\n");
	buf_clear(&t.heard);
	fixture_expunge(f, "INBOX", 3, 3);
	talk_hear(&t, "* VANISHED 3\r\n");
	talk_expect(&t, "DONE\r\n", "i OK IDLE completed\r\n");
	talk_close(&t);
	fixture_close(&f);
}

/* ---- INPROGRESS ------------------------------------------------------------------------------------------------ */

static struct imap_session *only_session(struct fixture *f)
{
	struct store_session *b = LIST_OF(struct store_session, link, f->worker.sessions.next);
	return OBJ(imap_session, LIST_OF(struct imap_session, base, b));
}

/* As if the timer had fired that was set in this command. */
static void fire(struct fixture *f)
{
	struct imap_session *s = only_session(f);
	s->progress_of = s->commands;
	imap_on_progress(s);
}

static void test_progress_of_a_wait(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = talk_login(f);
	fire(f); /* between commands it says nothing */
	f->committer->hold = true;
	talk_send(&t, "a CREATE made\r\n");
	FIXTURE_WAIT(f, only_session(f)->state == ST_WAIT);
	fire(f);
	talk_hear(&t, "* OK [INPROGRESS (\"a\" NIL NIL)] Still at work\r\n");
	buf_clear(&t.heard);
	fake_release(f->committer);
	talk_hear(&t, "a OK [MAILBOXID (F@)] CREATE completed\r\n");
	talk_close(&t);
	fixture_close(&f);
}

static void test_progress_of_a_search(void **state)
{
	enum { N = 100 };
	struct fixture *f = fixture_open();
	char want[256];
	for (int i = 0; i < N; i++)
		fixture_put(f, "INBOX", "", "Subject: s\r\n\r\ntext\r\n");
	struct talk t = talk_examine(f);
	talk_send(&t, "a SEARCH BODY nothing\r\n");
	FIXTURE_WAIT(f, only_session(f)->state == ST_JOB);
	fire(f);
	talk_until(&t, "a OK SEARCH completed\r\n");
	unsigned done;
	assert_int_equal(sscanf(buf_cstr(&t.heard), "* OK [INPROGRESS (\"a\" %u 100)", &done), 1);
	assert_in_range(done, 1, N);
	snprintf(want, sizeof want,
	    "* OK [INPROGRESS (\"a\" %u 100)] Still at work\r\n* SEARCH\r\na OK SEARCH "
	    "completed\r\n",
	    done);
	assert_string_equal(buf_cstr(&t.heard), want);
	talk_close(&t);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_told_by_uid),
		cmocka_unit_test(test_with_modseqs),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_progress_of_a_wait),
		cmocka_unit_test(test_progress_of_a_search),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
