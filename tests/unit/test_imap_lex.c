/* test_imap_lex.c - framing at every split point, tokens, dates, flags, sets, output. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "proto/imap_lex.h"

static const struct imap_limits limits = { .line_max = 64, .literal_max = 16, .total_max = 200 };

static void assert_span(struct span got, const char *want)
{
	if (!span_eq_str(got, want))
		fail_msg("got \"%.*s\", want \"%s\"", SPAN_ARG(got), want);
}

/* ---- framing ------------------------------------------------------------------------------------- */

#define LONG_LINE                                                                                  \
	"a SEARCH xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"

struct frame_case {
	struct span in;
	enum imap_rx want; /* the end of it */
	size_t len;
	unsigned continues;
	uint64_t literal_size;
	bool sync;
};

static const struct frame_case frame_cases[] = {
	{ { "a NOOP\r\nb", 9 }, IMAP_RX_COMMAND, 8, 0, 0, false },
	{ { "\r\n", 2 }, IMAP_RX_COMMAND, 2, 0, 0, false },
	{ { "a NOOP", 6 }, IMAP_RX_MORE, 0, 0, 0, false },
	{ { "a NOOP\n", 7 }, IMAP_RX_BAD, 0, 0, 0, false },
	{ { "a NO\rOP\r\n", 9 }, IMAP_RX_BAD, 0, 0, 0, false },
	{ { "a NO\0OP\r\n", 9 }, IMAP_RX_BAD, 0, 0, 0, false },
	{ { "a X {3+}\r\n\r\n\n b\r\n", 17 }, IMAP_RX_COMMAND, 17, 0, 0, false },
	{ { "a X {3}\r\nabc {2+}\r\nde\r\n", 23 }, IMAP_RX_COMMAND, 23, 1, 0, false },
	{ { "a X {0}\r\n\r\n", 11 }, IMAP_RX_COMMAND, 11, 1, 0, false },
	{ { "a X {3}\r\nab", 11 }, IMAP_RX_MORE, 0, 1, 0, false },
	{ { "a X {17}\r\nabc", 13 }, IMAP_RX_LITERAL, 10, 0, 17, true },
	{ { "a X {17+}\r\nabc", 14 }, IMAP_RX_LITERAL, 11, 0, 17, false },
	{ { "a X {99999999999999999999999}\r\n", 31 }, IMAP_RX_LITERAL, 31, 0, UINT64_MAX, true },
	{ { "a X {}\r\n", 8 }, IMAP_RX_COMMAND, 8, 0, 0, false },
	{ { "a X {+}\r\n", 9 }, IMAP_RX_COMMAND, 9, 0, 0, false },
	{ { "a X {x3}\r\n", 10 }, IMAP_RX_COMMAND, 10, 0, 0, false },
	{ { "a X 3}\r\n", 8 }, IMAP_RX_COMMAND, 8, 0, 0, false },
	{ { LONG_LINE, sizeof(LONG_LINE) - 1 }, IMAP_RX_TOO_LONG, 0, 0, 0, false },
};

/* Feeds c->in grown by `step` bytes at a time. */
static void run_frame(const struct frame_case *c, size_t step)
{
	struct imap_frame f;
	unsigned continues = 0;
	enum imap_rx rx = IMAP_RX_MORE;
	imap_frame_init(&f, limits, true);
	for (size_t n = step; rx == IMAP_RX_MORE; n += step) {
		if (n > c->in.n)
			n = c->in.n;
		char *copy = mem_copy(c->in.p, n); /* exact size: a read too far is seen */
		while ((rx = imap_frame_scan(&f, span_of(copy, n))) == IMAP_RX_CONTINUE)
			continues++;
		mem_free(copy);
		if (n == c->in.n)
			break;
	}
	assert_int_equal(rx, c->want);
	assert_int_equal(continues, c->continues);
	if (rx == IMAP_RX_COMMAND || rx == IMAP_RX_LITERAL)
		assert_int_equal(f.len, c->len);
	if (rx == IMAP_RX_LITERAL) {
		assert_true(f.literal_size == c->literal_size);
		assert_int_equal(f.literal_sync, c->sync);
	}
}

static void test_frame_at_every_split(void **state)
{
	for (size_t i = 0; i < COUNT_OF(frame_cases); i++) {
		for (size_t step = 1; step <= frame_cases[i].in.n; step++)
			run_frame(&frame_cases[i], step);
	}
}

static void test_frame_of_server_and_plain_line(void **state)
{
	struct imap_frame f;
	imap_frame_init(&f, limits, false);
	assert_int_equal(imap_frame_scan(&f, SPAN("* X {3}\r\nabc\r\n")), IMAP_RX_COMMAND);
	assert_int_equal(f.len, 14);
	imap_frame_reset(&f);
	assert_int_equal(imap_frame_line(&f, SPAN("DONE{3}\r\nabc")), IMAP_RX_COMMAND);
	assert_int_equal(f.len, 9);
	imap_frame_reset(&f);
	assert_int_equal(imap_frame_line(&f, SPAN("DONE\n")), IMAP_RX_BAD);
	assert_non_null(imap_rx_why(IMAP_RX_BAD));
	assert_null(imap_rx_why(IMAP_RX_MORE));
}

static void test_frame_limits_of_the_whole(void **state)
{
	struct imap_frame f;
	struct buf b = BUF_INIT(4096);
	struct imap_limits narrow = { .line_max = 50, .literal_max = 16, .total_max = 200 };
	imap_frame_init(&f, narrow, true);
	for (int i = 0; i < 20; i++)
		buf_add_str(&b, "{16+}\r\n0123456789abcdef");
	/* eight lines are more than 50 bytes */
	assert_int_equal(imap_frame_scan(&f, buf_span(&b)), IMAP_RX_TOO_LONG);
	struct imap_limits wide = { .line_max = 4000, .literal_max = 16, .total_max = 200 };
	imap_frame_init(&f, wide, true);
	assert_int_equal(imap_frame_scan(&f, buf_span(&b)), IMAP_RX_LITERAL);
	assert_true(f.len <= 200);
	struct imap_limits wider = { .line_max = 4000, .literal_max = 16, .total_max = 4000 };
	imap_frame_init(&f, wider, true);
	buf_clear(&b);
	for (int i = 0; i <= IMAP_LITERALS_MAX; i++)
		buf_add_str(&b, "{1+}\r\n0");
	/* one too many is the caller's affair, as a large one is; from a server it is nonsense */
	assert_int_equal(imap_frame_scan(&f, buf_span(&b)), IMAP_RX_LITERAL);
	assert_int_equal(f.literal_size, 1);
	imap_frame_init(&f, wider, false);
	assert_int_equal(imap_frame_scan(&f, buf_span(&b)), IMAP_RX_TOO_LONG);
	buf_end(&b);
}

/* ---- tokens -------------------------------------------------------------------------------------- */

static void test_strings(void **state)
{
	static const struct {
		const char *in, *want; /* want NULL: fails */
	} cases[] = {
		{ "atom", "atom" },
		{ "a]b", "a]b" },
		{ "\"\"", "" },
		{ "\"a b\"", "a b" },
		{ "\"a\\\"b\\\\c\"", "a\"b\\c" },
		{ "{3}\r\na\"b", "a\"b" },
		{ "{3+}\r\n\r\n\"", "\r\n\"" },
		{ "{0}\r\n\r\n", "" },
		{ "{4}\r\nabc", NULL },
		{ "{3}abc", NULL },
		{ "{99999999999999999999}\r\nabc", NULL },
		{ "\"abc", NULL },
		{ "\"a\\bc\"", NULL },
		{ "\"abc\\", NULL },
		{ "\"a\rb\"", NULL },
		{ "(", NULL },
		{ "", NULL },
		{ "\x80", NULL },
		{ "\"\xc3\xa4\"", "\xc3\xa4" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct imap_cursor c;
		struct buf scratch = BUF_INIT(64);
		imap_cursor_init(&c, span_str(cases[i].in), &scratch);
		struct span s = imap_read_astring(&c);
		imap_read_end(&c);
		if (imap_ok(&c) != (cases[i].want != NULL))
			fail_msg("case %zu: %s", i, c.why == NULL ? "accepted" : c.why);
		if (cases[i].want != NULL)
			assert_span(s, cases[i].want);
		buf_end(&scratch);
	}
}

static void test_spans_stay_when_scratch_fills(void **state)
{
	struct buf command = BUF_INIT(8192), scratch = BUF_INIT(8192);
	struct imap_cursor c;
	struct span got[1000];
	for (size_t i = 0; i < COUNT_OF(got); i++)
		buf_add_str(&command, "\"\\\\x\" ");
	imap_cursor_init(&c, buf_span(&command), &scratch);
	for (size_t i = 0; i < COUNT_OF(got); i++) {
		got[i] = imap_read_string(&c);
		imap_read_sp(&c);
	}
	assert_true(imap_ok(&c));
	for (size_t i = 0; i < COUNT_OF(got); i++)
		assert_span(got[i], "\\x");
	buf_end(&command);
	buf_end(&scratch);
}

static void test_cursor_sticks(void **state)
{
	struct imap_cursor c;
	imap_cursor_init(&c, SPAN("a1 FETCH 0 x\r\n"), NULL);
	assert_span(imap_read_tag(&c), "a1");
	imap_read_sp(&c);
	assert_false(imap_try_word(&c, "FET"));
	assert_true(imap_try_word(&c, "fetch"));
	imap_read_sp(&c);
	assert_int_equal(imap_read_nz_number(&c), 0);
	assert_string_equal(c.why, "Number must not be zero");
	assert_int_equal(imap_peek(&c), -1);
	assert_false(imap_try(&c, ' '));
	assert_span(imap_read_atom(&c), "");
	assert_span(imap_read_rest(&c), "");
	assert_string_equal(c.why, "Number must not be zero");
	imap_cursor_init(&c, SPAN("4294967296"), NULL);
	assert_int_equal(imap_read_number(&c), 0);
	assert_false(imap_ok(&c));
	imap_cursor_init(&c, SPAN("{123+}\r\n"), NULL);
	assert_int_equal(imap_read_literal_size(&c), 123);
	assert_true(imap_ok(&c));
	imap_cursor_init(&c, SPAN("+a NOOP"), NULL);
	imap_read_tag(&c);
	assert_false(imap_ok(&c));
}

static void test_dates(void **state)
{
	static const struct {
		const char *in;
		int64_t want;
		bool ok;
		const char *out;
	} cases[] = {
		{ "\"01-Jan-1970 00:00:00 +0000\"", 0, true, "\"01-Jan-1970 00:00:00 +0000\"" },
		{ "\" 1-Jan-1970 01:00:00 +0100\"", 0, true, "\"01-Jan-1970 00:00:00 +0000\"" },
		{ "\"29-feb-2024 23:59:59 -0830\"", 1709281799, true,
		    "\"01-Mar-2024 08:29:59 +0000\"" },
		{ "\"31-Dec-1969 23:59:59 +0000\"", -1, true, "\"31-Dec-1969 23:59:59 +0000\"" },
		{ "\"29-Feb-2023 00:00:00 +0000\"", 0, false, NULL },
		{ "\"00-Feb-2023 00:00:00 +0000\"", 0, false, NULL },
		{ "\"2-Jan-1970 00:00:00 +0000\"", 86400, true,
		    "\"02-Jan-1970 00:00:00 +0000\"" }, /* imapflow's */
		{ "\" 01-Jan-1970 00:00:00 +0000\"", 0, false, NULL },
		{ "\"-Jan-1970 00:00:00 +0000\"", 0, false, NULL },
		{ "\"01-Foo-2023 00:00:00 +0000\"", 0, false, NULL },
		{ "\"01-Feb-2023 24:00:00 +0000\"", 0, false, NULL },
		{ "\"01-Feb-2023 00:00:00 0000\"", 0, false, NULL },
		{ "\"01-Feb-2023 00:00:00 +0000", 0, false, NULL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct imap_cursor c;
		struct buf out = BUF_INIT(64);
		imap_cursor_init(&c, span_str(cases[i].in), NULL);
		int64_t got = imap_read_date_time(&c);
		imap_read_end(&c);
		assert_int_equal(imap_ok(&c), cases[i].ok);
		assert_true(got == cases[i].want);
		if (cases[i].ok) {
			assert_true(imap_put_date_time(&out, got));
			assert_span(buf_span(&out), cases[i].out);
		}
		buf_end(&out);
	}
	struct imap_cursor c;
	imap_cursor_init(&c, SPAN("1-Feb-1970 \"1-Mar-2000\""), NULL);
	assert_int_equal(imap_read_date(&c), 31);
	imap_read_sp(&c);
	assert_int_equal(imap_read_date(&c), 11017);
	assert_true(imap_ok(&c));
}

static void test_flags(void **state)
{
	struct imap_cursor c;
	struct imap_flags f;
	imap_cursor_init(&c, SPAN("(\\Seen $Junk \\DELETED foo FOO) ()"), NULL);
	imap_read_flags(&c, false, &f);
	assert_true(imap_ok(&c));
	assert_int_equal(f.system, IMAP_SEEN | IMAP_DELETED);
	assert_int_equal(f.keyword_count, 2);
	assert_span(f.keywords[0], "$Junk");
	imap_read_sp(&c);
	imap_read_flags(&c, false, &f);
	assert_true(imap_ok(&c) && imap_at_end(&c));
	assert_int_equal(f.system, 0);
	imap_cursor_init(&c, SPAN("\\Draft kw"), NULL);
	imap_read_flags(&c, true, &f);
	assert_true(imap_ok(&c));
	assert_int_equal(f.keyword_count, 1);
	static const char *const bad[] = { "(\\Recent)", "(\\Foo)", "(a", "a b", "(a  b)",
		"(\\ )" };
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		imap_cursor_init(&c, span_str(bad[i]), NULL);
		imap_read_flags(&c, false, &f);
		assert_false(imap_ok(&c));
	}
	struct buf out = BUF_INIT(64);
	imap_put_system_flags(&out, IMAP_SEEN | IMAP_DRAFT);
	assert_span(buf_span(&out), "\\Seen \\Draft");
	buf_end(&out);
}

static void test_sets(void **state)
{
	static const struct {
		const char *in;
		uint32_t star;
		const char *sent, *resolved; /* NULL: fails */
	} cases[] = {
		{ "1", 9, "1", "1" },
		{ "5:3,1:2,4,9", 9, "5:3,1:2,4,9", "1:5,9" },
		{ "*", 7, "*", "7" },
		{ "10:*", 7, "10:*", "7:10" },
		{ "*:2", 7, "*:2", "2:7" },
		{ "1:*,3", 0, "1:*,3", "3" },
		{ "*", 0, "*", "" },
		{ "4294967295,1", 1, "4294967295,1", "1,4294967295" },
		{ "4294967295,4294967290:*", 4294967295u, "4294967295,4294967290:*",
		    "4294967290:4294967295" },
		{ "0", 9, NULL, NULL },
		{ "1,", 9, NULL, NULL },
		{ "1:", 9, NULL, NULL },
		{ "", 9, NULL, NULL },
		{ "4294967296", 9, NULL, NULL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct imap_cursor c;
		struct imap_set s = { 0 };
		struct buf out = BUF_INIT(256);
		imap_cursor_init(&c, span_str(cases[i].in), NULL);
		imap_read_set(&c, &s);
		imap_read_end(&c);
		assert_int_equal(imap_ok(&c), cases[i].sent != NULL);
		if (cases[i].sent != NULL) {
			imap_put_set(&out, &s);
			assert_span(buf_span(&out), cases[i].sent);
			imap_set_resolve(&s, cases[i].star);
			buf_clear(&out);
			imap_put_set(&out, &s);
			assert_span(buf_span(&out), cases[i].resolved);
		}
		buf_end(&out);
		imap_set_end(&s);
	}
}

static void test_set_membership_and_bound(void **state)
{
	struct imap_set s = { 0 };
	for (uint32_t i = 0; i < IMAP_SET_MAX; i++)
		assert_true(imap_set_add(&s, 3 * i + 1, 3 * i + 2));
	assert_false(imap_set_add(&s, 1, 1));
	imap_set_resolve(&s, 1);
	assert_int_equal(s.n, IMAP_SET_MAX);
	for (uint32_t n = 1; n < 3 * IMAP_SET_MAX; n++)
		assert_int_equal(imap_set_has(&s, n), n % 3 != 0);
	assert_false(imap_set_has(&s, 0));
	assert_false(imap_set_has(&s, UINT32_MAX));
	imap_set_end(&s);
}

static void test_output(void **state)
{
	struct buf out = BUF_INIT(256);
	assert_true(imap_put_quoted(&out, SPAN("a\"b\\")));
	assert_span(buf_span(&out), "\"a\\\"b\\\\\"");
	assert_false(imap_put_quoted(&out, SPAN("a\r")));
	assert_false(imap_put_quoted(&out, SPAN("\xc3\xa4")));
	buf_clear(&out);
	assert_true(imap_put_string(&out, SPAN("\xc3\xa4")));
	assert_span(buf_span(&out), "{2}\r\n\xc3\xa4");
	buf_clear(&out);
	assert_true(imap_put_literal(&out, SPAN("ab"), true));
	assert_span(buf_span(&out), "{2+}\r\nab");
	buf_clear(&out);
	imap_put_astring(&out, SPAN("Sent"));
	imap_put_astring(&out, SPAN("a b"));
	imap_put_astring(&out, SPAN(""));
	imap_put_astring(&out, SPAN("nil"));
	assert_span(buf_span(&out), "Sent\"a b\"\"\"\"nil\"");
	buf_end(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frame_at_every_split),
		cmocka_unit_test(test_frame_of_server_and_plain_line),
		cmocka_unit_test(test_frame_limits_of_the_whole),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_spans_stay_when_scratch_fills),
		cmocka_unit_test(test_cursor_sticks),
		cmocka_unit_test(test_dates),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_sets),
		cmocka_unit_test(test_set_membership_and_bound),
		cmocka_unit_test(test_output),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
