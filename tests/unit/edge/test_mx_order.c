/* test_mx_order.c - which mail exchangers are tried, in which order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/check.h"
#include "edge/mx_order.h"

/* "10 a.test 20 b.test" */
static struct dns_mx parse(const char *text)
{
	struct dns_mx mx = { .status = DNS_FOUND };
	int used;
	unsigned preference;
	for (; sscanf(text, " %u %255s%n", &preference, mx.v[mx.n].host, &used) == 2; text += used)
		mx.v[mx.n++].preference = (uint16_t)preference;
	return mx;
}

static void test_what_is_left(void **state)
{
	static const struct {
		const char *in, *out;
		enum mx_use use;
	} cases[] = {
		{ "10 a.test 20 b.test", "a.test b.test ", MX_USE },
		{ "10 a.test 20 Me.Test 30 b.test", "a.test ", MX_USE },
		{ "10 me.test 20 b.test", "", MX_OURS },
		/* equal ones would give it back */
		{ "10 a.test 10 me.test", "", MX_OURS },
		{ "5 b.test 10 a.test 10 me.test 10 c.test", "b.test ", MX_USE },
		{ "5 127.0.0.1 10 a.test", "a.test ", MX_USE },
		{ "10 192.0.2.1", "", MX_BAD },
		{ "10 localhost 20 a.localhost", "", MX_BAD },
		{ "1 localhost 10 me.test", "", MX_OURS },
		{ "10 localhost.test", "localhost.test ", MX_USE },
		{ "", "", MX_BAD },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct dns_mx mx = parse(cases[i].in);
		struct buf out = BUF_INIT(100);
		if (mx_arrange(&mx, "me.test") != cases[i].use)
			fail_msg("%s", cases[i].in);
		for (size_t k = 0; k < mx.n; k++)
			buf_printf(&out, "%s ", mx.v[k].host);
		assert_string_equal(buf_cstr(&out), cases[i].out);
		buf_end(&out);
	}
}

/* Each of the equal ones stands at each place sometimes, and none leaves its preference. */
static void test_equal_ones_share(void **state)
{
	unsigned at[3][3] = { 0 };
	for (int round = 0; round < 300; round++) {
		struct dns_mx mx = parse("1 x.test 10 a.test 10 b.test 10 c.test 20 y.test");
		assert_int_equal(mx_arrange(&mx, "me.test"), MX_USE);
		assert_int_equal(mx.n, 5);
		assert_string_equal(mx.v[0].host, "x.test");
		assert_string_equal(mx.v[4].host, "y.test");
		for (size_t k = 0; k < 3; k++) {
			assert_int_equal(mx.v[k + 1].preference, 10);
			at[k][mx.v[k + 1].host[0] - 'a']++;
		}
	}
	for (size_t k = 0; k < 3; k++)
		for (size_t host = 0; host < 3; host++)
			assert_true(at[k][host] > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_left),
		cmocka_unit_test(test_equal_ones_share),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
