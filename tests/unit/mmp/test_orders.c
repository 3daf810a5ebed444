/* test_orders.c - an operator's orders: sessions are ended, at once and over a time; logins are held. */
#include "world.h"

#include "mmp/orders.h"

#define BYE "* BYE Ended by the administrator, connect again\r\n"

/* The order's answer; words between spaces. */
static const char *order(const char *text)
{
	static struct buf out;
	static char copy[600];
	const char *words[8];
	size_t n = 0;
	snprintf(copy, sizeof copy, "%s", text);
	for (char *w = copy; *w != '\0' && n < COUNT_OF(words); n++) {
		words[n] = w;
		w += strcspn(w, " ");
		if (*w == ' ')
			*w++ = '\0';
	}
	buf_end(&out);
	out = BUF_INIT(10000);
	return orders_control(world.mmp->orders, &(struct control_ask){ words, n }, &out)
		   ? buf_cstr(&out)
		   : "unknown";
}

static void log_in(struct client *c, enum port_id at, const char *user)
{
	size_t had = world.mmp->piped_n;
	client_open(c, at);
	if (at == POP3_OPEN)
		stream_printf(c->io, "USER %s\r\nPASS %s-secret\r\n", user, user);
	else
		stream_printf(c->io, "a LOGIN %s %s-secret\r\n", user, user);
	WAIT(world.mmp->piped_n == had + 1);
	settle();
}

static void start(void)
{
	world_start("", NULL);
	world.store[0].script = imap_good;
	world.store[1].script = imap_good;
}

static void test_kick_by(void **state)
{
	static const struct {
		const char *order, *answer;
		bool alice, bob; /* are ended */
	} rows[] = {
		{ "kick user ALICE@example.org",
		    "{\"kind\":\"user\",\"value\":\"ALICE@example.org\",\"sessions\":1}", true,
		    false },
		{ "kick store store2", "{\"kind\":\"store\",\"value\":\"store2\",\"sessions\":1}",
		    false, true },
		{ "kick client 127.0.0.0/8",
		    "{\"kind\":\"client\",\"value\":\"127.0.0.0/8\",\"sessions\":2}", true, true },
		{ "kick client ::/0", "{\"kind\":\"client\",\"value\":\"::/0\",\"sessions\":2}",
		    true, true },
		{ "kick client 127.0.0.1",
		    "{\"kind\":\"client\",\"value\":\"127.0.0.1\",\"sessions\":2}", true, true },
		{ "kick client 127.0.0.2", "[]", false, false },
		{ "kick user carol", "[]", false, false },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client alice, bob;
		start();
		log_in(&alice, IMAP_OPEN, "alice");
		log_in(&bob, IMAP_OPEN, "bob");
		world_pass(500);
		assert_string_equal(order(rows[i].order), rows[i].answer);
		WAIT(alice.ended == rows[i].alice && bob.ended == rows[i].bob);
		settle();
		assert_int_equal(alice.ended, rows[i].alice);
		assert_int_equal(bob.ended, rows[i].bob);
		assert_int_equal(strstr(heard(&alice), BYE) != NULL, rows[i].alice);
		assert_int_equal(logged("why=kicked"), rows[i].alice + rows[i].bob);
		client_close(&bob);
		client_leave(&alice);
		world_end();
	}
}

/* By the session's id; and no word in the middle of what the store says, nor to a POP3 client. */
static void test_kick_without_a_word(void **state)
{
	struct client c;
	char text[100];
	start();
	log_in(&c, IMAP_OPEN, "alice");
	snprintf(
	    text, sizeof text, "kick id %.*s", IDENT_LEN, strstr(log_text(), "login.ok id=") + 12);
	order(text);
	WAIT(c.ended);
	assert_null(strstr(heard(&c), "BYE"));
	client_leave(&c);
	world.store[0].script = pop3_good;
	log_in(&c, POP3_OPEN, "alice");
	world_pass(1000);
	order("kick user alice@example.org");
	WAIT(c.ended);
	assert_string_equal(heard(&c), POP3_GREETING "+OK Now the password\r\n+OK Logged in\r\n");
	client_leave(&c);
	world_end();
}

/* A client's address also ends those who have not logged in. */
static void test_kick_before_login(void **state)
{
	struct client c;
	start();
	client_open(&c, IMAP_OPEN);
	expect(&c, IMAP_OPEN_GREETING);
	assert_string_equal(order("kick client 127.0.0.1"),
	    "{\"kind\":\"client\",\"value\":\"127.0.0.1\",\"sessions\":1}");
	expect_end(&c, IMAP_OPEN_GREETING
	    "* BYE [UNAVAILABLE] The server is going down, connect again (id)\r\n");
	client_leave(&c);
	world_end();
}

static void test_kick_over_a_time(void **state)
{
	enum { MANY = 20 };
	struct client c[MANY];
	start();
	for (int i = 0; i < MANY; i++)
		log_in(&c[i], IMAP_OPEN, "alice");
	assert_non_null(strstr(order("kick store store1 9"), "\"sessions\":20}"));
	settle();
	for (size_t left = MANY - 2; left > 0; left -= 2) {
		assert_int_equal(world.mmp->piped_n, left);
		world_pass(1000);
		settle();
	}
	assert_int_equal(world.mmp->piped_n, 0);
	for (int i = 1; i < MANY; i++)
		client_close(&c[i]);
	client_leave(&c[0]);
	log_in(&c[0], IMAP_OPEN, "alice"); /* it is over: no more are ended */
	world_pass(5000);
	settle();
	assert_int_equal(world.mmp->piped_n, 1);
	client_leave(&c[0]);
	world_end();
}

/* The worker goes in the middle of it. */
static void test_an_end_in_the_middle(void **state)
{
	struct client c[3];
	start();
	for (int i = 0; i < 3; i++)
		log_in(&c[i], IMAP_OPEN, "alice");
	order("kick user alice@example.org 60");
	order("hold user alice@example.org");
	mmp_free(&world.mmp);
	for (int i = 0; i < 3; i++)
		client_close(&c[i]);
	settle();
	world_end();
}

static void try_login(const char *user, const char *want)
{
	struct client c;
	char text[300];
	client_open(&c, IMAP_OPEN);
	stream_printf(c.io, "a LOGIN %s %s-secret\r\n", user, user);
	snprintf(text, sizeof text, IMAP_OPEN_GREETING "%s", want);
	expect(&c, text);
	client_leave(&c);
}

static void test_holds(void **state)
{
	start();
	assert_string_equal(order("holds"), "[]");
	assert_string_equal(order("hold user Alice@example.org 60"),
	    "{\"kind\":\"user\",\"value\":\"Alice@example.org\",\"left_s\":60}");
	try_login("alice", "a " LATER);
	try_login("bob", "a " IMAP_IN);
	assert_int_equal(logged("why=held"), 1);
	order("hold store store2");
	try_login("bob", "a " LATER);
	assert_non_null(
	    strstr(order("holds"), ",{\"kind\":\"store\",\"value\":\"store2\",\"left_s\":"));
	assert_non_null(strstr(order("release user alice@EXAMPLE.org"), "\"left_s\":0}"));
	assert_string_equal(order("release user alice@example.org"), "[]");
	try_login("alice", "a " IMAP_IN);
	world_pass(600000);
	try_login("bob", "a " IMAP_IN); /* a hold that was forgotten */
	assert_string_equal(order("holds"), "[]");
	world_end();
}

/* A held store is passed over as long as there is another; "both" is on one that is dead, too. */
static void test_a_held_store_is_passed_over(void **state)
{
	start();
	order("hold store dead");
	try_login("both", "a " IMAP_IN);
	assert_int_equal(logged("store.failed"), 0);
	assert_int_equal(logged("why=\"held by order\""), 1);
	world_end();
}

static void test_what_is_no_order(void **state)
{
	static const char *const rows[][2] = {
		{ "who", "unknown" },
		{ "kick", "{\"error\":\"expected: KIND VALUE [SECONDS]\"}" },
		{ "kick user", "{\"error\":\"expected: KIND VALUE [SECONDS]\"}" },
		{ "kick user a 1 2", "{\"error\":\"expected: KIND VALUE [SECONDS]\"}" },
		{ "kick all x", "{\"error\":\"kick what? user, client, store or id\"}" },
		{ "kick client alice", "{\"error\":\"not an address or a network\"}" },
		{ "kick user a soon", "{\"error\":\"not a number of seconds\"}" },
		{ "kick user a 604801", "{\"error\":\"not a number of seconds\"}" },
		{ "hold client a", "{\"error\":\"hold what? user or store\"}" },
		{ "hold user a -1", "{\"error\":\"not a number of seconds\"}" },
	};
	char text[64];
	start();
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		assert_string_equal(order(rows[i][0]), rows[i][1]);
	for (int i = 0; i < 256; i++) {
		snprintf(text, sizeof text, "hold user u%d", i);
		assert_non_null(strstr(order(text), "\"left_s\":600}"));
	}
	assert_string_equal(order("hold user one-more"), "{\"error\":\"too many holds\"}");
	assert_non_null(strstr(order("hold user u7 30"), "\"left_s\":30}"));
	world_end();
}

/* What the master keeps, and says again to those who come after. */
static void test_orders_that_stand(void **state)
{
	static const struct {
		const char *words[5];
		size_t n;
		const char *word;
		uint64_t seconds;
	} rows[] = {
		{ { "hold", "user", "a" }, 3, "hold", 600 },
		{ { "hold", "store", "a", "5" }, 4, "hold", 5 },
		{ { "hold", "user", "a", "0" }, 4, "hold", 0 },
		{ { "release", "user", "a" }, 3, "hold", 0 },
		{ { "kick", "store", "a" }, 3, "kick", 30 },
		{ { "kick", "user", "a", "7" }, 4, "kick", 7 },
		{ { "kick", "user", "a" }, 3, NULL, 0 }, /* done at once */
		{ { "kick", "store", "a", "0" }, 4, NULL, 0 },
		{ { "hold", "client", "a" }, 3, NULL, 0 },
		{ { "release", "id", "a" }, 3, NULL, 0 },
		{ { "hold", "user", "a", "many" }, 4, NULL, 0 },
		{ { "hold", "user", "a", "1", "2" }, 5, NULL, 0 },
		{ { "hold", "user" }, 2, NULL, 0 },
		{ { "holds" }, 1, NULL, 0 },
		{ { "who", "user", "a" }, 3, NULL, 0 },
		{ { "" }, 0, NULL, 0 },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct standing_order o;
		bool stands = orders_stands(&(struct control_ask){ rows[i].words, rows[i].n }, &o);
		assert_int_equal(stands, rows[i].word != NULL);
		if (!stands)
			continue;
		assert_string_equal(o.word, rows[i].word);
		assert_string_equal(o.kind, rows[i].words[1]);
		assert_string_equal(o.value, "a");
		assert_int_equal(o.seconds, rows[i].seconds);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kick_by),
		cmocka_unit_test(test_kick_without_a_word),
		cmocka_unit_test(test_kick_before_login),
		cmocka_unit_test(test_kick_over_a_time),
		cmocka_unit_test(test_an_end_in_the_middle),
		cmocka_unit_test(test_holds),
		cmocka_unit_test(test_a_held_store_is_passed_over),
		cmocka_unit_test(test_what_is_no_order),
		cmocka_unit_test(test_orders_that_stand),
	};
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
