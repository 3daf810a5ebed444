/* test_imap_notify.c - NOTIFY (RFC 5465): what other sessions do is told, between commands too. */
#include "tests/unit/store/imap_fixture.h"

#define SET "a OK NOTIFY completed\r\n"
#define ALL "(MessageNew MessageExpunge FlagChange)"

static void prepare(struct fixture *f)
{
	fixture_put(f, "INBOX", "", "Subject: one\r\n\r\nfirst\r\n");
	fixture_put(f, "work/a", "", "Subject: two\r\n\r\n");
}

struct pair {
	struct fixture *f;
	struct talk t, other; /* two sessions of alice */
};

static struct pair open_pair(void)
{
	struct pair p = { .f = fixture_open() };
	prepare(p.f);
	p.t = talk_login(p.f);
	p.other = talk_login(p.f);
	return p;
}

static void close_pair(struct pair *p)
{
	talk_close(&p->t);
	talk_close(&p->other);
	fixture_close(&p->f);
}

/* The other session says it; this one hears exactly so, without a word of its own. */
static void expect_told(struct pair *p, const char *said, const char *want)
{
	char tagged[512];
	buf_clear(&p->t.heard);
	snprintf(tagged, sizeof tagged, "o %s\r\n", said);
	assert_non_null(strstr(talk(&p->other, tagged), "o OK "));
	talk_hear(&p->t, want);
	buf_clear(&p->t.heard);
}

static void ask(struct pair *p, const char *command)
{
	talk_expect(&p->t, command, SET);
	FIXTURE_WAIT(p->f, p->f->committer->watched_n > 0);
	talk(&p->t, "n NOOP\r\n");
	buf_clear(&p->t.heard);
}

static void test_grammar(void **state)
{
	PLAY(prepare, talk_login, { "a NOTIFY NONE\r\n", SET },
	    { "a NOTIFY SET (personal NONE)\r\n", SET },
	    { "a NOTIFY SET (selected " ALL ") (subtree (work INBOX) (MailboxName))\r\n", SET },
	    { "a NOTIFY SET STATUS (mailboxes {6}\r\n", "+ go on\r\n" },
	    { "work/a " ALL ")\r\n", "* STATUS work/a (MESSAGES 1 UIDNEXT 2 UIDVALIDITY @ UNSEEN 1 "
				     "HIGHESTMODSEQ @)\r\n" SET },
	    { "a NOTIFY\r\n", "a BAD Missing argument\r\n" },
	    { "a NOTIFY SET\r\n", "a BAD Missing argument\r\n" },
	    { "a NOTIFY SET personal\r\n", "a BAD Opening parenthesis expected\r\n" },
	    { "a NOTIFY SET (others " ALL ")\r\n", "a BAD Unknown mailbox filter\r\n" },
	    { "a NOTIFY SET (personal (MessageNew))\r\n",
		"a BAD MessageNew and MessageExpunge go together, and with FlagChange\r\n" },
	    { "a NOTIFY SET (personal (FlagChange))\r\n",
		"a BAD MessageNew and MessageExpunge go together, and with FlagChange\r\n" },
	    { "a NOTIFY SET (selected (MailboxName))\r\n",
		"a BAD Of the selected mailbox only messages are told of\r\n" },
	    { "a NOTIFY SET (selected " ALL ") (selected-delayed " ALL ")\r\n",
		"a BAD One filter of the selected mailbox\r\n" },
	    { "a NOTIFY SET (personal (MessageNew (UID) MessageExpunge))\r\n",
		"a BAD Items are fetched of the selected mailbox only\r\n" },
	    { "a NOTIFY SET (selected (MessageNew (NONSENSE) MessageExpunge))\r\n",
		"a BAD Unknown FETCH item\r\n" },
	    { "a NOTIFY SET (personal (AnnotationChange))\r\n",
		"a NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName "
		"SubscriptionChange "
		"MailboxMetadataChange ServerMetadataChange)] One of the events is not "
		"known\r\n" });
}

static void test_messages(void **state)
{
	struct pair p = open_pair();
	ask(&p, "a NOTIFY SET (inboxes (MessageNew MessageExpunge)) (subtree work " ALL ")\r\n");
	expect_told(&p, "APPEND work/a {6+}\r\na: 1\r\n",
	    "* STATUS work/a (MESSAGES 2 UIDNEXT 3 UIDVALIDITY @ UNSEEN 2)\r\n");
	expect_told(&p, "APPEND INBOX {6+}\r\na: 1\r\n",
	    "* STATUS INBOX (MESSAGES 2 UIDNEXT 3 UIDVALIDITY @ UNSEEN 2)\r\n");
	talk(&p.other, "s SELECT work/a\r\n");
	expect_told(&p, "STORE 1 +FLAGS (\\Seen \\Deleted)",
	    "* STATUS work/a (MESSAGES 2 UIDNEXT 3 UIDVALIDITY @ UNSEEN 1)\r\n");
	expect_told(
	    &p, "EXPUNGE", "* STATUS work/a (MESSAGES 1 UIDNEXT 3 UIDVALIDITY @ UNSEEN 1)\r\n");
	/* flags of INBOX were not asked for; an idle one is told too */
	talk(&p.other, "s SELECT INBOX\r\n");
	talk(&p.other, "o STORE 1 +FLAGS (\\Seen)\r\n");
	talk_expect(&p.t, "i IDLE\r\n", "+ idling\r\n");
	expect_told(&p, "COPY 1 work/a",
	    "* STATUS work/a (MESSAGES 2 UIDNEXT 4 UIDVALIDITY @ UNSEEN 1)\r\n");
	talk_expect(&p.t, "DONE\r\n", "i OK IDLE completed\r\n");
	talk_expect(&p.t, "a NOTIFY NONE\r\n", SET);
	talk(&p.other, "o COPY 1 work/a\r\n");
	talk_expect(&p.t, "n NOOP\r\n", "n OK NOOP completed\r\n");
	close_pair(&p);
}

static void test_names(void **state)
{
	struct pair p = open_pair();
	ask(&p, "a NOTIFY SET (personal (MailboxName SubscriptionChange))\r\n");
	expect_told(&p, "CREATE \"new box\"", "* LIST () \"/\" \"new box\"\r\n");
	expect_told(&p, "RENAME \"new box\" newer",
	    "* LIST () \"/\" newer (\"OLDNAME\" (\"new box\"))\r\n");
	expect_told(&p, "SUBSCRIBE newer", "* LIST (\\Subscribed) \"/\" newer\r\n");
	expect_told(&p, "UNSUBSCRIBE newer", "* LIST () \"/\" newer\r\n");
	expect_told(&p, "DELETE newer", "* LIST (\\NonExistent) \"/\" newer\r\n");
	/* into what is watched, out of it */
	ask(&p, "a NOTIFY SET (subtree work (MailboxName)) (personal NONE)\r\n");
	talk(&p.other, "o CREATE away\r\n");
	expect_told(&p, "RENAME away work/b", "* LIST () \"/\" work/b\r\n");
	expect_told(&p, "RENAME work/b away", "* LIST (\\NonExistent) \"/\" work/b\r\n");
	/* another filter for another name */
	ask(&p, "a NOTIFY SET (subtree work (MailboxName)) (personal " ALL ")\r\n");
	talk(&p.other, "o RENAME work/a moved\r\n");
	expect_told(&p, "APPEND moved {6+}\r\na: 1\r\n",
	    "* STATUS moved (MESSAGES 2 UIDNEXT 3 UIDVALIDITY @ UNSEEN 2)\r\n");
	expect_told(&p, "RENAME moved work/a", "* LIST () \"/\" work/a (\"OLDNAME\" (moved))\r\n");
	talk(&p.other, "o APPEND work/a {6+}\r\na: 1\r\n\r\n");
	talk_expect(&p.t, "n NOOP\r\n", "n OK NOOP completed\r\n");
	close_pair(&p);
}

static void test_metadata(void **state)
{
	struct pair p = open_pair();
	ask(&p, "a NOTIFY SET (subscribed (MailboxMetadataChange)) (inboxes "
		"(ServerMetadataChange))\r\n");
	expect_told(&p, "SETMETADATA INBOX (/shared/x \"1\" /private/y \"2\")",
	    "* METADATA INBOX /shared/x /private/y\r\n");
	expect_told(&p, "SETMETADATA INBOX (/shared/x NIL /private/y \"2\")",
	    "* METADATA INBOX /shared/x\r\n");
	expect_told(&p, "SETMETADATA INBOX (/private/y \"4\")", "* METADATA INBOX /private/y\r\n");
	expect_told(&p, "SETMETADATA \"\" (/private/z \"3\")", "* METADATA \"\" /private/z\r\n");
	close_pair(&p);
}

static void test_selected(void **state)
{
	struct pair p = open_pair();
	talk(&p.t, "s SELECT INBOX\r\n");
	talk(&p.other, "s SELECT INBOX\r\n");
	ask(&p, "a NOTIFY SET (selected (MessageNew (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)]) "
		"MessageExpunge FlagChange)) (personal " ALL ")\r\n");
	expect_told(&p, "APPEND INBOX (\\Flagged) {26+}\r\nSubject: hi\r\nX: y\r\n\r\nbye\r\n",
	    "* 2 EXISTS\r\n* @ RECENT\r\n* 2 FETCH (UID 2 FLAGS (\\Flagged \\Recent) "
	    "BODY[HEADER.FIELDS (SUBJECT)] "
	    "{15}\r\nSubject: hi\r\n\r\n)\r\n");
	expect_told(
	    &p, "STORE 1 +FLAGS (\\Deleted)", "* 1 FETCH (UID 1 FLAGS (\\Deleted \\Recent))\r\n");
	expect_told(&p, "EXPUNGE", "* 1 EXPUNGE\r\n");
	/* delayed: not the expunged, and no flags */
	ask(&p, "a NOTIFY SET (selected-delayed (MessageNew MessageExpunge))\r\n");
	talk(&p.other, "o STORE 1 +FLAGS (\\Deleted)\r\n");
	talk(&p.other, "o EXPUNGE\r\n");
	expect_told(&p, "APPEND INBOX {6+}\r\na: 1\r\n", "* 2 EXISTS\r\n* @ RECENT\r\n");
	talk_expect(&p.t, "n NOOP\r\n", "* 1 EXPUNGE\r\nn OK NOOP completed\r\n");
	/* none: as without NOTIFY */
	ask(&p, "a NOTIFY SET (personal NONE)\r\n");
	talk(&p.other, "o APPEND INBOX {6+}\r\na: 1\r\n\r\n");
	talk_expect(&p.t, "n NOOP\r\n", "* 2 EXISTS\r\n* @ RECENT\r\nn OK NOOP completed\r\n");
	close_pair(&p);
}

static void test_overflow(void **state)
{
	enum { BOXES_MAX = 1000 };
	struct pair p = open_pair();
	struct operation op;
	char name[32];
	ask(&p, "a NOTIFY SET (subtree many (MailboxName))\r\n");
	for (int i = 0; i < BOXES_MAX; i++) {
		snprintf(name, sizeof name, "many/n%d", i);
		operation_init(&op, OP_CREATE);
		op.user = SPAN("alice@example.org");
		op.name = span_str(name);
		assert_int_equal(fake_apply(p.f->committer, &op, NULL), OPR_OK);
	}
	talk_until(&p.t, "* OK [NOTIFICATIONOVERFLOW] There are too many mailboxes to tell of\r\n");
	talk_expect(&p.t, "n NOOP\r\n", "n OK NOOP completed\r\n");
	talk_expect(&p.t, "a NOTIFY SET (subtree many (MailboxName))\r\n",
	    "a NO [NOTIFICATIONOVERFLOW] Too many mailboxes to tell of\r\n");
	close_pair(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grammar),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_metadata),
		cmocka_unit_test(test_selected),
		cmocka_unit_test(test_overflow),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
