/* test_sieve.c - ManageSieve: what clients see before login, and stores that behave or lie. */
#include "world.h"

#define SECURED SIEVE_SAYS("PLAIN LOGIN", "", "TLS is there")

static void start(const char *more)
{
	char words[512];
	snprintf(words, sizeof words, "%s %s", SIEVE_WORDS, more);
	world_start(words, NULL);
	world.store[0].script = sieve_good;
}

/* What follows the greeting. */
static void expect_said(struct client *c, const char *greeting, const char *want)
{
	char all[4096];
	snprintf(all, sizeof all, "%s%s", greeting, want);
	expect(c, all);
}

static void test_commands_before_login(void **state)
{
	static const struct {
		const char *send, *want;
	} rows[] = {
		{ "NOOP\r\n", "OK \"Done\"\r\n" },
		{ "noop \"a\\\"b\"\r\n", "OK (TAG \"a\\\"b\") \"Done\"\r\n" },
		{ "NOOP {3+}\r\n\xc3\xa4\n\r\n", "OK (TAG {3}\r\n\xc3\xa4\n) \"Done\"\r\n" },
		{ "CAPABILITY\r\n", SIEVE_SAYS("PLAIN LOGIN", "", "Done") },
		{ "STARTTLS\r\n", "NO \"TLS cannot be started here\"\r\n" },
		{ "PUTSCRIPT \"x\" {4+}\r\nkeep\r\n", "NO \"Not before login\"\r\n" },
		{ "UNAUTHENTICATE\r\n", "NO \"Not before login\"\r\n" },
		{ "NONSENSE\r\n", "NO \"Unknown command\"\r\n" },
		{ "AUTHENTICATE PLAIN\r\n", "NO \"String expected\"\r\n" },
		{ "AUTHENTICATE \"SCRAM-SHA-256\"\r\n",
		    "NO (AUTH-TOO-WEAK) \"Mechanism not offered\"\r\n" },
		{ "AUTHENTICATE \"NTLM\"\r\n", "NO \"Mechanism not offered\"\r\n" },
		{ "AUTHENTICATE \"PLAIN\"\r\n\"*\"\r\n", "\"\"\r\nNO \"Cancelled\"\r\n" },
		{ "AUTHENTICATE \"PLAIN\"\r\nAGE=\r\n", "\"\"\r\nNO \"Cancelled\"\r\n" },
		{ "AUTHENTICATE \"PLAIN\" \"AGE=\"\r\n",
		    "NO \"Not a response of this mechanism\"\r\n" },
		{ "AUTHENTICATE \"PLAIN\" \"AGFsaWNlAHdyb25n\"\r\n",
		    "NO \"Authentication failed (id)\"\r\n" },
		{ "LOGOUT\r\n", "OK \"Goodbye\"\r\n" },
	};
	start("");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		client_open(&c, SIEVE_OPEN);
		client_send(&c, rows[i].send);
		expect_said(&c, SIEVE_OPEN_GREETING, rows[i].want);
		client_leave(&c);
	}
	world_end();
}

/* Logs in by each way of sending the response, and passes bytes. */
static void test_logins(void **state)
{
	static const struct {
		const char *send, *prompts;
	} rows[] = {
		{ "AUTHENTICATE \"PLAIN\" \"" ALICE_PLAIN "\"\r\n", "" },
		{ "authenticate \"plain\" {28+}\r\n" ALICE_PLAIN "\r\n", "" },
		{ "AUTHENTICATE \"PLAIN\"\r\n\"" ALICE_PLAIN "\"\r\n", "\"\"\r\n" },
		{ "AUTHENTICATE {5+}\r\nPLAIN\r\n{28+}\r\n" ALICE_PLAIN "\r\n", "\"\"\r\n" },
		{ "AUTHENTICATE \"LOGIN\"\r\n\"YWxpY2U=\"\r\n\"YWxpY2Utc2VjcmV0\"\r\n",
		    "\"VXNlcm5hbWU6\"\r\n\"UGFzc3dvcmQ6\"\r\n" },
	};
	start("");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		char want[512];
		client_open(&c, SIEVE_OPEN);
		client_send(&c, rows[i].send);
		client_send(&c, "LISTSCRIPTS\r\n");
		snprintf(want, sizeof want, "%s" SIEVE_IN "LISTSCRIPTS\r\n", rows[i].prompts);
		expect_said(&c, SIEVE_OPEN_GREETING, want);
		client_leave(&c);
	}
	assert_true(store_saw("AUTHENTICATE \"PLAIN\" {44+}\n"
			      "AGFsaWNlQGV4YW1wbGUub3JnAGFsaWNlLXNlY3JldA==\n"));
	assert_int_equal(logged("protocol=managesieve"), 2 * COUNT_OF(rows));
	world_end();
}

/* The same session, a byte at a time. */
static void test_split_everywhere(void **state)
{
	static const char said[] =
	    "NOOP {3+}\r\nabc\r\nAUTHENTICATE \"PLAIN\" {28+}\r\n" ALICE_PLAIN
	    "\r\nLISTSCRIPTS\r\n";
	start("");
	for (size_t at = 1; at < sizeof said - 1; at++) {
		struct client c;
		char first[sizeof said] = "";
		memcpy(first, said, at);
		client_open(&c, SIEVE_OPEN);
		client_send(&c, first);
		settle();
		client_send(&c, said + at);
		expect_said(&c, SIEVE_OPEN_GREETING,
		    "OK (TAG \"abc\") \"Done\"\r\n" SIEVE_IN "LISTSCRIPTS\r\n");
		client_leave(&c);
	}
	world_end();
}

static void test_tls(void **state)
{
	struct client c;
	start("");
	client_open(&c, SIEVE);
	client_send(&c, "AUTHENTICATE \"PLAIN\" \"" ALICE_PLAIN "\"\r\n");
	expect_said(&c, SIEVE_GREETING,
	    "NO (ENCRYPT-NEEDED) \"Start TLS before you send a password (id)\"\r\n");
	client_send(&c, "STARTTLS\r\n");
	expect_said(&c, SIEVE_GREETING,
	    "NO (ENCRYPT-NEEDED) \"Start TLS before you send a password (id)\"\r\n"
	    "OK \"Begin TLS\"\r\n");
	buf_clear(&c.heard);
	client_secure(&c);
	expect(&c, SECURED); /* without being asked */
	client_send(&c, "STARTTLS\r\nAUTHENTICATE \"PLAIN\" \"" ALICE_PLAIN "\"\r\nX\r\n");
	expect(&c, SECURED "NO \"TLS cannot be started here\"\r\n" SIEVE_IN "X\r\n");
	client_leave(&c);
	world_end();
}

/* Framing that cannot be trusted, literals without bound, bytes behind STARTTLS: the session ends. */
static void test_hostile_clients(void **state)
{
	static const struct {
		enum port_id at;
		const char *send, *want, *why;
	} rows[] = {
		{ SIEVE_OPEN, "NOOP {3}\r\nabc\r\n",
		    "NO \"A client's literal is {n+}\"\r\nBYE \"Too many errors (id)\"\r\n",
		    "why=bad_framing" },
		{ SIEVE_OPEN, "PUTSCRIPT \"x\" {99999999999+}\r\n",
		    "NO \"Literal too long before login\"\r\nBYE \"Too many errors (id)\"\r\n",
		    "why=bad_framing" },
		{ SIEVE_OPEN, "NOOP\nNOOP\r\n",
		    "NO \"Lines must end with CRLF and hold no NUL\"\r\n"
		    "BYE \"Too many errors (id)\"\r\n",
		    "why=bad_framing" },
		{ SIEVE_OPEN, "AUTHENTICATE \"PLAIN\"\r\nx\ry\r\n",
		    "\"\"\r\nNO \"Lines must end with CRLF and hold no NUL\"\r\n"
		    "BYE \"Too many errors (id)\"\r\n",
		    "why=bad_framing" },
		{ SIEVE, "STARTTLS\r\nNOOP\r\n",
		    "BYE \"Nothing may follow the command that starts TLS (id)\"\r\n",
		    "why=tls_injection" },
		{ SIEVE_OPEN, "GET / HTTP/1.1\r\n",
		    "BYE \"This is not the protocol that is spoken here (id)\"\r\n", "why=http" },
	};
	start("");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		client_open(&c, rows[i].at);
		client_send(&c, rows[i].send);
		expect_said(
		    &c, rows[i].at == SIEVE ? SIEVE_GREETING : SIEVE_OPEN_GREETING, rows[i].want);
		WAIT(c.ended);
		assert_int_equal(logged(rows[i].why), 1 + (i < 4 ? i : 0));
		client_leave(&c);
	}
	world_end();
}

static void test_errors_are_counted(void **state)
{
	struct client c;
	start("errors_max 2;");
	client_open(&c, SIEVE_OPEN);
	client_send(&c, "A\r\nB\r\nNOOP\r\n");
	expect_said(&c, SIEVE_OPEN_GREETING,
	    "NO \"Unknown command\"\r\nNO \"Unknown command\"\r\nBYE \"Too many errors (id)\"\r\n");
	WAIT(c.ended);
	client_leave(&c);
	world_end();
}

/* ---- stores ------------------------------------------------------------------------------------- */

static void test_store_answers(void **state)
{
	static const struct {
		const char *answer, *want, *logged;
	} rows[] = {
		{ "S OK (SASL \"cnY=\") \"in\"", SIEVE_IN, "login.ok" },
		{ "R OK {4}\r\na\r\nb\r\n", SIEVE_IN, "login.ok" },
		{ "S NO \"wrong\"", SIEVE_LATER, "why=store_disagrees" },
		{ "S NO (TRYLATER) \"later\"", SIEVE_LATER, "why=store_temporary" },
		{ "S NO (REFERRAL \"sieve://b\") \"go\"", SIEVE_LATER, "why=store_temporary" },
		{ "S NO (AUTH-TOO-WEAK)", SIEVE_LATER, "why=store_temporary" },
		{ "S BYE (TRYLATER)", SIEVE_LATER, "why=store_temporary" },
		{ "X", SIEVE_LATER, "why=store_temporary" },
		{ "S \"bW9yZQ==\"", SIEVE_LATER, "why=store_broken" },
		{ "S * OK", SIEVE_LATER, "why=store_broken" },
		{ "R OK {999999}\r\n", SIEVE_LATER, "why=store_broken" },
		{ "R OK\nOK\n", SIEVE_LATER, "why=store_broken" },
	};
	const char *script[] = { SIEVE_STORE, "C AUTHENTICATE \"PLAIN\" {", "C ", NULL, NULL };
	start("");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		script[COUNT_OF(script) - 2] = rows[i].answer;
		login_alice_anew(SIEVE_OPEN, script, rows[i].want);
		assert_int_equal(logged(rows[i].logged), 1);
	}
	world_end();
}

/* None of these has seen the secret. */
static void test_stores_that_lie_first(void **state)
{
	static const char *const no[] = { "S NO \"full\"", "H", NULL };
	static const char *const bye[] = { "S BYE (REFERRAL \"sieve://b\") \"go\"", "H", NULL };
	static const char *const imap[] = { "S * OK IMAP4rev1", "H", NULL };
	static const char *const no_plain[] = { "S \"SASL\" \"GSSAPI PLAINER\"", "S OK", "H",
		NULL };
	static const char *const no_sasl[] = { "S OK", "H", NULL };
	static const char *const endless[] = { "R \"SIEVE\" {100000}\r\n", "H", NULL };
	static const char *const *const all[] = { no, bye, imap, no_plain, no_sasl, endless };
	start("");
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		login_alice_anew(SIEVE_OPEN, all[i], SIEVE_LATER);
		assert_int_equal(logged("why=store_down"), 1);
		assert_false(store_saw("AUTHENTICATE"));
	}
	world_end();
}

/* What was said in plaintext does not count, and nothing may be slipped in before the handshake. */
static void test_store_starttls(void **state)
{
	static const char *const good[] = { "S \"SASL\" \"\"", "S \"STARTTLS\"", "S OK",
		"C STARTTLS", "S OK", "T", SIEVE_STORE, "C AUTHENTICATE \"PLAIN\" {", "C ", "S OK",
		"E", NULL };
	static const char *const forgets[] = { SIEVE_STORE, "C STARTTLS", "S OK", "T",
		"S \"SIEVE\" \"x\"", "S OK", "H", NULL };
	static const char *const refuses[] = { SIEVE_STORE, "C STARTTLS", "S NO", "H", NULL };
	static const char *const injects[] = { SIEVE_STORE, "C STARTTLS",
		"R OK\r\n\"SASL\" \"PLAIN\"\r\nOK\r\n", "H", NULL };
	static const char *const *const bad[] = { forgets, refuses, injects };
	start("store_tls starttls; store_verify none;");
	login_alice_anew(SIEVE_OPEN, good, SIEVE_IN);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		login_alice_anew(SIEVE_OPEN, bad[i], SIEVE_LATER);
		assert_int_equal(logged("why=store_down"), 1);
		assert_false(store_saw("AUTHENTICATE"));
	}
	world_end();
}

static void test_store_is_told_the_client(void **state)
{
	static const char *const listens[] = { "S \"XCLIENT\" \"ADDR PORT SESSION\"", SIEVE_STORE,
		"C XCLIENT ADDR=127.0.0.1 PORT=", "S NO \"not you\"", "C AUTHENTICATE \"PLAIN\" {",
		"C ", "S OK", "E", NULL };
	static const char *const odd[] = { "S \"XCLIENT\" \"ADDR PORT SESSION\"", SIEVE_STORE,
		"C XCLIENT ADDR=127.0.0.1 PORT=", "S \"what\"", "H", NULL };
	start("");
	login_alice_anew(SIEVE_OPEN, listens, SIEVE_IN);
	login_alice_anew(SIEVE_OPEN, sieve_good, SIEVE_IN);
	assert_false(store_saw("XCLIENT"));
	login_alice_anew(SIEVE_OPEN, odd, SIEVE_LATER);
	world_end();
}

static void test_logins_for_the_user(void **state)
{
	/* alice@example.org NUL edge NUL edge-secret */
	static const char *const proxy[] = { SIEVE_STORE, "C AUTHENTICATE \"PLAIN\" {",
		"C YWxpY2VAZXhhbXBsZS5vcmcAZWRnZQBlZGdlLXNlY3JldA==", "S OK", "E", NULL };
	start("store_login proxy; store_user edge; store_secret edge-secret;");
	login_alice_anew(SIEVE_OPEN, proxy, SIEVE_IN);
	world_end();
}

/* The extensions of the store that can do least are what the next client sees. */
static void test_extensions_are_learnt(void **state)
{
	static const char *const poor[] = { "S \"SASL\" \"PLAIN\"", "S \"SIEVE\" \"fileinto copy\"",
		"S OK", "C AUTHENTICATE \"PLAIN\" {", "C ", "S OK", "E", NULL };
	struct client c;
	start("");
	login_alice_anew(SIEVE_OPEN, poor, SIEVE_IN);
	client_open(&c, SIEVE_OPEN);
	expect(&c, "\"IMPLEMENTATION\" \"Postern\"\r\n\"SIEVE\" \"fileinto\"\r\n\"SASL\" \"PLAIN "
		   "LOGIN\"\r\n"
		   "\"VERSION\" \"1.0\"\r\nOK \"mail.example.org multiplexor ready\"\r\n");
	client_leave(&c);
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands_before_login),
		cmocka_unit_test(test_logins),
		cmocka_unit_test(test_split_everywhere),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_hostile_clients),
		cmocka_unit_test(test_errors_are_counted),
		cmocka_unit_test(test_store_answers),
		cmocka_unit_test(test_stores_that_lie_first),
		cmocka_unit_test(test_store_starttls),
		cmocka_unit_test(test_store_is_told_the_client),
		cmocka_unit_test(test_logins_for_the_user),
		cmocka_unit_test(test_extensions_are_learnt),
	};
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
