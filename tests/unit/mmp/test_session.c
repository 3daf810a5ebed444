/* test_session.c - what clients see: commands before login, logins, limits, ends. */
#include "world.h"

/* ---- transcripts --------------------------------------------------------------------------------- */

struct transcript {
	const char *said, *heard; /* heard: behind the greeting */
	bool ends;                /* the connection is closed then */
};

static const char *const greetings[PORTS] = {
	[IMAP] = IMAP_GREETING,
	[IMAP_OPEN] = IMAP_OPEN_GREETING,
	[IMAPS] = IMAP_OPEN_GREETING,
	[POP3] = POP3_GREETING,
	[POP3_OPEN] = POP3_GREETING,
	[POP3S] = POP3_GREETING,
	[PROXIED] = IMAP_OPEN_GREETING,
};

/* The bytes come in two parts: cut at `at`. */
static void check_cut(enum port_id port, const struct transcript *t, size_t at)
{
	struct client c;
	struct span said = span_str(t->said);
	char want[8192];
	client_open(&c, port);
	snprintf(want, sizeof want, "%s%s", greetings[port], t->heard);
	stream_write_span(c.io, span_first(said, at));
	settle();
	if (c.io != NULL)
		stream_write_span(c.io, span_from(said, at));
	if (t->ends)
		expect_end(&c, want);
	else
		expect(&c, want);
	client_leave(&c);
}

static void check_bytewise(enum port_id port, const struct transcript *t)
{
	struct client c;
	char want[8192];
	client_open(&c, port);
	snprintf(want, sizeof want, "%s%s", greetings[port], t->heard);
	for (const char *p = t->said; *p != '\0' && c.io != NULL; p++) {
		stream_write(c.io, p, 1);
		while (loop_step(world.loop, 0)) {
		}
	}
	expect(&c, want);
	client_leave(&c);
}

static void check_all(enum port_id port, const struct transcript *t, size_t n)
{
	world.store[0].script =
	    strncmp(port_rows[port].name, "pop", 3) == 0 ? pop3_good : imap_good;
	for (size_t i = 0; i < n; i++) {
		check_cut(port, &t[i], strlen(t[i].said));
		check_bytewise(port, &t[i]);
	}
}

#define CHECK_ALL(port, rows) check_all((port), (rows), COUNT_OF(rows))

#define WRONG "NO [AUTHENTICATIONFAILED] Authentication failed (id)\r\n"
#define ERRORS "* BYE Too many errors (id)\r\n"

static void test_imap_commands(void **state)
{
	static const struct transcript rows[] = {
		{ "a CAPABILITY\r\n",
		    "* CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID AUTH=PLAIN AUTH=LOGIN\r\na OK "
		    "Done\r\n",
		    false },
		{ "a noop\r\nb Logout\r\n", "a OK Done\r\n* BYE Goodbye\r\nb OK Logged out\r\n",
		    true },
		{ "a ID NIL\r\nb ID (\"name\" \"x\" \"version\" NIL)\r\n",
		    "* ID (\"name\" \"Postern\")\r\na OK Done\r\n* ID (\"name\" \"Postern\")\r\n"
		    "b OK Done\r\n",
		    false },
		{ "a STARTTLS\r\n", "a BAD TLS cannot be started here\r\n", false },
		{ "a SELECT INBOX\r\n", "a BAD Unknown command before login\r\n", false },
		{ "a AUTHENTICATE CRAM-MD5\r\n", "a NO Mechanism not offered\r\n", false },
		{ "a AUTHENTICATE PLAIN\r\n*\r\n", "+ \r\na BAD Cancelled\r\n", false },
		{ "a AUTHENTICATE PLAIN\r\n????\r\nb NOOP\r\n",
		    "+ \r\na BAD Not a response of this mechanism\r\nb OK Done\r\n", false },
		{ "a AUTHENTICATE PLAIN =\r\n", "a BAD Not a response of this mechanism\r\n",
		    false },
		{ "a AUTHENTICATE LOGIN\r\nYWxpY2U=\r\n*\r\n",
		    "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\na BAD Cancelled\r\n", false },
		/* authzid bob, authcid alice */
		{ "a AUTHENTICATE PLAIN Ym9iAGFsaWNlAGFsaWNlLXNlY3JldA==\r\n", "a " WRONG, false },
		{ "a LOGIN alice wrong\r\n", "a " WRONG, false },
		{ "a LOGIN nobody wrong\r\n", "a " WRONG, false },
		{ "a LOGIN \"\" \"\"\r\n", "a " WRONG, false },
		{ "a LOGIN alice {1}\r\n\x01\r\n", "+ Go on\r\na " WRONG, false },
		{ "a LOGIN alice {4097}\r\nb NOOP\r\n", "a BAD Literal too long\r\nb OK Done\r\n",
		    false },
		{ "a LOGIN {4097+}\r\n", "a BAD Literal too long\r\n" ERRORS, true },
		{ "a LOGIN {99999999999999999999999}\r\n", "a BAD Literal too long\r\n", false },
		{ "a NOOP\nb NOOP\r\n", "* BAD Lines must end with CRLF and hold no NUL\r\n" ERRORS,
		    true },
		{ "a LOGIN closed closed-secret\r\n",
		    "a NO [CONTACTADMIN] This account may not log in here, ask your administrator "
		    "(id)\r\n",
		    false },
		{ "a LOGIN closed wrong\r\n", "a " WRONG, false },
		{ "a LOGIN poponly poponly-secret\r\n",
		    "a NO [CONTACTADMIN] This account may not log in here, ask your administrator "
		    "(id)\r\n",
		    false },
		{ "a LOGIN held held-secret\r\n",
		    "a NO [UNAVAILABLE] Temporarily unavailable, try again later (id)\r\n", false },
		{ "a LOGIN held wrong\r\n", "a " WRONG, false },
		{ "a LOGIN homeless homeless-secret\r\n",
		    "a NO [UNAVAILABLE] Temporarily unavailable, try again later (id)\r\n", false },
		{ "a LOGIN looped looped-secret\r\n",
		    "a NO [UNAVAILABLE] Temporarily unavailable, try again later (id)\r\n", false },
		{ "a LOGIN alice x\r\nb LOGIN alice y\r\nc LOGIN alice z\r\n",
		    "a " WRONG "b " WRONG "c " WRONG "* BYE Too many failed logins (id)\r\n",
		    true },
		{ "GET / HTTP/1.1\r\n",
		    "* BYE This is not the protocol that is spoken here (id)\r\n", true },
		{ "PROXY TCP4 192.0.2.1 198.51.100.1 4000 143\r\na NOOP\r\n",
		    "* BYE This is not the protocol that is spoken here (id)\r\n", true },
		{ "\x16\x03\x01\x02\x7f\x01\x01\x01\xfc\x03\x03",
		    "* BYE This is not the protocol that is spoken here (id)\r\n", true },
		{ "\r\na NOOP\r\n", "* BAD Missing or bad tag\r\na OK Done\r\n", false },
	};
	world_start("", NULL);
	CHECK_ALL(IMAP_OPEN, rows);
	assert_int_equal(world.store[0].conn_n, 0);
	assert_true(logged("session.end") > 0 && logged("store.loop") == 2);
	world_end();
}

/* Every way to say the same login, at every place where the bytes may be cut. */
static void test_imap_logins(void **state)
{
	static const struct transcript rows[] = {
		{ "a LOGIN alice alice-secret\r\n", "a " IMAP_IN, false },
		{ "a login \"Alice@Example.ORG\" \"alice-secret\"\r\n", "a " IMAP_IN, false },
		{ "a LOGIN alice {12}\r\nalice-secret\r\n", "+ Go on\r\na " IMAP_IN, false },
		{ "a LOGIN {5}\r\nalice {12}\r\nalice-secret\r\n",
		    "+ Go on\r\n+ Go on\r\na " IMAP_IN, false },
		{ "a LOGIN {5+}\r\nalice {12+}\r\nalice-secret\r\n", "a " IMAP_IN, false },
		{ "a AUTHENTICATE PLAIN AGFsaWNlAGFsaWNlLXNlY3JldA==\r\n", "a " IMAP_IN, false },
		{ "a AUTHENTICATE PLAIN\r\nYWxpY2UAYWxpY2UAYWxpY2Utc2VjcmV0\r\n",
		    "+ \r\na " IMAP_IN, false },
		{ "a AUTHENTICATE LOGIN\r\nYWxpY2U=\r\nYWxpY2Utc2VjcmV0\r\n",
		    "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\na " IMAP_IN, false },
		{ "x ID NIL\r\na LOGIN alice alice-secret\r\nb NOOP\r\nc APPEND x {3+}\r\nabc\r\n",
		    "* ID (\"name\" \"Postern\")\r\nx OK Done\r\na " IMAP_IN
		    "b NOOP\r\nc APPEND x {3+}\r\nabc\r\n",
		    false },
	};
	world_start("", NULL);
	world.store[0].script = imap_good;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		for (size_t at = 0; at <= strlen(rows[i].said); at++)
			check_cut(IMAP_OPEN, &rows[i], at);
	CHECK_ALL(IMAP_OPEN, rows);
	assert_null(world.store[0].wrong);
	world_end();
}

/* What follows the login reaches the store once and in order, however it is cut. */
static void test_pipelining_reaches_the_store_once(void **state)
{
	static const char login[] = "a NOOP\r\nb LOGIN alice alice-secret\r\n";
	static const char rest[] = "c SELECT INBOX\r\nd FETCH 1:* FLAGS\r\ne LOGOUT\r\n";
	static const char seen[] =
	    "P3 AUTHENTICATE PLAIN AGFsaWNlQGV4YW1wbGUub3JnAGFsaWNlLXNlY3JldA==\n"
	    "c SELECT INBOX\r\nd FETCH 1:* FLAGS\r\ne LOGOUT\r\n";
	char all[256];
	snprintf(all, sizeof all, "%s%s", login, rest);
	struct transcript t = { all,
		"a OK Done\r\nb " IMAP_IN "c SELECT INBOX\r\n"
		"d FETCH 1:* FLAGS\r\ne LOGOUT\r\n",
		false };
	world_start("", NULL);
	world.store[0].script = imap_good;
	for (size_t at = 0; at <= strlen(all); at++) {
		buf_clear(&world.store[0].seen);
		check_cut(IMAP_OPEN, &t, at);
		assert_string_equal(buf_cstr(&world.store[0].seen), seen);
	}
	world_end();
}

/* Bytes that the store sends with its OK, and untagged lines before it. */
static void test_the_stores_own_words(void **state)
{
	static const char *const with_more[] = { STORE_GREETING, "C P3 ",
		"R * OK [ALERT] disk\r\n* 3 EXISTS\r\nP3 OK in\r\n", "C P4 CAPABILITY",
		"R * CAPABILITY IMAP4rev1 LITERAL+ ID OWN\r\nP4 OK\r\n* OK more\r\n", "E", NULL };
	static const char *const untagged[] = { STORE_GREETING, "C P3 ",
		"R * CAPABILITY IMAP4rev1 LITERAL+ ID UNTAGGED\r\nP3 OK [NOTHING] in\r\n", "E",
		NULL };
	static const char *const mute[] = { STORE_GREETING, "C P3 ", "S P3 OK", "C P4 ", "S P4 BAD",
		"E", NULL };
	static const struct {
		const char *const *script;
		const char *want;
	} rows[] = {
		{ with_more,
		    IMAP_OPEN_GREETING "* OK [ALERT] disk\r\n"
				       "a OK [CAPABILITY IMAP4rev1 LITERAL+ ID OWN] Logged in\r\n"
				       "* OK more\r\nb NOOP\r\n" },
		{ untagged, IMAP_OPEN_GREETING
		    "a OK [CAPABILITY IMAP4rev1 LITERAL+ ID UNTAGGED] Logged in\r\nb NOOP\r\n" },
		{ mute, IMAP_OPEN_GREETING "a OK Logged in\r\nb NOOP\r\n" },
	};
	world_start("", NULL);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		world.store[0].script = rows[i].script;
		client_open(&c, IMAP_OPEN);
		client_send(&c, "a LOGIN alice alice-secret\r\n");
		WAIT(world.mmp->piped_n == 1);
		client_send(&c, "b NOOP\r\n");
		expect(&c, rows[i].want);
		client_leave(&c);
	}
	world_end();
}

#define POP3_WRONG "-ERR [AUTH] Authentication failed (id)\r\n"
#define POP3_CONTACT                                                                               \
	"-ERR [SYS/PERM] This account may not log in here, ask your administrator (id)\r\n"
#define POP3_USER "USER alice\r\n"
#define POP3_NOW "+OK Now the password\r\n"

static void test_pop3_commands(void **state)
{
	static const struct transcript rows[] = {
		{ "CAPA\r\n",
		    "+OK Capabilities follow\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n"
		    "PIPELINING\r\nUSER\r\nSASL PLAIN LOGIN\r\n.\r\n",
		    false },
		{ "quit\r\n", "+OK Goodbye\r\n", true },
		{ "AUTH\r\n", "+OK Mechanisms follow\r\nPLAIN\r\nLOGIN\r\n.\r\n", false },
		{ "STLS\r\n", "-ERR TLS cannot be started here\r\n", false },
		{ "STAT\r\nXYZZY\r\n",
		    "-ERR Unknown, or not before login\r\n-ERR Unknown, or not "
		    "before login\r\n",
		    false },
		{ "PASS x\r\n", "-ERR USER first\r\n", false },
		{ POP3_USER "PASS wrong\r\nPASS again\r\n",
		    POP3_NOW POP3_WRONG "-ERR USER first\r\n", false },
		{ "USER nobody\r\nPASS wrong\r\n", POP3_NOW POP3_WRONG, false },
		{ "USER closed\r\nPASS closed-secret\r\n", POP3_NOW POP3_CONTACT, false },
		{ "USER held\r\nPASS held-secret\r\n", POP3_NOW POP3_LATER, false },
		{ "USER imaponly\r\nPASS imaponly-secret\r\n", POP3_NOW POP3_LATER, false },
		{ "AUTH CRAM-MD5\r\n", "-ERR Mechanism not offered\r\n", false },
		{ "AUTH PLAIN\r\n*\r\nQUIT\r\n", "+ \r\n-ERR Cancelled\r\n+OK Goodbye\r\n", true },
		{ "AUTH PLAIN\r\n!\r\nQUIT\r\n",
		    "+ \r\n-ERR Not a response of this mechanism\r\n+OK Goodbye\r\n", true },
		{ "USER a\x01\r\n", "-ERR control character in a command\r\n", false },
		{ "NOOP\nQUIT\r\n", "-ERR NUL, bare CR or bare LF in a line\r\n", true },
		{ POP3_USER "PASS x\r\n" POP3_USER "PASS y\r\n" POP3_USER "PASS z\r\n",
		    POP3_NOW POP3_WRONG POP3_NOW POP3_WRONG POP3_NOW POP3_WRONG, true },
		{ "X\r\nX\r\nX\r\nX\r\nX\r\nX\r\nX\r\nX\r\nX\r\nX\r\n",
		    "-ERR Unknown, or not before login\r\n-ERR Unknown, or not before login\r\n"
		    "-ERR Unknown, or not before login\r\n-ERR Unknown, or not before login\r\n"
		    "-ERR Unknown, or not before login\r\n-ERR Unknown, or not before login\r\n"
		    "-ERR Unknown, or not before login\r\n-ERR Unknown, or not before login\r\n"
		    "-ERR Unknown, or not before login\r\n-ERR Unknown, or not before login\r\n",
		    true },
		{ "GET / HTTP/1.1\r\n",
		    "-ERR This is not the protocol that is spoken here (id)\r\n", true },
	};
	world_start("", NULL);
	CHECK_ALL(POP3_OPEN, rows);
	assert_int_equal(world.store[0].conn_n, 0);
	world_end();
}

static void test_pop3_logins(void **state)
{
	static const struct transcript rows[] = {
		{ POP3_USER "PASS alice-secret\r\nSTAT\r\nQUIT\r\n",
		    POP3_NOW "+OK Logged in\r\nSTAT\r\nQUIT\r\n", false },
		{ "AUTH PLAIN AGFsaWNlAGFsaWNlLXNlY3JldA==\r\nSTAT\r\n",
		    "+OK Logged in\r\nSTAT\r\n", false },
		{ "AUTH PLAIN\r\nAGFsaWNlAGFsaWNlLXNlY3JldA==\r\n", "+ \r\n+OK Logged in\r\n",
		    false },
		{ "AUTH LOGIN\r\nYWxpY2U=\r\nYWxpY2Utc2VjcmV0\r\n",
		    "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n+OK Logged in\r\n", false },
	};
	world_start("", NULL);
	world.store[0].script = pop3_good;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		for (size_t at = 0; at <= strlen(rows[i].said); at++)
			check_cut(POP3_OPEN, &rows[i], at);
	CHECK_ALL(POP3_OPEN, rows);
	buf_clear(&world.store[0].seen);
	check_bytewise(POP3_OPEN, &rows[0]);
	assert_string_equal(buf_cstr(&world.store[0].seen),
	    "USER alice@example.org\nPASS alice-secret\nSTAT\r\nQUIT\r\n");
	world_end();
}

/* A line that is too long ends a SASL exchange: the next line is a command again. */
static void test_long_lines(void **state)
{
	static char line[20000];
	struct client c;
	world_start("", NULL);
	memset(line, 'x', sizeof line - 1);
	client_open(&c, POP3_OPEN);
	client_send(&c, "AUTH PLAIN\r\n");
	client_send(&c, line);
	client_send(&c, "\r\nQUIT\r\n");
	expect_end(&c, POP3_GREETING "+ \r\n-ERR line too long\r\n+OK Goodbye\r\n");
	client_leave(&c);
	client_open(&c, IMAP_OPEN);
	client_send(&c, line);
	expect_end(&c, IMAP_OPEN_GREETING "* BAD Command line too long\r\n" ERRORS);
	client_leave(&c);
	world_end();
}

/* ---- TLS ----------------------------------------------------------------------------------------- */

#define PRIVACY "NO [PRIVACYREQUIRED] Start TLS before you send "

static void test_no_password_in_plaintext(void **state)
{
	static const struct transcript imap[] = {
		{ "a CAPABILITY\r\n",
		    "* CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID STARTTLS "
		    "LOGINDISABLED\r\na OK Done\r\n",
		    false },
		{ "a LOGIN alice alice-secret\r\n", "a " PRIVACY "a password (id)\r\n", false },
		{ "a LOGIN {5}\r\nb NOOP\r\n", "a " PRIVACY "literals\r\nb OK Done\r\n", false },
		{ "a LOGIN {5+}\r\nalice {12+}\r\nalice-secret\r\nb NOOP\r\n",
		    "a " PRIVACY "a password (id)\r\nb OK Done\r\n", false },
		{ "a LOGIN {5+}\r\nalice {12}\r\nb NOOP\r\n",
		    "a " PRIVACY "literals\r\nb OK Done\r\n", false },
		{ "a AUTHENTICATE PLAIN\r\nb NOOP\r\n",
		    "a " PRIVACY "a password (id)\r\nb OK Done\r\n", false },
		{ "a AUTHENTICATE PLAIN AGFsaWNlAGFsaWNlLXNlY3JldA==\r\n",
		    "a " PRIVACY "a password (id)\r\n", false },
		{ "a STARTTLS\r\nb LOGIN alice alice-secret\r\n",
		    "* BYE Nothing may follow the command that starts TLS (id)\r\n", true },
	};
	static const struct transcript pop3[] = {
		{ "CAPA\r\n",
		    "+OK Capabilities follow\r\nTOP\r\nUIDL\r\nRESP-CODES\r\n"
		    "AUTH-RESP-CODE\r\nPIPELINING\r\nSTLS\r\n.\r\n",
		    false },
		{ "AUTH\r\n", "+OK Mechanisms follow\r\n.\r\n", false },
		{ "USER alice\r\n", "-ERR [SYS/PERM] Start TLS before you send a password (id)\r\n",
		    false },
		{ "AUTH PLAIN\r\n", "-ERR [SYS/PERM] Start TLS before you send a password (id)\r\n",
		    false },
		{ "STLS\r\nCAPA\r\n",
		    "-ERR Nothing may follow the command that starts TLS (id)\r\n", true },
	};
	world_start("", NULL);
	for (size_t i = 0; i < COUNT_OF(imap); i++)
		check_cut(IMAP, &imap[i], strlen(imap[i].said));
	for (size_t i = 0; i < COUNT_OF(pop3); i++)
		check_cut(POP3, &pop3[i], strlen(pop3[i].said));
	assert_int_equal(logged("tls_injection"), 2);
	assert_int_equal(world.store[0].conn_n, 0);
	world_end();
}

static void test_starttls(void **state)
{
	struct client c;
	world_start("", NULL);
	world.store[0].script = imap_good;
	client_open(&c, IMAP);
	client_send(&c, "a STARTTLS\r\n");
	expect(&c, IMAP_GREETING "a OK Begin TLS\r\n");
	client_secure(&c);
	buf_clear(&c.heard);
	client_send(&c, "b LOGIN alice {12}\r\nalice-secret\r\nc NOOP\r\n");
	expect(&c, "+ Go on\r\nb " IMAP_IN "c NOOP\r\n");
	client_leave(&c);
	client_open(&c, IMAP);
	client_send(&c, "a STARTTLS\r\n");
	expect(&c, IMAP_GREETING "a OK Begin TLS\r\n");
	client_secure(&c);
	buf_clear(&c.heard);
	client_send(&c, "b CAPABILITY\r\nc STARTTLS\r\n");
	expect(&c, "* CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID AUTH=PLAIN AUTH=LOGIN\r\n"
		   "b OK Done\r\nc BAD TLS cannot be started here\r\n");
	client_leave(&c);
	world.store[0].script = pop3_good;
	client_open(&c, POP3);
	client_send(&c, "STLS\r\n");
	expect(&c, POP3_GREETING "+OK Begin TLS\r\n");
	client_secure(&c);
	client_send(&c, "USER alice\r\nPASS alice-secret\r\nSTAT\r\n");
	expect(&c, POP3_GREETING "+OK Begin TLS\r\n" POP3_NOW "+OK Logged in\r\nSTAT\r\n");
	client_leave(&c);
	world_end();
}

static void test_implicit_tls(void **state)
{
	struct client c;
	world_start("", NULL);
	world.store[0].script = imap_good;
	client_open(&c, IMAPS);
	client_secure(&c);
	client_send(&c, "a LOGIN alice alice-secret\r\nb NOOP\r\n");
	expect(&c, IMAP_OPEN_GREETING "a " IMAP_IN "b NOOP\r\n");
	client_leave(&c);
	client_open(&c, IMAPS); /* and one that does not speak TLS */
	client_send(&c, "a LOGIN alice alice-secret\r\n");
	WAIT(c.ended);
	assert_null(strstr(buf_cstr(&c.heard), "a "));
	assert_int_equal(logged("tls_failed"), 1);
	client_leave(&c);
	client_open(&c, POP3S); /* half a handshake: the clock ends it */
	client_send(&c, "\x16\x03\x01");
	settle();
	world_pass(60000);
	WAIT(c.ended);
	assert_int_equal(logged("detail=\"TLS handshake\""), 1);
	client_leave(&c);
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_imap_commands),
		cmocka_unit_test(test_imap_logins),
		cmocka_unit_test(test_pipelining_reaches_the_store_once),
		cmocka_unit_test(test_the_stores_own_words),
		cmocka_unit_test(test_pop3_commands),
		cmocka_unit_test(test_pop3_logins),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_no_password_in_plaintext),
		cmocka_unit_test(test_starttls),
		cmocka_unit_test(test_implicit_tls),
	};
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
