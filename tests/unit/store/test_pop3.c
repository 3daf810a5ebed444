/* test_pop3.c - POP3 conversations with a real session, directory, index and log. */
#include "store_fixture.h"

#include "base/base64.h"
#include "net/tls_ctx.h"
#include "proto/smtp_body.h"
#include "store-backend/pop3/pop3_internal.h"
#include "store-backend/pop3/pop3_session.h"

#define ALICE "alice@example.org"
#define LOGIN "USER alice\r\nPASS alice-secret\r\n"
#define GREETING "+OK [XCLIENT] store1.example.org ready (ID)\r\n"
#define PLAIN_GREETING "+OK store1.example.org ready (ID)\r\n"
#define IN "+OK Now the password\r\n"
#define MARKED "+OK Marked to be deleted\r\n"
#define BYE "+OK Goodbye\r\n"

static const char options[] =
    "login_timeout 5s; pop3_idle_timeout 10s;\n"
    "listener pop3 { address 127.0.0.1:110; protocol pop3; tls starttls; }\n"
    "listener open { address 127.0.0.1:111; protocol pop3; plaintext_login yes; }\n"
    "listener pop3s { address 127.0.0.1:995; protocol pop3; tls implicit; }\n";

/* "From: ..." and a body with every kind of dot. */
#define MAIL_ONE "Subject: one\r\nX: y\r\n\r\n.\r\n..\r\nline\r\n.dot\r\n\r\nend\r\n"
#define MAIL_TWO "Subject: two\r\n\r\nhello\r\n"
#define MAIL_ODD "no header ends here"

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

/* ---- conversations ----------------------------------------------------------------------------- */

/* What was heard, with the ids of sessions as "(ID)". */
static const char *words(struct talk *t)
{
	static char out[65536];
	struct span heard = buf_span(&t->heard);
	struct ident id;
	size_t n = 0;
	assert_true(heard.n < sizeof out);
	for (size_t i = 0; i < heard.n; i++) {
		if (heard.p[i] == '(' && ident_parse(span_of(heard.p + i + 1, IDENT_LEN), &id)) {
			memcpy(out + n, "(ID", 3);
			n += 3;
			i += IDENT_LEN;
			continue;
		}
		out[n++] = heard.p[i];
	}
	out[n] = '\0';
	return out;
}

static struct talk say(const char *listener, const char *client, struct span script, size_t first)
{
	struct talk t = talk_open(pop3_session_start, listener, client);
	talk_until(&t, "ready");
	talk_send(&t, span_first(script, first), SIZE_MAX);
	for (int i = 0; i < 3; i++)
		loop_step(store.loop, 0);
	talk_send(&t, span_from(script, first), SIZE_MAX);
	shutdown(t.fd, SHUT_WR);
	talk_until(&t, NULL);
	return t;
}

/* The same answers whether the script comes at once or one byte at a time. */
static void check_from(
    const char *listener, const char *client, const char *script, const char *want)
{
	for (size_t cut = 1; cut != 0; cut = cut == 1 ? SIZE_MAX : 0) {
		struct talk t = talk_open(pop3_session_start, listener, client);
		talk_until(&t, "ready");
		talk_send(&t, span_str(script), cut);
		shutdown(t.fd, SHUT_WR);
		talk_until(&t, NULL);
		assert_string_equal(words(&t), want);
		talk_close(&t);
	}
	assert_int_equal(store.session_n, 0);
}

static void check(const char *script, const char *want)
{
	check_from("pop3", "127.0.0.1", script, want);
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
		{ "FROB\r\nAPOP a 0123456789abcdef0123456789abcdef\r\nUTF8\r\nQUIT now\r\nQUIT\r\n",
		    GREETING "-ERR Unknown command\r\n-ERR Unknown command\r\n"
			     "-ERR Unknown command\r\n-ERR no argument allowed\r\n" BYE },
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
		    "PIPELINING\r\nEXPIRE NEVER\r\nUSER\r\nSASL PLAIN\r\nSTLS\r\n"
		    "XCLIENT ADDR PORT SESSION\r\nIMPLEMENTATION Postern\r\n.\r\n" BYE },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		check(cases[i].script, cases[i].want);
}

static void test_plaintext(void **state)
{
	check_from("pop3", "192.0.2.7",
	    LOGIN "AUTH PLAIN\r\nXCLIENT ADDR=1.2.3.4\r\nCAPA\r\nQUIT\r\n",
	    PLAIN_GREETING "-ERR Passwords are taken after STLS only\r\n"
			   "-ERR Passwords are taken after STLS only\r\n"
			   "-ERR Passwords are taken after STLS only\r\n"
			   "-ERR Your word about others is not taken\r\n"
			   "+OK Capabilities follow\r\nTOP\r\nUIDL\r\nRESP-CODES\r\n"
			   "AUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\nSTLS\r\n"
			   "IMPLEMENTATION Postern\r\n.\r\n" BYE);
	check_from("open", "192.0.2.7", "STLS\r\n" LOGIN "STLS\r\nCAPA\r\nQUIT\r\n",
	    PLAIN_GREETING "-ERR TLS cannot be started here\r\n" IN "+OK 0 messages, 0 octets\r\n"
			   "-ERR Logged in already\r\n+OK Capabilities follow\r\nTOP\r\nUIDL\r\n"
			   "RESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\nUSER\r\n"
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

static struct pop3_session *only_session(void)
{
	assert_int_equal(store.session_n, 1);
	return LIST_OF(
	    struct pop3_session, base, LIST_OF(struct store_session, link, store.sessions.next));
}

static void test_xclient(void **state)
{
	struct talk t = talk_open(pop3_session_start, "pop3", "127.0.0.1");
	char text[IP_TEXT_SIZE];
	struct ident id = ident_new();
	struct buf b = BUF_INIT(256);
	buf_printf(&b, "XCLIENT ADDR=192.0.2.9  PORT=4711 TTL=3 SESSION=%s\r\nNOOP x\r\n", id.s);
	talk_send(&t, buf_span(&b), 1);
	talk_until(&t, "-ERR");
	assert_true(talk_has_heard(&t, "+OK Noted\r\n"));
	assert_string_equal(ip_port_text(only_session()->client, text), "192.0.2.9:4711");
	assert_string_equal(only_session()->base.id.s, id.s);
	/* one wrong word, and nothing of the command counts */
	buf_clear(&t.heard);
	talk_send(&t, SPAN("XCLIENT ADDR=192.0.2.10 PORT=70000\r\n"), 1);
	talk_until(&t, "-ERR Expected NAME=VALUE\r\n");
	assert_string_equal(ip_port_text(only_session()->client, text), "192.0.2.9:4711");
	talk_send(&t, SPAN("XCLIENT ADDR=IPV6:2001:db8::1 SESSION=dovecot/1\r\n"), 1);
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
	FIXTURE_WAIT(list_empty(&store.link.waiting));
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
	FIXTURE_WAIT(list_empty(&store.link.waiting));
	assert_string_equal(fixture_told(), "");
}

static void test_quit_that_fails(void **state)
{
	store.link.refused_kind = OP_EXPUNGE;
	store.link.refused_with = OPR_LATER;
	struct talk t = say("pop3", "127.0.0.1", SPAN(LOGIN "DELE 1\r\nDELE 4\r\nQUIT\r\n"), 0);
	assert_true(
	    talk_has_heard(&t, "-ERR [SYS/TEMP] Not all messages that were marked are deleted ("));
	assert_false(talk_has_heard(&t, "Goodbye"));
	talk_close(&t);
	assert_string_equal(fixture_told(), "expunge 1 5\n");
	assert_int_equal(fixture_flags(ALICE, 1), 0);
	/* a committer that is not there at all: the mark of what was read is not waited for twice */
	store.link.refused_kind = OP_FLAGS;
	t = say("pop3", "127.0.0.1", SPAN(LOGIN "RETR 1\r\nDELE 4\r\nQUIT\r\n"), 0);
	assert_true(talk_has_heard(&t, "-ERR [SYS/TEMP] Not all"));
	talk_close(&t);
	assert_string_equal(fixture_told(), "flags 1\n");
	store.link.refused_kind = OP_KIND_COUNT;
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
	struct talk t = talk_open(pop3_session_start, "pop3", "127.0.0.1");
	talk_send(&t, SPAN(LOGIN), SIZE_MAX);
	talk_until(&t, "+OK 3 messages");
	expunge(2);
	assert_int_equal(fixture_append(ALICE, SPAN(MAIL_TWO), 0), 7);
	talk_send(&t, SPAN("RETR 1\r\nSTAT\r\nRETR 4\r\nDELE 1\r\nDELE 2\r\nDELE 3\r\nQUIT\r\n"),
	    SIZE_MAX);
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
	struct talk first = talk_open(pop3_session_start, "pop3", "127.0.0.1");
	talk_send(&first, SPAN(LOGIN), SIZE_MAX);
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
	talk_send(&first, SPAN("QUIT\r\n"), SIZE_MAX);
	talk_until(&first, BYE);
	second = say("pop3", "127.0.0.1", SPAN(LOGIN "QUIT\r\n"), 0);
	assert_true(talk_has_heard(&second, BYE));
	talk_close(&second);
	talk_close(&first);
}

/* The process that holds the lock dies: the kernel has given it back. */
static void test_lock_of_another_process(void **state)
{
	struct maildrop *d = NULL;
	int ready[2], done[2];
	char c;
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(done), 0);
	pid_t pid = fork();
	if (pid == 0) {
		enum maildrop_result r = maildrop_open(&store.partition, SPAN(ALICE), true, &d);
		(void)!write(ready[1], r == MAILDROP_OK ? "y" : "n", 1);
		(void)!read(done[0], &c, 1);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(c, 'y');
	assert_int_equal(maildrop_open(&store.partition, SPAN(ALICE), true, &d), MAILDROP_IN_USE);
	assert_null(d);
	assert_int_equal(maildrop_open(&store.partition, SPAN(ALICE), false, &d), MAILDROP_OK);
	maildrop_free(&d);
	assert_int_equal(write(done[1], "x", 1), 1);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(maildrop_open(&store.partition, SPAN(ALICE), true, &d), MAILDROP_OK);
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

/* ---- sizes ------------------------------------------------------------------------------------- */

/* A message of `n` bytes and some, in which dots stand at the beginning of lines of every length, so that
 * they meet the borders of every buffer. */
static struct span make_big(struct buf *b, size_t n)
{
	buf_add_str(b, "Subject: big\r\n\r\n");
	for (size_t line = 0; buf_len(b) < n; line++) {
		for (size_t i = 0; i < line % 71; i++)
			buf_add_char(b, i == 0 ? '.' : (char)('a' + (line + i) % 26));
		buf_add_str(b, "\r\n");
	}
	return buf_span(b);
}

/* Takes the message out of "+OK ...\r\n message .\r\n" as a client does. */
static void decode(struct span heard, const char *after, struct buf *out)
{
	struct smtp_body_decoder d;
	size_t at = span_find_span(heard, span_str(after));
	assert_true(at != SIZE_MAX);
	struct span in = span_from(heard, at + strlen(after)), piece;
	enum smtp_body_rx rx;
	smtp_body_decoder_init(&d, SIZE_MAX);
	while ((rx = smtp_body_decode(&d, &in, &piece)) == SMTP_BODY_SPAN)
		buf_add_span(out, piece);
	assert_int_equal(rx, SMTP_BODY_END);
}

static void check_same(struct span a, struct span b)
{
	assert_int_equal(a.n, b.n);
	assert_memory_equal(a.p, b.p, a.n);
}

static void test_chunk_borders(void **state)
{
	/* every line is one dot: each chunk begins and ends at another byte of "." CR LF */
	static const char *const lines[] = { ".\r\n", "..\r\n", "\r\n", "x\r\n", ".x.\r\n" };
	for (size_t i = 0; i < COUNT_OF(lines); i++) {
		struct buf b = BUF_INIT(1 << 20), got = BUF_INIT(1 << 20);
		buf_add_str(&b, "A: b\r\n\r\n");
		while (buf_len(&b) < 5 * POP3_CHUNK)
			buf_add_str(&b, lines[i]);
		(void)fixture_append("bob@example.org", buf_span(&b), 0);
		struct talk t = say("pop3", "127.0.0.1",
		    SPAN("USER bob\r\nPASS bob-secret\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n"), 0);
		decode(buf_span(&t.heard), " octets\r\n", &got);
		talk_close(&t);
		buf_clear(&got);
		t = say("pop3", "127.0.0.1", SPAN("USER bob\r\nPASS bob-secret\r\nQUIT\r\n"), 0);
		assert_true(talk_has_heard(&t, "+OK 0 messages"));
		talk_close(&t);
		buf_end(&b);
		buf_end(&got);
	}
}

static void test_big(void **state)
{
	struct buf b = BUF_INIT(8 << 20), got = BUF_INIT(8 << 20);
	struct span big = make_big(&b, 3 << 20);
	uint32_t uid = fixture_append(ALICE, big, 0);
	char script[128], ok[64];
	struct talk t = say("pop3", "127.0.0.1", SPAN(LOGIN "RETR 2\r\nQUIT\r\n"), 0);
	snprintf(ok, sizeof ok, "+OK %zu octets\r\n", big.n);
	decode(buf_span(&t.heard), ok, &got);
	check_same(buf_span(&got), big);
	assert_true(talk_has_heard(&t, "\r\n.\r\n" BYE));
	talk_close(&t);
	/* TOP cuts a long message where it should, at whatever chunk that is */
	for (uint32_t lines = 1; lines < 4000; lines += 487) {
		size_t at = strlen("Subject: big\r\n\r\n");
		for (uint32_t i = 0; i < lines; i++)
			at += span_find(span_from(big, at), '\n') + 1;
		snprintf(script, sizeof script, LOGIN "TOP 2 %u\r\nQUIT\r\n", lines);
		t = say("pop3", "127.0.0.1", span_str(script), 0);
		buf_clear(&got);
		decode(buf_span(&t.heard), ok, &got);
		check_same(buf_span(&got), span_first(big, at));
		talk_close(&t);
	}
	assert_int_equal(fixture_flags(ALICE, uid), STORE_SEEN);
	buf_end(&b);
	buf_end(&got);
}

static void test_top_cut(void **state)
{
	static const struct {
		const char *text;
		uint32_t lines;
		size_t want;
	} cases[] = {
		{ "A: b\r\n\r\nx\r\ny\r\n", 0, 8 },
		{ "A: b\r\n\r\nx\r\ny\r\n", 1, 11 },
		{ "A: b\r\n\r\nx\r\ny\r\n", 2, 14 },
		{ "A: b\r\n\r\nx\r\ny\r\n", 3, 14 },
		{ "\r\nx\r\ny\r\n", 0, 2 },
		{ "\r\n\r\n\r\n\r\n", 2, 6 },
		{ "A: b", 0, 4 },
		{ "A: b\r\n", 0, 6 },
		{ "", 5, 0 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct span text = span_str(cases[i].text);
		for (size_t cut = 0; cut <= text.n; cut++) {
			struct pop3_top top = { .lines_left = cases[i].lines };
			size_t n = pop3_top_cut(&top, span_first(text, cut)).n;
			if (!top.done)
				n += pop3_top_cut(&top, span_from(text, cut)).n;
			assert_int_equal(n, cases[i].want);
		}
	}
}

/* A client that does not read holds no more than the bound, is let go when it stays so, and one that reads
 * late gets everything. */
static void test_back_pressure(void **state)
{
	struct talk t = talk_open(pop3_session_start, "pop3", "127.0.0.1");
	talk_send(&t, SPAN(LOGIN), SIZE_MAX);
	talk_until(&t, "+OK 2 messages");
	buf_clear(&t.heard);
	static const char script[] = "RETR 2\r\nRETR 2\r\nNOOP\r\n";
	assert_int_equal(write(t.fd, script, sizeof script - 1), sizeof script - 1);
	for (int i = 0; i < 50; i++)
		loop_step(store.loop, 1);
	struct pop3_session *s = only_session();
	assert_int_equal(s->state, POP3_ST_SEND);
	assert_true(stream_pending(s->io) <= POP3_OUT_MAX);
	assert_true(stream_pending(s->io) > 0);
	talk_until(&t, "+OK Done\r\n");
	assert_true(buf_len(&t.heard) > 6 << 20);
	/* again, and now never */
	buf_clear(&t.heard);
	clock_fake(clock_mono_ms(), clock_wall_us());
	assert_int_equal(write(t.fd, script, sizeof script - 1), sizeof script - 1);
	for (int i = 0; i < 50; i++)
		loop_step(store.loop, 1);
	assert_int_equal(store.session_n, 1);
	clock_fake_advance(9000);
	loop_step(store.loop, 1);
	assert_int_equal(store.session_n, 1);
	clock_fake_advance(2000);
	FIXTURE_WAIT(store.session_n == 0);
	clock_fake_off();
	talk_close(&t);
}

/* Reads slowly after QUIT: everything leaves, though the session's linger is short. */
static void test_goodbye_is_waited_for(void **state)
{
	struct talk t = talk_open(pop3_session_start, "pop3", "127.0.0.1");
	talk_send(&t, SPAN(LOGIN), SIZE_MAX);
	talk_until(&t, "+OK 2 messages");
	clock_fake(clock_mono_ms(), clock_wall_us());
	static const char script[] = "RETR 2\r\nQUIT\r\n";
	assert_int_equal(write(t.fd, script, sizeof script - 1), sizeof script - 1);
	while (!t.ended) {
		char bytes[100000];
		ssize_t n = read(t.fd, bytes, sizeof bytes);
		if (n > 0)
			assert_true(buf_add(&t.heard, bytes, (size_t)n));
		t.ended = n == 0;
		loop_step(store.loop, 1);
		clock_fake_advance(3000);
	}
	clock_fake_off();
	assert_true(talk_has_heard(&t, "\r\n.\r\n" BYE));
	talk_close(&t);
}

/* More messages than one piece of the list: it is loaded over several rounds of the loop. */
static void test_many(void **state)
{
	enum { MANY = 45000 };
	struct operation op;
	struct op_recipient to[500];
	uint64_t inbox = fixture_inbox("bob@example.org");
	for (size_t i = 0; i < COUNT_OF(to); i++)
		to[i] = (struct op_recipient){ SPAN("bob@example.org"), SPAN_NONE };
	operation_init(&op, OP_DELIVER);
	op.message.bytes = SPAN(MAIL_TWO);
	op.recipients = to;
	op.recipient_n = COUNT_OF(to);
	for (size_t i = 0; i < MANY / COUNT_OF(to); i++)
		(void)operation_ask(&store.link, &op, NULL, NULL);
	FIXTURE_WAIT(list_empty(&store.link.waiting));
	(void)fixture_told();
	struct talk t = say("pop3", "127.0.0.1",
	    SPAN("USER bob\r\nPASS bob-secret\r\nLIST\r\nUIDL\r\nDELE 1\r\nDELE 2\r\nDELE 45000\r\n"
		 "DELE 7\r\nQUIT\r\n"),
	    0);
	assert_true(talk_has_heard(&t, "+OK 45000 messages, 1035000 octets\r\n"));
	assert_true(talk_has_heard(&t, "\r\n44999 23\r\n45000 23\r\n.\r\n+OK Unique"));
	assert_true(talk_has_heard(&t, BYE));
	talk_close(&t);
	const char *told = fixture_told();
	struct index_mailbox m;
	struct index_view *v = index_view_begin(store.partition.index);
	assert_true(index_mailbox_get(v, inbox, &m));
	assert_int_equal(m.messages, MANY - 4);
	char want[64];
	uint32_t first = m.uidnext - MANY;
	snprintf(want, sizeof want, "expunge %u:%u %u %u\n", first, first + 1, first + 6,
	    first + MANY - 1);
	assert_string_equal(told, want);
	index_view_end(&v);
}

static void test_ranges(void **state)
{
	struct maildrop_message all[6] = { { .uid = 1, .deleted = true },
		{ .uid = 2, .deleted = true }, { .uid = 4, .deleted = true }, { .uid = 5 },
		{ .uid = 7, .deleted = true }, { .uid = 8, .deleted = true } };
	struct maildrop d = { .all = all, .n = 6, .left = 1 };
	struct uid_range r[2];
	size_t at = 0;
	assert_int_equal(maildrop_ranges(&d, MAILDROP_DELETED, &at, r, 2), 2);
	assert_int_equal(r[0].first, 1);
	assert_int_equal(r[0].last, 2);
	assert_int_equal(r[1].first, 4); /* not joined over the gap: 3 is somebody's \Deleted */
	assert_int_equal(r[1].last, 4);
	assert_int_equal(maildrop_ranges(&d, MAILDROP_DELETED, &at, r, 2), 1);
	assert_int_equal(r[0].first, 7);
	assert_int_equal(r[0].last, 8);
	assert_int_equal(maildrop_ranges(&d, MAILDROP_DELETED, &at, r, 2), 0);
	at = 0;
	assert_int_equal(maildrop_ranges(&d, MAILDROP_SEEN, &at, r, 2), 0);
}

/* ---- clocks and drain -------------------------------------------------------------------------- */

static void test_timeouts(void **state)
{
	clock_fake(clock_mono_ms(), clock_wall_us());
	struct talk t = talk_open(pop3_session_start, "pop3", "127.0.0.1");
	talk_until(&t, "ready");
	for (int i = 0; i < 4; i++) { /* talking does not make the time to log in longer */
		talk_send(&t, SPAN("CAPA\r\n"), SIZE_MAX);
		clock_fake_advance(1200);
		loop_step(store.loop, 1);
	}
	clock_fake_advance(1000);
	talk_until(&t, NULL);
	assert_true(talk_has_heard(&t, "-ERR [SYS/TEMP] Too slow to log in ("));
	talk_close(&t);
	t = talk_open(pop3_session_start, "pop3", "127.0.0.1");
	talk_send(&t, SPAN(LOGIN), SIZE_MAX);
	talk_until(&t, "+OK 2 messages");
	talk_send(&t, SPAN("DELE 1\r\n"), SIZE_MAX);
	for (int i = 0; i < 5; i++) {
		clock_fake_advance(9000);
		talk_send(&t, SPAN("NOOP\r\n"), SIZE_MAX);
		loop_step(store.loop, 1);
	}
	assert_int_equal(store.session_n, 1);
	talk_send(&t, SPAN("NOO"), SIZE_MAX); /* half a line is silence */
	clock_fake_advance(10001);
	talk_until(&t, NULL);
	assert_true(talk_has_heard(&t, "-ERR [SYS/TEMP] Idle for too long ("));
	talk_close(&t);
	clock_fake_off();
	FIXTURE_WAIT(list_empty(&store.link.waiting));
	assert_string_equal(fixture_told(), "");
}

static void drain(void)
{
	struct store_session *s = &only_session()->base;
	s->class->drain(s);
}

static void test_drain(void **state)
{
	struct talk t = talk_open(pop3_session_start, "pop3", "127.0.0.1");
	talk_until(&t, "ready");
	drain();
	talk_until(&t, NULL);
	assert_true(talk_has_heard(&t, "-ERR [SYS/TEMP] Server is shutting down, come back ("));
	talk_close(&t);
	/* in the middle of a message: it is finished first */
	t = talk_open(pop3_session_start, "pop3", "127.0.0.1");
	talk_send(&t, SPAN(LOGIN), SIZE_MAX);
	talk_until(&t, "+OK 2 messages");
	assert_int_equal(write(t.fd, "RETR 2\r\n", 8), 8);
	FIXTURE_WAIT(only_session()->state == POP3_ST_SEND);
	drain();
	talk_until(&t, NULL);
	assert_true(talk_has_heard(&t, "\r\n.\r\n-ERR [SYS/TEMP] Server is shutting down"));
	talk_close(&t);
	/* what is marked deleted waits for its QUIT */
	uint32_t uid = fixture_append(ALICE, SPAN(MAIL_TWO), 0);
	t = talk_open(pop3_session_start, "pop3", "127.0.0.1");
	talk_send(&t, SPAN(LOGIN "DELE 3\r\n"), SIZE_MAX);
	talk_until(&t, "+OK Marked");
	drain();
	for (int i = 0; i < 5; i++)
		loop_step(store.loop, 1);
	assert_int_equal(store.session_n, 1);
	talk_send(&t, SPAN("QUIT\r\n"), SIZE_MAX);
	talk_until(&t, BYE);
	talk_close(&t);
	assert_int_equal(fixture_flags(ALICE, uid), UINT32_MAX);
	(void)fixture_told();
}

static void wait_for_update(void)
{
	FIXTURE_WAIT(only_session()->state == POP3_ST_UPDATE);
}

/* The client goes while the committer works; the worker stops; both leave nothing behind. */
static void test_ends_in_every_state(void **state)
{
	static const char *const scripts[] = { "", "USER alice\r\n", "AUTH PLAIN\r\n", LOGIN,
		LOGIN "RETR 2\r\n", LOGIN "RETR 2\r\nDELE 1\r\n", "STLS\r\n" };
	for (size_t i = 0; i < COUNT_OF(scripts) * 2; i++) {
		struct talk t = talk_open(pop3_session_start, "pop3", "127.0.0.1");
		const char *script = scripts[i / 2];
		assert_int_equal(write(t.fd, script, strlen(script)), strlen(script));
		for (int k = 0; k < 10; k++)
			loop_step(store.loop, 0);
		if (i % 2 == 0 && store.session_n > 0)
			only_session()->base.class->end(&only_session()->base);
		talk_close(&t);
		FIXTURE_WAIT(store.session_n == 0);
	}
	for (int i = 0; i < 2; i++) {
		uint32_t uid = fixture_append(ALICE, SPAN(MAIL_TWO), 0);
		struct talk t = talk_open(pop3_session_start, "pop3", "127.0.0.1");
		talk_send(&t, SPAN(LOGIN "DELE 3\r\n"), SIZE_MAX);
		talk_until(&t, "+OK Marked");
		store.link.hold = true;
		talk_send(&t, SPAN("QUIT\r\n"), SIZE_MAX);
		wait_for_update();
		if (i == 0)
			only_session()->base.class->end(&only_session()->base);
		shutdown(t.fd, SHUT_RDWR); /* gone, yet what it has said is done */
		for (int k = 0; k < 5; k++)
			loop_step(store.loop, 1);
		assert_int_equal(store.session_n, i);
		fixture_release();
		talk_close(&t);
		FIXTURE_WAIT(store.session_n == 0);
		FIXTURE_WAIT(fixture_flags(ALICE, uid) == UINT32_MAX);
	}
}

/* ---- TLS --------------------------------------------------------------------------------------- */

struct tls_client {
	struct stream *io;
	struct buf heard;
	bool secured, ended;
};

static void on_tls(void *arg, enum stream_event ev)
{
	struct tls_client *c = arg;
	if (ev == STREAM_SECURED)
		c->secured = true;
	struct span in = stream_input(c->io);
	buf_add_span(&c->heard, in);
	stream_eat(c->io, in.n);
	c->ended = c->ended || ev == STREAM_EOF || ev == STREAM_FAILED;
}

static void tls_until(struct tls_client *c, const char *text)
{
	FIXTURE_WAIT(span_find_span(buf_span(&c->heard), span_str(text)) != SIZE_MAX);
}

static void tls_open(struct tls_client *c, const char *listener)
{
	struct talk t = talk_open(pop3_session_start, listener, "192.0.2.7");
	struct stream_limits limits = { 1 << 20, 1 << 20 };
	*c = (struct tls_client){ .heard = BUF_INIT(16 << 20) };
	c->io = stream_new(store.loop, t.fd, limits, on_tls, c);
}

static void tls_start(struct tls_client *c)
{
	struct tls_ctx *ctx = daemon_tls_client(store.conf, TLS_VERIFY_NONE, NULL);
	assert_non_null(ctx);
	(void)stream_start_tls_client(c->io, ctx, "localhost", "pop3");
	tls_ctx_unref(&ctx);
	FIXTURE_WAIT(c->secured || c->ended);
}

static void tls_close(struct tls_client *c)
{
	stream_free(&c->io);
	buf_end(&c->heard);
	FIXTURE_WAIT(store.session_n == 0);
}

static void test_stls(void **state)
{
	struct tls_client c;
	tls_open(&c, "pop3");
	tls_until(&c, "ready");
	stream_printf(c.io, "STLS\r\n");
	tls_until(&c, "+OK Begin TLS\r\n");
	tls_start(&c);
	assert_true(c.secured);
	stream_printf(c.io, "STLS\r\nCAPA\r\n");
	tls_until(&c, "IMPLEMENTATION");
	tls_until(&c, "-ERR TLS cannot be started here\r\n");
	struct span all = buf_span(&c.heard);
	assert_true(span_find_span(all, SPAN("SASL PLAIN\r\n")) != SIZE_MAX);
	assert_true(span_find_span(all, SPAN("\r\nSTLS\r\n")) == SIZE_MAX);
	stream_printf(c.io, LOGIN "RETR 2\r\nQUIT\r\n"); /* through TLS and back-pressure */
	tls_until(&c, BYE);
	tls_close(&c);
	tls_open(&c, "pop3s");
	tls_start(&c);
	assert_true(c.secured);
	tls_until(&c, "+OK store1.example.org ready");
	tls_close(&c);
}

/* What came in the clear behind STLS is never read as if it had come through TLS. */
static void test_stls_injection(void **state)
{
	struct talk t = talk_open(pop3_session_start, "pop3", "192.0.2.7");
	talk_until(&t, "ready");
	talk_send(&t, SPAN("STLS\r\nUSER alice\r\n"), SIZE_MAX);
	talk_until(&t, NULL);
	assert_string_equal(words(&t), PLAIN_GREETING "+OK Begin TLS\r\n");
	talk_close(&t);
	assert_int_equal(store.session_n, 0);
	t = talk_open(pop3_session_start, "pop3", "192.0.2.7");
	talk_send(&t, SPAN("STLS\r\n"), SIZE_MAX);
	talk_until(&t, "Begin TLS");
	talk_send(&t, SPAN("USER alice\r\nPASS alice-secret\r\n"), SIZE_MAX);
	talk_until(&t, NULL);
	assert_false(talk_has_heard(&t, "password"));
	talk_close(&t);
	FIXTURE_WAIT(store.session_n == 0);
}

/* ---- damage ------------------------------------------------------------------------------------ */

static void test_unreadable(void **state)
{
	struct commitlog_reader *kept = store.partition.reader;
	store.partition.reader = commitlog_reader_open("/nonexistent");
	struct talk t = say("pop3", "127.0.0.1", SPAN(LOGIN "RETR 2\r\nTOP 2 1\r\nNOOP\r\n"), 0);
	assert_true(
	    talk_has_heard(&t, "-ERR [SYS/TEMP] The message cannot be read now\r\n-ERR "
			       "[SYS/TEMP] The message cannot be read now\r\n+OK Done\r\n"));
	talk_close(&t);
	commitlog_reader_close(&store.partition.reader);
	store.partition.reader = kept;
	/* it breaks after +OK: the answer has no last line, and the connection ends */
	t = talk_open(pop3_session_start, "pop3", "127.0.0.1");
	talk_send(&t, SPAN(LOGIN), SIZE_MAX);
	talk_until(&t, "+OK 2 messages");
	assert_int_equal(write(t.fd, "RETR 2\r\nNOOP\r\n", 14), 14);
	FIXTURE_WAIT(only_session()->state == POP3_ST_SEND);
	store.partition.reader = commitlog_reader_open("/nonexistent");
	talk_until(&t, NULL);
	assert_false(talk_has_heard(&t, "\r\n.\r\n"));
	assert_false(talk_has_heard(&t, "+OK Done"));
	talk_close(&t);
	commitlog_reader_close(&store.partition.reader);
	store.partition.reader = kept;
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
		cmocka_unit_test(test_chunk_borders),
		cmocka_unit_test(test_big),
		cmocka_unit_test(test_top_cut),
		cmocka_unit_test(test_back_pressure),
		cmocka_unit_test(test_goodbye_is_waited_for),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_timeouts),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_ends_in_every_state),
		cmocka_unit_test(test_stls),
		cmocka_unit_test(test_stls_injection),
		cmocka_unit_test(test_unreadable),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
