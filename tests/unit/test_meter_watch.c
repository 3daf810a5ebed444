/* test_meter_watch.c - who looks on: filters, what does not fit is counted, who stops asking is forgotten. */
#include "metermaid/watch.h"
#include "tests/unit/meter/place.h"

static struct loop *l;
static struct watchers *w;

static int begin(void **state)
{
	l = loop_new();
	w = watchers_new(l);
	return 0;
}

static int end(void **state)
{
	watchers_free(&w);
	loop_free(&l);
	clock_fake_off();
	return 0;
}

/* What a question with these words gets; NULL: it is none. */
static const char *ask(const char *first, const char *second, const char *third)
{
	static struct buf out;
	const char *const words[] = { first, second, third };
	size_t n = second == NULL ? 1 : third == NULL ? 2 : 3;
	buf_end(&out);
	out = BUF_INIT(WATCH_BYTES * 2);
	return watchers_ask(w, words, n, &out) ? buf_cstr(&out) : NULL;
}

static void tell(const char *client, const char *user, const char *rule, enum meter_action action)
{
	struct decision d = { .letter = 'D',
		.us = 1764000000000000,
		.moment = METER_MAIL,
		.f = from(client, user),
		.rule = span_str(rule),
		.action = action };
	watchers_tell(w, &d);
}

static void tell_some(void)
{
	tell("192.0.2.1", "A@example.org", "", METER_ALLOW);
	tell("192.0.2.2", "b@example.org", "sent", METER_REFUSE);
	tell("2001:db8::1", "c\"<\n@example.org", "sent", METER_DEFER);
}

static size_t rows(const char *json)
{
	size_t n = 0;
	assert_non_null(json);
	for (const char *at = json; (at = strstr(at, "{\"at\":")) != NULL; at++)
		n++;
	return n;
}

static void test_filters(void **state)
{
	static const struct {
		const char *filter, *more;
		size_t rows;
	} cases[] = { { NULL, NULL, 3 }, { "limited", NULL, 2 }, { "rule=SENT", NULL, 2 },
		{ "rule=none", NULL, 0 }, { "on=mail", NULL, 3 }, { "on=rcpt", NULL, 0 },
		{ "client=192.0.2.0/24", NULL, 2 }, { "client=192.0.2.2", NULL, 1 },
		{ "client=2001:db8::/32", NULL, 1 }, { "user=a@example.ORG", NULL, 1 },
		{ "action=defer", NULL, 1 }, { "limited", "client=192.0.2.0/24", 1 } };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		begin(NULL);
		assert_string_equal(ask("me", cases[i].filter, cases[i].more), "[]");
		assert_true(watchers_are_here(w));
		tell_some();
		const char *said = ask("me", cases[i].filter, cases[i].more);
		if (rows(said) != cases[i].rows)
			fail_msg("%s: %s", cases[i].filter, said);
		assert_string_equal(ask("me", NULL, NULL), "[]"); /* fetched once */
		end(NULL);
	}
	begin(NULL);
	ask("me", NULL, NULL);
	tell_some();
	assert_non_null(strstr(ask("me", NULL, NULL), "\"user\":\"c\\\"<"));
}

static void test_what_is_no_filter(void **state)
{
	static const char *const bad[] = { "limited=x", "rule", "color=red", "client=nowhere", "",
		"=" };
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_non_null(strstr(ask("me", bad[i], NULL), "\"error\""));
	assert_false(watchers_are_here(w));
	assert_null(ask("", NULL, NULL));
	assert_null(ask("a-name-that-is-longer-than-any-that-a-tool-makes", NULL, NULL));
}

static void test_bounds(void **state)
{
	ask("slow", NULL, NULL);
	for (int i = 0; i < 10000; i++)
		tell("192.0.2.1", "user@example.org", "sent", METER_REFUSE);
	const char *said = ask("slow", NULL, NULL);
	assert_true(strlen(said) <= WATCH_BYTES + 32);
	const char *lost = strstr(said, "{\"lost\":");
	assert_non_null(lost);
	assert_int_equal(rows(said) + strtoul(lost + 8, NULL, 10), 10000);
	assert_string_equal(ask("slow", NULL, NULL), "[]");
	for (int i = 1; i < WATCHERS_MAX; i++) {
		char id[16];
		snprintf(id, sizeof id, "w%d", i);
		assert_string_equal(ask(id, NULL, NULL), "[]");
	}
	assert_non_null(strstr(ask("another", NULL, NULL), "too many"));
}

static void test_who_stops_asking(void **state)
{
	clock_fake(5000, 1764000000000000);
	begin(NULL);
	ask("gone", NULL, NULL);
	for (int i = 0; i < 30 && watchers_are_here(w); i++) {
		clock_fake_advance(WATCH_IDLE_MS / 10);
		loop_step(l, 0);
	}
	assert_false(watchers_are_here(w));
	tell_some();
	assert_string_equal(ask("gone", NULL, NULL), "[]"); /* begins again */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_filters, NULL, end),
		cmocka_unit_test_setup_teardown(test_what_is_no_filter, begin, end),
		cmocka_unit_test_setup_teardown(test_bounds, begin, end),
		cmocka_unit_test_setup_teardown(test_who_stops_asking, NULL, end),
	};
	return cmocka_run_group_tests_name("meter_watch", tests, NULL, NULL);
}
