/* test_priority.c - how urgent a header says that a message is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "proto/priority.h"

static void test_header(void **state)
{
	static const struct {
		const char *header;
		int level;
	} cases[] = {
		{ "", 0 },
		{ "Subject: urgent\r\n\r\nPriority: urgent\r\n", 0 },
		{ "Priority: urgent\r\n\r\n", 4 },
		{ "PRIORITY: Non-Urgent\r\n\r\n", -4 },
		{ "X-Priority: 1 (Highest)\r\n\r\n", 4 },
		{ "X-Priority: 5\r\nPriority: urgent\r\n\r\n", 4 },
		{ "X-Priority: 5\r\nPriority: perhaps\r\n\r\n", -4 },
		{ "Importance: high\r\nPrecedence: bulk\r\n\r\n", 4 },
		{ "Importance: low\r\n\r\n", -4 },
		{ "Precedence:\r\n bulk\r\n\r\n", -4 },
		{ "Precedence: list\r\n\r\n", -4 },
		{ "X-Priority: 11\r\n\r\n", 0 },
		{ "Priority: urgently\r\n\r\n", 0 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(priority_of_header(span_str(cases[i].header)), cases[i].level);
		for (size_t n = 0; n < strlen(cases[i].header); n++) {
			char *part = mem_copy(cases[i].header, n);
			int level = priority_of_header(span_of(part, n));
			assert_true(level == 0 || level == 4 || level == -4);
			mem_free(part);
		}
	}
}

static void test_levels(void **state)
{
	static const char *const bad[] = { "", "-", "10", "-10", "+1", "1 ", "x" };
	int level = 77;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(priority_parse(span_str(bad[i]), &level));
	assert_true(priority_parse(SPAN("-9"), &level) && level == PRIORITY_LEAST);
	assert_true(priority_parse(SPAN("9"), &level) && level == PRIORITY_MOST);
	assert_true(priority_parse(SPAN("-0"), &level) && level == 0);
	assert_int_equal(priority_class_of(9), PRIORITY_URGENT);
	assert_int_equal(priority_class_of(0), PRIORITY_NORMAL);
	assert_int_equal(priority_class_of(-1), PRIORITY_NONURGENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_levels),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
