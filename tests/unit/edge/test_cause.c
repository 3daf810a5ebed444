/* test_cause.c - status codes as words, and the rows of metrics that they become. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/metric.h"
#include "edge/queue_gauge.h"

static void test_words(void **state)
{
	static const struct {
		unsigned code;
		const char *enhanced;
		enum cause reason;
	} cases[] = {
		{ 0, "", CAUSE_NONE },
		{ 451, "4.4.1", CAUSE_CONNECT },
		{ 451, "4.4.2", CAUSE_CONNECTION },
		{ 451, "4.4.3", CAUSE_DNS },
		{ 550, "5.1.2", CAUSE_DNS },
		{ 550, "5.1.1", CAUSE_ADDRESS },
		{ 452, "4.2.2", CAUSE_QUOTA },
		{ 450, "4.2.1", CAUSE_MAILBOX },
		{ 552, "5.3.4", CAUSE_SIZE },
		{ 552, "5.2.3", CAUSE_SIZE },
		{ 451, "4.3.0", CAUSE_SYSTEM },
		{ 554, "5.4.6", CAUSE_ROUTE },
		{ 554, "5.4.7", CAUSE_EXPIRED },
		{ 501, "5.5.4", CAUSE_PROTOCOL },
		{ 554, "5.6.1", CAUSE_CONTENT },
		{ 451, "4.7.1", CAUSE_POLICY },
		{ 451, "4.7.5", CAUSE_TLS },
		{ 530, "5.7.10", CAUSE_TLS },
		{ 550, "5.7.26", CAUSE_POLICY },
		{ 421, "4.0.0", CAUSE_SYSTEM },
		{ 452, "", CAUSE_QUOTA },
		{ 550, "5.0.0", CAUSE_ADDRESS },
		{ 502, "5.0.0", CAUSE_PROTOCOL },
		{ 554, "5.0.0", CAUSE_OTHER },
		{ 554, "5.9.1", CAUSE_OTHER },
		{ 451, "4.4.999", CAUSE_ROUTE },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		if (cause_of(cases[i].code, cases[i].enhanced) != cases[i].reason)
			fail_msg("%u %s: %s", cases[i].code, cases[i].enhanced,
			    cause_word(cause_of(cases[i].code, cases[i].enhanced)));
}

static uint64_t value_of(const char *name)
{
	for (size_t i = 0; i < metric_count(); i++)
		if (strcmp(metric_at(i)->name, name) == 0)
			return metric_get(metric_at(i));
	return UINT64_MAX;
}

static void test_rows(void **state)
{
	size_t a = queue_gauge_slot(SPAN("aaa")), b = queue_gauge_slot(SPAN("bbb"));
	assert_int_not_equal(a, b);
	assert_int_equal(queue_gauge_slot(SPAN("aaa")), a);
	queue_gauge_set(b, GAUGE_DEPTH, 7);
	queue_gauge_add(b, GAUGE_ARRIVED, 2);
	queue_gauge_ended(b, GAUGE_LATER, CAUSE_TLS);
	queue_gauge_delay(b, PHASE_TALK, 30);
	assert_int_equal(value_of("postern_edge_channel_recipients{channel=\"aaa\"}"), 0);
	assert_int_equal(value_of("postern_edge_channel_recipients{channel=\"bbb\"}"), 7);
	assert_int_equal(value_of("postern_edge_channel_arrived_total{channel=\"bbb\"}"), 2);
	assert_int_equal(
	    value_of("postern_edge_channel_deferred_total{channel=\"bbb\",reason=\"tls\"}"), 1);
	assert_int_equal(
	    value_of("postern_edge_channel_delay_ms_total{channel=\"bbb\",phase=\"talk\"}"), 30);
	char name[16];
	size_t last = 0;
	for (int i = 0; i < GAUGES_MAX && last != SIZE_MAX; i++) {
		snprintf(name, sizeof name, "c%d", i);
		last = queue_gauge_slot(span_str(name));
	}
	assert_true(last == SIZE_MAX); /* and nothing happens */
	queue_gauge_set(last, GAUGE_DEPTH, 1);
	queue_gauge_ended(last, GAUGE_FAILED, CAUSE_DNS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_rows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
