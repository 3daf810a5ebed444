/* test_load.c - connections to a store are capped, and logins wait in line for one. */
#include "world.h"

#define IN IMAP_OPEN_GREETING "a " IMAP_IN

static void begin(struct client *c, const char *user)
{
	client_open(c, IMAP_OPEN);
	stream_printf(c->io, "a LOGIN %s %s-secret\r\n", user, user);
	settle();
}

static void start(const char *mmp)
{
	world_start(mmp, NULL);
	world.store[0].script = world.store[1].script = imap_good;
}

/* The line moves in its order when sessions end; another store has a line of its own. */
static void test_in_line(void **state)
{
	struct client c[4], bob;
	start("store_connections_max 1;");
	for (int i = 0; i < 4; i++)
		begin(&c[i], "alice");
	expect(&c[0], IN);
	begin(&bob, "bob");
	settle();
	assert_string_equal(heard(&bob), IN);
	for (int i = 1; i < 4; i++) {
		assert_string_equal(heard(&c[i]), IMAP_OPEN_GREETING);
		client_close(&c[i - 1]);
		WAIT(strcmp(heard(&c[i]), IN) == 0);
		assert_int_equal(world.store[0].conn_n, i + 1);
	}
	client_close(&bob);
	client_leave(&c[3]);
	world_end();
}

static void test_the_line_does_not_move(void **state)
{
	struct client c[3];
	start("store_connections_max 1; store_queue_timeout 3s;");
	begin(&c[0], "alice");
	expect(&c[0], IN);
	begin(&c[1], "alice");
	begin(&c[2], "alice");
	world_pass(2999);
	settle();
	client_close(&c[2]); /* it may have closed its half only, and wait as well */
	settle();
	assert_string_equal(heard(&c[1]), IMAP_OPEN_GREETING);
	world_pass(1);
	expect(&c[1], IMAP_OPEN_GREETING "a " LATER);
	assert_int_equal(logged("why=store_full"), 2);
	assert_int_equal(world.store[0].conn_n, 1);
	client_close(&c[0]);
	settle();
	client_send(&c[1], "a LOGIN alice alice-secret\r\n"); /* there is room now */
	expect(&c[1], IMAP_OPEN_GREETING "a " LATER "a " IMAP_IN);
	client_leave(&c[1]);
	world_end();
}

static void test_a_full_line(void **state)
{
	struct client c[3];
	start("store store1 { connections_max 1; } store_queue_max 1;");
	for (int i = 0; i < 3; i++)
		begin(&c[i], "alice");
	assert_string_equal(heard(&c[1]), IMAP_OPEN_GREETING);
	assert_string_equal(heard(&c[2]), IMAP_OPEN_GREETING "a " LATER);
	client_close(&c[0]);
	WAIT(strcmp(heard(&c[1]), IN) == 0);
	client_close(&c[2]);
	client_leave(&c[1]);
	world_end();
}

/* A login that fails, at the dial or at the store, gives its place back. */
static void test_failures_give_way(void **state)
{
	static const char *const no[] = { STORE_GREETING, "C P3 ", "S P3 NO [UNAVAILABLE]", NULL };
	static const char *const bye[] = { "S * BYE full", NULL };
	static const char *const *const scripts[] = { no, bye, no };
	struct client c;
	start("store_connections_max 1; store_queue_max 0; store_retry_min 100ms; store_retry_max "
	      "100ms;");
	for (size_t i = 0; i < COUNT_OF(scripts); i++) {
		world.store[0].script = scripts[i];
		begin(&c, "alice");
		expect(&c, IMAP_OPEN_GREETING "a " LATER);
		client_leave(&c);
		world_pass(1000);
	}
	begin(&c, "buried");
	expect(&c, IMAP_OPEN_GREETING "a " LATER);
	client_leave(&c);
	world.store[0].script = imap_good;
	begin(&c, "both"); /* its first store is dead, and gives way to the second */
	expect(&c, IN);
	client_leave(&c);
	assert_int_equal(logged("why=store_full"), 0);
	world_end();
}

/* It takes connections and says nothing: a few wait for it, the others are told so at once, also while nobody could be
 * evicted for the users of another store; one that answers somebody is not silent, however many wait. */
static void test_a_silent_store(void **state)
{
	static const char *const mute[] = { "H", NULL };
	static const char *const no[] = { STORE_GREETING, "C P3 ", "S P3 NO [INUSE]", NULL };
	struct client c[3], other;
	start("store_silent_max 3; store_connect_timeout 2s; connections_prelogin_max 4; "
	      "store_retry_max 1s;");
	world.store[0].script = mute;
	for (int i = 0; i < 3; i++)
		begin(&c[i], "alice");
	settle_silent();
	assert_int_equal(world.store[0].conn_n, 3);
	world_pass(1800);
	world.store[0].script = no;
	begin(&other, "alice");
	WAIT(strstr(heard(&other), "a NO [INUSE]") !=
	     NULL); /* it is not silent yet, and now it has answered */
	client_close(&other);
	world_pass(1999);
	settle();
	begin(&other, "alice");
	WAIT(strstr(heard(&other), "a NO [INUSE]") != NULL);
	client_close(&other);
	world_pass(2000);
	settle();
	begin(&other, "alice");
	assert_string_equal(heard(&other), IMAP_OPEN_GREETING "a " LATER);
	client_close(&other);
	begin(&other, "bob");
	assert_string_equal(heard(&other), IN);
	client_close(&other);
	assert_int_equal(world.store[0].conn_n, 5);
	assert_int_equal(logged("why=silent"), 1);
	world_pass(20000); /* store_login_timeout: it is dead, and then it is back */
	expect(&c[2], IMAP_OPEN_GREETING "a " LATER);
	world.store[0].script = imap_good;
	world_pass(1000);
	client_send(&c[0], "a LOGIN alice alice-secret\r\n");
	expect(&c[0], IMAP_OPEN_GREETING "a " LATER "a " IMAP_IN);
	for (int i = 1; i < 3; i++)
		client_close(&c[i]);
	client_leave(&c[0]);
	world_end();
}

/* The worker goes while some wait. */
static void test_the_end(void **state)
{
	struct client c[3];
	start("store_connections_max 1;");
	for (int i = 0; i < 3; i++)
		begin(&c[i], "alice");
	mmp_free(&world.mmp);
	for (int i = 0; i < 3; i++)
		client_close(&c[i]);
	settle();
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_line),
		cmocka_unit_test(test_the_line_does_not_move),
		cmocka_unit_test(test_a_full_line),
		cmocka_unit_test(test_failures_give_way),
		cmocka_unit_test(test_a_silent_store),
		cmocka_unit_test(test_the_end),
	};
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
