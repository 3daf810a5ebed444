/* test_failures.c - failed logins cost more and more; the same wrong password is one failure. */
#include "world.h"

#include "mmp/failures.h"

#define WRONG "a NO [AUTHENTICATIONFAILED] Authentication failed (id)\r\n"
#define GROWS "auth_failures_max 100; auth_failure_delay_max 1500ms;"

/* ---- the table alone -------------------------------------------------------------------------------- */

static unsigned note(
    struct failures *f, const char *from, const char *user, const char *secret, uint64_t now_ms)
{
	struct failure what = { .user = span_str(user),
		.secret_hash = meter_secret_hash(span_str(user), span_str(secret)) };
	bool again;
	assert_true(ip_parse(span_str(from), &what.client));
	unsigned n = failures_note(f, &what, now_ms, &again);
	return again ? 1000 + n : n;
}

static void test_counts(void **state)
{
	struct failures *f = failures_new();
	assert_int_equal(note(f, "192.0.2.1", "alice", "a", 1000), 1);
	assert_int_equal(note(f, "192.0.2.1", "alice", "a", 1000), 1001); /* the same */
	assert_int_equal(note(f, "192.0.2.1", "alice", "b", 1000), 2);
	assert_int_equal(note(f, "192.0.2.1", "bob", "b", 1000), 3);   /* the network's */
	assert_int_equal(note(f, "192.0.2.2", "alice", "b", 1000), 3); /* the account's */
	assert_int_equal(note(f, "192.0.2.2", "carol", "x", 1000), 2);
	assert_int_equal(note(f, "192.0.2.9", "dave", "", 1000), 1); /* no password was shown */
	assert_int_equal(note(f, "192.0.2.9", "dave", "", 1000), 2);
	assert_int_equal(note(f, "2001:db8::1", "eve", "a", 1000), 1);
	assert_int_equal(note(f, "2001:db8::2", "fred", "a", 1000), 2); /* a /64 */
	assert_int_equal(note(f, "2001:db8:0:1::2", "gina", "a", 1000), 1);
	assert_int_equal(note(f, "192.0.2.1", "alice", "a", 1000), 1003); /* in turns with "b" */
	assert_int_equal(note(f, "192.0.2.1", "alice", "b", 1000), 1003);
	assert_int_equal(
	    note(f, "192.0.2.1", "alice", "c", 61000), 3); /* one of each was forgotten */
	assert_int_equal(note(f, "192.0.2.1", "alice", "a", 61000), 4); /* three are a search */
	assert_int_equal(note(f, "192.0.2.1", "alice", "d", 3600000), 1);
	failures_free(&f);
}

/* However many come, it stays as large as it is, and who comes often is kept. */
static void test_a_flood(void **state)
{
	struct failures *f = failures_new();
	char from[64], user[32];
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(from, sizeof from, "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
		snprintf(user, sizeof user, "u%u", i);
		assert_int_equal(note(f, from, user, "x", 1000 + i), 1);
		if (i % 100 == 0) {
			snprintf(user, sizeof user, "%u", i);
			assert_int_equal(
			    note(f, "192.0.2.1", "alice", user, 1000 + i), i / 100 + 1);
		}
	}
	failures_free(&f);
}

/* ---- logins ----------------------------------------------------------------------------------------- */

/* A login with a wrong password; after how many steps of 100 ms its answer comes. */
static unsigned delay_of(const char *user, const char *secret)
{
	struct client c;
	unsigned steps = 0;
	client_open(&c, IMAP_OPEN);
	stream_printf(c.io, "a LOGIN %s %s\r\n", user, secret);
	for (settle(); strcmp(heard(&c), IMAP_OPEN_GREETING WRONG) != 0 && steps < 100; steps++) {
		world_pass(100);
		settle();
	}
	assert_string_equal(heard(&c), IMAP_OPEN_GREETING WRONG);
	client_leave(&c);
	return steps;
}

static void test_the_delay_grows(void **state)
{
	static const unsigned want[] = { 2, 2, 2, 4, 8, 15, 15 };
	char secret[32];
	struct client c;
	world_start(GROWS, NULL);
	world.store[0].script = world.store[1].script = imap_good;
	for (size_t i = 0; i < COUNT_OF(want); i++) {
		snprintf(secret, sizeof secret, "wrong%zu", i);
		unsigned steps = delay_of(i % 2 == 0 ? "alice" : "nobody", secret);
		if (steps != want[i])
			fail_msg("failure %zu: after %u00 ms", i + 1, steps);
	}
	client_open(&c, IMAP_OPEN); /* a success waits for nothing */
	client_send(&c, "a LOGIN alice alice-secret\r\n");
	settle();
	assert_string_equal(heard(&c), IMAP_OPEN_GREETING "a " IMAP_IN);
	client_leave(&c);
	world_pass(600000);
	assert_int_equal(delay_of("alice", "wrong"), 2); /* it is forgotten */
	world_end();
}

/* A mail program with an old password. */
static void test_the_same_password_again(void **state)
{
	struct client c;
	world_start(GROWS,
	    "directory { file users.ldif; default_domain example.org; } "
	    "metermaid { rule guesses { on auth; key client/32,64, user; rate 3/1h; } }");
	world.store[0].script = imap_good;
	for (int i = 0; i < 12; i++)
		assert_int_equal(delay_of("alice", "old-one"), 2);
	client_open(&c, IMAP_OPEN);
	client_send(&c, "a LOGIN alice alice-secret\r\n");
	settle();
	assert_string_equal(heard(&c), IMAP_OPEN_GREETING "a " IMAP_IN);
	client_leave(&c);
	assert_int_equal(logged("why=wrong_secret"), 12);
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_a_flood),
		cmocka_unit_test(test_the_delay_grows),
		cmocka_unit_test(test_the_same_password_again),
	};
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
