/* test_header.c - the header walker on good, odd and endless headers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "proto/header.h"

static const struct {
	const char *message, *want; /* name=value; of each field, then the body */
} cases[] = {
	{ "A: 1\r\nB:2\r\n\r\nbody", "A= 1;B=2;|body" },
	{ "A: 1\r\n 2\r\n\t3\r\nB: x\r\n\r\n", "A= 1\r\n 2\r\n\t3;B= x;|" },
	{ "A: 1\r\n", "A= 1;|" },
	{ "A: 1", "A= 1;|" },
	{ "", "|" },
	{ "\r\nbody", "|body" },
	{ "A: 1\n\nbody", "A= 1;|body" },
	{ "A : 1\r\n\r\n", "A= 1;|" },
	{ "From alice Thu\r\nA: 1\r\n\r\n", "|From alice Thu\r\nA: 1\r\n\r\n" },
	{ " A: 1\r\n\r\n", "| A: 1\r\n\r\n" },
	{ ": x\r\n\r\n", "|: x\r\n\r\n" },
	{ "A:\r\n\r\nx", "A=;|x" },
};

static void test_walk(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct span in = span_str(cases[i].message);
		struct buf log = BUF_INIT(1000);
		struct header_walk w;
		struct header_field f;
		header_walk_init(&w, in);
		while (header_next(&w, &f) == HEADER_FIELD)
			buf_printf(&log, "%.*s=%.*s;", SPAN_ARG(f.name), SPAN_ARG(f.value));
		buf_printf(&log, "|%.*s", SPAN_ARG(span_from(in, w.at)));
		assert_string_equal(buf_cstr(&log), cases[i].want);
		assert_int_equal(header_size(in), w.at);
		buf_end(&log);
	}
}

static void test_find(void **state)
{
	struct span m = SPAN("Received: a\r\nX: 1\r\nRECEIVED: b\r\n c\r\n\r\nReceived: no\r\n");
	struct header_field f;
	assert_int_equal(header_count(m, SPAN("received")), 2);
	assert_true(header_find(m, SPAN("received"), 1, &f));
	struct buf out = BUF_INIT(100);
	assert_true(header_unfold(f.value, &out));
	assert_string_equal(buf_cstr(&out), "b c");
	assert_false(header_find(m, SPAN("received"), 2, &f));
	buf_end(&out);
}

static void test_limits(void **state)
{
	struct buf m = BUF_INIT(HEADER_BYTES_MAX + 1000);
	struct header_walk w;
	struct header_field f;
	enum header_rx rx;
	for (size_t i = 0; i <= HEADER_FIELDS_MAX; i++)
		buf_add_str(&m, "A: 1\r\n");
	header_walk_init(&w, buf_span(&m));
	while ((rx = header_next(&w, &f)) == HEADER_FIELD) {
	}
	assert_int_equal(rx, HEADER_TOO_MANY);
	assert_int_equal(w.fields, HEADER_FIELDS_MAX);
	buf_clear(&m);
	buf_add_str(&m, "A: ");
	while (buf_len(&m) <= HEADER_BYTES_MAX)
		buf_add_str(&m, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n ");
	header_walk_init(&w, buf_span(&m));
	assert_int_equal(header_next(&w, &f), HEADER_TOO_MANY);
	buf_end(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
