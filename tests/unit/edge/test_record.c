/* test_record.c - decision records: what is kept, for how long, and what hostile words become. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "edge/record.h"

static struct ident id_of(unsigned n)
{
	struct ident id = ident_new();
	id.s[IDENT_LEN - 1] = (char)('a' + n % 26);
	return id;
}

static json_t *parsed(struct span checks)
{
	struct buf text = BUF_INIT(2 * RECORD_MAX);
	buf_printf(&text, "[%.*s]", SPAN_ARG(checks));
	json_t *rows = json_loads(buf_cstr(&text), 0, NULL);
	buf_end(&text);
	assert_non_null(rows);
	return rows;
}

static void test_rows(void **state)
{
	struct record_shelf *s = record_shelf_new(100000);
	struct record r = { 0 };
	struct ident id = ident_new();
	record_note(&r, 3, "helo", SPAN("a\"b\\\r\n\x01\xff"));
	record_note(&r, 20, "spf", SPAN("pass"));
	record_keep(s, id, &r);
	record_end(&r);
	json_t *rows = parsed(record_find(s, span_str(id.s)));
	assert_int_equal(json_array_size(rows), 2);
	assert_string_equal(
	    json_string_value(json_object_get(json_array_get(rows, 1), "answer")), "pass");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(rows, 1), "ms")), 20);
	json_decref(rows);
	assert_int_equal(record_find(s, SPAN("nobody")).n, 0);
	record_shelf_free(&s);
}

static void test_a_record_is_bounded(void **state)
{
	struct record r = { 0 };
	char word[200];
	memset(word, 'x', sizeof word);
	for (int i = 0; i < 1000; i++)
		record_note(&r, 1, "refused", span_of(word, sizeof word));
	assert_true(buf_len(&r.checks) <= RECORD_MAX);
	json_decref(parsed(buf_span(&r.checks)));
	record_end(&r);
}

static void test_the_oldest_give_way(void **state)
{
	struct record_shelf *s = record_shelf_new(10000);
	struct ident ids[100];
	for (unsigned i = 0; i < 100; i++) {
		struct record r = { 0 };
		record_note(&r, i, "check", SPAN("an answer of some length, so that it fills"));
		ids[i] = id_of(i);
		record_keep(s, ids[i], &r);
		record_end(&r);
	}
	assert_int_equal(record_find(s, span_str(ids[0].s)).n, 0);
	assert_true(record_find(s, span_str(ids[99].s)).n > 0);
	assert_true(record_find(s, span_str(ids[70].s)).n > 0);
	struct record again = { 0 };
	record_note(&again, 1, "second", SPAN("x"));
	record_keep(s, ids[99], &again);
	record_end(&again);
	assert_true(
	    span_find_span(record_find(s, span_str(ids[99].s)), SPAN("second")) != SIZE_MAX);
	record_shelf_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_a_record_is_bounded),
		cmocka_unit_test(test_the_oldest_give_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
