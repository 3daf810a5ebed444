/* test_facts.c - what a store is told of the client: by ID, by XCLIENT, by a PROXY header, or nothing. */
#include "world.h"

#define ID_GREETING "S * OK [CAPABILITY IMAP4rev1 SASL-IR ID AUTH=PLAIN] hi"
#define ID_SENT "C P5 ID (\"x-originating-ip\" \"127.0.0.1\" \"x-originating-port\" \""
#define XCLIENT_SENT "C XCLIENT ADDR=127.0.0.1 PORT="

/* The session's id in our log, "" when there is none. */
static const char *session_id(void)
{
	static char id[IDENT_LEN + 1];
	const char *at = strstr(log_text(), " session.open id=");
	id[0] = '\0';
	if (at != NULL)
		memcpy(id, at + strlen(" session.open id="), IDENT_LEN);
	return id;
}

static void test_id_goes_with_the_login(void **state)
{
	static const char *const good[] = { ID_GREETING, ID_SENT, "C P3 AUTHENTICATE PLAIN ",
		"S * ID (\"name\" \"x\")", "S P5 OK", IMAP_DONE, "E", NULL };
	static const char *const in_pieces[] = { ID_GREETING, ID_SENT, "C P3 AUTHENTICATE PLAIN ",
		"R * I", "R D NI", "R L\r\nP", "R 5 O", "R K\r", "R \nP3",
		"S  OK [CAPABILITY IMAP4rev1 LITERAL+ ID IDLE X-STORE] in", "E", NULL };
	static const char *const refused[] = { ID_GREETING, ID_SENT, "C P3 ", "S P5 BAD what",
		IMAP_DONE, "E", NULL };
	static const char *const by_login[] = { "S * OK [CAPABILITY IMAP4rev1 ID] hi", ID_SENT,
		"C P3 LOGIN ", "S P5 NO", IMAP_DONE, NULL };
	static const char *const asked[] = { "S * OK hi", "C P2 CAPABILITY",
		"S * CAPABILITY IMAP4rev1 AUTH=PLAIN id", "S P2 OK", ID_SENT,
		"C P3 AUTHENTICATE PLAIN", "S * ID NIL", "S P5 OK", "S + ", "C AGFs", IMAP_DONE,
		NULL };
	static const char *const *const all[] = { good, in_pieces, refused, by_login, asked };
	char words[128];
	world_start("", NULL);
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		login_alice_anew(IMAP_OPEN, all[i], IMAP_IN);
		snprintf(words, sizeof words, "\"x-session-id\" \"%s\")", session_id());
		if (!store_saw(words))
			fail_msg("no %s in %s", words, buf_cstr(&world.store[0].seen));
	}
	login_alice_anew(PROXIED,
	    (const char *const[]){ ID_GREETING,
		"C P5 ID (\"x-originating-ip\" \"2001:db8::7\" "
		"\"x-originating-port\" \"4000\" \"x-connected-ip\" \"2001:db8::1\" "
		"\"x-connected-port\" \"143\"",
		"C P3 ", "S P5 OK", IMAP_DONE, NULL },
	    IMAP_IN);
	world_end();
}

static void test_stores_that_lie_about_id(void **state)
{
	static const struct {
		const char *answer, *log;
	} rows[] = {
		{ "R P3 OK in\r\nP5 OK\r\n", "why=store_broken" }, /* would reach the client */
		{ "S P5 OK twice\r\nP5 OK", "why=store_broken" },
		{ "S P4 OK", "why=store_broken" },
		{ "S + go on", "why=store_broken" },
		{ "S * BYE no", "why=store_temporary" },
		{ "X", "why=store_temporary" },
	};
	const char *script[] = { ID_GREETING, ID_SENT, "C P3 ", NULL, NULL };
	world_start("", NULL);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		script[3] = rows[i].answer;
		login_alice_anew(IMAP_OPEN, script, LATER);
		if (logged(rows[i].log) != 1)
			fail_msg("%s: %s", rows[i].answer, log_text());
	}
	world_end();
}

static void test_xclient_where_it_is_offered(void **state)
{
	static const char *const good[] = { "S +OK [XCLIENT] hi", XCLIENT_SENT, "S +OK noted",
		"C USER ", "S +OK", "C PASS ", "S +OK in", "L", "E", NULL };
	static const char *const refused[] = { "S +OK [xclient] hi", XCLIENT_SENT, "S -ERR no",
		"C USER ", "S +OK", "C PASS ", "S +OK in", "L", NULL };
	static const char *const elsewhere[] = { "S +OK hi [XCLIENT]", "C USER ", "S +OK",
		"C PASS ", "S +OK in", "L", NULL };
	static const char *const bad[] = { "S +OK [XCLIENT] hi", XCLIENT_SENT, "S * what", NULL };
	char words[128];
	world_start("", NULL);
	login_alice_anew(POP3_OPEN, good, "+OK Logged in\r\n");
	snprintf(words, sizeof words, " SESSION=%s\n", session_id());
	assert_true(store_saw(words));
	login_alice_anew(POP3_OPEN, refused, "+OK Logged in\r\n");
	login_alice_anew(POP3_OPEN, elsewhere, "+OK Logged in\r\n");
	login_alice_anew(POP3_OPEN, bad, POP3_LATER);
	assert_int_equal(logged("why=store_down"), 1); /* it has not seen the password */
	assert_false(store_saw("alice"));
	world_end();
}

static void test_after_tls(void **state)
{
	static const char *const imap[] = {
		"S * OK [CAPABILITY IMAP4rev1 STARTTLS ID AUTH=PLAIN] hi", "C P1 STARTTLS",
		"S P1 OK", "T", "C P2 CAPABILITY",
		"R * CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR ID\r\nP2 OK\r\n", ID_SENT, "C P3 ",
		"S P5 OK", IMAP_DONE, NULL
	};
	static const char *const pop3[] = { "S +OK [XCLIENT] hi", "C STLS", "S +OK", "T",
		XCLIENT_SENT, "S +OK", "C USER ", "S +OK", "C PASS ", "S +OK", "L", NULL };
	world_start("store_tls starttls;", NULL);
	login_alice_anew(IMAP_OPEN, imap, IMAP_IN);
	login_alice_anew(POP3_OPEN, pop3, "+OK Logged in\r\n");
	world_end();
}

static void test_a_proxy_header(void **state)
{
	static const char *const imap[] = { "P", ID_GREETING, "C P3 AUTHENTICATE PLAIN ", IMAP_DONE,
		"E", NULL };
	static const char *const pop3[] = { "P", "S +OK [XCLIENT] hi", "C USER ", "S +OK",
		"C PASS ", "S +OK", "L", NULL };
	world_start("store_facts proxy;", NULL);
	login_alice_anew(PROXIED, imap, IMAP_IN);
	assert_true(store_saw("PROXY [2001:db8::7]:4000 -> [2001:db8::1]:143\n"));
	login_alice_anew(POP3_OPEN, pop3, "+OK Logged in\r\n");
	assert_true(store_saw("PROXY 127.0.0.1:"));
	world_end();
}

/* A block of its own for a store, by name and by its end; "none" is silent whatever is offered. */
static void test_each_store_as_it_likes(void **state)
{
	static const char *const silent[] = { ID_GREETING, "C P3 AUTHENTICATE PLAIN ", IMAP_DONE,
		NULL };
	static const char *const told[] = { ID_GREETING, ID_SENT, "C P3 ", "S P5 OK", IMAP_DONE,
		NULL };
	static const char *const header[] = { "P", ID_GREETING, "C P3 ", IMAP_DONE, NULL };
	static const struct {
		const char *conf;
		const char *const *script;
	} rows[] = {
		{ "store_facts none;", silent },
		{ "store STORE1 { facts none; }", silent },
		{ "store other { facts none; } store *2 { facts none; } store store12 { facts "
		  "none; }",
		    told },
		{ "store_facts none; store *e1 { facts command; } store store1 { facts proxy; }",
		    told },
		{ "store_facts proxy; store store1 { tls none; }", header },
		{ "store_facts proxy; store_tls starttls; store store1 { tls none; facts command; "
		  "}",
		    told },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		world_start(rows[i].conf, NULL);
		login_alice_anew(IMAP_OPEN, rows[i].script, IMAP_IN);
		world_end();
	}
}

/* What one store lacks is shown to nobody before login, until it has it or the settings change. */
static void test_words_that_every_store_has(void **state)
{
	static const struct {
		const char *user, *said, *shown;
	} rows[] = {
		{ "alice", "IMAP4rev1 LITERAL+ ID IDLE MOVE",
		    "IMAP4rev1 LITERAL+ SASL-IR ID IDLE" },
		{ "bob", "IMAP4rev1 literal+ IDLE", "IMAP4rev1 LITERAL+ SASL-IR IDLE" },
		{ "alice", "IMAP4rev1 IDLE ID", "IMAP4rev1 SASL-IR IDLE" },
		{ "bob", "IMAP4rev1 LITERAL+ ID IDLE", "IMAP4rev1 SASL-IR ID IDLE" },
		{ "alice", "IMAP4rev1 LITERAL+ ID", "IMAP4rev1 LITERAL+ SASL-IR ID" },
		{ "alice", "IMAP4rev1 LITERAL+ ID IDLE", "IMAP4rev1 LITERAL+ SASL-IR ID IDLE" },
		{ "bob", "X", "SASL-IR" },
	};
	char done[256], text[256];
	const char *script[] = { "S * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hi", "C P3 ",
		done, "E", NULL };
	const char *words = "imap_capability IMAP4rev1, LITERAL+, SASL-IR, ID, IDLE;";
	struct client c;
	world_start(words, NULL);
	world.store[0].script = world.store[1].script = script;
	for (size_t i = 0; i <= COUNT_OF(rows); i++) {
		client_open(&c, IMAP_OPEN);
		snprintf(text, sizeof text,
		    "* OK [CAPABILITY %s AUTH=PLAIN AUTH=LOGIN] mail.example.org multiplexor "
		    "ready\r\n",
		    i > 0 ? rows[i - 1].shown : "IMAP4rev1 LITERAL+ SASL-IR ID IDLE");
		expect(&c, text);
		if (i < COUNT_OF(rows)) {
			snprintf(done, sizeof done, "S P3 OK [CAPABILITY %s] in", rows[i].said);
			snprintf(text, sizeof text, "a LOGIN %s %s-secret\r\n", rows[i].user,
			    rows[i].user);
			client_send(&c, text);
			WAIT(world.mmp->piped_n == 1);
		}
		client_leave(&c);
	}
	struct conf *fresh = world_conf(words, NULL);
	mmp_reload(world.mmp, fresh);
	conf_unref(&fresh);
	client_open(&c, IMAP_OPEN);
	WAIT(strstr(heard(&c), "CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID IDLE AUTH") != NULL);
	client_leave(&c);
	world_end();
}

static void expect_capa(const char *words)
{
	struct client c;
	char text[512];
	client_open(&c, POP3_OPEN);
	client_send(&c, "CAPA\r\n");
	snprintf(text, sizeof text,
	    POP3_GREETING "+OK Capabilities follow\r\n%sUSER\r\nSASL PLAIN LOGIN\r\n.\r\n", words);
	expect(&c, text);
	client_leave(&c);
}

/* A POP3 store is asked behind its first login, and again when it comes back from the dead. */
static void test_pop3_stores_are_asked_once(void **state)
{
	static const char *const dead[] = { "X", NULL };
	static const char *const unaware[] = { "S +OK hi", "C USER ", "S +OK", "C PASS ",
		"S +OK in", "C CAPA", "S -ERR what", "E", NULL };
	world_start("pop3_capability TOP, UIDL, \"EXPIRE NEVER\", AUTH-RESP-CODE;", NULL);
	expect_capa("TOP\r\nUIDL\r\nEXPIRE NEVER\r\nAUTH-RESP-CODE\r\n");
	world.store[0].capa = "UIDL\r\nexpire 30\r\nSASL PLAIN\r\n";
	login_alice_anew(POP3_OPEN, pop3_good, "+OK Logged in\r\n");
	expect_capa("UIDL\r\nEXPIRE NEVER\r\nAUTH-RESP-CODE\r\n");
	world.store[0].capa = "TOP\r\n"; /* not asked for again */
	login_alice_anew(POP3_OPEN, pop3_good, "+OK Logged in\r\n");
	login_alice_anew(POP3_OPEN, dead, POP3_LATER);
	expect_capa("UIDL\r\nEXPIRE NEVER\r\nAUTH-RESP-CODE\r\n");
	login_alice_anew(POP3_OPEN, pop3_good, "+OK Logged in\r\n");
	expect_capa("TOP\r\nAUTH-RESP-CODE\r\n");
	login_alice_anew(POP3_OPEN, dead, POP3_LATER);
	login_alice_anew(POP3_OPEN, unaware, "+OK Logged in\r\n");
	expect_capa("AUTH-RESP-CODE\r\n");
	world_end();
}

static void test_pop3_stores_that_lie_about_capa(void **state)
{
#define UP_TO_CAPA "S +OK hi", "C USER ", "S +OK", "C PASS ", "S +OK in", "C CAPA"
	static const char *const odd[] = { UP_TO_CAPA, "S * what", "H", NULL };
	static const char *const more[] = { UP_TO_CAPA, "S + go on", "H", NULL };
	static const char *const gone[] = { UP_TO_CAPA, "S +OK", "S TOP", "X", NULL };
	static char flood[8100];
	const char *endless[] = { UP_TO_CAPA, "S +OK", flood, flood, "H", NULL };
	const char *const *const all[] = { odd, more, gone, endless };
	memset(flood, 'A', sizeof flood - 1);
	memcpy(flood, "S ", 2);
	world_start("", NULL);
	for (size_t i = 0; i < COUNT_OF(all); i++)
		login_alice_anew(POP3_OPEN, all[i], POP3_LATER);
	world_end();
}

#define ELSEWHERE                                                                                  \
	"NO [CONTACTADMIN] This account may not log in here, ask your administrator (id)\r\n"

/* mailAllowedServiceAccess names networks: the client's address counts, not the balancer's. */
static void test_clients_from_somewhere(void **state)
{
	static const struct {
		const char *header, *want;
		enum port_id at;
	} rows[] = {
		{ "PROXY TCP4 192.0.2.1 198.51.100.1 4000 143\r\n", "a " IMAP_IN, PROXIED },
		{ "PROXY TCP6 2001:db8::7 2001:db8::1 4000 143\r\n", "a " IMAP_IN, PROXIED },
		{ "PROXY TCP4 192.0.3.1 198.51.100.1 4000 143\r\n", "a " ELSEWHERE, PROXIED },
		{ "", "a " ELSEWHERE, IMAP_OPEN },
	};
	world_start("", NULL);
	world.store[0].script = imap_good;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		char want[512];
		client_open(&c, rows[i].at);
		client_send(&c, rows[i].header);
		client_send(&c, "a LOGIN inside inside-secret\r\n");
		snprintf(want, sizeof want, "%s%s", IMAP_OPEN_GREETING, rows[i].want);
		expect(&c, want);
		client_leave(&c);
	}
	assert_int_equal(logged("why=service_denied"), 2);
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_id_goes_with_the_login),
		cmocka_unit_test(test_stores_that_lie_about_id),
		cmocka_unit_test(test_xclient_where_it_is_offered),
		cmocka_unit_test(test_after_tls),
		cmocka_unit_test(test_a_proxy_header),
		cmocka_unit_test(test_each_store_as_it_likes),
		cmocka_unit_test(test_clients_from_somewhere),
		cmocka_unit_test(test_words_that_every_store_has),
		cmocka_unit_test(test_pop3_stores_are_asked_once),
		cmocka_unit_test(test_pop3_stores_that_lie_about_capa),
	};
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
