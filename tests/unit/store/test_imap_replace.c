/* test_imap_replace.c - REPLACE (RFC 8508): the new message comes and the old one goes with one change; exact to the
 * byte, also in pieces of one byte and with all commands at once. */
#include "tests/unit/store/imap_fixture.h"

#define RUN(...) PLAY(NULL, open_three, __VA_ARGS__)
#define NEW "{6+}\r\nb: c\r\n\r\n"
#define READY(uid) "* OK [APPENDUID @ " uid "] The replacement is there\r\n"

static struct talk open_three(struct fixture *f)
{
	for (int i = 0; i < 3; i++)
		fixture_put(f, "INBOX", "\\Seen", "Subject: old\r\n\r\n");
	struct talk t = talk_login(f);
	talk(&t, "c CREATE drafts\r\n");
	talk(&t, "s SELECT INBOX\r\n");
	FIXTURE_WAIT(f, f->committer->watched_n == 1);
	talk(&t, "n NOOP\r\n");
	buf_clear(&t.heard);
	return t;
}

static void test_in_place(void **state)
{
	RUN({ "a REPLACE 2 INBOX (\\Draft) " NEW,
		READY(
		    "4") "* 2 EXPUNGE\r\n* 3 EXISTS\r\n* 3 RECENT\r\na OK REPLACE completed\r\n" },
	    { "b FETCH 1:* (FLAGS RFC822.SIZE)\r\n",
		"* 1 FETCH (FLAGS (\\Seen \\Recent) RFC822.SIZE 16)\r\n"
		"* 2 FETCH (FLAGS (\\Seen \\Recent) RFC822.SIZE 16)\r\n"
		"* 3 FETCH (FLAGS (\\Draft \\Recent) RFC822.SIZE 6)\r\nb OK FETCH completed\r\n" });
}

static void test_elsewhere(void **state)
{
	RUN({ "a UID REPLACE 3 drafts " NEW,
		READY("1") "* 3 EXPUNGE\r\na OK REPLACE completed\r\n" },
	    { "b STATUS drafts (MESSAGES UIDNEXT)\r\n",
		"* STATUS drafts (MESSAGES 1 UIDNEXT 2)\r\nb OK STATUS completed\r\n" },
	    { "c STATUS INBOX (MESSAGES SIZE)\r\n",
		"* STATUS INBOX (MESSAGES 2 SIZE 32)\r\nc OK STATUS completed\r\n" });
}

static void test_with_modseqs(void **state)
{
	RUN({ "e ENABLE QRESYNC\r\n", "* OK [HIGHESTMODSEQ 4] Highest\r\n* ENABLED QRESYNC\r\n"
				      "e OK ENABLE completed\r\n" },
	    { "a REPLACE 1 INBOX " NEW,
		READY(
		    "4") "* VANISHED 1\r\n* 3 EXISTS\r\n* 3 RECENT\r\na OK REPLACE completed\r\n" },
	    { "b UID FETCH 1:* UID (CHANGEDSINCE 4 VANISHED)\r\n",
		"* VANISHED (EARLIER) 1\r\n* 3 FETCH (UID 4 MODSEQ (5))\r\nb OK FETCH "
		"completed\r\n" });
}

static void test_refused(void **state)
{
	RUN({ "a REPLACE 4 INBOX " NEW, "a NO [NONEXISTENT] No such message\r\n" },
	    { "a UID REPLACE 9 INBOX " NEW, "a NO [NONEXISTENT] No such message\r\n" },
	    { "a REPLACE 1 nothing " NEW, "a NO [TRYCREATE] No such mailbox\r\n" },
	    { "a REPLACE 1:2 INBOX " NEW, "a BAD Space expected\r\n" },
	    { "a REPLACE 0 INBOX " NEW, "a BAD Number must not be zero\r\n" },
	    { "a REPLACE 1 INBOX\r\n", "a BAD Missing argument\r\n" },
	    { "a REPLACE 1 INBOX (\\Seen)\r\n", "a BAD Missing argument\r\n" },
	    { "n NOOP\r\n", "n OK NOOP completed\r\n" });
}

/* What is replaced makes room, at the gate and in the committer. */
static void test_quota(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = open_three(f);
	struct operation op;
	operation_init(&op, OP_ENSURE_USER);
	op.user = SPAN("alice@example.org");
	op.quota_messages = 3;
	op.quota_bytes = 50;
	assert_int_equal(fake_apply(f->committer, &op, NULL), OPR_OK);
	talk_expect(&t, "a APPEND INBOX " NEW, "a NO [OVERQUOTA] Quota exceeded\r\n");
	talk_expect(&t, "a REPLACE 3 INBOX {19+}\r\nSubject: too long\r\n\r\n",
	    "a NO [OVERQUOTA] Quota exceeded\r\n");
	talk_expect(&t, "a REPLACE 3 INBOX {18+}\r\nSubject: as long\r\n\r\n",
	    READY("4") "* 3 EXPUNGE\r\n* 3 EXISTS\r\n* 3 RECENT\r\na OK REPLACE completed\r\n");
	talk_close(&t);
	fixture_close(&f);
}

/* A message that waits for its literal while another session expunges what it was to replace is appended. */
static void test_gone_meanwhile(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = open_three(f);
	talk_send(&t, "a REPLACE 2 INBOX {6}\r\n");
	talk_hear(&t, "+ go on\r\n");
	fixture_expunge(f, "INBOX", 2, 2);
	talk_expect(&t, "b: c\r\n\r\n",
	    READY("4") "* 2 EXPUNGE\r\n* 3 EXISTS\r\n* 3 RECENT\r\na OK REPLACE completed\r\n");
	talk(&t, "s EXAMINE INBOX\r\n");
	talk_expect(
	    &t, "a REPLACE 1 INBOX " NEW, "a NO [NOPERM] The mailbox is open for reading only\r\n");
	talk_close(&t);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_place),
		cmocka_unit_test(test_elsewhere),
		cmocka_unit_test(test_with_modseqs),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_quota),
		cmocka_unit_test(test_gone_meanwhile),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
