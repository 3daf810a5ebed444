/* test_dry.c - dry runs: words, what is told, that nothing is counted or kept, and a worker that goes meanwhile. */
#include "tests/unit/edge/session_bench.h"

#include "edge/dry.h"

static void test_words(void **state)
{
	static const struct {
		const char *words[20];
		bool good;
	} cases[] = {
		{ { "--ip", "192.0.2.1", "--from", "", "--rcpt", "a@b" }, true },
		{ { "--ip", "192.0.2.1", "--from", "<>", "--rcpt", "a@b", "--rcpt", "c@d" }, true },
		{ { "--ip", "2001:db8::1", "--helo", "x", "--from", "a", "--rcpt", "b", "--user",
		      "u", "--listener", "mx" },
		    true },
		{ { "--ip", "192.0.2.1", "--from", "a" }, false },
		{ { "--from", "a", "--rcpt", "b" }, false },
		{ { "--ip", "192.0.2.1", "--rcpt", "b" }, false },
		{ { "--ip", "192.0.2.300", "--from", "a", "--rcpt", "b" }, false },
		{ { "--ip", "192.0.2.1", "--from", "a", "--rcpt" }, false },
		{ { "--ip", "192.0.2.1", "--from", "a", "--rcpt", "b", "--what", "c" }, false },
		{ { "--ip", "192.0.2.1", "--from", "a\r\nDATA", "--rcpt", "b" }, false },
		{ { "--ip", "192.0.2.1", "--from", "a", "--rcpt", "1", "--rcpt", "2", "--rcpt", "3",
		      "--rcpt", "4", "--rcpt", "5", "--rcpt", "6", "--rcpt", "7", "--rcpt", "8" },
		    true },
	};
	struct dry_ask ask;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		size_t n = 0;
		while (n < COUNT_OF(cases[i].words) && cases[i].words[n] != NULL)
			n++;
		assert_int_equal(dry_parse(cases[i].words, n, &ask) == NULL, cases[i].good);
	}
	const char *many[30];
	for (size_t i = 0; i < COUNT_OF(many); i += 2) {
		many[i] = "--rcpt";
		many[i + 1] = "x";
	}
	assert_non_null(dry_parse(many, COUNT_OF(many), &ask));
}

struct told {
	bool done;
	uint32_t id;
	char json[16384];
};

static void on_told(void *arg, uint32_t id, struct span json)
{
	struct told *t = arg;
	assert_false(t->done);
	t->done = true;
	t->id = id;
	snprintf(t->json, sizeof t->json, "%.*s", SPAN_ARG(json));
}

static struct dry_ask question(const char *listener, const char *sender, const char *recipient)
{
	struct dry_ask ask = { .listener = listener,
		.helo = "c.example",
		.sender = sender,
		.recipients = { recipient },
		.n = 1 };
	assert_true(ip_parse(SPAN("192.0.2.1"), &ask.client));
	return ask;
}

static void check_told(struct dry_ask ask, const char *want)
{
	struct told t = { .done = false };
	const char *why;
	uint64_t until = clock_mono_ms() + TALK_MS;
	struct dry *d = dry_start(edge, &ask, &why);
	assert_non_null(d);
	dry_answer_to(d, on_told, &t, 7);
	assert_false(t.done);
	while (!t.done) {
		loop_step(loop, 20);
		assert_true(clock_mono_ms() < until);
	}
	if (strstr(t.json, want) == NULL)
		print_error("%s\n", t.json);
	assert_non_null(strstr(t.json, want));
	assert_int_equal(t.id, 7);
	assert_int_equal(edge->session_n, 0);
	assert_int_equal(map_count(edge->clients), 0);
	assert_true(list_empty(&edge->dries));
}

static void test_answers(void **state)
{
	check_told(question(NULL, "s@far.example", "alice@example.org"),
	    "\"RCPT TO:<alice@example.org>: 250 2.1.5");
	check_told(question("mx", "", "x@far.example"), "550 5.7.1 relay denied");
	check_told(question("internal", "", "nobody@example.org"), "550 5.1.1");
	check_told(question("submission", "a@example.org", "alice@example.org"), "530 5.7.0");
	check_told(question("strict", "a b", "alice@example.org"), "MAIL FROM:<a b>: 5");
	struct dry_ask ask = question("submission", "bob@example.org", "x@far.example");
	ask.user = "bob@example.org";
	check_told(ask, "RCPT TO:<x@far.example>: 250");
}

static void test_nothing_is_counted(void **state)
{
	struct dry_ask ask = question("mx", "s@far.example", "alice@example.org");
	assert_true(ip_parse(SPAN("198.18.0.9"), &ask.client)); /* rate 3/1h, one at a time */
	given.calls = 0;
	for (int i = 0; i < 6; i++)
		check_told(ask, "250 2.1.5");
	assert_int_equal(given.calls, 0);
}

static void test_no_listener(void **state)
{
	struct dry_ask ask = question("none", "", "alice@example.org");
	const char *why;
	assert_null(dry_start(edge, &ask, &why));
	assert_non_null(why);
}

/* The worker goes after each number of rounds: nobody is told, nothing is left. */
static void test_worker_goes(void **state)
{
	for (int rounds = 0; rounds < 12; rounds++) {
		struct dry_ask ask = question("mx", "s@far.example", "alice@example.org");
		struct told t = { .done = false };
		const char *why;
		struct dry *d = dry_start(edge, &ask, &why);
		assert_non_null(d);
		dry_answer_to(d, on_told, &t, 1);
		for (int i = 0; i < rounds; i++)
			loop_step(loop, 0);
		edge_again();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_nothing_is_counted),
		cmocka_unit_test(test_no_listener),
		cmocka_unit_test(test_worker_goes),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
