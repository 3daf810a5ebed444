/* test_line.c - framing: every case whole, at every split point, and one byte at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/check.h"
#include "proto/line.h"

enum { MAX = 8 };

/* Feeds `in` so that `visible(step)` bytes are there at a time; writes a transcript. */
static void feed(
    struct span in, size_t first, size_t more, enum line_policy policy, struct buf *log)
{
	struct line_scan s = LINE_SCAN_INIT(MAX);
	s.policy = policy;
	size_t eaten = 0, there = first < in.n ? first : in.n;
	for (;;) {
		struct span line;
		size_t eat;
		enum line_rx rx = line_take(&s, span_of(in.p + eaten, there - eaten), &line, &eat);
		assert_true(eat <= there - eaten);
		if (rx == LINE_READY)
			buf_printf(log, "[%.*s]", SPAN_ARG(line));
		else if (rx == LINE_TOO_LONG)
			buf_add_str(log, "(long)");
		eaten += eat;
		if (rx == LINE_BAD) {
			buf_add_str(log, "(bad)");
			return;
		}
		if (rx != LINE_MORE)
			continue;
		if (there == in.n)
			break;
		there = in.n - there < more ? in.n : there + more;
	}
	buf_printf(log, "+%zu", in.n - eaten);
}

static const struct {
	struct span in;
	enum line_policy policy;
	const char *want;
} cases[] = {
	{ { "", 0 }, LINE_STRICT, "+0" },
	{ { "\r\n", 2 }, LINE_STRICT, "[]+0" },
	{ { "ab\r\ncd\r\ne", 9 }, LINE_STRICT, "[ab][cd]+1" },
	{ { "12345678\r\n", 10 }, LINE_STRICT, "[12345678]+0" },
	{ { "123456789\r\nx\r\n", 14 }, LINE_STRICT, "(long)[x]+0" },
	{ { "123456789012345678901234567890\r\nx\r\n", 35 }, LINE_STRICT, "(long)[x]+0" },
	{ { "12345678901234567890", 20 }, LINE_STRICT, "+0" },
	{ { "ab\ncd\r\n", 7 }, LINE_STRICT, "(bad)" },
	{ { "ab\rcd\r\n", 7 }, LINE_STRICT, "(bad)" },
	{ { "a\0b\r\n", 5 }, LINE_STRICT, "(bad)" },
	{ { "ok\r\n1234567890\nx\r\n", 18 }, LINE_STRICT, "[ok](bad)" },
	{ { "a\r\r\n", 4 }, LINE_STRICT, "(bad)" },
	{ { "a\r", 2 }, LINE_STRICT, "+2" },
	{ { "ab\ncd\r\ne\n", 9 }, LINE_LF_OK, "[ab][cd][e]+0" },
	{ { "a\rb\n", 4 }, LINE_LF_OK, "(bad)" },
};

static void test_every_split(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		for (size_t first = 0; first <= cases[i].in.n; first++) {
			struct buf log = BUF_INIT(1000);
			feed(cases[i].in, first, first == 0 ? 1 : 1000, cases[i].policy, &log);
			assert_string_equal(buf_cstr(&log), cases[i].want);
			buf_end(&log);
		}
	}
}

static void test_looks_once(void **state)
{
	struct line_scan s = LINE_SCAN_INIT(100);
	struct span line;
	size_t eat;
	assert_int_equal(line_take(&s, SPAN("abc"), &line, &eat), LINE_MORE);
	assert_int_equal(s.at, 3);
	assert_int_equal(line_take(&s, SPAN("abcd\r\n"), &line, &eat), LINE_READY);
	assert_int_equal(line.n, 4);
	assert_int_equal(eat, 6);
	assert_int_equal(s.at, 0);
	assert_non_null(line_rx_why(LINE_BAD));
	assert_null(line_rx_why(LINE_MORE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_split),
		cmocka_unit_test(test_looks_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
