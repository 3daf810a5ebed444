/* test_schedule.c - a channel's tables of waits and notices, by class of priority; and mistakes in them. */
#include "tests/unit/edge/place.h"

#include "edge/channel.h"

enum { MINUTE = 60 * 1000, HOUR = 60 * MINUTE };

static const char head[] =
    "hostname edge.example;\nrun_dir %s;\n"
    "directory { backend file; file users.ldif; }\n"
    "edge { smtp_tls none; listener mx { address 127.0.0.1:25; role mx; tls "
    "none; }\nqueue_retry_first 1m; queue_retry_max 10m; queue_lifetime 2d;\n"
    "delay_notice 4h; delay_notice_every 1h;\nchannel smtp { %s } }\n";

static struct conf *load_channel(const char *options, struct conf_diag *d)
{
	char text[2000];
	snprintf(text, sizeof text, head, dir, options);
	write_file("postern.conf", text);
	return d != NULL ? load_from(dir, d) : load();
}

static struct schedule times_of(const char *options)
{
	struct conf *c = load_channel(options, NULL);
	struct channel ch = channel_of(conf_section(c, &edge_block), DEST_DOMAIN);
	conf_unref(&c);
	return ch.times;
}

static void test_doubling(void **state)
{
	struct schedule s = times_of("");
	const uint64_t normal[] = { 1, 2, 4, 8, 10, 10 };
	for (size_t i = 0; i < COUNT_OF(normal); i++) {
		uint32_t attempts = (uint32_t)i + 1;
		uint64_t ms = normal[i] * MINUTE;
		assert_int_equal(schedule_wait(&s, PRIORITY_NORMAL, attempts), ms);
		assert_int_equal(schedule_wait(&s, PRIORITY_URGENT, attempts), ms / 2);
		assert_int_equal(schedule_wait(&s, PRIORITY_NONURGENT, attempts), ms * 2);
	}
	assert_int_equal(schedule_wait_max(&s), 20 * MINUTE);
	assert_int_equal(schedule_wait(&s, PRIORITY_NORMAL, UINT32_MAX), 10 * MINUTE);
}

static void test_backoff(void **state)
{
	struct schedule s =
	    times_of("backoff 5m, 30m, 1h; urgent_backoff 1m; nonurgent_backoff 1h, 3h;");
	const struct {
		enum priority_class class;
		uint64_t minutes[4];
	} cases[] = {
		{ PRIORITY_URGENT, { 1, 1, 1, 1 } },
		{ PRIORITY_NORMAL, { 5, 30, 60, 60 } },
		{ PRIORITY_NONURGENT, { 60, 180, 180, 180 } },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		for (uint32_t k = 0; k < 4; k++)
			assert_int_equal(
			    schedule_wait(&s, cases[i].class, k + 1), cases[i].minutes[k] * MINUTE);
	assert_int_equal(schedule_wait(&s, PRIORITY_NORMAL, 0), 5 * MINUTE);
	assert_int_equal(schedule_wait_max(&s), 180 * MINUTE);
}

/* A class without a table of its own, and none for all: it doubles as ever. */
static void test_one_class(void **state)
{
	struct schedule s = times_of("normal_backoff 7m;");
	assert_int_equal(schedule_wait(&s, PRIORITY_NORMAL, 3), 7 * MINUTE);
	assert_int_equal(schedule_wait(&s, PRIORITY_URGENT, 3), 2 * MINUTE);
	assert_int_equal(schedule_wait_max(&s), 20 * MINUTE);
}

static void test_notices(void **state)
{
	struct schedule s =
	    times_of("notices 1h, 5h, 1d; urgent_notices 30m; normal_notices 2h, 6h;");
	assert_int_equal(schedule_lifetime(&s, PRIORITY_URGENT), HOUR / 2);
	assert_int_equal(schedule_lifetime(&s, PRIORITY_NORMAL), 6 * HOUR);
	assert_int_equal(schedule_lifetime(&s, PRIORITY_NONURGENT), 24 * HOUR);
	assert_int_equal(schedule_notice(&s, PRIORITY_URGENT, 0), UINT64_MAX); /* it ends then */
	assert_int_equal(schedule_notice(&s, PRIORITY_NORMAL, 0), 2 * HOUR);
	assert_int_equal(schedule_notice(&s, PRIORITY_NORMAL, 1), UINT64_MAX);
	assert_int_equal(schedule_notice(&s, PRIORITY_NONURGENT, 1), 5 * HOUR);
	assert_int_equal(schedule_notices(&s, PRIORITY_NONURGENT, HOUR - 1), 0);
	assert_int_equal(schedule_notices(&s, PRIORITY_NONURGENT, HOUR), 1);
	assert_int_equal(schedule_notices(&s, PRIORITY_NONURGENT, 100 * HOUR), 2);
}

static void test_general_notices(void **state)
{
	struct schedule s = times_of("");
	assert_int_equal(schedule_lifetime(&s, PRIORITY_URGENT), 48 * HOUR);
	assert_int_equal(schedule_notices(&s, PRIORITY_NORMAL, 4 * HOUR - 1), 0);
	assert_int_equal(schedule_notices(&s, PRIORITY_NORMAL, 4 * HOUR), 1);
	assert_int_equal(schedule_notices(&s, PRIORITY_NORMAL, 7 * HOUR), 4);
	assert_int_equal(schedule_notices(&s, PRIORITY_NORMAL, UINT64_MAX - 1), 255);
	s.notice_every = 0;
	assert_int_equal(schedule_notices(&s, PRIORITY_NORMAL, UINT64_MAX - 1), 1);
	assert_int_equal(schedule_notice(&s, PRIORITY_NORMAL, 1), UINT64_MAX);
}

static void test_mistakes(void **state)
{
	static const char *const bad[] = {
		"backoff 1m, 1m, 1m, 1m, 1m, 1m, 1m, 1m, 1m;",
		"backoff soon;",
		"urgent_backoff 1ms;",
		"nonurgent_backoff 2d;",
		"notices 1h, 2h, 3h, 4h, 5h, 6h;",
		"notices 2h, 1h;",
		"normal_notices 1h, 1h;",
		"notices 40d;",
		"backoff 1m; retry_first 1m;",
		"notices 1h; lifetime 2h;",
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct conf_diag *d = conf_diag_new();
		assert_null(load_channel(bad[i], d));
		assert_int_equal(conf_error_count(d), 1);
		conf_diag_free(&d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_doubling),
		cmocka_unit_test(test_backoff),
		cmocka_unit_test(test_one_class),
		cmocka_unit_test(test_notices),
		cmocka_unit_test(test_general_notices),
		cmocka_unit_test(test_mistakes),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
