/* test_limits.c - time, numbers, peers: who waits, who is refused, who is told what; reload and drain. */
#include "world.h"

#define WRONG "NO [AUTHENTICATIONFAILED] Authentication failed (id)\r\n"
#define SILENT "* BYE Closed, you were silent for too long (id)\r\n"
#define CAPABILITY "* CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID AUTH=PLAIN AUTH=LOGIN\r\n"

static void say(struct client *c, enum port_id at, const char *text)
{
	client_open(c, at);
	client_send(c, text);
	settle();
}

/* A wrong password and an unknown user: same words, same time; nobody else waits. */
static void test_failures_are_held_back(void **state)
{
	struct client wrong, unknown, good;
	world_start("", NULL);
	world.store[0].script = imap_good;
	say(&wrong, IMAP_OPEN, "a LOGIN alice wrong\r\n");
	say(&unknown, IMAP_OPEN, "a LOGIN mallory wrong\r\n");
	world_pass(199);
	settle();
	assert_string_equal(heard(&wrong), IMAP_OPEN_GREETING);
	assert_string_equal(heard(&unknown), IMAP_OPEN_GREETING);
	say(&good, IMAP_OPEN, "a LOGIN alice alice-secret\r\n");
	assert_string_equal(heard(&good), IMAP_OPEN_GREETING "a " IMAP_IN);
	world_pass(1);
	settle();
	assert_string_equal(heard(&wrong), IMAP_OPEN_GREETING "a " WRONG);
	assert_string_equal(heard(&unknown), IMAP_OPEN_GREETING "a " WRONG);
	assert_int_equal(logged("why=wrong_secret"), 1);
	assert_int_equal(logged("why=unknown_user"), 1);
	client_send(&wrong, "b LOGIN alice alice-secret\r\n"); /* the second attempt is as good */
	settle();
	assert_string_equal(heard(&wrong), IMAP_OPEN_GREETING "a " WRONG "b " IMAP_IN);
	client_close(&wrong);
	client_close(&unknown);
	client_leave(&good);
	world_end();
}

/* The id in a refusal is the id of the log's lines. */
static void test_the_id_is_in_the_log(void **state)
{
	struct client c;
	char id[64];
	world_start("", NULL);
	say(&c, IMAP_OPEN, "a LOGIN alice wrong\r\n");
	expect(&c, IMAP_OPEN_GREETING "a " WRONG);
	assert_int_equal(sscanf(strstr(buf_cstr(&c.heard), "(id "), "(id %60[^)])", id), 1);
	assert_true(logged(id) >= 2);
	client_leave(&c);
	world_end();
}

static void test_silence(void **state)
{
	struct client c, half, busy;
	world_start("", NULL);
	say(&c, IMAP_OPEN, "");
	say(&half, IMAP_OPEN, "a NOOP");
	say(&busy, IMAP_OPEN, "");
	for (int i = 0; i < 3; i++) {
		world_pass(50000);
		client_send(&busy, "a NOOP\r\n");
		client_send(&half, "P"); /* the clock runs per command, not per byte */
		settle();
	}
	WAIT(c.ended && half.ended);
	assert_string_equal(heard(&c), IMAP_OPEN_GREETING SILENT);
	assert_string_equal(heard(&half), IMAP_OPEN_GREETING SILENT);
	assert_int_equal(logged("why=command_timeout"), 2);
	assert_false(busy.ended);
	world_pass(30000); /* login_timeout */
	expect_end(&busy, IMAP_OPEN_GREETING "a OK Done\r\na OK Done\r\na OK Done\r\n" SILENT);
	assert_int_equal(logged("why=login_timeout"), 1);
	client_close(&c);
	client_close(&half);
	client_leave(&busy);
	world_end();
}

static void test_a_login_that_takes_too_long(void **state)
{
	static const char *const mute[] = { "H", NULL };
	struct client c;
	world_start("login_timeout 10s; store_login_timeout 1m;", NULL);
	world.store[0].script = mute;
	say(&c, IMAP_OPEN, "a LOGIN alice alice-secret\r\n");
	settle_silent();
	world_pass(10000);
	expect_end(&c, IMAP_OPEN_GREETING
	    "a " LATER "* BYE [UNAVAILABLE] Temporarily unavailable, try again later (id)\r\n");
	assert_int_equal(logged("login.refused"), 1);
	assert_int_equal(logged("why=login_late"), 2);
	assert_int_equal(logged("detail=login"), 1);
	client_leave(&c);
	say(&c, POP3_OPEN, "USER alice\r\nPASS alice-secret\r\n");
	settle_silent();
	world_pass(10000);
	expect_end(&c,
	    POP3_GREETING "+OK Now the password\r\n"
			  "-ERR [SYS/TEMP] Temporarily unavailable, try again later (id)\r\n");
	client_leave(&c);
	world_end();
}

/* One too many before login: the one that was idle longest goes; who waits for us stays. */
static void test_eviction(void **state)
{
	static const char *const mute[] = { "H", NULL };
	struct client waits, first, second, third;
	world_start("connections_prelogin_max 3;", NULL);
	world.store[0].script = mute;
	say(&waits, IMAP_OPEN, "a LOGIN alice alice-secret\r\n");
	say(&first, IMAP_OPEN, "");
	say(&second, IMAP_OPEN, "");
	client_send(&first, "a NOOP\r\n");
	settle();
	say(&third, IMAP_OPEN, "");
	expect_end(
	    &second, IMAP_OPEN_GREETING "* BYE [UNAVAILABLE] Too busy, try again later (id)\r\n");
	assert_int_equal(world.mmp->prelogin_n, 3);
	assert_false(first.ended || third.ended || waits.ended);
	assert_int_equal(logged("why=evicted"), 1);
	client_close(&waits);
	client_close(&first);
	client_close(&second);
	client_close(&third);
	world_pass(60000);
	settle();
	assert_int_equal(world.mmp->prelogin_n, 0);
	world_end();
}

/* Past the budget of bytes those that were idle longest go, in the words of their protocol. */
static void test_memory_budget(void **state)
{
	enum { MANY = 80, BUDGET = 256 * 1024 };
	static struct client c[MANY];
	char junk[8001];
	memset(junk, 'x', sizeof junk - 1);
	junk[sizeof junk - 1] = '\0';
	world_start("prelogin_memory_max 256k;", "workers 1;");
	for (int i = 0; i < MANY; i++) {
		say(&c[i], i % 2 == 0 ? IMAP_OPEN : POP3_OPEN, i % 2 == 0 ? junk : "USER");
		settle();
		assert_true(world.mmp->prelogin_bytes <= BUDGET);
	}
	expect_end(
	    &c[0], IMAP_OPEN_GREETING "* BYE [UNAVAILABLE] Too busy, try again later (id)\r\n");
	expect_end(&c[1], POP3_GREETING "-ERR [SYS/TEMP] Too busy, try again later (id)\r\n");
	assert_false(c[MANY - 1].ended);
	size_t gone = logged("why=evicted");
	assert_true(gone > 2 && gone < MANY && gone + world.mmp->prelogin_n == MANY);
	assert_true(world.mmp->prelogin_bytes > BUDGET / 2); /* not more of them than was needed */
	for (int i = 0; i < MANY; i++)
		client_close(&c[i]);
	WAIT(world.mmp->prelogin_n == 0);
	assert_int_equal(world.mmp->prelogin_bytes, 0);
	world_end();
}

/* Handshakes weigh what OpenSSL holds for them: who begins none, or does not end it, goes first, and at once. */
static void test_memory_of_handshakes(void **state)
{
	enum { MANY = 12 };
	static struct client c[MANY];
	world_start("prelogin_memory_max 256k;", "workers 1;");
	for (int i = 0; i < MANY; i++) {
		client_open(&c[i], IMAPS);
		client_send(&c[i], "\x16\x03\x01\x02");
		settle();
	}
	WAIT(c[0].ended);
	assert_string_equal(heard(&c[0]), "");
	assert_false(c[MANY - 1].ended);
	assert_true(world.mmp->prelogin_bytes <= 256 * 1024);
	for (int i = 0; i < MANY; i++)
		client_close(&c[i]);
	WAIT(world.mmp->prelogin_n == 0);
	world_end();
}

/* A full worker leaves connections in the kernel's queue. */
static void test_connections_max(void **state)
{
	struct client c[3];
	world_start("connections_max 2;", NULL);
	world.store[0].script = imap_good;
	for (int i = 0; i < 3; i++)
		say(&c[i], IMAP_OPEN, "a LOGIN alice alice-secret\r\n");
	WAIT(c[1].io != NULL && strstr(heard(&c[1]), IMAP_IN) != NULL);
	settle();
	assert_string_equal(heard(&c[2]), "");
	assert_false(c[2].ended);
	assert_int_equal(logged("worker.full"), 1);
	client_close(&c[0]);
	WAIT(strstr(heard(&c[2]), IMAP_IN) != NULL);
	assert_int_equal(logged("session.shed"), 0);
	client_close(&c[1]);
	client_leave(&c[2]);
	world_end();
}

/* While all that are there wait for a store nobody can be evicted: the next one waits in the queue. */
static void test_nobody_to_evict(void **state)
{
	static const char *const mute[] = { "H", NULL };
	struct client c[3];
	world_start("connections_prelogin_max 2; auth_failures_max 10;", NULL);
	world.store[0].script = mute;
	for (int i = 0; i < 2; i++)
		say(&c[i], IMAP_OPEN, "a LOGIN alice alice-secret\r\n");
	client_open(&c[2], IMAP_OPEN);
	settle();
	assert_string_equal(heard(&c[2]), "");
	assert_false(c[2].ended);
	world_pass(20000); /* store_login_timeout: they are told no, and wait for their clients */
	WAIT(strstr(heard(&c[2]), "ready") != NULL);
	WAIT(c[0].ended);
	assert_int_equal(logged("why=evicted"), 1);
	for (int i = 0; i < 3; i++)
		client_close(&c[i]);
	world_pass(60000);
	world_end();
}

/* ---- balancers ------------------------------------------------------------------------------------- */

static const char v2_header[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13\xc0\0\x02\x4d\xc6\x33\x64\x01"
				"\x9c\x40\0\x8f\xee\0\x04xtlv";

static void test_proxy_headers(void **state)
{
	static const char v6[] = "PROXY TCP6 2001:db8::7 2001:db8::1 4000 143\r\n";
	struct client c;
	world_start("", NULL);
	client_open(&c, PROXIED);
	client_send(&c, v6);
	expect(&c, IMAP_OPEN_GREETING);
	assert_non_null(strstr(log_text(), "client=[2001:db8::7]:4000"));
	client_leave(&c);
	for (size_t at = 1; at < sizeof v2_header - 1; at++) {
		client_open(&c, PROXIED);
		stream_write(c.io, v2_header, at);
		settle();
		assert_string_equal(heard(&c), "");
		stream_write(c.io, v2_header + at, sizeof v2_header - 1 - at);
		client_send(&c, "a NOOP\r\n");
		expect(&c, IMAP_OPEN_GREETING "a OK Done\r\n");
		client_leave(&c);
	}
	assert_int_equal(logged("client=192.0.2.77:40000"), 2 * (sizeof v2_header - 2));
	world_end();
}

static void test_proxy_refusals(void **state)
{
	struct client c;
	world_start("", NULL);
	say(&c, PROXIED, "a NOOP\r\n"); /* a listed peer must begin with a header */
	WAIT(c.ended);
	assert_string_equal(heard(&c), "");
	client_leave(&c);
	say(&c, PROXIED, "PROXY TCP4 192.0.2.1 198.51.100.1 4000");
	world_pass(5000);
	WAIT(c.ended);
	assert_string_equal(heard(&c), "");
	client_leave(&c);
	client_open(&c, IMAP_OPEN); /* an unlisted one must not */
	stream_write(c.io, v2_header, sizeof v2_header - 1);
	client_send(&c, "a LOGIN alice alice-secret\r\n");
	expect_end(
	    &c, IMAP_OPEN_GREETING "* BYE This is not the protocol that is spoken here (id)\r\n");
	assert_int_equal(logged("why=proxy_unlisted"), 1);
	assert_null(strstr(log_text(), "192.0.2"));
	client_leave(&c);
	world_end();
}

/* A balancer's health check is served and leaves no line above debug. */
static void test_health_checks(void **state)
{
	struct client c;
	world_start("", NULL);
	say(&c, PROXIED, "PROXY UNKNOWN\r\n");
	assert_string_equal(heard(&c), IMAP_OPEN_GREETING);
	client_leave(&c);
	assert_int_equal(logged("session.probe"), 1);
	assert_int_equal(logged("session.end"), 0);
	world_end();
}

/* ---- MeterMaid -------------------------------------------------------------------------------------- */

#define DIRECTORY "directory { file users.ldif; default_domain example.org; }"

static void test_connections_are_metered(void **state)
{
	struct client c;
	world_start(
	    "", DIRECTORY " metermaid { rule few { on connect; key client/32,64; rate 2/1h; } }");
	for (int i = 0; i < 3; i++) {
		say(&c, i == 1 ? POP3_OPEN : IMAP_OPEN, "");
		expect(&c, i == 0   ? IMAP_OPEN_GREETING
			   : i == 1 ? POP3_GREETING
				    : "* BYE [LIMIT] Too many connections or attempts, try again "
				      "later (id)\r\n");
		client_leave(&c);
	}
	say(&c, PROXIED, "PROXY TCP4 192.0.2.1 198.51.100.1 4000 143\r\n"); /* somebody else */
	assert_string_equal(heard(&c), IMAP_OPEN_GREETING);
	client_leave(&c);
	say(&c, PROXIED, "PROXY UNKNOWN\r\n"); /* nobody */
	assert_string_equal(heard(&c), IMAP_OPEN_GREETING);
	client_leave(&c);
	say(&c, IMAPS, ""); /* refused before any work for TLS */
	WAIT(c.ended);
	assert_string_equal(heard(&c), "");
	client_leave(&c);
	assert_int_equal(logged("why=limited"), 2);
	assert_int_equal(logged("detail=few"), 2);
	world_end();
}

/* Failures are charged to address and account, in whatever spelling; a success is not. */
static void test_failed_logins_are_metered(void **state)
{
	static const char *const spellings[] = { "alice", "ALICE@example.org" };
	struct client c;
	char line[128];
	world_start("", DIRECTORY
	    " metermaid { rule guesses { on auth; key client/32,64, user; rate 2/1h; } }");
	world.store[0].script = imap_good;
	for (size_t i = 0; i < 2; i++) {
		say(&c, IMAP_OPEN, "a LOGIN alice alice-secret\r\n");
		assert_string_equal(heard(&c), IMAP_OPEN_GREETING "a " IMAP_IN);
		client_leave(&c);
		snprintf(line, sizeof line, "a LOGIN %s wrong%zu\r\n", spellings[i], i);
		say(&c, IMAP_OPEN, line);
		expect(&c, IMAP_OPEN_GREETING "a " WRONG);
		client_leave(&c);
	}
	say(&c, IMAP_OPEN, "a LOGIN alice alice-secret\r\n");
	assert_string_equal(heard(&c), IMAP_OPEN_GREETING
	    "a NO [LIMIT] Too many connections or attempts, try again later (id)\r\n");
	client_leave(&c);
	say(&c, POP3_OPEN, "USER alice\r\nPASS alice-secret\r\n");
	assert_string_equal(heard(&c), POP3_GREETING
	    "+OK Now the password\r\n"
	    "-ERR [SYS/TEMP] Too many connections or attempts, try again later (id)\r\n");
	client_leave(&c);
	world.store[1].script = imap_good;
	say(&c, IMAP_OPEN, "a LOGIN bob bob-secret\r\n"); /* another account */
	assert_string_equal(heard(&c), IMAP_OPEN_GREETING "a " IMAP_IN);
	client_leave(&c);
	world_end();
}

static void test_a_delay_is_for_failures(void **state)
{
	struct client c;
	world_start("", DIRECTORY " metermaid { rule slow { on auth; key client/32,64; rate 1/1m; "
				  "action delay; } }");
	world.store[0].script = imap_good;
	say(&c, IMAP_OPEN, "a LOGIN alice wrong\r\n");
	expect(&c, IMAP_OPEN_GREETING "a " WRONG);
	client_leave(&c);
	say(&c, IMAP_OPEN, "a LOGIN alice alice-secret\r\n");
	assert_string_equal(heard(&c), IMAP_OPEN_GREETING "a " IMAP_IN);
	client_leave(&c);
	say(&c, IMAP_OPEN, "a LOGIN alice wrong\r\n");
	world_pass(10000);
	settle();
	assert_string_equal(heard(&c), IMAP_OPEN_GREETING);
	world_pass(49000);
	client_send(&c, ""); /* and the whole is shorter than command_timeout */
	expect(&c, IMAP_OPEN_GREETING "a " WRONG);
	client_leave(&c);
	world_end();
}

#define LIMIT "NO [LIMIT] Too many connections or attempts, try again later (id)\r\n"

/* One session a user: counted while the pipe lives, given back when it ends or the store is not there. */
static void test_sessions_are_counted(void **state)
{
	struct client one, two;
	world_start("", DIRECTORY
	    " metermaid { rule one_each { on session; kind concurrency; key user; limit 1; }"
	    " rule one_each_connection { on connect; kind concurrency; key client/32,64; limit 2; "
	    "} }");
	world.store[0].script = imap_good;
	say(&one, IMAP_OPEN, "a LOGIN alice alice-secret\r\n");
	assert_string_equal(heard(&one), IMAP_OPEN_GREETING "a " IMAP_IN);
	say(&two, IMAP_OPEN, "a LOGIN alice alice-secret\r\n");
	assert_string_equal(heard(&two), IMAP_OPEN_GREETING "a " LIMIT);
	struct client three;
	say(&three, IMAP_OPEN, "");
	expect_end(
	    &three, "* BYE [LIMIT] Too many connections or attempts, try again later (id)\r\n");
	client_close(&three);
	client_close(&one);
	WAIT(world.mmp->piped_n == 0);
	client_send(&two, "b LOGIN alice alice-secret\r\n");
	settle();
	assert_string_equal(heard(&two), IMAP_OPEN_GREETING "a " LIMIT "b " IMAP_IN);
	client_leave(&two);
	world_end();
}

static void test_logins_are_metered(void **state)
{
	struct client c;
	world_start("", DIRECTORY
	    " metermaid { rule few_logins { on login; key user; rate 1/1h; action refuse; } }");
	world.store[0].script = imap_good;
	say(&c, IMAP_OPEN, "a LOGIN alice alice-secret\r\n");
	assert_string_equal(heard(&c), IMAP_OPEN_GREETING "a " IMAP_IN);
	client_leave(&c);
	say(&c, IMAP_OPEN, "a LOGIN alice alice-secret\r\n");
	assert_string_equal(heard(&c), IMAP_OPEN_GREETING "a " LIMIT);
	client_leave(&c);
	world_end();
}

/* Refused before the work of a handshake, without a word in the clear. */
static void test_handshakes_are_metered(void **state)
{
	struct client c;
	world_start(
	    "", DIRECTORY " metermaid { rule few_tls { on tls; key client/32,64; rate 1/1h; } }");
	for (int i = 0; i < 2; i++) {
		say(&c, IMAPS, "");
		if (i > 0)
			WAIT(c.ended);
		assert_string_equal(heard(&c), "");
		assert_int_equal(logged("detail=few_tls"), i);
		client_leave(&c);
	}
	world_end();
}

/* ---- the worker's life ------------------------------------------------------------------------------ */

static void on_drained(void *arg)
{
	++*(int *)arg;
}

static void test_drain(void **state)
{
	struct client idle, failing, piped, late;
	int drained = 0;
	world_start("", NULL);
	world.store[0].script = imap_good;
	say(&idle, IMAP_OPEN, "");
	say(&failing, IMAP_OPEN, "a LOGIN alice wrong\r\n");
	say(&piped, IMAP_OPEN, "a LOGIN alice alice-secret\r\n");
	mmp_drain(world.mmp, on_drained, &drained);
	expect_end(&idle, IMAP_OPEN_GREETING
	    "* BYE [UNAVAILABLE] The server is going down, connect again (id)\r\n");
	world_pass(200);
	expect_end(&failing, IMAP_OPEN_GREETING
	    "a " WRONG "* BYE [UNAVAILABLE] The server is going down, connect again (id)\r\n");
	client_send(&piped, "b NOOP\r\n");
	expect(&piped, IMAP_OPEN_GREETING "a " IMAP_IN "b NOOP\r\n");
	say(&late, IMAP_OPEN, ""); /* the next worker's: it waits in the master's queue */
	assert_string_equal(heard(&late), "");
	assert_int_equal(drained, 0);
	client_close(&piped);
	WAIT(drained == 1);
	settle();
	assert_int_equal(drained, 1);
	client_close(&idle);
	client_close(&failing);
	client_close(&late);
	world_end();
}

/* Gone at once, each with its line in the log. */
static void test_the_worker_goes(void **state)
{
	struct client idle, piped;
	world_start("", NULL);
	world.store[0].script = imap_good;
	say(&idle, IMAP_OPEN, "");
	say(&piped, IMAP_OPEN, "a LOGIN alice alice-secret\r\n");
	mmp_free(&world.mmp);
	WAIT(idle.ended && piped.ended && world.store[0].conns[0].io == NULL);
	assert_int_equal(logged("session.end"), 2);
	assert_int_equal(logged("why=stopped"), 1);
	client_close(&idle);
	client_close(&piped);
	world_end();
}

/* A session keeps the settings it began with; the next one has the new ones. */
static void test_reload(void **state)
{
	struct client before, after;
	world_start("", NULL);
	say(&before, IMAP_OPEN, "");
	struct conf *fresh = world_conf("imap_capability IMAP4rev1, NEW;", NULL);
	mmp_reload(world.mmp, fresh);
	conf_unref(&fresh);
	client_send(&before, "a CAPABILITY\r\n");
	expect(&before, IMAP_OPEN_GREETING CAPABILITY "a OK Done\r\n");
	say(&after, IMAP_OPEN, "");
	assert_string_equal(heard(&after), "* OK [CAPABILITY IMAP4rev1 NEW AUTH=PLAIN AUTH=LOGIN] "
					   "mail.example.org multiplexor ready\r\n");
	client_close(&before);
	client_leave(&after);
	world_end();
}

/* Who is a balancer is the listener's to know: it is made anew. */
static void test_reload_of_a_listener(void **state)
{
	struct client c;
	world_start("", NULL);
	say(&c, PROXIED, "a NOOP\r\n");
	WAIT(c.ended);
	assert_string_equal(heard(&c), "");
	client_leave(&c);
	world_proxy_from = "192.0.2.0/25";
	struct conf *fresh = world_conf("", NULL);
	world_proxy_from = "127.0.0.0/8";
	mmp_reload(world.mmp, fresh);
	conf_unref(&fresh);
	say(&c, PROXIED, "a NOOP\r\n");
	assert_string_equal(heard(&c), IMAP_OPEN_GREETING "a OK Done\r\n");
	client_leave(&c);
	world_end();
}

static void test_mistakes_in_the_settings(void **state)
{
	static const struct {
		const char *mmp, *words, *root;
	} rows[] = {
		{ "imap_capability IMAP4rev1, \"A B\";", "\"A B\" is not a capability", NULL },
		{ "imap_capability \"A]\";", "\"A]\" is not a capability", NULL },
		{ "pop3_capability TOP, \"EXPIRE NEVER\", \"\xc3\xa4\";", "is not a capability",
		    NULL },
		{ "listener x { address 127.0.0.1:1; protocol imap; tls none; }",
		    "nobody could log in", NULL },
		{ "listener imap { address 127.0.0.1:1; protocol imap; }", "a second \"listener\"",
		    NULL },
		{ "store_retry_min 10s; store_retry_max 1s;", "store_retry_max is less", NULL },
		{ "", "file", "directory { backend file; }" },
		{ "", "key", DIRECTORY " metermaid { rule r { on auth; key hat; rate 1/1h; } }" },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct conf_diag *d = conf_diag_new();
		write_config(rows[i].mmp, rows[i].root);
		struct conf *c = load_config(d);
		assert_null(c);
		assert_int_equal(conf_error_count(d), 1);
		if (strstr(conf_error_text(d, 0), rows[i].words) == NULL)
			fail_msg("%s", conf_error_text(d, 0));
		conf_diag_free(&d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failures_are_held_back),
		cmocka_unit_test(test_the_id_is_in_the_log),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_a_login_that_takes_too_long),
		cmocka_unit_test(test_eviction),
		cmocka_unit_test(test_connections_max),
		cmocka_unit_test(test_memory_budget),
		cmocka_unit_test(test_memory_of_handshakes),
		cmocka_unit_test(test_nobody_to_evict),
		cmocka_unit_test(test_proxy_headers),
		cmocka_unit_test(test_proxy_refusals),
		cmocka_unit_test(test_health_checks),
		cmocka_unit_test(test_connections_are_metered),
		cmocka_unit_test(test_failed_logins_are_metered),
		cmocka_unit_test(test_a_delay_is_for_failures),
		cmocka_unit_test(test_sessions_are_counted),
		cmocka_unit_test(test_logins_are_metered),
		cmocka_unit_test(test_handshakes_are_metered),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_the_worker_goes),
		cmocka_unit_test(test_reload),
		cmocka_unit_test(test_reload_of_a_listener),
		cmocka_unit_test(test_mistakes_in_the_settings),
	};
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
