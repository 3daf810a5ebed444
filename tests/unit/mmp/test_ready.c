/* test_ready.c - dead stores are asked without a login, and what /healthz/ready makes of them. */
#include "world.h"

#include "mmp/store_watch.h"

static const char *const dead[] = { "X", NULL };
static const char *const greets[] = { "S * OK hi", "H", NULL };

/* Who logs in to which store, and what the store does. */
static void login(const char *user, const char *const *script, const char *answer)
{
	struct client c;
	world.store[0].script = world.store[1].script = script;
	client_open(&c, IMAP_OPEN);
	stream_printf(c.io, "a LOGIN %s %s-secret\r\n", user, user);
	WAIT(strstr(heard(&c), answer) != NULL);
	client_leave(&c);
}

static bool ready(void)
{
	return store_watch_ready(world.mmp);
}

/* Seconds go by until the host is ready again, or not. */
static bool ready_within(unsigned s)
{
	for (unsigned i = 0; i < s && !ready(); i++) {
		settle();
		world_pass(1000);
		settle();
	}
	return ready();
}

static void test_one_is_enough(void **state)
{
	world_start("ready_stores any;", NULL);
	assert_true(ready());
	login("bob", imap_good, "a OK");
	login("alice", imap_good, "a OK");
	login("alice", dead, "a NO [UNAVAILABLE]");
	assert_true(ready());
	login("bob", dead, "a NO [UNAVAILABLE]");
	assert_false(ready());
	world_end();
	world_start("ready_stores any;", NULL);
	login("alice", dead, "a NO [UNAVAILABLE]"); /* nobody has reached it: it does not count */
	assert_true(ready());
	world_end();
	assert_int_equal(metric_get(&mmp_metrics[MMP_M_DOWN_IMAP]), 0);
}

static void test_all_must_be_there(void **state)
{
	world_start("ready_stores all;", NULL);
	login("bob", imap_good, "a OK");
	login("alice", imap_good, "a OK");
	login("alice", dead, "a NO [UNAVAILABLE]");
	assert_false(ready());
	world_end();
	world_start("ready_stores none;", NULL);
	login("alice", imap_good, "a OK");
	login("alice", dead, "a NO [UNAVAILABLE]");
	assert_true(ready());
	world_end();
}

/* No login comes: the store is asked, says no more than its greeting, and hears nothing at all. */
static void test_it_returns_by_itself(void **state)
{
	world_start("ready_stores any; store_facts none;", NULL);
	login("alice", imap_good, "a OK");
	login("alice", dead, "a NO [UNAVAILABLE]");
	assert_false(ready_within(20));
	assert_true(logged("store.failed") > 2);
	buf_clear(&world.store[0].seen);
	world.store[0].script = greets;
	assert_true(ready_within(40));
	assert_int_equal(logged("store.back"), 1);
	assert_int_equal(buf_len(&world.store[0].seen), 0);
	world_end();
}

/* A store that greets and has no TLS stays dead. */
static void test_tls_is_asked_for(void **state)
{
	static const char *const good[] = { "S * OK hi", "C P1 STARTTLS", "S P1 OK", "T",
		"C P2 CAPABILITY", "R * CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\nP2 OK\r\n",
		"C P3 AUTHENTICATE PLAIN ", IMAP_DONE, "E", NULL };
	static const char *const refuses[] = { "S * OK hi", "C P1 STARTTLS", "S P1 NO no", NULL };
	static const char *const takes[] = { "S * OK hi", "C P1 STARTTLS", "S P1 OK", "T", "H",
		NULL };
	world_start("ready_stores any; store_tls starttls; store_verify none;", NULL);
	login("alice", good, "a OK");
	login("alice", refuses, "a NO [UNAVAILABLE]");
	assert_false(ready_within(20));
	world.store[0].script = takes;
	assert_true(ready_within(40));
	world_end();
}

static void test_other_protocols(void **state)
{
	static const char *const pop3[] = { "S +OK hi", "H", NULL };
	static const char *const bad[] = { "S -ERR no", NULL };
	struct client c;
	world_start("ready_stores any; store store1 { facts proxy; }", NULL);
	static const char *const header[] = { "P", "S +OK store ready", "C USER ", "S +OK",
		"C PASS ", "S +OK in", "L", "E", NULL };
	world.store[0].script = header;
	for (int i = 0; i < 2; i++) {
		client_open(&c, POP3_OPEN);
		client_send(&c, "USER alice\r\nPASS alice-secret\r\n");
		WAIT(strstr(heard(&c), i == 0 ? "Logged in" : "-ERR [SYS/TEMP]") != NULL);
		client_leave(&c);
		world.store[0].script = bad;
	}
	assert_int_equal(metric_get(&mmp_metrics[MMP_M_DOWN_POP3]), 1);
	assert_false(ready());
	world.store[0].script = pop3;
	assert_true(ready_within(40));
	world_end();
}

/* A store that nobody wants any more is none that is missing. */
static void test_it_is_forgotten(void **state)
{
	world_start("ready_stores all;", NULL);
	login("alice", imap_good, "a OK");
	login("alice", dead, "a NO [UNAVAILABLE]");
	assert_false(ready_within(3500));
	assert_true(ready_within(200));
	world_end();
}

/* A greeting of the edge has the word, or has not, before anybody has logged in. */
static bool shows(const char *word)
{
	struct client c;
	client_open(&c, IMAP_OPEN);
	WAIT(strstr(heard(&c), "* OK") != NULL);
	bool there = strstr(heard(&c), word) != NULL;
	client_leave(&c);
	return there;
}

/* Stores that the settings name say what they can do before a login reaches them; one that is away when it is back. */
static void test_named_stores_are_asked_first(void **state)
{
	static const char *const all[] = { "S * OK [CAPABILITY IMAP4rev1 X-ONE X-TWO] hi", "H",
		NULL };
	static const char *const some[] = { "S * OK hi", "C P2 CAPABILITY",
		"S * CAPABILITY IMAP4rev1 X-ONE", "S P2 OK done", "H", NULL };
	world_only = "protocol imap"; /* the scripts speak nothing else */
	world_start(
	    "imap_capability IMAP4rev1, X-ONE, X-TWO, X-NONE; store store1 { } store store2 { }",
	    NULL);
	world_only = "protocol ";
	world.store[0].script = all;
	world.store[1].script = dead;
	assert_true(shows("X-NONE"));
	store_watch_configured(world.mmp->watch);
	WAIT(!shows("X-NONE"));
	assert_true(shows("X-TWO") && shows("X-ONE"));
	world.store[1].script = some;
	for (int i = 0; i < 600 && shows("X-TWO"); i++) {
		settle();
		world_pass(1000);
		settle();
	}
	assert_false(shows("X-TWO"));
	assert_true(shows("X-ONE"));
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_is_enough),
		cmocka_unit_test(test_all_must_be_there),
		cmocka_unit_test(test_it_returns_by_itself),
		cmocka_unit_test(test_tls_is_asked_for),
		cmocka_unit_test(test_other_protocols),
		cmocka_unit_test(test_it_is_forgotten),
		cmocka_unit_test(test_named_stores_are_asked_first),
	};
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
