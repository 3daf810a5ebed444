/* test_submission.c - submission: what clients see before login, and relays that behave or lie. */
#include "world.h"

#define ALICE_AT_STORE "AGFsaWNlQGV4YW1wbGUub3JnAGFsaWNlLXNlY3JldA=="
#define AUTHENTICATED "AUTH PLAIN " ALICE_PLAIN "\r\n"
#define NEEDED "530 5.7.0 Authentication required\r\n"

static void start(const char *more)
{
	char words[512];
	snprintf(words, sizeof words, "%s %s", SUBMIT_WORDS, more);
	world_start(words, NULL);
	world.store[0].script = relay_good;
}

static void expect_said(struct client *c, const char *want)
{
	char all[4096];
	snprintf(all, sizeof all, "%s%s", SUBMIT_GREETING, want);
	expect(c, all);
}

static void test_commands_before_login(void **state)
{
	static const struct {
		const char *send, *want;
	} rows[] = {
		{ "NOOP\r\nrset\r\n", "250 2.0.0 Done\r\n250 2.0.0 Done\r\n" },
		{ "HELO pc\r\n", "250 mail.example.org\r\n" },
		{ "EHLO [127.0.0.1]\r\n", SUBMIT_OPEN_EHLO },
		{ "EHLO a b\r\n", "501 5.5.4 bad host name\r\n" },
		{ "EHLO <x>\r\n", "501 5.5.4 That is not a host name\r\n" },
		{ "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", NEEDED NEEDED NEEDED },
		{ "BDAT 3 LAST\r\nVRFY x\r\nXCLIENT ADDR=192.0.2.1\r\n", NEEDED NEEDED NEEDED },
		{ "MAIL nonsense\r\n", NEEDED },
		{ "STARTTLS\r\n", "502 5.5.1 TLS cannot be started here\r\n" },
		{ "LHLO x\r\n", "500 5.5.1 Unknown command\r\n" },
		{ AUTHENTICATED, "503 5.5.1 EHLO first\r\n" },
		{ "HELO pc\r\n" AUTHENTICATED, "250 mail.example.org\r\n503 5.5.1 EHLO first\r\n" },
		{ "EHLO pc\r\nAUTH NTLM\r\n",
		    SUBMIT_OPEN_EHLO "504 5.5.4 Mechanism not offered\r\n" },
		{ "EHLO pc\r\nAUTH PLAIN\r\n*\r\n",
		    SUBMIT_OPEN_EHLO "334 \r\n501 5.5.2 Cancelled\r\n" },
		{ "EHLO pc\r\nAUTH PLAIN AGE=\r\n",
		    SUBMIT_OPEN_EHLO "501 5.5.2 Not a response of this mechanism\r\n" },
		{ "EHLO pc\r\nAUTH PLAIN AGFsaWNlAHdyb25n\r\nMAIL FROM:<>\r\n",
		    SUBMIT_OPEN_EHLO "535 5.7.8 Authentication failed (id)\r\n" NEEDED },
		{ "QUIT\r\n", "221 2.0.0 Goodbye\r\n" },
	};
	start("");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		client_open(&c, SUBMIT_OPEN);
		client_send(&c, rows[i].send);
		expect_said(&c, rows[i].want);
		client_leave(&c);
	}
	assert_int_equal(world.store[0].conn_n, 0);
	world_end();
}

/* Each way of sending the response; what is pipelined behind it reaches the relay once. */
static void test_logins(void **state)
{
	static const struct {
		const char *send, *prompts;
	} rows[] = {
		{ AUTHENTICATED, "" },
		{ "auth plain\r\n" ALICE_PLAIN "\r\n", "334 \r\n" },
		{ "AUTH LOGIN YWxpY2U=\r\nYWxpY2Utc2VjcmV0\r\n", "334 UGFzc3dvcmQ6\r\n" },
		{ "AUTH LOGIN\r\nYWxpY2U=\r\nYWxpY2Utc2VjcmV0\r\n",
		    "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n" },
	};
	start("");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		char want[512];
		client_open(&c, SUBMIT_OPEN);
		client_send(&c, "EHLO pc\r\n");
		client_send(&c, rows[i].send);
		client_send(&c, "MAIL FROM:<>\r\n");
		snprintf(want, sizeof want, "%s%s" SUBMIT_IN "MAIL FROM:<>\r\n", SUBMIT_OPEN_EHLO,
		    rows[i].prompts);
		expect_said(&c, want);
		client_leave(&c);
	}
	assert_true(store_saw("AUTH PLAIN " ALICE_AT_STORE "\n"));
	assert_null(world.store[0].wrong);
	assert_int_equal(logged("protocol=submission"), 2 * COUNT_OF(rows));
	world_end();
}

static void test_split_everywhere(void **state)
{
	static const char said[] = "EHLO pc\r\nAUTH PLAIN\r\n" ALICE_PLAIN "\r\nMAIL FROM:<>\r\n";
	start("");
	for (size_t at = 1; at < sizeof said - 1; at++) {
		struct client c;
		char first[sizeof said] = "";
		memcpy(first, said, at);
		client_open(&c, SUBMIT_OPEN);
		client_send(&c, first);
		settle();
		client_send(&c, said + at);
		expect_said(&c, SUBMIT_OPEN_EHLO "334 \r\n" SUBMIT_IN "MAIL FROM:<>\r\n");
		client_leave(&c);
	}
	world_end();
}

#define PLAIN_EHLO                                                                                 \
	"250-mail.example.org\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 1000\r\n250 "          \
	"STARTTLS\r\n"

/* Nothing that was said before TLS counts behind it. */
static void test_tls(void **state)
{
	struct client c;
	start("");
	client_open(&c, SUBMIT);
	client_send(&c, "EHLO pc\r\n" AUTHENTICATED "STARTTLS\r\n");
	expect_said(&c, PLAIN_EHLO "538 5.7.11 Start TLS before you send a password (id)\r\n"
				   "220 2.0.0 Begin TLS\r\n");
	buf_clear(&c.heard);
	client_secure(&c);
	client_send(&c, AUTHENTICATED "EHLO pc\r\n" AUTHENTICATED "DATA\r\n");
	expect(&c, "503 5.5.1 EHLO first\r\n" SUBMIT_OPEN_EHLO SUBMIT_IN "DATA\r\n");
	client_leave(&c);
	client_open(&c, SUBMIT);
	client_send(&c, "STARTTLS\r\nEHLO pc\r\n");
	expect_said(&c, "421 4.7.0 Nothing may follow the command that starts TLS (id)\r\n");
	WAIT(c.ended);
	client_leave(&c);
	world_end();
}

static void test_hostile_clients(void **state)
{
	static const struct {
		const char *send, *want;
	} rows[] = {
		{ "EHLO pc\nQUIT\r\n",
		    "500 5.5.2 Line ends with a bare LF or CR, or holds NUL\r\n" },
		{ "GET / HTTP/1.1\r\n",
		    "554 5.5.1 This is not the protocol that is spoken here (id)\r\n" },
		{ "A\r\nB\r\nC\r\n", "500 5.5.1 Unknown command\r\n500 5.5.1 Unknown command\r\n"
				     "421 4.7.0 Too many errors (id)\r\n" },
	};
	start("errors_max 2;");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		client_open(&c, SUBMIT_OPEN);
		client_send(&c, rows[i].send);
		WAIT(c.ended);
		if (i > 0)
			expect_said(&c, rows[i].want);
		else
			assert_non_null(strstr(heard(&c), "421 4.7.0 Too many errors (id)\r\n"));
		client_leave(&c);
	}
	world_end();
}

/* Lines that are too long cost their bytes only: one error each, the session goes on. */
static void test_long_lines(void **state)
{
	static char line[20000];
	struct client c;
	start("");
	memset(line, 'x', sizeof line - 1);
	client_open(&c, SUBMIT_OPEN);
	for (size_t n = 3000; n < sizeof line; n += 15000) {
		client_send(&c, line + sizeof line - 1 - n);
		client_send(&c, "\r\n");
	}
	client_send(&c, "QUIT\r\n");
	expect_said(
	    &c, "500 5.5.2 line too long\r\n500 5.5.2 line too long\r\n221 2.0.0 Goodbye\r\n");
	client_leave(&c);
	world_end();
}

/* ---- relays ------------------------------------------------------------------------------------- */

static void test_relay_answers(void **state)
{
	static const struct {
		const char *answer, *want, *logged;
	} rows[] = {
		{ "R 235-a\r\n235 b\r\n", SUBMIT_IN, "login.ok" },
		{ "S 535 5.7.8 wrong", SUBMIT_LATER, "why=store_disagrees" },
		{ "S 454 4.7.0 later", SUBMIT_LATER, "why=store_temporary" },
		{ "S 530 5.7.0 STARTTLS first", SUBMIT_LATER, "why=store_temporary" },
		{ "S 421 4.3.2 going down", SUBMIT_LATER, "why=store_temporary" },
		{ "X", SUBMIT_LATER, "why=store_temporary" },
		{ "S 334 bW9yZQ==", SUBMIT_LATER, "why=store_broken" },
		{ "S 250 ok", SUBMIT_LATER, "why=store_broken" },
		{ "S * OK", SUBMIT_LATER, "why=store_broken" },
		{ "R 235-a\r\n236 b\r\n", SUBMIT_LATER, "why=store_broken" },
		{ "R 235 a\n", SUBMIT_LATER, "why=store_broken" },
	};
	const char *script[] = { RELAY, "C AUTH PLAIN " ALICE_AT_STORE, NULL, NULL };
	start("");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		script[COUNT_OF(script) - 2] = rows[i].answer;
		login_alice_anew(SUBMIT_OPEN, script, rows[i].want);
		assert_int_equal(logged(rows[i].logged), 1);
	}
	world_end();
}

/* None of these has seen the secret; another relay may be tried. */
static void test_relays_that_lie_first(void **state)
{
#define EHLO_ASKED "S 220 hi", "C EHLO mail.example.org"
	static const char *const no[] = { "S 554 5.7.1 go away", "H", NULL };
	static const char *const imap[] = { "S * OK IMAP4rev1", "H", NULL };
	static const char *const old[] = { EHLO_ASKED, "S 500 what", "H", NULL };
	static const char *const no_auth[] = { EHLO_ASKED, "S 250 relay", "C EHLO pc",
		"S 250 relay", "H", NULL };
	static const char *const no_plain[] = { EHLO_ASKED, RELAY_SAYS, "C EHLO pc",
		"R 250-relay\r\n250 AUTH PLAINER GSSAPI\r\n", "H", NULL };
	static const char *const odd[] = { EHLO_ASKED, "R 250-relay\r\n251 AUTH PLAIN\r\n", "H",
		NULL };
	static char flood[1200];
	const char *endless[] = { EHLO_ASKED, flood, "H", NULL };
	const char *const *const all[] = { no, imap, old, no_auth, no_plain, odd, endless };
	memset(flood, 'a', sizeof flood - 1);
	memcpy(flood, "R 250-", 6);
	start("");
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		login_alice_anew(SUBMIT_OPEN, all[i], SUBMIT_LATER);
		assert_int_equal(logged("why=store_down"), 1);
		assert_false(store_saw("AUTH"));
	}
	world_end();
}

static void test_relay_starttls(void **state)
{
	static const char *const good[] = { "S 220 hi", "C EHLO mail.example.org",
		"R 250-relay\r\n250 STARTTLS\r\n", "C STARTTLS", "S 220 go", "T",
		"C EHLO mail.example.org", RELAY_SAYS, "C EHLO pc", RELAY_SAYS, "C AUTH PLAIN ",
		"S 235", "E", NULL };
	static const char *const forgets[] = { "S 220 hi", "C EHLO", RELAY_SAYS, "C STARTTLS",
		"S 220 go", "T", "C EHLO", "S 250 relay", "C EHLO pc", "S 250 relay", "H", NULL };
	static const char *const refuses[] = { "S 220 hi", "C EHLO", RELAY_SAYS, "C STARTTLS",
		"S 454 not now", "H", NULL };
	static const char *const injects[] = { "S 220 hi", "C EHLO", RELAY_SAYS, "C STARTTLS",
		"R 220 go\r\n250 AUTH PLAIN\r\n", "H", NULL };
	static const char *const *const bad[] = { forgets, refuses, injects };
	start("store_tls starttls; store_verify none;");
	login_alice_anew(SUBMIT_OPEN, good, SUBMIT_IN);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		login_alice_anew(SUBMIT_OPEN, bad[i], SUBMIT_LATER);
		assert_int_equal(logged("why=store_down"), 1);
		assert_false(store_saw("AUTH PLAIN"));
	}
	world_end();
}

/* A long response goes behind the 334. */
static void test_a_long_secret(void **state)
{
	static const char *const asks[] = { RELAY, "C AUTH PLAIN", "S 334 ", "C Y", "S 235 in", "E",
		NULL };
	static const char *const easy[] = { RELAY, "C AUTH PLAIN", "S 235 in", "H", NULL };
	static const char *const no[] = { RELAY, "C AUTH PLAIN", "S 504 what", "H", NULL };
	static char secret[400];
	char words[800];
	memset(secret, 's', sizeof secret - 1);
	snprintf(words, sizeof words, "%s store_login proxy; store_user edge; store_secret \"%s\";",
	    SUBMIT_WORDS, secret);
	world_start(words, NULL);
	login_alice_anew(SUBMIT_OPEN, asks, SUBMIT_IN);
	login_alice_anew(SUBMIT_OPEN, easy, SUBMIT_LATER);
	assert_int_equal(logged("why=store_broken"), 1);
	login_alice_anew(SUBMIT_OPEN, no, SUBMIT_LATER);
	assert_int_equal(logged("why=store_temporary"), 1);
	world_end();
}

/* ---- XCLIENT ------------------------------------------------------------------------------------ */

#define XCLIENT_RELAY                                                                              \
	"S 220 hi", "C EHLO mail.example.org",                                                     \
	    "R 250-relay\r\n250 XCLIENT NAME ADDR PORT PROTO HELO LOGIN\r\n"

static void test_relay_is_told_the_client(void **state)
{
	static const char *const all[] = { XCLIENT_RELAY,
		"C XCLIENT ADDR=127.0.0.1 PORT=", "S 220 again", "C EHLO pc", RELAY_SAYS,
		"C AUTH PLAIN ", "S 235 in", "E", NULL };
	static const char *const some[] = { "S 220 hi", "C EHLO mail.example.org",
		"R 250-relay\r\n250 XCLIENT HELO ADDR\r\n", "C XCLIENT ADDR=127.0.0.1 HELO=pc",
		"S 550 not you", "C EHLO pc", RELAY_SAYS, "C AUTH PLAIN ", "S 235 in", "E", NULL };
	static const char *const turned_away[] = { XCLIENT_RELAY,
		"C XCLIENT ADDR=127.0.0.1 PORT=", "S 554 5.7.1 listed", "C EHLO pc",
		"S 554 5.7.1 listed", "H", NULL };
	start("");
	login_alice_anew(SUBMIT_OPEN, all, SUBMIT_IN);
	assert_true(store_saw(" NAME=[UNAVAILABLE] HELO=pc PROTO=ESMTP\n"));
	assert_false(store_saw("LOGIN"));
	login_alice_anew(SUBMIT_OPEN, some, SUBMIT_IN);
	login_alice_anew(SUBMIT_OPEN, turned_away, SUBMIT_LATER);
	assert_int_equal(
	    logged("why=store_temporary"), 1); /* the relay is not called dead for it */
	login_alice_anew(SUBMIT_OPEN, relay_good, SUBMIT_IN);
	assert_false(store_saw("XCLIENT"));
	world_end();
}

/* The user by XCLIENT LOGIN: no secret at all goes to the relay. */
static void test_login_by_xclient(void **state)
{
	static const char *const good[] = { XCLIENT_RELAY,
		"C XCLIENT ADDR=127.0.0.1 PORT=", "S 220 again", "C EHLO pc", RELAY_SAYS, "E",
		NULL };
	static const char *const no_login[] = { "S 220 hi", "C EHLO mail.example.org",
		"R 250-relay\r\n250-AUTH PLAIN\r\n250 XCLIENT NAME ADDR\r\n", "H", NULL };
	static const char *const refuses[] = { XCLIENT_RELAY, "C XCLIENT ", "S 550 not you", "H",
		NULL };
	static const char *const imap[] = { STORE_GREETING, "C ", "H", NULL };
	start("submission_relays store1; store store1 { login xclient; }");
	login_alice_anew(SUBMIT_OPEN, good, SUBMIT_IN);
	assert_true(store_saw(" LOGIN=alice@example.org\n"));
	assert_false(store_saw("AUTH"));
	login_alice_anew(SUBMIT_OPEN, no_login, SUBMIT_LATER);
	assert_int_equal(logged("why=store_down"), 1);
	login_alice_anew(SUBMIT_OPEN, refuses, SUBMIT_LATER);
	assert_int_equal(logged("why=store_temporary"), 1);
	size_t before = world.store[0].conn_n;
	login_alice_anew(IMAP_OPEN, imap, LATER); /* nothing that IMAP could say: it is not asked */
	assert_int_equal(logged("why=\"store_login xclient is for submission\""), 1);
	assert_int_equal(world.store[0].conn_n, before);
	assert_false(store_saw("alice-secret"));
	world_end();
	start("submission_relays store1; store store1 { login xclient; facts none; }");
	static const char *const bare[] = { XCLIENT_RELAY, "C XCLIENT LOGIN=alice@example.org",
		"S 220 again", "C EHLO pc", RELAY_SAYS, "E", NULL };
	login_alice_anew(SUBMIT_OPEN, bare, SUBMIT_IN);
	world_end();
}

/* ---- routes ------------------------------------------------------------------------------------- */

/* One relay for all, whatever mailHost says; the next when the first is dead. */
static void test_fixed_relays(void **state)
{
	struct client c;
	start("submission_relays dead, store2;");
	world.store[1].script = relay_good;
	client_open(&c, SUBMIT_OPEN);
	client_send(&c, "EHLO pc\r\n" AUTHENTICATED);
	expect_said(&c, SUBMIT_OPEN_EHLO SUBMIT_IN);
	client_leave(&c);
	assert_int_equal(world.store[0].conn_n, 0);
	assert_int_equal(world.store[1].conn_n, 1);
	assert_int_equal(logged("store=store2"), 2);
	client_open(&c, SUBMIT_OPEN); /* also for who has no mailbox */
	client_send(&c, "EHLO pc\r\nAUTH PLAIN AGhvbWVsZXNzAGhvbWVsZXNzLXNlY3JldA==\r\n");
	expect_said(&c, SUBMIT_OPEN_EHLO SUBMIT_IN);
	client_leave(&c);
	world_end();
}

/* What the relay's EHLO lacks, or has not any more, is not shown to the next client. */
static void test_extensions_are_learnt(void **state)
{
	static const char *const poor[] = { "S 220 hi", "C EHLO mail.example.org", RELAY_SAYS,
		"C EHLO pc", "R 250-relay\r\n250-SIZE\r\n250 AUTH PLAIN\r\n", "C AUTH PLAIN ",
		"S 235", "E", NULL };
	struct client c;
	start("");
	login_alice_anew(SUBMIT_OPEN, poor, SUBMIT_IN);
	client_open(&c, SUBMIT_OPEN);
	client_send(&c, "EHLO pc\r\n");
	expect_said(&c, "250-mail.example.org\r\n250-SIZE 1000\r\n250 AUTH PLAIN LOGIN\r\n");
	client_leave(&c);
	world_end();
}

/* A client that means another protocol is turned away in the handshake; one that does not say may go on. */
static void test_alpn(void **state)
{
	static const struct {
		enum port_id at;
		const char *command, *alpn;
		bool good;
	} rows[] = {
		{ SUBMIT, "STARTTLS\r\n", "smtp", true },
		{ SUBMIT, "STARTTLS\r\n", "imap", false },
		{ SUBMIT, "STARTTLS\r\n", NULL, true },
		{ SIEVE, "STARTTLS\r\n", "managesieve", true },
		{ SIEVE, "STARTTLS\r\n", "smtp", false },
		{ SIEVE, "STARTTLS\r\n", NULL, true },
		{ POP3S, NULL, "pop3", true },
		{ POP3S, NULL, "managesieve", false },
	};
	start("");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		client_open(&c, rows[i].at);
		if (rows[i].command != NULL) {
			WAIT(buf_len(&c.heard) > 0);
			size_t had = buf_len(&c.heard);
			client_send(&c, rows[i].command);
			WAIT(buf_len(&c.heard) > had);
		}
		stream_start_tls_client(c.io, world.trusting, "localhost", rows[i].alpn);
		WAIT(c.secured || c.ended);
		assert_int_equal(c.secured, rows[i].good);
		client_leave(&c);
	}
	assert_int_equal(logged("why=tls_failed"), 3);
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
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_relay_answers),
		cmocka_unit_test(test_relays_that_lie_first),
		cmocka_unit_test(test_relay_starttls),
		cmocka_unit_test(test_a_long_secret),
		cmocka_unit_test(test_relay_is_told_the_client),
		cmocka_unit_test(test_login_by_xclient),
		cmocka_unit_test(test_fixed_relays),
		cmocka_unit_test(test_extensions_are_learnt),
		cmocka_unit_test(test_alpn),
	};
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
