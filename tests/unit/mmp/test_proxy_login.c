/* test_proxy_login.c - the multiplexor logs in for the user: by its own name and secret, as a master user,
 * by certificate; keys of stores that are pinned. */
#include "world.h"

#define EDGE "store_user edge; store_secret edge-secret; "
#define PROXY EDGE "store_login proxy; "
#define MASTER EDGE "store_login master; "
/* alice@example.org NUL edge NUL edge-secret; NUL alice@example.org*edge NUL edge-secret */
#define PROXY_RESPONSE "YWxpY2VAZXhhbXBsZS5vcmcAZWRnZQBlZGdlLXNlY3JldA=="
#define MASTER_RESPONSE "AGFsaWNlQGV4YW1wbGUub3JnKmVkZ2UAZWRnZS1zZWNyZXQ="
#define ALICE "YWxpY2VAZXhhbXBsZS5vcmc="

static void test_for_the_user(void **state)
{
	static const char *const initial[] = { STORE_GREETING,
		"C P3 AUTHENTICATE PLAIN " PROXY_RESPONSE, IMAP_DONE, "E", NULL };
	static const char *const later[] = { "S * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi",
		"C P3 AUTHENTICATE PLAIN", "S + ", "C " PROXY_RESPONSE, IMAP_DONE, "E", NULL };
	static const char *const pop3[] = { "S +OK hi", "C AUTH PLAIN", "S + ", "C " PROXY_RESPONSE,
		"S +OK in", "L", "E", NULL };
	world_start(PROXY, NULL);
	login_alice_anew(IMAP_OPEN, initial, IMAP_IN);
	login_alice_anew(IMAP_OPEN, later, IMAP_IN);
	login_alice_anew(POP3_OPEN, pop3, "+OK Logged in\r\n");
	world_end();
}

static void test_as_master(void **state)
{
	static const char *const plain[] = { STORE_GREETING,
		"C P3 AUTHENTICATE PLAIN " MASTER_RESPONSE, IMAP_DONE, "E", NULL };
	static const char *const by_login[] = { "S * OK [CAPABILITY IMAP4rev1] hi",
		"C P3 LOGIN \"alice@example.org*edge\" \"edge-secret\"", IMAP_DONE, NULL };
	static const char *const pop3[] = { "S +OK hi", "C USER alice@example.org*edge", "S +OK",
		"C PASS edge-secret", "S +OK in", "L", "E", NULL };
	static const char *const other[] = { "S +OK hi", "C USER alice@example.org%boss", "S +OK",
		"C PASS b-secret", "S +OK", "L", NULL };
	world_start(MASTER, NULL);
	login_alice_anew(IMAP_OPEN, plain, IMAP_IN);
	login_alice_anew(IMAP_OPEN, by_login, IMAP_IN);
	login_alice_anew(POP3_OPEN, pop3, "+OK Logged in\r\n");
	world_end();
	world_start(EDGE "store_master_separator \"%\"; store store1 { login master; user boss; "
			 "secret b-secret; }",
	    NULL);
	login_alice_anew(POP3_OPEN, other, "+OK Logged in\r\n");
	world_end();
}

/* Stores that know the users of the default domain without it; where a domain is another's all of it is said. */
static void test_short_names(void **state)
{
	static const char *const brief[] = { "S * OK [CAPABILITY IMAP4rev1] hi",
		"C P3 LOGIN \"alice\" \"alice-secret\"", IMAP_DONE, NULL };
	static const char *const whole[] = { "S * OK [CAPABILITY IMAP4rev1] hi",
		"C P3 LOGIN \"alice@example.org\" \"alice-secret\"", IMAP_DONE, NULL };
	static const char *const master[] = { "S +OK hi", "C USER alice*edge", "S +OK",
		"C PASS edge-secret", "S +OK in", "L", "E", NULL };
	static const char other[] = "directory { file users.ldif; default_domain example.com; }";
	static const struct {
		const char *mmp, *root;
		const char *const *script;
	} rows[] = {
		{ "store_name short;", NULL, brief },
		{ "store_name short; store store1 { name full; }", NULL, whole },
		{ "store store1 { name short; }", NULL, brief },
		{ "store store2 { name short; }", NULL, whole },
		{ "store_name short;", other, whole },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		world_start(rows[i].mmp, rows[i].root);
		world.store[0].script = rows[i].script;
		client_open(&c, IMAP_OPEN);
		client_send(&c, "a LOGIN Alice@example.org alice-secret\r\n");
		expect(&c, IMAP_OPEN_GREETING "a " IMAP_IN);
		assert_null(world.store[0].wrong);
		assert_int_equal(logged("user=alice@example.org store=store1"), 1);
		client_leave(&c);
		world_end();
	}
	world_start(MASTER "store_name short;", NULL);
	login_alice_anew(POP3_OPEN, master, "+OK Logged in\r\n");
	world_end();
}

static void test_by_certificate(void **state)
{
	static const char *const imap[] = { "T",
		"S * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=EXTERNAL] hi",
		"C P3 AUTHENTICATE EXTERNAL " ALICE, IMAP_DONE, "E", NULL };
	static const char *const pop3[] = { "S +OK hi", "C STLS", "S +OK", "T", "C AUTH EXTERNAL",
		"S + ", "C " ALICE, "S +OK in", "L", "E", NULL };
	static const char *const no_external[] = { "T", STORE_GREETING, "H", NULL };
	world_start("store_tls implicit; store_login certificate; store_chain chain.pem; store_key "
		    "file:key.pem;",
	    NULL);
	login_alice_anew(IMAP_OPEN, imap, IMAP_IN);
	login_alice_anew(IMAP_OPEN, no_external, LATER);
	assert_int_equal(logged("why=store_down"), 1);
	world_end();
	world_start("store_tls starttls; store_login certificate; store_chain chain.pem; store_key "
		    "file:key.pem;",
	    NULL);
	login_alice_anew(POP3_OPEN, pop3, "+OK Logged in\r\n");
	world_end();
}

/* What is not offered is not tried another way: no secret of ours leaves by LOGIN or USER. */
static void test_stores_that_do_not_play(void **state)
{
	static const struct {
		enum port_id at;
		const char *greeting, *answer, *then, *log;
	} rows[] = {
		{ IMAP_OPEN, "S * OK [CAPABILITY IMAP4rev1] hi", NULL, NULL, "why=store_down" },
		{ IMAP_OPEN, "S * OK [CAPABILITY IMAP4rev1 AUTH=EXTERNAL] hi", NULL, NULL,
		    "why=store_down" },
		{ IMAP_OPEN, STORE_GREETING, "S P3 NO [AUTHENTICATIONFAILED] who", NULL,
		    "why=store_disagrees" },
		{ IMAP_OPEN, STORE_GREETING, "S + more", NULL, "why=store_broken" },
		{ POP3_OPEN, "S +OK hi", "S -ERR what", NULL, "why=store_down" },
		{ POP3_OPEN, "S +OK hi", "S +OK come in", NULL, "why=store_down" },
		{ POP3_OPEN, "S +OK hi", "S + ", "S -ERR [AUTH] no", "why=store_disagrees" },
		{ POP3_OPEN, "S +OK hi", "S + ", "S + again", "why=store_broken" },
		{ POP3_OPEN, "S +OK hi", "X", NULL, "why=store_down" },
	};
	world_start(PROXY, NULL);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const char *script[] = { rows[i].greeting, rows[i].answer != NULL ? "C " : "H",
			rows[i].answer, NULL, NULL, NULL };
		if (rows[i].then != NULL) {
			script[3] = "C " PROXY_RESPONSE;
			script[4] = rows[i].then;
		}
		login_alice_anew(rows[i].at, script, rows[i].at == IMAP_OPEN ? LATER : POP3_LATER);
		if (logged(rows[i].log) != 1)
			fail_msg("row %zu: %s", i, log_text());
		assert_false(store_saw("LOGIN") || store_saw("USER") || store_saw("edge-secret") ||
			     store_saw("alice-secret"));
	}
	world_end();
}

/* Nobody has checked the password: the store, which would believe us, is not asked. */
static void test_unproven(void **state)
{
	struct client c;
	world_start(PROXY,
	    "directory { backend static; static_host 127.0.0.1; default_domain example.org; }");
	client_open(&c, IMAP_OPEN);
	client_send(&c, "a LOGIN alice whatever\r\n");
	expect(&c, IMAP_OPEN_GREETING "a " LATER);
	assert_int_equal(logged("why=unproven"), 1);
	client_leave(&c);
	world_end();
}

/* ---- pins ------------------------------------------------------------------------------------------- */

static const char *pin_of_store(void)
{
	static char pin[64];
	char *const sh[] = { "sh", "-c",
		"openssl x509 -in chain.pem -noout -pubkey | openssl pkey -pubin -outform der | "
		"openssl dgst -sha256 -binary | openssl base64 >pin",
		NULL };
	char path[128];
	run(sh);
	snprintf(path, sizeof path, "%s/pin", world_dir);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(fgets(pin, sizeof pin, f));
	fclose(f);
	pin[strcspn(pin, "\n")] = '\0';
	return pin;
}

static void test_pins(void **state)
{
	static const char *const implicit[] = { "T", STORE_GREETING, "C P3 ", IMAP_DONE, "E",
		NULL };
	static const char *const starttls[] = { "S * OK hi", "C P1 STARTTLS", "S P1 OK", "T",
		"C P2 CAPABILITY", "R * CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\nP2 OK\r\n",
		"C P3 ", IMAP_DONE, "E", NULL };
	static const char *const strange_implicit[] = { "T", STORE_GREETING, "H", NULL };
	static const char *const strange_starttls[] = { "S * OK hi", "C P1 STARTTLS", "S P1 OK",
		"T", "H", NULL };
	static const char other[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
	char conf[512];
	for (int i = 0; i < 4; i++) {
		bool fits = i < 2, at_once = i % 2 == 0;
		snprintf(conf, sizeof conf,
		    "store store1 { tls %s; verify none; pins \"%s\"%s%s%s; }",
		    at_once ? "implicit" : "starttls", other, fits ? ", \"" : "",
		    fits ? pin_of_store() : "", fits ? "\"" : "");
		world_start(conf, NULL);
		if (fits)
			login_alice_anew(IMAP_OPEN, at_once ? implicit : starttls, IMAP_IN);
		else
			login_alice_anew(
			    IMAP_OPEN, at_once ? strange_implicit : strange_starttls, LATER);
		assert_int_equal(logged("its key is not a pinned one"), !fits);
		assert_int_equal(store_saw("P3"), fits);
		world_end();
	}
}

/* ---- settings --------------------------------------------------------------------------------------- */

static void expect_refused(const char *mmp, const char *why)
{
	struct conf_diag *d = conf_diag_new();
	bool told = false;
	write_config(mmp, NULL);
	struct conf *c = load_config(d);
	assert_null(c);
	for (size_t k = 0; k < conf_error_count(d); k++)
		told = told || strstr(conf_error_text(d, k), why) != NULL;
	if (!told)
		fail_msg("%s: %s", mmp, conf_error_text(d, 0));
	conf_diag_free(&d);
}

static void expect_taken(const char *mmp)
{
	struct conf *c = world_conf(mmp, NULL);
	conf_unref(&c);
}

static void test_settings_that_cannot_be_meant(void **state)
{
	static const struct {
		const char *mmp, *why;
	} rows[] = {
		{ PROXY "preauth no;", "anybody could log in" },
		{ "store_login proxy; store_user edge;", "need user and secret" },
		{ "store_login master; store_secret edge-secret;", "need user and secret" },
		{ "store x { login proxy; user edge; }", "store x: login proxy" },
		{ "store_login certificate;", "needs store_tls" },
		{ "store x { pins AAAA; tls implicit; }", "\"AAAA\" is no pin" },
		{ "store x { pins \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"; }",
		    "pins need tls" },
		{ "store { tls none; }", "a store needs a name" },
		{ "store \"*\" { tls none; }", "a store needs a name" },
		{ "store a { tls none; } store A { tls implicit; }", "a block for it already" },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		expect_refused(rows[i].mmp, rows[i].why);
}

/* XCLIENT is a word of submission: where it could not be said, that is told with the place. */
static void test_xclient_where_it_cannot_be_said(void **state)
{
	static const char relays[] = "submission_relays store1, relay9; ";
	char mmp[256];
	expect_refused("store_login xclient;",
	    "postern.conf:4:1: store options: login xclient is for submission only: give it");
	expect_refused("store x {\n login xclient; }", "postern.conf:5:");
	expect_refused(
	    "store x { login xclient; }", "store x: login xclient is for submission only: no host");
	snprintf(mmp, sizeof mmp, "%sstore \"*9\" { tls none; } store relay9 { login xclient; }",
	    relays);
	expect_refused(mmp, "store relay9: login xclient"); /* the first block that fits counts */
	snprintf(mmp, sizeof mmp, "%sstore store1 { login xclient; }", relays);
	expect_taken(mmp);
	world_only = "protocol submission";
	expect_taken("store_login xclient;");
	expect_taken("store x { login xclient; }");
	world_only = "protocol imap";
	expect_refused("store_login xclient;", "no listener speaks that");
	expect_refused("store x { login xclient; }",
	    "store x: login xclient is for submission only, and no listener");
	world_only = "protocol ";
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_for_the_user),
		cmocka_unit_test(test_as_master),
		cmocka_unit_test(test_short_names),
		cmocka_unit_test(test_by_certificate),
		cmocka_unit_test(test_stores_that_do_not_play),
		cmocka_unit_test(test_unproven),
		cmocka_unit_test(test_pins),
		cmocka_unit_test(test_settings_that_cannot_be_meant),
		cmocka_unit_test(test_xclient_where_it_cannot_be_said),
	};
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
