/* test_mime_binary.c - BINARYMIME becomes base64, cut at every place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "proto/mime_binary.h"

enum { OUT_MAX = 2 * 1024 * 1024 };

static struct buf convert(struct span in, size_t cut, const char **why_out)
{
	struct buf out = BUF_INIT(OUT_MAX);
	struct mime_binary *b = mime_binary_new();
	mime_binary_take(b, span_first(in, cut), &out);
	mime_binary_take(b, span_from(in, cut), &out);
	mime_binary_end(b, &out);
	*why_out = mime_binary_why(b);
	mime_binary_free(&b);
	assert_true(buf_ok(&out));
	return out;
}

static void check(struct span in, const char *want)
{
	const char *why;
	for (size_t cut = 0; cut <= in.n; cut++) {
		struct buf out = convert(in, cut, &why);
		assert_null(why);
		assert_string_equal(buf_cstr(&out), want);
		buf_end(&out);
	}
}

static void check_stuck(struct span in, const char *words)
{
	const char *why;
	for (size_t cut = 0; cut <= in.n; cut++) {
		struct buf out = convert(in, cut, &why);
		assert_non_null(why);
		assert_non_null(strstr(why, words));
		buf_end(&out);
	}
}

#define BINARY "Content-Transfer-Encoding: binary\r\n"
#define BASE64 "Content-Transfer-Encoding: base64\r\n"
#define EIGHT "Content-Transfer-Encoding: 8bit\r\n"
#define MIXED "Content-Type: multipart/mixed; boundary=\"b b\"\r\n"

static void test_one_part(void **state)
{
	check(SPAN(""), "");
	check(SPAN("A: b\r\n"), "A: b\r\n");
	check(SPAN("A: b\r\n\r\ntext\r\n"), "A: b\r\n\r\ntext\r\n");
	check(SPAN("A: b\r\n\r\nno end"), "A: b\r\n\r\nno end");
	check(SPAN("A: b\r\n\r\n--b\r\n\r\n\r"), "A: b\r\n\r\n--b\r\n\r\n\r");
	check(SPAN("A: b\r\n" BINARY "C: d\r\n\r\n\0\r\n\n\r"),
	    "A: b\r\n" BASE64 "C: d\r\n\r\nAA0KCg0=\r\n");
	check(SPAN("CONTENT-transfer-encoding:\r\n (of course) BINARY (yes)\r\n\r\nabc"),
	    BASE64 "\r\nYWJj\r\n");
	check(SPAN(BINARY "\r\n"), BASE64 "\r\n");
	check(SPAN(BINARY "\r\n\r\n"), BASE64 "\r\nDQo=\r\n");
	check(SPAN("Content-Transfer-Encoding: base64\r\n\r\nYWJj\r\n"), BASE64 "\r\nYWJj\r\n");
}

static void test_lines_of_76(void **state)
{
	struct buf in = BUF_INIT(4096), want = BUF_INIT(4096);
	buf_add_str(&in, BINARY "\r\n");
	buf_add_str(&want, BASE64 "\r\n");
	for (int i = 0; i < 57; i++) {
		buf_add_str(&in, "aaa");
		buf_add_str(&want, "YWFh");
		if (i % 19 == 18)
			buf_add_str(&want, "\r\n");
	}
	check(buf_span(&in), buf_cstr(&want));
	buf_end(&in);
	buf_end(&want);
}

static void test_multiparts(void **state)
{
	check(
	    SPAN(MIXED BINARY "\r\nfirst\r\n--b b\r\n" BINARY "\r\na\0b\r\n--b b  \r\n\r\nplain\r\n"
			      "--b b--\r\nlast\r\n"),
	    MIXED EIGHT "\r\nfirst\r\n--b b\r\n" BASE64
			"\r\nYQBi\r\n--b b  \r\n\r\nplain\r\n--b b--\r\nlast\r\n");
	/* what only looks like a delimiter is data */
	check(SPAN(MIXED "\r\n--b b\r\n" BINARY "\r\n--b bb\r\n\n--b b\r\n--b\r\n--b b--"),
	    MIXED "\r\n--b b\r\n" BASE64 "\r\nLS1iIGJiDQoKLS1iIGINCi0tYg==\r\n--b b--");
	/* empty parts, and parts that are nothing but a header section */
	check(SPAN(MIXED "\r\n--b b\r\n" BINARY "\r\n\r\n--b b\r\n" BINARY "\r\n--b b\r\n" BINARY
			 "--b b--\r\n"),
	    MIXED "\r\n--b b\r\n" BASE64 "\r\n--b b\r\n" BASE64 "\r\n--b b\r\n" BINARY
		  "--b b--\r\n");
	/* the outer delimiter closes what is inside */
	check(SPAN(MIXED "\r\n--b b\r\nContent-Type: multipart/x; boundary=in\r\n" BINARY
			 "\r\n--in\r\n" BINARY "\r\n\xff\r\n--b b\r\n" BINARY
			 "\r\n--in\r\n--b b--\r\n"),
	    MIXED "\r\n--b b\r\nContent-Type: multipart/x; boundary=in\r\n" EIGHT
		  "\r\n--in\r\n" BASE64 "\r\n/w==\r\n--b b\r\n" BASE64
		  "\r\nLS1pbg==\r\n--b b--\r\n");
}

#define INNER "Content-Type: message/rfc822\r\n"

static void test_messages(void **state)
{
	check(SPAN(INNER BINARY "\r\nA: b\r\n" BINARY "\r\n\0"),
	    INNER EIGHT "\r\nA: b\r\n" BASE64 "\r\nAA==\r\n");
	check(SPAN("Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\n" BINARY
		   "\r\nabc\r\n--d\r\nContent-Type: text/plain\r\n\r\nText\r\n--d--\r\n"),
	    "Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\n" BASE64
	    "\r\nYWJj\r\n--d\r\nContent-Type: text/plain\r\n\r\nText\r\n--d--\r\n");
	check(SPAN("Content-Type: message/delivery-status\r\n\r\nA: b\r\n" BINARY "\r\nabc\r\n"),
	    "Content-Type: message/delivery-status\r\n\r\nA: b\r\n" BINARY "\r\nabc\r\n");
}

static void test_stuck(void **state)
{
	check_stuck(
	    SPAN("Content-Type: message/delivery-status\r\n" BINARY "\r\nA: b\r\n"), "type");
	check_stuck(SPAN(BINARY BINARY "\r\n"), "two");
	check_stuck(SPAN(BINARY INNER INNER "\r\n"), "two");
	check_stuck(SPAN("Content-Type: multipart/mixed\r\n\r\n"), "boundary");
	struct buf in = BUF_INIT(OUT_MAX);
	for (int i = 0; i < 70; i++)
		buf_printf(&in, "Content-Type: multipart/x; boundary=b%d\r\n\r\n--b%d\r\n", i, i);
	const char *why;
	struct buf out = convert(buf_span(&in), SIZE_MAX, &why);
	assert_non_null(strstr(why, "deep"));
	buf_end(&out);
	buf_clear(&in);
	while (buf_len(&in) <= MIME_BINARY_HEADER_MAX)
		buf_add_str(&in, "A: a long header section\r\n");
	struct mime_binary *b = mime_binary_new();
	struct span rest = buf_span(&in);
	for (; rest.n > 0; rest = span_from(rest, 1000))
		mime_binary_take(b, span_first(rest, 1000), &out);
	assert_non_null(strstr(mime_binary_why(b), "too big"));
	assert_int_equal(buf_len(&out), 0);
	mime_binary_free(&b);
	buf_end(&out);
	buf_end(&in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_part),
		cmocka_unit_test(test_lines_of_76),
		cmocka_unit_test(test_multiparts),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_stuck),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
