/* test_store.c - the login at the store, with stores that do what they should and stores that do not;
 * which store is tried, and when it is left alone. */
#include "world.h"

#define LIMIT "NO [LIMIT] Too many connections or attempts, try again later (id)\r\n"
#define IN_USE "NO [INUSE] The mailbox is in use by another session (id)\r\n"
#define LOGIN "a LOGIN alice alice-secret\r\n"
#define POP3_LOGIN "USER alice\r\nPASS alice-secret\r\n"

#define PLAIN_SENT "C P3 AUTHENTICATE PLAIN AGFsaWNlQGV4YW1wbGUub3JnAGFsaWNlLXNlY3JldA=="

static void test_imap_ways_in(void **state)
{
	static const char *const capability[] = { "S * OK hi", "C P2 CAPABILITY",
		"S * CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR", "S P2 OK", PLAIN_SENT, IMAP_DONE,
		NULL };
	static const char *const no_initial[] = { "S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi",
		"C P3 AUTHENTICATE PLAIN", "S + ",
		"C AGFsaWNlQGV4YW1wbGUub3JnAGFsaWNlLXNlY3JldA==", IMAP_DONE, NULL };
	static const char *const login[] = { "S * OK [CAPABILITY IMAP4rev1] hi",
		"C P3 LOGIN \"alice@example.org\" \"alice-secret\"", IMAP_DONE, NULL };
	static const char *const *const good[] = { capability, no_initial, login, imap_good };
	world_start("", NULL);
	for (size_t i = 0; i < COUNT_OF(good); i++)
		login_alice(IMAP_OPEN, good[i], IMAP_IN);
	assert_int_equal(logged("login.ok"), COUNT_OF(good));
	world_end();
}

/* A password that no quoted string can hold goes as a literal that waits for nobody, where the store takes one. */
static void test_a_password_as_literal(void **state)
{
	static const struct {
		const char *greeting, *next, *then;
	} rows[] = {
		{ "S * OK [CAPABILITY IMAP4rev1 LITERAL+] hi",
		    "C P3 LOGIN \"alice@example.org\" {5+}", "C p\xc3\xa4ss" },
		{ "S * OK [CAPABILITY IMAP4rev1 LITERAL-] hi",
		    "C P3 LOGIN \"alice@example.org\" {5+}", "C p\xc3\xa4ss" },
		{ "S * OK [CAPABILITY IMAP4rev1] hi", "C P3 AUTHENTICATE PLAIN", NULL },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const char *script[] = { rows[i].greeting, rows[i].next,
			rows[i].then != NULL ? rows[i].then : "S P3 BAD what", IMAP_DONE, "E",
			NULL };
		struct client c;
		world_start("preauth no;", NULL);
		world.store[0].script = script;
		client_open(&c, IMAP_OPEN);
		client_send(&c, "a LOGIN alice {5+}\r\np\xc3\xa4ss\r\n");
		WAIT(strstr(heard(&c), rows[i].then != NULL ? "a " IMAP_IN : "a " LATER) != NULL);
		assert_null(world.store[0].wrong);
		client_leave(&c);
		world_end();
	}
}

static void test_imap_refusals(void **state)
{
	static const struct {
		const char *answer, *want, *log;
	} rows[] = {
		{ "S P3 NO [AUTHENTICATIONFAILED] no", LATER, "why=store_disagrees" },
		{ "S P3 NO no", LATER, "why=store_disagrees" },
		{ "S P3 NO [UNAVAILABLE] not now", LATER, "why=store_temporary" },
		{ "S P3 NO [LIMIT] too many", LIMIT, "why=store_limit" },
		{ "S P3 NO [INUSE] locked", IN_USE, "why=store_in_use" },
		{ "S P3 BAD what", LATER, "why=store_broken" },
		{ "S * BYE going", LATER, "why=store_temporary" },
		{ "S + more", LATER, "why=store_broken" },
		{ "S P4 OK ahead", LATER, "why=store_broken" },
		{ "S garbage", LATER, "why=store_broken" },
		{ "S * PREAUTH again", LATER, "why=store_broken" },
		{ "R P3 OK \r \r\n", LATER, "why=store_broken" },
		{ "R P3 OK\n", LATER, "why=store_broken" },
		{ "X", LATER, "why=store_temporary" },
	};
	const char *script[] = { STORE_GREETING, PLAIN_SENT, NULL, NULL };
	world_start("", NULL);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_int_equal(ftruncate(fileno(world.log), 0), 0);
		script[2] = rows[i].answer;
		login_alice(IMAP_OPEN, script, rows[i].want);
		if (logged(rows[i].log) != 1)
			fail_msg("%s: %s", rows[i].answer, log_text());
	}
	world_end();
}

/* Before the password is out: the store is left alone, and the password was not sent. */
static void test_imap_bad_greetings(void **state)
{
	static const char *const greetings[] = { "S * PREAUTH [CAPABILITY IMAP4rev1] hi",
		"S * BYE full", "S * NO no", "S a OK no", "S + OK no", "S 220 smtp",
		"S * OK [CAPABILITY LOGINDISABLED] hi", "X", "R * OK hi\n", "R * OK h\rello\r\n" };
	const char *script[] = { NULL, NULL };
	world_start("", NULL);
	for (size_t i = 0; i < COUNT_OF(greetings); i++) {
		script[0] = greetings[i];
		login_alice(IMAP_OPEN, script, LATER);
		if (logged("store.failed") != i + 1)
			fail_msg("%s: %s", greetings[i], log_text());
	}
	assert_int_equal(buf_len(&world.store[0].seen), 0);
	world_end();
}

static void test_refused_before_the_password(void **state)
{
	static const char *const no_plain[] = { "S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi",
		"C P3 AUTHENTICATE PLAIN", "S P3 NO not here", NULL };
	static const char *const too_easy[] = { "S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi",
		"C P3 AUTHENTICATE PLAIN", "S P3 OK come in", NULL };
	static const char *const no_capability[] = { "S * OK hi", "C P2 CAPABILITY", "S P2 BAD",
		NULL };
	static const char *const *const bad[] = { no_plain, too_easy, no_capability };
	world_start("", NULL);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		login_alice(IMAP_OPEN, bad[i], LATER);
	assert_int_equal(logged("store.failed"), COUNT_OF(bad));
	assert_int_equal(logged("why=store_down"), COUNT_OF(bad));
	world_end();
}

/* A line without an end is not waited for; neither are many lines taken for the client. */
static void test_endless_answers(void **state)
{
	static char line[20000], notices[8000];
	const char *endless[] = { line, NULL };
	const char *chatty[] = { STORE_GREETING, PLAIN_SENT, notices, IMAP_DONE, NULL };
	struct client c;
	world_start("store_login_timeout 1m; command_timeout 2m;", NULL);
	memset(line, 'x', sizeof line - 1);
	memcpy(line, "R * OK ", 7);
	login_alice(IMAP_OPEN, endless, LATER);
	assert_int_equal(logged("detail=\"line too long\""), 1);
	/* lines of 95 bytes: the last one that fits would not fit with its CRLF */
	memcpy(notices, "R ", 3);
	for (size_t n = 2; n + 120 < sizeof notices; n += 97)
		snprintf(notices + n, sizeof notices - n, "* OK %090d\r\n", 0);
	world.store[0].script = chatty;
	client_open(&c, IMAP_OPEN);
	client_send(&c, LOGIN);
	WAIT(world.mmp->piped_n == 1);
	settle();
	buf_cstr(&c.heard);
	struct span rest = span_from(buf_span(&c.heard), strlen(IMAP_OPEN_GREETING));
	assert_true(rest.n > 3500 && rest.n < 5000);
	while (rest.n > 97) {
		assert_true(span_starts(rest, SPAN("* OK 0000")));
		assert_memory_equal(rest.p + 95, "\r\n", 2);
		rest = span_from(rest, 97);
	}
	assert_string_equal(rest.p, "a " IMAP_IN);
	client_leave(&c);
	world_end();
}

static void test_pop3_store(void **state)
{
	static const char *const bad_greeting[] = { "S -ERR [SYS/TEMP] no", NULL };
	static const char *const imap[] = { "S * OK hi", NULL };
	static const struct {
		const char *user, *pass, *want, *log;
	} rows[] = {
		{ "S +OK", "S -ERR [AUTH] no", POP3_LATER, "why=store_disagrees" },
		{ "S -ERR who", NULL, POP3_LATER, "why=store_disagrees" },
		{ "S +OK", "S -ERR [SYS/TEMP] not now", POP3_LATER, "why=store_temporary" },
		{ "S +OK", "S -ERR [IN-USE] locked",
		    "-ERR [IN-USE] The mailbox is in use by another session (id)\r\n",
		    "why=store_in_use" },
		{ "S +OK", "S -ERR [LOGIN-DELAY] slow",
		    "-ERR [LOGIN-DELAY] Too early after the last login, try again later (id)\r\n",
		    "why=store_too_soon" },
		{ "S +OK", "S + more", POP3_LATER, "why=store_broken" },
		{ "S +OK", "S what", POP3_LATER, "why=store_broken" },
		{ "S +OK", "X", POP3_LATER, "why=store_temporary" },
	};
	const char *script[] = { "S +OK hi", "C USER alice@example.org", NULL,
		"C PASS alice-secret", NULL, NULL };
	world_start("", NULL);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_int_equal(ftruncate(fileno(world.log), 0), 0);
		script[2] = rows[i].user;
		script[4] = rows[i].pass;
		login_alice(POP3_OPEN, script, rows[i].want);
		if (logged(rows[i].log) != 1)
			fail_msg("%s: %s", rows[i].pass, log_text());
	}
	login_alice(POP3_OPEN, bad_greeting, POP3_LATER);
	login_alice(POP3_OPEN, imap, POP3_LATER);
	assert_int_equal(logged("why=store_down"), 2);
	world_end();
}

/* A store that does not answer at all: the time is the store's, and what was known before counts. */
static void test_silent_stores(void **state)
{
	static const char *const mute[] = { "H", NULL };
	static const char *const mute_later[] = { STORE_GREETING, PLAIN_SENT, "H", NULL };
	struct client c, other;
	world_start("store_login_timeout 5s; store_retry_max 3s;", NULL);
	world.store[0].script = mute;
	client_open(&c, IMAP_OPEN);
	client_send(&c, LOGIN);
	WAIT(world.store[0].conn_n == 1);
	settle_silent();
	world_pass(4999);
	settle();
	assert_string_equal(heard(&c), IMAP_OPEN_GREETING);
	world_pass(1);
	expect(&c, IMAP_OPEN_GREETING "a " LATER);
	client_open(&other, IMAP_OPEN); /* the next one does not wait */
	client_send(&other, LOGIN);
	settle();
	assert_string_equal(heard(&other), IMAP_OPEN_GREETING "a " LATER);
	assert_int_equal(world.store[0].conn_n, 1);
	client_close(&other);
	client_leave(&c);
	world_pass(60000);
	assert_int_equal(logged("why=store_down"), 2);
	world.store[0].script = mute_later;
	client_open(&c, IMAP_OPEN);
	client_send(&c, LOGIN);
	settle();
	world_pass(5000);
	expect(&c, IMAP_OPEN_GREETING "a " LATER);
	assert_int_equal(logged("why=store_temporary"), 1);
	client_leave(&c);
	world_end();
}

/* ---- what is left behind ---------------------------------------------------------------------------- */

#ifndef __SANITIZE_ADDRESS__
/* Is the word anywhere in writable memory but the stack, in use or freed? */
static bool memory_has(struct span word)
{
	char line[512], rights[8];
	unsigned long from, to;
	bool has = false;
	FILE *maps = fopen("/proc/self/maps", "r");
	assert_non_null(maps);
	while (fgets(line, sizeof line, maps) != NULL && !has) {
		assert_int_equal(sscanf(line, "%lx-%lx %7s", &from, &to, rights), 3);
		if (strcmp(rights, "rw-p") != 0 || strstr(line, "[stack]") != NULL)
			continue;
		struct span region = { (const char *)from, to - from };
		has = span_find_span(region, word) != SIZE_MAX;
	}
	fclose(maps);
	return has;
}
#endif

/* The password on its way: from the client, to the store, in each of the ways in. */
static void test_no_password_is_left_in_memory(void **state)
{
#ifndef __SANITIZE_ADDRESS__
	static const struct {
		enum port_id port;
		const char *said;
	} rows[] = {
		{ IMAP_OPEN, "a LOGIN alice Qu0dErat7\r\n" },
		{ IMAP_OPEN, "a LOGIN alice \"Qu0d\\\\Erat7\"\r\n" },
		{ IMAP_OPEN, "a LOGIN alice {9+}\r\nQu0dErat7\r\n" },
		{ IMAP_OPEN, "a AUTHENTICATE PLAIN AGFsaWNlAFF1MGRFcmF0Nw==\r\n" },
		{ POP3_OPEN, "USER alice\r\nPASS Qu0dErat7\r\n" },
		{ POP3_OPEN, "AUTH LOGIN\r\nYWxpY2U=\r\nUXUwZEVyYXQ3\r\n" },
	};
	static const char *const words[] = { "Qu0dErat7", "AGFsaWNlAFF1MGRFcmF0Nw", "UXUwZEVyYXQ3",
		"Qu0d\\Erat7", "AFF1MGRFcmF0Nw==" };
	for (size_t i = 0; i < 2 * COUNT_OF(rows); i++) {
		struct client c;
		struct span said = span_str(rows[i / 2].said);
		world_start("preauth no;", NULL);
		world.store[0].script = rows[i / 2].port == IMAP_OPEN ? imap_good : pop3_good;
		client_open(&c, rows[i / 2].port);
		if (i % 2 == 1) { /* all but the end waits for a moment */
			stream_write_span(c.io, span_first(said, said.n - 2));
			settle();
			said = span_from(said, said.n - 2);
		}
		stream_write_span(c.io, said);
		WAIT(world.mmp->piped_n == 1);
		settle();
		buf_wipe_end(&world.store[0].seen);
		for (size_t j = 0; j < COUNT_OF(words); j++)
			if (memory_has(span_str(words[j])))
				fail_msg("%s of %s", words[j], rows[i / 2].said);
		client_leave(&c);
		world_end();
	}
#endif
}

/* ---- which store ---------------------------------------------------------------------------------- */

static void login_as(struct client *c, const char *user, const char *want)
{
	char text[256];
	client_open(c, IMAP_OPEN);
	snprintf(text, sizeof text, "a LOGIN %s %s-secret\r\n", user, user);
	client_send(c, text);
	settle(); /* at once: the clock stands still */
	snprintf(text, sizeof text, IMAP_OPEN_GREETING "a %s", want);
	assert_string_equal(heard(c), text);
}

static void test_a_dead_store(void **state)
{
	struct client c, d;
	world_start("store_retry_min 1s; store_retry_max 4s;", NULL);
	world.store[0].script = imap_good;
	login_as(&c, "buried", LATER);
	assert_int_equal(logged("store.failed"), 1);
	login_as(&d, "buried", LATER); /* not dialled again */
	assert_int_equal(logged("store.failed"), 1);
	assert_int_equal(logged("why=\"dead a moment ago\""), 1);
	client_close(&d);
	client_leave(&c);
	login_as(&c, "alice", IMAP_IN); /* the others are as well as ever */
	client_leave(&c);
	for (unsigned pause = 1000, n = 2; n < 7; n++) { /* 1 s, 2 s, 4 s, 4 s ... */
		world_pass(pause - 1);
		login_as(&c, "buried", LATER);
		client_leave(&c);
		assert_int_equal(logged("store.failed"), n - 1);
		world_pass(1);
		login_as(&c, "buried", LATER);
		client_leave(&c);
		assert_int_equal(logged("store.failed"), n);
		pause = pause < 4000 ? 2 * pause : 4000;
	}
	world_end();
}

static void test_the_next_store(void **state)
{
	static const char *const full[] = { "S * BYE full", NULL };
	struct client c;
	world_start("", NULL);
	world.store[0].script = imap_good;
	login_as(&c, "both", IMAP_IN);
	assert_non_null(strstr(log_text(), "store=store1"));
	client_leave(&c);
	world.store[0].script = full;
	login_as(&c, "both", LATER);
	client_leave(&c);
	world_end();
}

/* Once a store has seen the password, its word is final. */
static void test_the_word_of_a_store_is_final(void **state)
{
	static const char *const no[] = { STORE_GREETING, "C P3 ", "S P3 NO [UNAVAILABLE]", NULL };
	struct client c;
	FILE *f;
	world_start("", NULL);
	f = world_create("users.ldif");
	fputs("dn: dc=postern\nobjectClass: domain\ndc: postern\n", f);
	put_store(f, "store1", world.store[0].port, 0);
	put_store(f, "store2", world.store[1].port, 0);
	fputs("\ndn: uid=alice,dc=postern\nobjectClass: inetMailUser\nuid: alice\n"
	      "mail: alice@example.org\nuserPassword: alice-secret\nmailHost: store1\n"
	      "mailHost: store2\n",
	    f);
	fclose(f);
	world_pass(10000);
	settle();
	world.store[0].script = no;
	world.store[1].script = imap_good;
	login_as(&c, "alice", LATER);
	assert_int_equal(world.store[0].conn_n, 1);
	assert_int_equal(world.store[1].conn_n, 0);
	client_leave(&c);
	write_directory();
	world_end();
}

/* A multiplexor in a store's place, behind a balancer perhaps: nothing is said to it, in any protocol. One of another
 * site may be meant; ourselves never. */
static void test_a_multiplexor_is_no_store(void **state)
{
#define AT(host) host " multiplexor ready"
	static const struct {
		enum port_id at;
		const char *greeting[3], *want;
	} rows[] = {
		{ IMAP_OPEN, { "S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] " AT("a.example"), "H" },
		    LATER },
		{ IMAP_OPEN, { "S * OK " AT("MAIL.example.org"), "H" }, LATER },
		{ POP3_OPEN, { "S +OK " AT("mail.example.org") " <1.2@x>", "H" }, POP3_LATER },
		{ SIEVE_OPEN, { "S OK \"" AT("mail.example.org") "\"", "H" }, SIEVE_LATER },
		{ SUBMIT_OPEN, { "S 220 mail.example.org ESMTP multiplexor ready", "H" },
		    SUBMIT_LATER },
	};
	static const char *const meant[] = { "S * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] " AT(
						 "a.example"),
		PLAIN_SENT, IMAP_DONE, "E", NULL };
	for (int allowed = 0; allowed < 2; allowed++) {
		world_start(allowed ? SIEVE_WORDS SUBMIT_WORDS "store store1 { multiplexor yes; }"
				    : SIEVE_WORDS SUBMIT_WORDS,
		    NULL);
		for (size_t i = (size_t)allowed; i < COUNT_OF(rows); i++) {
			login_alice_anew(rows[i].at, rows[i].greeting, rows[i].want);
			assert_int_equal(buf_len(&world.store[0].seen), 0);
			assert_int_equal(logged("store.loop"), 1);
			assert_int_equal(logged("why=no_store"), 1);
		}
		login_alice_anew(IMAP_OPEN, meant, allowed ? IMAP_IN : LATER);
		world_end();
	}
}

static void test_the_directory_could_not_look(void **state)
{
	struct client c;
	world_start("", "directory { file missing.ldif; default_domain example.org; }");
	login_as(&c, "alice", LATER);
	assert_int_equal(logged("why=directory_down"), 1);
	client_leave(&c);
	client_open(&c, POP3_OPEN);
	client_send(&c, POP3_LOGIN);
	settle();
	assert_string_equal(heard(&c), POP3_GREETING "+OK Now the password\r\n" POP3_LATER);
	client_leave(&c);
	world_end();
}

/* Nobody but the store knows the password: its no is a wrong password, held back and told so. */
static void test_the_store_checks(void **state)
{
	static const char *const no[] = { STORE_GREETING, "C P3 ", "S P3 NO wrong", NULL };
	static const char *const *const scripts[] = { no, imap_good };
	struct client c;
	world_start("preauth no;", NULL);
	for (size_t i = 0; i < COUNT_OF(scripts); i++) {
		world.store[0].script = scripts[i];
		client_open(&c, IMAP_OPEN);
		client_send(&c, "a LOGIN alice whatever\r\n");
		settle();
		if (i == 0) {
			assert_string_equal(heard(&c), IMAP_OPEN_GREETING);
			world_pass(200);
			expect(&c, IMAP_OPEN_GREETING
			    "a NO [AUTHENTICATIONFAILED] Authentication failed (id)\r\n");
		} else {
			assert_string_equal(heard(&c), IMAP_OPEN_GREETING "a " IMAP_IN);
		}
		client_leave(&c);
	}
	assert_int_equal(logged("why=store_refused"), 1);
	world_end();
}

/* Who has not shown the password learns nothing of the account, though only the store can tell. */
static void test_a_closed_account_unchecked(void **state)
{
	struct client c;
	world_start("preauth no;", NULL);
	client_open(&c, IMAP_OPEN);
	client_send(&c, "a LOGIN closed closed-secret\r\n");
	settle();
	assert_string_equal(heard(&c), IMAP_OPEN_GREETING);
	world_pass(200);
	expect(&c, IMAP_OPEN_GREETING "a NO [AUTHENTICATIONFAILED] Authentication failed (id)\r\n");
	assert_int_equal(logged("why=status_closed"), 1);
	assert_int_equal(world.store[0].conn_n, 0);
	client_leave(&c);
	world_end();
}

/* A password that would be two lines never reaches a store. */
static void test_no_line_is_smuggled(void **state)
{
	struct client c;
	world_start("preauth no;", NULL);
	world.store[0].script = pop3_good;
	client_open(&c, POP3_OPEN);
	client_send(&c, "AUTH PLAIN AGFsaWNlAGENCkRFTEUgMQ==\r\n"); /* a CR LF DELE 1 */
	expect(&c, POP3_GREETING "-ERR [AUTH] Authentication failed (id)\r\n");
	assert_int_equal(logged("why=malformed_secret"), 1);
	assert_int_equal(world.store[0].conn_n, 0);
	client_leave(&c);
	world_end();
}

/* ---- TLS to the store ------------------------------------------------------------------------------ */

static void test_starttls_to_the_store(void **state)
{
	static const char *const good[] = { "S * OK [CAPABILITY IMAP4rev1 STARTTLS] hi",
		"C P1 STARTTLS", "S P1 OK", "T", "C P2 CAPABILITY",
		"R * CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\nP2 OK\r\n", PLAIN_SENT, IMAP_DONE,
		"E", NULL };
	static const char *const refuses[] = { "S * OK hi", "C P1 STARTTLS", "S P1 NO no", NULL };
	/* Sent in plaintext behind the OK: it would be read as the answer to what TLS carries. */
	static const char *const injects[] = { "S * OK hi", "C P1 STARTTLS",
		"R P1 OK\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nP2 OK\r\n", "H", NULL };
	static const char *const *const bad[] = { refuses, injects };
	world_start("store_tls starttls;", NULL);
	login_alice(IMAP_OPEN, good, IMAP_IN);
	buf_clear(&world.store[0].seen);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		login_alice(IMAP_OPEN, bad[i], LATER);
	assert_string_equal(buf_cstr(&world.store[0].seen), "P1 STARTTLS\nP1 STARTTLS\n");
	assert_int_equal(logged("bytes injected before TLS"), 1);
	world_end();
}

static void test_stls_to_the_store(void **state)
{
	static const char *const good[] = { "S +OK hi", "C STLS", "S +OK", "T", "C USER ", "S +OK",
		"C PASS ", "S +OK", "L", "E", NULL };
	static const char *const refuses[] = { "S +OK hi", "C STLS", "S -ERR", NULL };
	static const char *const injects[] = { "S +OK hi", "C STLS", "R +OK\r\n+OK\r\n+OK\r\n", "H",
		NULL };
	static const char *const *const bad[] = { refuses, injects };
	world_start("store_tls starttls;", NULL);
	login_alice(POP3_OPEN, good, "+OK Logged in\r\n");
	buf_clear(&world.store[0].seen);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		login_alice(POP3_OPEN, bad[i], POP3_LATER);
	assert_string_equal(buf_cstr(&world.store[0].seen), "STLS\nSTLS\n");
	world_end();
}

static void test_tls_from_the_first_byte(void **state)
{
	static const char *const good[] = { "T", STORE_GREETING, "C P3 ", IMAP_DONE, "E", NULL };
	static const char *const plain[] = { STORE_GREETING, "H", NULL };
	world_start("store_tls implicit;", NULL);
	login_alice(IMAP_OPEN, good, IMAP_IN);
	login_alice(IMAP_OPEN, plain, LATER); /* no way back to plaintext */
	assert_int_equal(logged("login.ok"), 1);
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_imap_ways_in),
		cmocka_unit_test(test_a_password_as_literal),
		cmocka_unit_test(test_imap_refusals),
		cmocka_unit_test(test_imap_bad_greetings),
		cmocka_unit_test(test_refused_before_the_password),
		cmocka_unit_test(test_endless_answers),
		cmocka_unit_test(test_pop3_store),
		cmocka_unit_test(test_no_password_is_left_in_memory),
		cmocka_unit_test(test_silent_stores),
		cmocka_unit_test(test_a_dead_store),
		cmocka_unit_test(test_the_next_store),
		cmocka_unit_test(test_the_word_of_a_store_is_final),
		cmocka_unit_test(test_a_multiplexor_is_no_store),
		cmocka_unit_test(test_the_directory_could_not_look),
		cmocka_unit_test(test_the_store_checks),
		cmocka_unit_test(test_a_closed_account_unchecked),
		cmocka_unit_test(test_no_line_is_smuggled),
		cmocka_unit_test(test_starttls_to_the_store),
		cmocka_unit_test(test_stls_to_the_store),
		cmocka_unit_test(test_tls_from_the_first_byte),
	};
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
