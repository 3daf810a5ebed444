/* test_pop3.c - what is said in POP3 conversations, before the login and after it. */
#include "pop3_fixture.h"

static int setup(void **state)
{
	fixture_start(options);
	return 0;
}

static int teardown(void **state)
{
	fixture_stop();
	return 0;
}

static void test_before_login(void **state)
{
	static const struct {
		const char *script, *want;
	} cases[] = {
		{ "", GREETING },
		{ "QUIT\r\n", GREETING BYE },
		{ "quit\r\nNOOP\r\n", GREETING BYE },
		{ "STAT\r\nRETR 1\r\nDELE x\r\nNOOP\r\nRSET\r\nQUIT\r\n",
		    GREETING "-ERR Log in first\r\n-ERR Log in first\r\n-ERR Log in first\r\n"
			     "-ERR Log in first\r\n-ERR Log in first\r\n" BYE },
		{ "FROB\r\nAPOP a 0123456789abcdef0123456789abcdef\r\nLANG xx\r\nQUIT "
		  "now\r\nQUIT\r\n",
		    GREETING "-ERR Unknown command\r\n-ERR Unknown command\r\n"
			     "-ERR There are no texts in that language\r\n-ERR no argument "
			     "allowed\r\n" BYE },
		{ "PASS x\r\nUSER\r\nQUIT\r\n",
		    GREETING "-ERR USER first\r\n-ERR argument missing\r\n" BYE },
		{ "USER nobody\r\nPASS x\r\nUSER alice\r\nPASS wrong\r\nPASS again\r\nQUIT\r\n",
		    GREETING IN
		    "-ERR [AUTH] Wrong name or password (ID)\r\n" IN
		    "-ERR [AUTH] Wrong name or password (ID)\r\n-ERR USER first\r\n" BYE },
		{ "USER disabled\r\nPASS disabled-secret\r\nUSER held\r\nPASS held-secret\r\n"
		  "USER imaponly\r\nPASS imaponly-secret\r\nQUIT\r\n",
		    GREETING IN
		    "-ERR [AUTH] Wrong name or password (ID)\r\n" IN
		    "-ERR [SYS/TEMP] Login is not possible now, try again later (ID)\r\n" IN
		    "-ERR [SYS/PERM] POP3 is not allowed for this account (ID)\r\n" BYE },
		{ "USER far\r\nPASS far-secret\r\nUSER near\r\nPASS near-secret\r\nQUIT\r\n",
		    GREETING IN "-ERR [SYS/PERM] POP3 is not allowed for this account (ID)\r\n" IN
				"+OK 0 messages, 0 octets\r\n" BYE },
		{ "NOOP\nQUIT\r\n", GREETING "-ERR NUL, bare CR or bare LF in a line (ID)\r\n" },
		{ "NOOP\rQUIT\r\n", GREETING "-ERR NUL, bare CR or bare LF in a line (ID)\r\n" },
		{ "AUTH\r\nAUTH CRAM-MD5\r\nAUTH PLAIN a b\r\nQUIT\r\n",
		    GREETING "+OK Mechanisms follow\r\nPLAIN\r\n.\r\n-ERR Mechanism not offered\r\n"
			     "-ERR unexpected text behind the response\r\n" BYE },
		{ "AUTH PLAIN\r\n*\r\nAUTH PLAIN\r\n\r\nAUTH PLAIN =\r\nAUTH PLAIN %\r\nQUIT\r\n",
		    GREETING
		    "+ \r\n-ERR Cancelled\r\n+ \r\n-ERR Not a response of PLAIN\r\n"
		    "-ERR Not a response of PLAIN\r\n-ERR Not a response of PLAIN\r\n" BYE },
		{ "CAPA\r\nQUIT\r\n", GREETING
		    "+OK Capabilities follow\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n"
		    "PIPELINING\r\nLANG\r\nUTF8\r\nEXPIRE NEVER\r\nUSER\r\nSASL PLAIN\r\nSTLS\r\n"
		    "XCLIENT ADDR PORT SESSION\r\nIMPLEMENTATION Postern\r\n.\r\n" BYE },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		check(cases[i].script, cases[i].want);
}

static void test_plaintext(void **state)
{
	check_from("pop3", "192.0.2.7",
	    LOGIN "AUTH PLAIN\r\nXCLIENT ADDR=1.2.3.4\r\nCAPA\r\nQUIT\r\n",
	    PLAIN_GREETING
	    "-ERR Passwords are taken after STLS only\r\n"
	    "-ERR Passwords are taken after STLS only\r\n"
	    "-ERR Passwords are taken after STLS only\r\n"
	    "-ERR Your word about others is not taken\r\n"
	    "+OK Capabilities follow\r\nTOP\r\nUIDL\r\nRESP-CODES\r\n"
	    "AUTH-RESP-CODE\r\nPIPELINING\r\nLANG\r\nUTF8\r\nEXPIRE NEVER\r\nSTLS\r\n"
	    "IMPLEMENTATION Postern\r\n.\r\n" BYE);
	check_from("open", "192.0.2.7", "STLS\r\n" LOGIN "STLS\r\nCAPA\r\nQUIT\r\n",
	    PLAIN_GREETING
	    "-ERR TLS cannot be started here\r\n" IN "+OK 0 messages, 0 octets\r\n"
	    "-ERR Logged in already\r\n+OK Capabilities follow\r\nTOP\r\nUIDL\r\n"
	    "RESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nLANG\r\nUTF8\r\nEXPIRE NEVER\r\nUSER\r\n"
	    "SASL PLAIN\r\nIMPLEMENTATION Postern\r\n.\r\n" BYE);
}

static void test_sasl(void **state)
{
	/* "\0alice\0alice-secret", "bob\0proxy\0proxy-secret", "bob\0alice\0alice-secret" */
	check("AUTH PLAIN AGFsaWNlAGFsaWNlLXNlY3JldA==\r\nQUIT\r\n",
	    GREETING "+OK 0 messages, 0 octets\r\n" BYE);
	check("AUTH plain\r\nAGFsaWNlAGFsaWNlLXNlY3JldA==\r\nQUIT\r\n",
	    GREETING "+ \r\n+OK 0 messages, 0 octets\r\n" BYE);
	check("AUTH PLAIN Ym9iAHByb3h5AHByb3h5LXNlY3JldA==\r\nQUIT\r\n",
	    GREETING "+OK 0 messages, 0 octets\r\n" BYE);
	check("AUTH PLAIN Ym9iAGFsaWNlAGFsaWNlLXNlY3JldA==\r\nQUIT\r\n",
	    GREETING "-ERR [AUTH] Wrong name or password (ID)\r\n" BYE);
}

static void test_too_much(void **state)
{
	static char line[40000], script[80100];
	struct buf many = BUF_INIT(4096), want = BUF_INIT(4096);
	memset(line, 'x', sizeof line);
	line[sizeof line - 1] = '\0';
	snprintf(script, sizeof script, "%s\r\nAUTH PLAIN\r\n%s\r\nNOOP\r\nQUIT\r\n", line, line);
	check(script, GREETING "-ERR line too long\r\n+ \r\n-ERR line too long\r\n"
			       "-ERR Log in first\r\n" BYE);
	buf_add_str(&want, GREETING);
	for (int i = 0; i < 21; i++) {
		buf_add_str(&many, "FROB\r\n");
		if (i < POP3_ERRORS_MAX - 1)
			buf_add_str(&want, "-ERR Unknown command\r\n");
	}
	buf_add_str(&want, "-ERR Too many errors (ID)\r\n");
	check(buf_cstr(&many), buf_cstr(&want));
	buf_clear(&many);
	buf_clear(&want);
	buf_add_str(&want, GREETING);
	for (int i = 0; i < POP3_LOGIN_FAILURES_MAX; i++) {
		buf_add_str(&many, "USER alice\r\nPASS wrong\r\n");
		buf_add_str(&want, IN "-ERR [AUTH] Wrong name or password (ID)\r\n");
	}
	buf_add_str(&many, "NOOP\r\n");
	check(buf_cstr(&many), buf_cstr(&want));
	buf_end(&many);
	buf_end(&want);
}

/* ---- XCLIENT ----------------------------------------------------------------------------------- */

static void test_xclient(void **state)
{
	struct talk t = talk_begin(&store, pop3_session_start, "pop3", "127.0.0.1");
	char text[IP_TEXT_SIZE];
	struct ident id = ident_new();
	struct buf b = BUF_INIT(256);
	buf_printf(&b, "XCLIENT ADDR=192.0.2.9  PORT=4711 TTL=3 SESSION=%s\r\nNOOP x\r\n", id.s);
	talk_send_cut(&t, buf_span(&b), 1);
	talk_until(&t, "-ERR");
	assert_true(talk_has_heard(&t, "+OK Noted\r\n"));
	assert_string_equal(ip_port_text(only_session()->client, text), "192.0.2.9:4711");
	assert_string_equal(only_session()->base.id.s, id.s);
	/* one wrong word, and nothing of the command counts */
	buf_clear(&t.heard);
	talk_send_cut(&t, SPAN("XCLIENT ADDR=192.0.2.10 PORT=70000\r\n"), 1);
	talk_until(&t, "-ERR Expected NAME=VALUE\r\n");
	assert_string_equal(ip_port_text(only_session()->client, text), "192.0.2.9:4711");
	talk_send_cut(&t, SPAN("XCLIENT ADDR=IPV6:2001:db8::1 SESSION=dovecot/1\r\n"), 1);
	talk_until(&t, "+OK Noted\r\n");
	assert_string_equal(ip_port_text(only_session()->client, text), "[2001:db8::1]:4711");
	assert_string_equal(only_session()->base.id.s, id.s);
	struct buf who = BUF_INIT(1024);
	only_session()->base.class->describe(&only_session()->base, &who);
	assert_non_null(strstr(buf_cstr(&who), "\"client\":\"[2001:db8::1]:4711\""));
	buf_end(&who);
	buf_end(&b);
	talk_close(&t);
	assert_int_equal(store.session_n, 0);
}

/* ---- the mailbox ------------------------------------------------------------------------------- */

static uint32_t uidvalidity(void)
{
	struct index_mailbox m;
	struct index_view *v = index_view_begin(store.partition.index);
	assert_true(index_mailbox_find(v, SPAN(ALICE), SPAN("INBOX"), &m));
	uint32_t n = m.uidvalidity;
	index_view_end(&v);
	return n;
}

/* Three messages; the third is \Deleted by an IMAP client, the fourth comes behind it. */
static void fill(void)
{
	assert_int_equal(fixture_append(ALICE, SPAN(MAIL_ONE), 0), 1);
	assert_int_equal(fixture_append(ALICE, SPAN(MAIL_TWO), STORE_SEEN), 2);
	assert_int_equal(fixture_append(ALICE, SPAN(MAIL_TWO), STORE_DELETED), 3);
	assert_int_equal(fixture_append(ALICE, SPAN(MAIL_ODD), 0), 4);
	(void)fixture_told();
}

#define ENTERED IN "+OK 3 messages, 90 octets\r\n"

static void test_transaction(void **state)
{
	char want[4096];
	fill();
	uint32_t v = uidvalidity();
	check(LOGIN "STAT\r\nLIST\r\nLIST 2\r\nLIST 4\r\nLIST 0\r\nUSER bob\r\nPASS x\r\nAUTH\r\n"
		    "NOOP\r\nQUIT\r\n",
	    GREETING ENTERED
	    "+OK 3 90\r\n+OK 3 messages (90 octets)\r\n1 48\r\n2 23\r\n3 19\r\n.\r\n"
	    "+OK 2 23\r\n-ERR No such message\r\n-ERR bad message number\r\n"
	    "-ERR Logged in already\r\n-ERR Logged in already\r\n-ERR Logged in already\r\n"
	    "+OK Done\r\n" BYE);
	snprintf(want, sizeof want,
	    GREETING ENTERED "+OK Unique ids follow\r\n1 %u.1\r\n2 %u.2\r\n3 %u.4\r\n.\r\n"
			     "+OK 3 %u.4\r\n-ERR No such message\r\n" BYE,
	    v, v, v, v);
	check(LOGIN "UIDL\r\nUIDL 3\r\nUIDL 4\r\nQUIT\r\n", want);
	check(LOGIN "TOP 1 0\r\nTOP 1 2\r\nTOP 1 100\r\nTOP 3 1\r\nTOP 9 1\r\nTOP 1\r\nQUIT\r\n",
	    GREETING ENTERED
	    "+OK 48 octets\r\nSubject: one\r\nX: y\r\n\r\n.\r\n"
	    "+OK 48 octets\r\nSubject: one\r\nX: y\r\n\r\n..\r\n...\r\n.\r\n"
	    "+OK 48 octets\r\nSubject: one\r\nX: y\r\n\r\n..\r\n...\r\nline\r\n..dot\r\n\r\nend\r\n"
	    ".\r\n+OK 19 octets\r\nno header ends here\r\n.\r\n-ERR No such message\r\n"
	    "-ERR expected TOP message lines\r\n" BYE);
	assert_string_equal(fixture_told(), ""); /* nothing was retrieved, nothing changed */
	check(LOGIN "RETR 2\r\nRETR 3\r\nRETR 4\r\nRETR\r\n",
	    GREETING ENTERED "+OK 23 octets\r\nSubject: two\r\n\r\nhello\r\n.\r\n"
			     "+OK 19 octets\r\nno header ends here\r\n.\r\n"
			     "-ERR No such message\r\n-ERR bad message number\r\n");
}

static void test_split_points(void **state)
{
	const struct span all = SPAN(
	    "XCLIENT PORT=1\r\n" LOGIN "DELE 1\r\nRETR 3\r\nRSET\r\nTOP 1 1\r\nUIDL 2\r\nQUIT\r\n");
	struct talk whole = say("pop3", "127.0.0.1", all, all.n);
	struct buf want = BUF_INIT(65536);
	buf_add_str(&want, words(&whole));
	talk_close(&whole);
	assert_true(buf_len(&want) > 200);
	for (size_t at = 0; at < all.n; at++) {
		struct talk t = say("pop3", "127.0.0.1", all, at);
		assert_string_equal(words(&t), buf_cstr(&want));
		talk_close(&t);
	}
	buf_end(&want);
	(void)fixture_told();
}

/* RETR says \Seen when the session ends, however it ends; TOP does not, and neither does what was so. */
static void test_seen(void **state)
{
	assert_int_equal(fixture_append(ALICE, SPAN(MAIL_TWO), 0), 5);
	(void)fixture_told();
	check(LOGIN "TOP 4 10\r\nQUIT\r\n", GREETING IN
	    "+OK 4 messages, 113 octets\r\n+OK 23 octets\r\nSubject: two\r\n\r\nhello\r\n"
	    ".\r\n" BYE);
	assert_string_equal(fixture_told(), "");
	struct talk t = say("pop3", "127.0.0.1", SPAN(LOGIN "RETR 2\r\nRETR 4\r\n"), 0);
	talk_close(&t);
	FIXTURE_WAIT(list_empty(&committer.waiting));
	assert_string_equal(fixture_told(), "flags 5\n");
	assert_int_equal(fixture_flags(ALICE, 5), STORE_SEEN);
	assert_int_equal(fixture_flags(ALICE, 3), STORE_DELETED);
}

static void test_no_quit_deletes_nothing(void **state)
{
	struct talk t = say("pop3", "127.0.0.1", SPAN(LOGIN "DELE 1\r\nDELE 2\r\nSTAT\r\n"), 0);
	assert_true(talk_has_heard(&t, "+OK 2 42\r\n"));
	talk_close(&t);
	check(LOGIN "DELE 1\r\nDELE 1\r\nRETR 1\r\nLIST 1\r\nUIDL 1\r\nTOP 1 1\r\nLIST\r\nRSET\r\n"
		    "STAT\r\nQUIT\r\n",
	    GREETING IN "+OK 4 messages, 113 octets\r\n+OK Marked to be deleted\r\n"
			"-ERR No such message\r\n-ERR No such message\r\n-ERR No such message\r\n"
			"-ERR No such message\r\n-ERR No such message\r\n"
			"+OK 3 messages (65 octets)\r\n2 23\r\n3 19\r\n4 23\r\n.\r\n"
			"+OK Nothing is marked\r\n+OK 4 113\r\n" BYE);
	FIXTURE_WAIT(list_empty(&committer.waiting));
	assert_string_equal(fixture_told(), "");
}

static void test_quit_that_fails(void **state)
{
	committer.refused_kind = OP_EXPUNGE;
	committer.refused_with = OPR_LATER;
	struct talk t = say("pop3", "127.0.0.1", SPAN(LOGIN "DELE 1\r\nDELE 4\r\nQUIT\r\n"), 0);
	assert_true(
	    talk_has_heard(&t, "-ERR [SYS/TEMP] Not all messages that were marked are deleted ("));
	assert_false(talk_has_heard(&t, "Goodbye"));
	talk_close(&t);
	assert_string_equal(fixture_told(), "expunge 1 5\n");
	assert_int_equal(fixture_flags(ALICE, 1), 0);
	/* a committer that is not there at all: the mark of what was read is not waited for twice */
	committer.refused_kind = OP_FLAGS;
	t = say("pop3", "127.0.0.1", SPAN(LOGIN "RETR 1\r\nDELE 4\r\nQUIT\r\n"), 0);
	assert_true(talk_has_heard(&t, "-ERR [SYS/TEMP] Not all"));
	talk_close(&t);
	assert_string_equal(fixture_told(), "flags 1\n");
	committer.refused_kind = OP_KIND_COUNT;
}

static void test_quit(void **state)
{
	assert_int_equal(fixture_append(ALICE, SPAN(MAIL_TWO), 0), 6);
	(void)fixture_told();
	struct talk t = say(
	    "pop3", "127.0.0.1", SPAN(LOGIN "RETR 1\r\nDELE 1\r\nRETR 5\r\nDELE 4\r\nQUIT\r\n"), 0);
	assert_true(talk_has_heard(&t, BYE));
	talk_close(&t);
	assert_string_equal(fixture_told(), "flags 6\nexpunge 1 5\n");
	assert_int_equal(fixture_flags(ALICE, 1), UINT32_MAX);
	assert_int_equal(fixture_flags(ALICE, 2), STORE_SEEN);
	assert_int_equal(fixture_flags(ALICE, 3), STORE_DELETED); /* not ours to remove */
	assert_int_equal(fixture_flags(ALICE, 4), STORE_SEEN);
	assert_int_equal(fixture_flags(ALICE, 5), UINT32_MAX);
	assert_int_equal(fixture_flags(ALICE, 6), STORE_SEEN);
	char want[512];
	snprintf(want, sizeof want,
	    GREETING IN
	    "+OK 3 messages, 65 octets\r\n+OK Unique ids follow\r\n1 %u.2\r\n2 %u.4\r\n3 %u.6\r\n"
	    ".\r\n" BYE,
	    uidvalidity(), uidvalidity(), uidvalidity());
	check(LOGIN "UIDL\r\nQUIT\r\n", want);
}

static void expunge(uint32_t uid)
{
	struct operation op;
	struct uid_range r = { uid, uid };
	operation_init(&op, OP_EXPUNGE);
	op.user = SPAN(ALICE);
	op.mailbox = fixture_inbox(ALICE);
	op.uids = (struct uid_set){ &r, 1 };
	(void)fixture_operate(&op);
	(void)fixture_told();
}

/* An IMAP client removes what the snapshot shows, and mail comes in: neither changes the numbers. */
static void test_snapshot(void **state)
{
	struct talk t = talk_begin(&store, pop3_session_start, "pop3", "127.0.0.1");
	talk_send_cut(&t, SPAN(LOGIN), SIZE_MAX);
	talk_until(&t, "+OK 3 messages");
	expunge(2);
	assert_int_equal(fixture_append(ALICE, SPAN(MAIL_TWO), 0), 7);
	talk_send_cut(&t,
	    SPAN("RETR 1\r\nSTAT\r\nRETR 4\r\nDELE 1\r\nDELE 2\r\nDELE 3\r\nQUIT\r\n"), SIZE_MAX);
	talk_until(&t, NULL);
	assert_true(talk_has_heard(&t,
	    "-ERR The message is gone\r\n+OK 3 65\r\n-ERR No such message\r\n" MARKED MARKED MARKED
		BYE));
	talk_close(&t);
	assert_int_equal(fixture_flags(ALICE, 4), UINT32_MAX);
	assert_int_equal(fixture_flags(ALICE, 7), 0);
}

static void test_exclusive(void **state)
{
	struct talk first = talk_begin(&store, pop3_session_start, "pop3", "127.0.0.1");
	talk_send_cut(&first, SPAN(LOGIN), SIZE_MAX);
	talk_until(&first, "+OK 1 messages");
	struct talk second = say("pop3", "127.0.0.1", SPAN(LOGIN "QUIT\r\n"), 0);
	assert_true(
	    talk_has_heard(&second, "-ERR [IN-USE] Another POP3 session has this mailbox ("));
	assert_false(talk_has_heard(&second, "Goodbye"));
	talk_close(&second);
	/* another user is not in the way, and the lock is free before the goodbye is read */
	second = say("pop3", "127.0.0.1", SPAN("USER bob\r\nPASS bob-secret\r\nQUIT\r\n"), 0);
	assert_true(talk_has_heard(&second, BYE));
	talk_close(&second);
	talk_send_cut(&first, SPAN("QUIT\r\n"), SIZE_MAX);
	talk_until(&first, BYE);
	second = say("pop3", "127.0.0.1", SPAN(LOGIN "QUIT\r\n"), 0);
	assert_true(talk_has_heard(&second, BYE));
	talk_close(&second);
	talk_close(&first);
}

/* The process that holds the lock dies: the kernel has given it back. */
static const struct maildrop_how alone = { true, 0 }, any = { false, 0 };

static void test_lock_of_another_process(void **state)
{
	struct maildrop *d = NULL;
	int ready[2], done[2];
	char c;
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(done), 0);
	pid_t pid = fork();
	if (pid == 0) {
		enum maildrop_result r = maildrop_open(&store.partition, SPAN(ALICE), &alone, &d);
		(void)!write(ready[1], r == MAILDROP_OK ? "y" : "n", 1);
		(void)!read(done[0], &c, 1);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(c, 'y');
	assert_int_equal(maildrop_open(&store.partition, SPAN(ALICE), &alone, &d), MAILDROP_IN_USE);
	assert_null(d);
	assert_int_equal(maildrop_open(&store.partition, SPAN(ALICE), &any, &d), MAILDROP_OK);
	maildrop_free(&d);
	assert_int_equal(write(done[1], "x", 1), 1);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(maildrop_open(&store.partition, SPAN(ALICE), &alone, &d), MAILDROP_OK);
	maildrop_free(&d);
	for (int i = 0; i < 2; i++) {
		close(ready[i]);
		close(done[i]);
	}
}

static void test_store_away(void **state)
{
	struct index *kept = store.partition.index;
	store.partition.index = NULL;
	check(LOGIN "QUIT\r\n",
	    GREETING IN "-ERR [SYS/TEMP] Login is not possible now, try again later (ID)\r\n" BYE);
	store.partition.index = kept;
	store.partition.path = "/nonexistent";
	check(LOGIN "QUIT\r\n",
	    GREETING IN "-ERR [SYS/TEMP] The store is away, try again later (ID)\r\n");
	store.partition.path = store.dir;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before_login),
		cmocka_unit_test(test_plaintext),
		cmocka_unit_test(test_sasl),
		cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_xclient),
		cmocka_unit_test(test_transaction),
		cmocka_unit_test(test_split_points),
		cmocka_unit_test(test_seen),
		cmocka_unit_test(test_no_quit_deletes_nothing),
		cmocka_unit_test(test_quit_that_fails),
		cmocka_unit_test(test_quit),
		cmocka_unit_test(test_snapshot),
		cmocka_unit_test(test_exclusive),
		cmocka_unit_test(test_lock_of_another_process),
		cmocka_unit_test(test_store_away),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
