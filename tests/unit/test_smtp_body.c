/* test_smtp_body.c - dot transparency: transcripts at every split, smuggling attempts, round trips. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/rand.h"
#include "proto/smtp_body.h"

/* Decodes `in` given in pieces [0, first), then `more` bytes at a time. Returns bytes not used. */
static size_t decode(
    struct smtp_body_decoder *d, struct span in, size_t first, size_t more, struct buf *out)
{
	size_t at = 0, n = first;
	for (;;) {
		struct span piece = span_first(span_from(in, at), n), got;
		size_t had = piece.n;
		enum smtp_body_rx rx;
		while ((rx = smtp_body_decode(d, &piece, &got)) == SMTP_BODY_SPAN)
			buf_add_span(out, got);
		at += had - piece.n;
		if (rx == SMTP_BODY_END || at == in.n)
			return in.n - at;
		n = more;
	}
}

static const struct {
	const char *in, *want;
	size_t left; /* SIZE_MAX: no end seen */
	unsigned faults;
	uint64_t fault_at;
} cases[] = {
	{ ".\r\n", "", 0, 0, 0 },
	{ "a\r\n.\r\nQUIT\r\n", "a\r\n", 6, 0, 0 },
	{ "..\r\n.\r\n", ".\r\n", 0, 0, 0 },
	{ "..a\r\n.b\r\n.\r\n", ".a\r\nb\r\n", 0, 0, 0 },
	{ "\r\n\r\n.\r\n", "\r\n\r\n", 0, 0, 0 },
	{ "a.\r\n.\r\n", "a.\r\n", 0, 0, 0 },
	{ "a\n.\r\nb\r\n.\r\n", "a\n.\r\nb\r\n", 0, SMTP_BODY_BARE_LF, 1 },
	{ "a\n.\nb\r\n.\r\n", "a\n.\nb\r\n", 0, SMTP_BODY_BARE_LF, 1 },
	{ "a\r\n.\nb\r\n.\r\n", "a\r\n\nb\r\n", 0, SMTP_BODY_BARE_LF, 4 },
	{ "a\r.\r\nb\r\n.\r\n", "a\r.\r\nb\r\n", 0, SMTP_BODY_BARE_CR, 1 },
	{ "a\r\n.\r.\r\n.\r\n", "a\r\n\r.\r\n", 0, SMTP_BODY_BARE_CR, 4 },
	{ "a\r\r\n.\r\n", "a\r\r\n", 0, SMTP_BODY_BARE_CR, 1 },
	{ "\xc3\xa4\r\n.\r\n", "\xc3\xa4\r\n", 0, SMTP_BODY_8BIT, 0 },
	{ "123456789\r\n12345678\r\n.\r\n", "123456789\r\n12345678\r\n", 0, SMTP_BODY_LONG_LINE,
	    8 },
	{ ".123456789\r\n.\r\n", "123456789\r\n", 0, SMTP_BODY_LONG_LINE, 9 },
	{ ".12345678\r\n.\r\n", "12345678\r\n", 0, 0, 0 },
	{ "abc", "abc", SIZE_MAX, 0, 0 },
	{ "abc\r\n.", "abc\r\n", SIZE_MAX, 0, 0 },
};

static void test_every_split(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct span in = span_str(cases[i].in);
		for (size_t first = 0; first <= in.n; first++) {
			struct smtp_body_decoder d;
			struct buf out = BUF_INIT(1000);
			smtp_body_decoder_init(&d, 8);
			size_t left = decode(&d, in, first, first == 0 ? 1 : 1000, &out);
			assert_string_equal(buf_cstr(&out), cases[i].want);
			assert_int_equal(d.faults, cases[i].faults);
			assert_int_equal(d.fault_at, cases[i].fault_at);
			if (cases[i].left == SIZE_MAX)
				assert_int_not_equal(d.state, SMTP_BODY_ST_END);
			else
				assert_int_equal(left, cases[i].left);
			buf_end(&out);
		}
	}
}

/* Bare LF ends lines, bare CR is a space; only CRLF.CRLF ends the data. */
static const struct {
	const char *in, *want;
	size_t left;
} normal[] = {
	{ "a\nb\n.\r\n.\r\n", "a\r\nb\r\n.\r\n", 0 },
	{ "a\n.\nb\r\n.\r\nQUIT\r\n", "a\r\n.\r\nb\r\n", 6 },
	{ "a\r\n.\nb\r\n.\r\n", "a\r\n.\r\nb\r\n", 0 },
	{ "a\r\n.\n.\r\n\r\n.\r\n", "a\r\n.\r\n.\r\n\r\n", 0 },
	{ "a\n..b\n.c\n..\n\r\n.\r\n", "a\r\n.b\r\nc\r\n.\r\n\r\n", 0 },
	{ "a\r.\r\nb\r\r\n.\r\n", "a .\r\nb \r\n", 0 },
	{ "a\r\n.\r.\r\n.\r\n", "a\r\n .\r\n", 0 },
	{ "a\n.\r.\r\n.\r\n", "a\r\n. .\r\n", 0 },
	{ "12345678\n12345678\n\r\n.\r\n", "12345678\r\n12345678\r\n\r\n", 0 },
	{ "a\n.", "a\r\n", SIZE_MAX },
};

static void test_normalized(void **state)
{
	for (size_t i = 0; i < COUNT_OF(normal); i++) {
		struct span in = span_str(normal[i].in);
		for (size_t first = 0; first <= in.n; first++) {
			struct smtp_body_decoder d;
			struct buf out = BUF_INIT(1000);
			smtp_body_decoder_init(&d, 8);
			d.normalize = true;
			size_t left = decode(&d, in, first, first == 0 ? 1 : 1000, &out);
			assert_string_equal(buf_cstr(&out), normal[i].want);
			assert_int_equal(d.faults, 0);
			assert_int_equal(left, normal[i].left == SIZE_MAX ? 0 : normal[i].left);
			assert_int_equal(d.state == SMTP_BODY_ST_END, normal[i].left != SIZE_MAX);
			buf_end(&out);
		}
	}
}

static void test_nul(void **state)
{
	struct smtp_body_decoder d;
	struct buf out = BUF_INIT(100);
	smtp_body_decoder_init(&d, 998);
	assert_int_equal(decode(&d, span_of("ab\0c\r\n.\r\n", 9), 9, 1, &out), 0);
	assert_int_equal(d.faults, SMTP_BODY_NUL);
	assert_int_equal(d.fault_at, 2);
	assert_true(span_eq(buf_span(&out), span_of("ab\0c\r\n", 6)));
	buf_end(&out);
}

static size_t put_random_text(char *to, size_t max)
{
	static const char *const parts[] = { "some plain text of a message", "a", "\t", "\r\n",
		"\r\n.", "\r\n..", ".", "\xc3\xa4", "\r", "\n", "\x01", "\x7f" };
	size_t n = 0;
	while (n + 32 < max) {
		uint64_t which = rand_below(40);
		const char *part = which < 28 ? parts[which % 4] : parts[which - 28];
		size_t len = strlen(part);
		memcpy(to + n, part, len);
		n += len;
		if (rand_below(100) == 0)
			to[n++] = '\0';
	}
	memcpy(to + n, "\r\n.\r\n", 5);
	return n + 5;
}

/* What goes by words and by lines is the same byte by byte, where no word is ever whole. */
static void test_words(void **state)
{
	char in[600];
	for (int round = 0; round < 3000; round++) {
		struct span text = span_of(in, put_random_text(in, 8 + rand_below(sizeof in - 8)));
		struct smtp_body_decoder whole, bytes;
		struct buf one = BUF_INIT(1000), two = BUF_INIT(1000);
		size_t line_max = 1 + rand_below(60);
		smtp_body_decoder_init(&whole, line_max);
		smtp_body_decoder_init(&bytes, line_max);
		whole.normalize = bytes.normalize = round % 2 == 0;
		assert_int_equal(
		    decode(&whole, text, text.n, 1, &one), decode(&bytes, text, 1, 1, &two));
		assert_true(span_eq(buf_span(&one), buf_span(&two)));
		assert_int_equal(whole.faults, bytes.faults);
		assert_int_equal(whole.fault_at, bytes.fault_at);
		assert_int_equal(whole.taken, bytes.taken);
		buf_end(&one);
		buf_end(&two);
	}
}

static const struct {
	const char *in, *want;
} encodings[] = {
	{ "", ".\r\n" },
	{ "a", "a\r\n.\r\n" },
	{ "a\r\n", "a\r\n.\r\n" },
	{ ".\r\n", "..\r\n.\r\n" },
	{ ".a\r\n..\r\n", "..a\r\n...\r\n.\r\n" },
	{ "a\nb", "a\r\nb\r\n.\r\n" },
	{ "a\rb\r\n", "a\r\nb\r\n.\r\n" },
	{ "a\r", "a\r\n.\r\n" },
	{ "a\r\r\n.b", "a\r\n\r\n..b\r\n.\r\n" },
	{ "a\n.\nb\n", "a\r\n..\r\nb\r\n.\r\n" },
	{ "a\r.\r\nb", "a\r\n..\r\nb\r\n.\r\n" },
};

/* room: how much output fits before it is taken away. */
static void encode(struct span in, size_t piece, size_t room, struct buf *all)
{
	struct smtp_body_encoder e = { 0 };
	struct buf out = BUF_INIT(room);
	for (size_t at = 0; at < in.n;) {
		at += smtp_body_encode(&e, span_first(span_from(in, at), piece), &out);
		buf_add_span(all, buf_span(&out));
		buf_clear(&out);
	}
	assert_true(smtp_body_encode_end(&e, &out));
	buf_add_span(all, buf_span(&out));
	buf_end(&out);
}

static void test_encoder(void **state)
{
	for (size_t i = 0; i < COUNT_OF(encodings); i++) {
		for (size_t piece = 1; piece < 10; piece++) {
			struct buf all = BUF_INIT(1000);
			encode(span_str(encodings[i].in), piece, 4 + 2 * piece, &all);
			assert_string_equal(buf_cstr(&all), encodings[i].want);
			buf_end(&all);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_split),
		cmocka_unit_test(test_normalized),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_encoder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
