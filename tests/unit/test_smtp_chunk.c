/* test_smtp_chunk.c - what may not stand in a message that comes by BDAT, cut at every place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "proto/smtp_body.h"
#include "proto/smtp_chunk.h"

static void check(struct span text, unsigned faults, bool ended)
{
	for (size_t cut = 0; cut <= text.n; cut++) {
		struct smtp_chunk_scan s = { .line_max = 8 };
		smtp_chunk_scan(&s, span_first(text, cut));
		smtp_chunk_scan(&s, span_from(text, cut));
		assert_int_equal(smtp_chunk_scan_end(&s), ended);
		assert_int_equal(s.faults, faults);
	}
}

static void test_faults(void **state)
{
	check(SPAN(""), 0, true);
	check(SPAN("a: b\r\n\r\n.\r\n..\r\n"), 0, true);
	check(SPAN("12345678\r\n"), 0, true);
	check(SPAN("123456789\r\n"), SMTP_BODY_LONG_LINE, true);
	check(SPAN("a\r\nb"), 0, false);
	check(SPAN("a\nb\r\n"), SMTP_BODY_BARE_LF, true);
	check(SPAN("\na\r\n"), SMTP_BODY_BARE_LF, true);
	check(SPAN("a\r\n.\nb\r\n"), SMTP_BODY_BARE_LF, true);
	check(SPAN("a\rb\r\n"), SMTP_BODY_BARE_CR, true);
	check(SPAN("a\r\r\n"), SMTP_BODY_BARE_CR, true);
	check(SPAN("a\r"), SMTP_BODY_BARE_CR, false);
	check(SPAN("a\0\r\n"), SMTP_BODY_NUL, true);
	check(SPAN("\xc3\xa4\r\n"), SMTP_BODY_8BIT, true);
}

static void test_normalized(void **state)
{
	static const struct {
		const char *in, *want;
	} cases[] = {
		{ "a\nb\r\nc\rd\r\r\n\n", "a\r\nb\r\nc d \r\n\r\n" },
		{ "\r", " " },
		{ "a\n.\n\r.\r\n", "a\r\n.\r\n .\r\n" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct span in = span_str(cases[i].in);
		for (size_t cut = 1; cut <= in.n; cut++) {
			struct buf out = BUF_INIT(100);
			bool cr = false;
			smtp_chunk_normalize(&cr, span_first(in, cut), &out);
			if (cut < in.n)
				smtp_chunk_normalize(&cr, span_from(in, cut), &out);
			smtp_chunk_normalize(&cr, SPAN_NONE, &out);
			assert_string_equal(buf_cstr(&out), cases[i].want);
			buf_end(&out);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_faults),
		cmocka_unit_test(test_normalized) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
