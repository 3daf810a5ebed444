/* test_base.c - spans, buffers, escaping, numbers, base64, hashes, ids, clock texts, error rows. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/base64.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fmt.h"
#include "base/hash.h"
#include "base/ident.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/span.h"

static void assert_span(struct span got, const char *want)
{
	assert_true(span_eq_str(got, want));
}

static void test_span_compare_and_search(void **state)
{
	assert_true(span_eq(SPAN("a\0b"), span_of("a\0b", 3)));
	assert_false(span_eq(SPAN("a"), SPAN("ab")));
	assert_true(span_eq(SPAN_NONE, SPAN("")));
	assert_true(span_ieq(SPAN("HeLo"), SPAN("hElO")));
	assert_false(span_ieq(SPAN("\xc4"), SPAN("\xe4")));
	assert_true(span_cmp(SPAN("a"), SPAN("ab")) < 0);
	assert_true(span_cmp(SPAN("b"), SPAN("ab")) > 0);
	assert_int_equal(span_cmp(SPAN_NONE, SPAN_NONE), 0);
	assert_true(span_istarts(SPAN("Mail From:<>"), SPAN("MAIL FROM:")));
	assert_true(span_iends(SPAN("a.Example.ORG"), SPAN(".example.org")));
	assert_int_equal(span_find(SPAN("a@b@c"), '@'), 1);
	assert_int_equal(span_rfind(SPAN("a@b@c"), '@'), 3);
	assert_true(span_find(SPAN_NONE, 'x') == SIZE_MAX);
	assert_int_equal(span_find_span(SPAN("xxab"), SPAN("ab")), 2);
	assert_true(span_find_span(SPAN("a"), SPAN("ab")) == SIZE_MAX);
	assert_span(span_trim(SPAN(" \t x y\r\n")), "x y");
	assert_span(span_from(SPAN("abc"), 9), "");
}

static void test_span_cut(void **state)
{
	struct span rest = SPAN("a,,b");
	assert_span(span_cut(&rest, ','), "a");
	assert_span(span_cut(&rest, ','), "");
	assert_span(span_cut(&rest, ','), "b");
	assert_null(rest.p);
}

static void test_span_u64(void **state)
{
	static const struct {
		const char *text;
		uint64_t max, want;
		bool ok;
	} cases[] = {
		{ "0", 10, 0, true },
		{ "10", 10, 10, true },
		{ "11", 10, 0, false },
		{ "", 10, 0, false },
		{ "+1", 10, 0, false },
		{ "1 ", 10, 0, false },
		{ "18446744073709551615", UINT64_MAX, UINT64_MAX, true },
		{ "18446744073709551616", UINT64_MAX, 0, false },
		{ "99999999999999999999999", UINT64_MAX, 0, false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint64_t v = 77;
		assert_int_equal(span_u64(span_str(cases[i].text), cases[i].max, &v), cases[i].ok);
		assert_true(v == (cases[i].ok ? cases[i].want : 77));
	}
}

static void test_span_utf8(void **state)
{
	assert_true(span_is_utf8(SPAN("aä€😀")));
	assert_false(span_is_utf8(SPAN("\xc0\xaf")));
	assert_false(span_is_utf8(SPAN("\xed\xa0\x80")));
	assert_false(span_is_utf8(SPAN("\xf4\x90\x80\x80")));
	assert_false(span_is_utf8(SPAN("\xe2\x82")));
	assert_false(span_is_ascii(SPAN("ä")));
	for (unsigned c = 0; c < 256; c++) {
		char text[] = { 'a', (char)c, 'z' };
		struct span s = span_of(text, sizeof text);
		assert_int_equal(span_has_control(s), c < ' ' || c == 0x7f);
		assert_int_equal(span_is_visible(s), c >= '!' && c <= '~');
	}
	assert_false(span_has_control(SPAN_NONE));
	assert_true(span_is_visible(SPAN_NONE));
}

static void test_buf_holds_its_maximum(void **state)
{
	struct buf b = BUF_INIT(10);
	assert_true(buf_add_str(&b, "12345"));
	assert_false(buf_add_str(&b, "678901"));
	assert_false(buf_ok(&b));
	assert_false(buf_add_char(&b, 'x'));
	assert_span(buf_span(&b), "12345");
	buf_clear(&b);
	assert_true(buf_printf(&b, "%05d%s", 42, "abcde"));
	assert_string_equal(buf_cstr(&b), "00042abcde");
	assert_false(buf_printf(&b, "x"));
	buf_end(&b);
}

/* Formats of text and strings only go a way of their own. */
/* In its room while that is enough, then in memory of its own; what was there is gone from the room. */
static void test_buf_in_a_room(void **state)
{
	char room[8];
	struct buf b = BUF_IN(room, 20);
	size_t before = mem_in_use();
	assert_true(buf_add_str(&b, "1234567"));
	assert_ptr_equal(buf_cstr(&b), room);
	buf_eat(&b, 3);
	assert_true(buf_add_str(&b, "890"));
	assert_string_equal(buf_cstr(&b), "4567890");
	buf_eat(&b, 7);
	buf_shrink(&b);
	assert_true(buf_add_str(&b, "secret"));
	assert_int_equal(mem_in_use(), before);
	assert_true(buf_add_str(&b, " key"));
	assert_true(mem_in_use() > before);
	assert_string_equal(buf_cstr(&b), "secret key");
	assert_memory_equal(room, "\0\0\0\0\0", 5);
	assert_false(buf_add_str(&b, "and too much"));
	buf_end(&b);
	assert_int_equal(mem_in_use(), before);
	assert_true(buf_add_str(&b, "again"));
	buf_wipe_end(&b);
	assert_int_equal(mem_in_use(), before);
}

static void test_buf_prints_plain_formats(void **state)
{
	struct buf b = BUF_INIT(24);
	assert_true(buf_printf(&b, "%s-%.*s/%.*s.", "ab", 2, "cdef", 9, "gh"));
	assert_true(buf_printf(&b, "%s%.*s", "", 0, "x"));
	assert_true(buf_printf(&b, "%s", "%s"));
	assert_span(buf_span(&b), "ab-cd/gh.%s");
	assert_true(buf_printf(&b, "|%d%%%s%3s|", 7, "x", "y"));
	assert_span(buf_span(&b), "ab-cd/gh.%s|7%x  y|");
	buf_eat(&b, 1);
	assert_false(buf_printf(&b, "%s%s", "123456", "7"));
	assert_span(buf_span(&b), "b-cd/gh.%s|7%x  y|");
	assert_false(buf_printf(&b, "%s", ""));
	buf_cut(&b, buf_len(&b));
	assert_true(buf_printf(&b, "%s", "123456"));
	assert_span(buf_span(&b), "b-cd/gh.%s|7%x  y|123456");
	buf_end(&b);
}

static void test_buf_consumes_at_the_front(void **state)
{
	struct buf b = BUF_INIT(4096);
	char *room;
	for (int round = 0; round < 1000; round++) {
		assert_true(buf_printf(&b, "%04d", round));
		if (round % 3 == 2)
			buf_eat(&b, 8);
	}
	assert_true(buf_len(&b) == 4000 - 333 * 8);
	assert_span(span_first(buf_span(&b), 4), "0666");
	assert_int_equal(buf_room(&b, 1 << 20, &room), 4096 - buf_len(&b));
	buf_clear(&b);
	assert_int_equal(buf_room(&b, 5, &room), 5);
	memcpy(room, "hello", 5);
	buf_added(&b, 5);
	assert_span(buf_span(&b), "hello");
	buf_eat(&b, 5);
	buf_shrink(&b);
	assert_null(b.p);
	buf_end(&b);
}

static void test_fmt_escapes(void **state)
{
	struct buf b = BUF_INIT(256);
	fmt_log_value(&b, SPAN("plain"), 100);
	assert_span(buf_span(&b), "plain");
	buf_clear(&b);
	fmt_log_value(&b, SPAN("a b\"\\\r\n\x01\xff"), 100);
	assert_span(buf_span(&b), "\"a b\\\"\\\\\\r\\n\\x01\\xff\"");
	buf_clear(&b);
	fmt_log_value(&b, SPAN("abcdef"), 3);
	assert_span(buf_span(&b), "\"abc...\"");
	buf_clear(&b);
	fmt_json_string(&b, SPAN("ä\xff\"\n"));
	assert_span(buf_span(&b), "\"ä\xef\xbf\xbd\\\"\\u000a\"");
	buf_clear(&b);
	fmt_line_text(&b, SPAN("no\r\nsecond line"), 8);
	assert_span(buf_span(&b), "no??seco");
	buf_clear(&b);
	fmt_duration(&b, 5400250);
	buf_add_char(&b, ' ');
	fmt_size(&b, 65536);
	assert_span(buf_span(&b), "1h30m250ms 64k");
	buf_end(&b);
}

static void test_base64(void **state)
{
	static const struct {
		const char *raw, *text;
	} cases[] = {
		{ "", "" },
		{ "f", "Zg==" },
		{ "fo", "Zm8=" },
		{ "foo", "Zm9v" },
		{ "foobar", "Zm9vYmFy" },
	};
	static const char *const bad[] = { "Z", "Zg=", "Zg",
		"Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm 9", "Zm9v\n" };
	struct buf b = BUF_INIT(64);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		buf_clear(&b);
		assert_true(base64_put(&b, span_str(cases[i].raw)));
		assert_span(buf_span(&b), cases[i].text);
		buf_clear(&b);
		assert_true(base64_get(span_str(cases[i].text), &b));
		assert_span(buf_span(&b), cases[i].raw);
	}
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		buf_clear(&b);
		assert_false(base64_get(span_str(bad[i]), &b));
	}
	buf_end(&b);
}

static void test_hashes_match_published_vectors(void **state)
{
	unsigned char in[15];
	struct hash_key key = { 0x0706050403020100u, 0x0f0e0d0c0b0a0908u };
	for (unsigned i = 0; i < sizeof in; i++)
		in[i] = (unsigned char)i;
	assert_true(hash_sip(&key, span_of(in, sizeof in)) == 0xa129ca6149be45e5u);
	assert_int_equal(hash_crc32c(0, "123456789", 9), 0xe3069283u);
	uint32_t pieces = hash_crc32c(hash_crc32c(0, "1234", 4), "56789", 5);
	assert_int_equal(pieces, 0xe3069283u);
}

static void test_ident(void **state)
{
	struct ident a = ident_new(), b = ident_new(), c;
	assert_int_equal(strlen(a.s), IDENT_LEN);
	assert_string_not_equal(a.s, b.s);
	assert_true(ident_parse(span_str(a.s), &c));
	assert_string_equal(a.s, c.s);
	assert_false(ident_parse(SPAN("000000000000000000"), &c));
	assert_false(ident_parse(SPAN("abc"), &c));
	clock_fake(1, 1600000000000000u);
	a = ident_new();
	assert_string_not_equal(a.s, ident_new().s);
	assert_memory_equal(a.s, ident_new().s, 8); /* the time */
	b = ident_derived(a, 0x123456789abcdefull);
	assert_true(ident_parse(span_str(b.s), &c));
	assert_memory_equal(a.s, b.s, 9);
	assert_string_equal(b.s, ident_derived(a, 0x123456789abcdefull).s);
	assert_string_not_equal(b.s, ident_derived(a, 0x123456789abcdeeull).s);
	clock_fake_advance(1);
	b = ident_new();
	clock_fake_off();
	assert_true(strcmp(a.s, b.s) < 0);
}

static void test_clock_texts(void **state)
{
	char a[CLOCK_RFC3339_SIZE], b[CLOCK_RFC5322_SIZE];
	assert_string_equal(clock_rfc3339(1795491771000042u, a), "2026-11-24T03:42:51.000042Z");
	assert_string_equal(clock_rfc5322(1795491771000042u, b), "Tue, 24 Nov 2026 03:42:51 +0000");
}

static void test_err_rows(void **state)
{
	assert_int_equal(ERR_OK, 0);
	assert_int_equal(err_from_errno(ECONNREFUSED), ERR_CONN_REFUSED);
	assert_int_equal(err_from_errno(12345), ERR_IO);
	assert_int_equal(err_class(ERR_TOO_LONG), ERR_CLASS_LIMIT);
	for (int e = 0; e < ERR_COUNT; e++)
		assert_true(strlen(err_name((err_t)e)) > 0 && strlen(err_text((err_t)e)) > 0);
}

static void test_rand_below(void **state)
{
	uint64_t seen = 0;
	for (int i = 0; i < 1000; i++) {
		uint64_t v = rand_below(7);
		assert_true(v < 7);
		seen |= 1u << v;
	}
	assert_int_equal(seen, 127);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_span_compare_and_search),
		cmocka_unit_test(test_span_cut),
		cmocka_unit_test(test_span_u64),
		cmocka_unit_test(test_span_utf8),
		cmocka_unit_test(test_buf_holds_its_maximum),
		cmocka_unit_test(test_buf_in_a_room),
		cmocka_unit_test(test_buf_prints_plain_formats),
		cmocka_unit_test(test_buf_consumes_at_the_front),
		cmocka_unit_test(test_fmt_escapes),
		cmocka_unit_test(test_base64),
		cmocka_unit_test(test_hashes_match_published_vectors),
		cmocka_unit_test(test_ident),
		cmocka_unit_test(test_clock_texts),
		cmocka_unit_test(test_err_rows),
		cmocka_unit_test(test_rand_below),
	};
	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
