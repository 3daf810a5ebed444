/* test_dnsbl.c - DNS lists: patterns of answers, and when a list is not to be believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "edge/dnsbl_codes.h"
#include "edge/dnsbl_health.h"

static bool matches(const char *pattern, const char *address)
{
	struct dnsbl_code c;
	struct ip_addr a;
	assert_true(ip_parse(span_str(address), &a));
	return dnsbl_code_parse(span_str(pattern), &c) && dnsbl_code_matches(&c, a);
}

static void test_codes(void **state)
{
	static const char *const bad[] = { "", "127", "127.0.0", "127.0.0.2.3", "128.0.0.2",
		"127.0.0.", "127.0.0.256", "127.0.0.7-4", "127.0.0.-4", "127.0.0.4-", "127..0.2",
		"127.0.0.2 ", "*.0.0.2", "126-127.0.0.2", "127.0.0.**" };
	struct dnsbl_code c;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(dnsbl_code_parse(span_str(bad[i]), &c));
	assert_true(matches("127.0.0.2", "127.0.0.2"));
	assert_false(matches("127.0.0.2", "127.0.0.3"));
	assert_true(matches("127.0.0.4-7", "127.0.0.4"));
	assert_true(matches("127.0.0.4-7", "127.0.0.7"));
	assert_false(matches("127.0.0.4-7", "127.0.0.8"));
	assert_false(matches("127.0.0.4-7", "127.0.0.3"));
	assert_true(matches("127.0.*.3", "127.0.15.3"));
	assert_false(matches("127.0.*.3", "127.1.15.3"));
	assert_true(matches("127.*.*.*", "127.255.254.3"));
	assert_false(matches("127.*.*.*", "2001:db8::7f00:2"));
}

static void test_kinds(void **state)
{
	static const struct {
		const char *address;
		enum dnsbl_kind want;
	} cases[] = {
		{ "127.0.0.2", DNSBL_CODE },
		{ "127.255.254.254", DNSBL_CODE },
		{ "127.255.255.1", DNSBL_ERROR },
		{ "127.255.255.254", DNSBL_ERROR },
		{ "192.0.2.80", DNSBL_FOREIGN },
		{ "126.255.255.254", DNSBL_FOREIGN },
		{ "2001:db8::1", DNSBL_FOREIGN },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct ip_addr a;
		assert_true(ip_parse(span_str(cases[i].address), &a));
		assert_int_equal(dnsbl_kind_of(a), cases[i].want);
	}
}

/* A window of answers about different networks, so many of them hits. */
static void window(struct dnsbl_health *h, size_t hits)
{
	static uint32_t network;
	for (size_t i = 0; i < DNSBL_WINDOW; i++)
		dnsbl_health_note(h, ++network, i < hits);
}

static void test_a_jump_makes_a_list_suspect(void **state)
{
	struct dnsbl_health h;
	dnsbl_health_init(&h, true);
	assert_null(dnsbl_health_fault(&h));
	for (int i = 0; i < 5; i++)
		window(&h, DNSBL_WINDOW / 4);
	assert_null(dnsbl_health_fault(&h));
	window(&h, DNSBL_WINDOW);
	assert_non_null(dnsbl_health_fault(&h));
	window(&h, DNSBL_WINDOW / 2); /* it calms down */
	assert_null(dnsbl_health_fault(&h));
	window(&h, DNSBL_WINDOW - 1);
	assert_non_null(dnsbl_health_fault(&h));
	unsigned windows = 0;
	while (dnsbl_health_fault(&h) != NULL) { /* what goes on for long is usual in the end */
		window(&h, DNSBL_WINDOW);
		assert_true(++windows < 100);
	}
	assert_true(windows > 3);
}

static void test_what_is_no_jump(void **state)
{
	struct dnsbl_health h;
	dnsbl_health_init(&h, true);
	for (int i = 0; i < 10; i++) /* a host that spammers love: it was so from the first day */
		window(&h, DNSBL_WINDOW * 95 / 100);
	assert_null(dnsbl_health_fault(&h));
	dnsbl_health_init(&h, true);
	for (int i = 0; i < 5; i++)
		window(&h, 1);
	for (int i = 0; i < 10000; i++) /* one spammer, however busy */
		dnsbl_health_note(&h, 7, true);
	assert_null(dnsbl_health_fault(&h));
	window(&h, DNSBL_WINDOW * 80 / 100);
	assert_null(dnsbl_health_fault(&h));
}

static void test_untested(void **state)
{
	struct dnsbl_health h;
	dnsbl_health_init(&h, false);
	assert_non_null(dnsbl_health_fault(&h));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_codes),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_a_jump_makes_a_list_suspect),
		cmocka_unit_test(test_what_is_no_jump),
		cmocka_unit_test(test_untested),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
