/* test_imap_flow.c - responses that flow past: what each is and where it ends, in one piece and cut at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/imap_flow.h"

#define TAG SPAN("a7")

/* A letter for each response, and how long it is: "U12 O9". Input comes in pieces of `step` bytes, each behind what was
 * not taken yet. */
static const char *told(struct span in, size_t step)
{
	static const char letters[] = "?U!+ONBX";
	static char line[1024];
	struct imap_flow f;
	size_t at = 0, have = 0, used = 0, length = 0;
	imap_flow_init(&f);
	line[0] = '\0';
	while (have < in.n) {
		have = in.n - have < step ? in.n : have + step;
		for (;;) {
			size_t n;
			bool ends;
			enum imap_flow_kind kind =
			    imap_flow_take(&f, TAG, span_of(in.p + at, have - at), &n, &ends);
			at += n;
			length += n;
			if (kind == IMAP_FLOW_BROKEN) {
				snprintf(line + used, sizeof line - used, "X");
				return line;
			}
			if (ends) {
				used += (size_t)snprintf(line + used, sizeof line - used, "%c%zu ",
				    letters[kind], length);
				length = 0;
			}
			if (n == 0)
				break;
		}
	}
	snprintf(line + used, sizeof line - used, "%zu", length);
	return line;
}

static void test_kinds(void **state)
{
	static const struct {
		const char *in, *told;
	} rows[] = {
		{ "* 3 EXISTS\r\na7 OK done\r\n", "U12 O12 0" },
		{ "* 1 FETCH (BODY[] {5}\r\nab\r\nc FLAGS ())\r\na7 NO [X] no\r\n", "U40 N14 0" },
		{ "* LIST () \"/\" {3}\r\nabc\r\n", "U24 0" },
		{ "* 1 FETCH (BINARY[1] ~{0}\r\n X {2}\r\n\r\n)\r\n", "U40 0" },
		{ "* OK a text that ends as a literal does {7}\r\na7 OK {3}\r\n", "U45 O11 0" },
		{ "* LIST () \"/\" \"{5}\"\r\n", "U21 0" },
		{ "* X {5} \r\n* X 5}\r\n* X {}\r\n* X {{1}\r\na\r\n", "U10 U8 U8 U13 0" },
		{ "+ go on\r\n+\r\na7 BAD what\r\n", "+9 +3 B13 0" },
		{ "* BYE [UNAVAILABLE] gone\r\n", "!26 0" },
		{ "* OKAY\r\n* BYEBYE x\r\n", "U8 U12 0" },
		{ "* OK\r\na7 ok\r\n", "U6 O7 0" },
		{ "a8 OK done\r\n", "X" },
		{ "a7 FINE\r\n", "X" },
		{ "a7  OK x\r\n", "X" },
		{ "a7\r\n", "X" },
		{ "*\r\n", "X" },
		{ "x", "X" },
		{ "\r\n", "X" },
		{ "* PREAUTH hello\r\n", "X" },
		{ "* 1 EXISTS\n", "X" },
		{ "* 1 EX\rISTS\r\n", "X" },
		{ "* X {99999999999999999999}\r\na7 OK x\r\n", "U28 O9 0" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		for (size_t step = 1; step <= strlen(rows[i].in); step++)
			assert_string_equal(told(span_str(rows[i].in), step), rows[i].told);
	}
}

static void test_nul(void **state)
{
	assert_string_equal(told(SPAN("* X\0\r\n"), 1), "X");
	assert_string_equal(told(SPAN("* X {1}\r\n\0\r\n"), 1), "U12 0");
}

static void test_large_literal(void **state)
{
	struct imap_flow f;
	struct span in = SPAN("* X {18446744073709551615}\r\nabc");
	size_t n;
	bool ends;
	imap_flow_init(&f);
	assert_int_equal(imap_flow_take(&f, TAG, in, &n, &ends), IMAP_FLOW_UNTAGGED);
	assert_int_equal(n, in.n - 3);
	assert_false(ends);
	assert_int_equal(imap_flow_take(&f, TAG, span_from(in, n), &n, &ends), IMAP_FLOW_UNTAGGED);
	assert_int_equal(n, 3);
	assert_true(f.literal_left == UINT64_MAX - 3);
}

static void test_endless_line(void **state)
{
	static char piece[65536];
	struct imap_flow f;
	size_t n, sum = 0;
	bool ends;
	memset(piece, 'x', sizeof piece);
	imap_flow_init(&f);
	assert_int_equal(imap_flow_take(&f, TAG, SPAN("* OK "), &n, &ends), IMAP_FLOW_UNTAGGED);
	while (
	    imap_flow_take(&f, TAG, span_of(piece, sizeof piece), &n, &ends) == IMAP_FLOW_UNTAGGED)
		sum += n;
	assert_true(sum <= IMAP_FLOW_LINE_MAX && sum > IMAP_FLOW_LINE_MAX - 2 * sizeof piece);
	/* and nothing heals it */
	assert_int_equal(imap_flow_take(&f, TAG, SPAN("\r\n"), &n, &ends), IMAP_FLOW_BROKEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_large_literal),
		cmocka_unit_test(test_endless_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
