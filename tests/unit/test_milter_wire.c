/* test_milter_wire.c - milter packets: every prefix of a packet, each reply, what a lying filter may send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/check.h"
#include "proto/milter_wire.h"

static void test_out(void **state)
{
	struct buf out = BUF_INIT(4096);
	struct ip_port v4 = { .port = 4660 }, v6 = { .port = 1 }, none = { .port = 0 };
	const struct span words[] = { SPAN("<a@b>"), SPAN("SIZE=1"), SPAN("") };
	assert_true(ip_parse(SPAN("192.0.2.1"), &v4.addr));
	assert_true(ip_parse(SPAN("2001:db8::1"), &v6.addr));
	assert_true(milter_put_optneg(&out, 0x1ff, 0x1fffff));
	assert_true(
	    span_eq(buf_span(&out), SPAN("\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff")));
	buf_clear(&out);
	assert_true(milter_put_connect(&out, SPAN("h"), v4));
	assert_true(span_eq(buf_span(&out), SPAN("\0\0\0\x10"
						 "Ch\0"
						 "4\x12\x34"
						 "192.0.2.1\0")));
	buf_clear(&out);
	assert_true(milter_put_connect(&out, SPAN("h"), v6));
	assert_true(span_eq(buf_span(&out), SPAN("\0\0\0\x12"
						 "Ch\0"
						 "6\0\x01"
						 "2001:db8::1\0")));
	buf_clear(&out);
	assert_true(milter_put_connect(&out, SPAN("h"), none));
	assert_true(span_eq(buf_span(&out), SPAN("\0\0\0\x04"
						 "Ch\0U")));
	buf_clear(&out);
	assert_true(milter_put_strings(&out, MILTER_MAIL, words, COUNT_OF(words)));
	assert_true(span_eq(buf_span(&out), SPAN("\0\0\0\x0fM<a@b>\0SIZE=1\0\0")));
	buf_clear(&out);
	assert_true(milter_put(&out, MILTER_ABORT, SPAN_NONE));
	assert_true(span_eq(buf_span(&out), SPAN("\0\0\0\x01"
						 "A")));
	buf_end(&out);
}

static void test_out_is_bounded(void **state)
{
	static char big[MILTER_DATA_MAX + 1];
	struct buf out = BUF_INIT(2 * sizeof big);
	const struct span two[] = { span_of(big, 40000), span_of(big, 40000) };
	assert_true(milter_put(&out, MILTER_BODY, span_of(big, MILTER_DATA_MAX)));
	assert_int_equal(buf_len(&out), MILTER_HEAD + MILTER_DATA_MAX);
	assert_false(milter_put(&out, MILTER_BODY, span_of(big, sizeof big)));
	buf_clear(&out);
	assert_false(milter_put_strings(&out, MILTER_MAIL, two, 2));
	buf_end(&out);
}

/* Every prefix of a packet is unfinished; with more behind it only the packet is taken. */
static void test_take(void **state)
{
	static const char in[] = "\0\0\0\x03q!\0\0\0\0\x01"
				 "c";
	struct milter_packet p;
	size_t eat = 0;
	for (size_t n = 0; n < 7; n++) {
		assert_int_equal(milter_take(span_of(in, n), &p, &eat), MILTER_MORE);
		assert_int_equal(eat, 0);
	}
	assert_int_equal(milter_take(span_of(in, sizeof in - 1), &p, &eat), MILTER_READY);
	assert_int_equal(eat, 7);
	assert_int_equal(p.code, 'q');
	assert_true(span_eq(p.data, SPAN("!\0")));
	assert_int_equal(milter_take(span_of(in + 7, 5), &p, &eat), MILTER_READY);
	assert_int_equal(p.code, 'c');
	assert_int_equal(p.data.n, 0);
	assert_int_equal(milter_take(SPAN("\0\0\0\0c"), &p, &eat), MILTER_BAD);
	assert_int_equal(milter_take(SPAN("\0\x10\0\x02"
					  "c"),
			     &p, &eat),
	    MILTER_BAD);
	assert_int_equal(milter_take(SPAN("\0\x10\0\x01"
					  "c"),
			     &p, &eat),
	    MILTER_MORE);
	assert_int_equal(milter_take(SPAN("\xff\xff\xff\xff"), &p, &eat), MILTER_BAD);
	assert_int_equal(milter_take(SPAN("HTTP/1.1 400"), &p, &eat), MILTER_BAD);
}

static void test_optneg(void **state)
{
#define NEG(version, actions, steps) "\0\0\0" version "\0\0\0" actions "\0\0\0" steps
	static const struct {
		struct span in;
		err_t err;
	} cases[] = {
		{ SPAN(NEG("\x06", "\x1f", "\x7f")), ERR_OK },
		{ SPAN(NEG("\x02", "\0", "\0")), ERR_OK },
		{ SPAN(NEG("\x06", "\x1f", "\x7f") "\0\0\0\x02i j\0\0\0\0\x05i\0"), ERR_OK },
		{ SPAN(NEG("\x01", "\x1f", "\x7f")), ERR_PROTOCOL },
		{ SPAN(NEG("\x07", "\x1f", "\x7f")), ERR_PROTOCOL },
		{ SPAN(NEG("\x06", "\x20", "\x7f")), ERR_PROTOCOL },
		{ SPAN(NEG("\x06", "\x1f", "\x80")), ERR_PROTOCOL },
		{ SPAN(NEG("\x06", "\x1f", "\x7f") "\0\0\0\x07i\0"), ERR_PROTOCOL },
		{ SPAN(NEG("\x06", "\x1f", "\x7f") "\0\0\0\x02i"), ERR_PROTOCOL },
		{ SPAN(NEG("\x06", "\x1f", "\x7f") "\0\0"), ERR_PROTOCOL },
		{ SPAN("\0\0\0\x06\0\0\0\0\0\0\0"), ERR_PROTOCOL },
		{ SPAN(""), ERR_PROTOCOL },
	};
	struct milter_optneg o;
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(milter_parse_optneg(cases[i].in, 0x1f, 0x7f, &o), cases[i].err);
	assert_int_equal(milter_parse_optneg(cases[2].in, 0x1f, 0x7f, &o), ERR_OK);
	assert_int_equal(o.version, 6);
	assert_true(span_eq_str(o.macros[MILTER_M_MAIL], "i j"));
	assert_true(span_eq_str(o.macros[MILTER_M_EOM], "i"));
	assert_null(o.macros[MILTER_M_HELO].p);
}

static void test_text(void **state)
{
	static const struct {
		struct span in;
		unsigned code; /* 0: refused */
		const char *enhanced, *text;
	} cases[] = {
		{ SPAN("550 5.7.1 no\0"), 550, "5.7.1", "no" },
		{ SPAN("451 4.7.1 later\0"), 451, "4.7.1", "later" },
		{ SPAN("550 no code\0"), 550, "", "no code" },
		{ SPAN("550\0"), 550, "", "" },
		{ SPAN("550 4.7.1 other class\0"), 550, "", "4.7.1 other class" },
		{ SPAN("550 5.7 x\0"), 550, "", "5.7 x" },
		{ SPAN("550 5.1234.1 x\0"), 550, "", "5.1234.1 x" },
		{ SPAN("550 5.7.1\0"), 550, "", "5.7.1" },
		{ SPAN("550-5.7.1 one\r\n550 5.7.1 two\0"), 550, "5.7.1", "one\ntwo" },
		{ SPAN("550-5.7.1 one\n550-5.7.1 two\n550 5.7.1 three\r\n\0"), 550, "5.7.1",
		    "one\ntwo\nthree" },
		{ SPAN("550 5.7.1 100%% of 5% is %\0"), 550, "5.7.1", "100% of 5 is " },
		{ SPAN("550 5.7.1 a\rb\x01\xc3\xa4\0"), 550, "5.7.1", "a?b???" },
		{ SPAN("421 4.3.2 gone\0"), 421, "4.3.2", "gone" },
		{ SPAN("550 5.7.1 no"), 0, "", "" },
		{ SPAN("550 5.7.1 no\0more"), 0, "", "" },
		{ SPAN("250 2.0.0 yes\0"), 0, "", "" },
		{ SPAN("650 x\0"), 0, "", "" },
		{ SPAN("55\0"), 0, "", "" },
		{ SPAN("550x\0"), 0, "", "" },
		{ SPAN("550-a\r\n450 b\0"), 0, "", "" },
		{ SPAN("550-a\r\nQUIT\0"), 0, "", "" },
		{ SPAN("\0"), 0, "", "" },
		{ SPAN(""), 0, "", "" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct milter_text t;
		err_t err = milter_parse_text(cases[i].in, &t);
		assert_int_equal(err == ERR_OK, cases[i].code != 0);
		if (err)
			continue;
		assert_int_equal(t.code, cases[i].code);
		assert_string_equal(t.enhanced, cases[i].enhanced);
		assert_string_equal(t.text, cases[i].text);
	}
}

static void test_text_is_bounded(void **state)
{
	static char in[20000];
	struct milter_text t;
	memset(in, 'x', sizeof in);
	memcpy(in, "550 ", 4);
	in[4 + MILTER_TEXT_MAX] = '\0';
	assert_int_equal(milter_parse_text(span_of(in, 5 + MILTER_TEXT_MAX), &t), ERR_OK);
	assert_int_equal(strlen(t.text), MILTER_TEXT_MAX);
	in[4 + MILTER_TEXT_MAX] = 'x';
	in[5 + MILTER_TEXT_MAX] = '\0';
	assert_int_equal(milter_parse_text(span_of(in, 6 + MILTER_TEXT_MAX), &t), ERR_TOO_LONG);
	size_t n = 0;
	for (int i = 0; i < MILTER_TEXT_LINES_MAX + 1; i++)
		n += (size_t)snprintf(in + n, sizeof in - n, "550-a\n");
	assert_int_equal(milter_parse_text(span_of(in, n + 1), &t), ERR_TOO_LONG);
}

static void test_changes(void **state)
{
	static const struct {
		char code;
		struct span in;
		bool ok;
		uint32_t index;
		struct span name, value, address;
	} cases[] = {
		{ 'h', SPAN("X-A\0b c\0"), true, 0, SPAN("X-A"), SPAN("b c"), SPAN("") },
		{ 'i', SPAN("\0\0\0\x02X-A\0\0"), true, 2, SPAN("X-A"), SPAN(""), SPAN("") },
		{ 'm', SPAN("\0\0\x01\0X\0v\0"), true, 256, SPAN("X"), SPAN("v"), SPAN("") },
		{ '+', SPAN("<a@b>\0"), true, 0, SPAN(""), SPAN(""), SPAN("<a@b>") },
		{ '2', SPAN("<a@b>\0NOTIFY=NEVER\0"), true, 0, SPAN(""), SPAN(""), SPAN("<a@b>") },
		{ '-', SPAN("a@b\0"), true, 0, SPAN(""), SPAN(""), SPAN("a@b") },
		{ 'e', SPAN("<>\0"), true, 0, SPAN(""), SPAN(""), SPAN("<>") },
		{ 'q', SPAN("bad\0"), true, 0, SPAN(""), SPAN("bad"), SPAN("") },
		{ 'b', SPAN("raw\0bytes"), true, 0, SPAN(""), SPAN("raw\0bytes"), SPAN("") },
		{ 'h', SPAN("X-A\0b c"), false, 0, SPAN(""), SPAN(""), SPAN("") },
		{ 'h', SPAN("X-A\0b\0more\0"), false, 0, SPAN(""), SPAN(""), SPAN("") },
		{ 'h', SPAN("\0b\0"), false, 0, SPAN(""), SPAN(""), SPAN("") },
		{ 'h', SPAN("X: y\r\nZ\0b\0"), false, 0, SPAN(""), SPAN(""), SPAN("") },
		{ 'h', SPAN("X:\0b\0"), false, 0, SPAN(""), SPAN(""), SPAN("") },
		{ 'm', SPAN("\0\0\x01"), false, 0, SPAN(""), SPAN(""), SPAN("") },
		{ 'i', SPAN(""), false, 0, SPAN(""), SPAN(""), SPAN("") },
		{ '+', SPAN("a@b"), false, 0, SPAN(""), SPAN(""), SPAN("") },
		{ 'q', SPAN(""), false, 0, SPAN(""), SPAN(""), SPAN("") },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct milter_packet p = { cases[i].code, cases[i].in };
		struct milter_change c;
		err_t err = milter_parse_change(&p, &c);
		assert_int_equal(err == ERR_OK, cases[i].ok);
		assert_int_not_equal(milter_change_needs(p.code), 0);
		if (err)
			continue;
		assert_int_equal(c.index, cases[i].index);
		assert_true(span_eq(c.name, cases[i].name));
		assert_true(span_eq(c.value, cases[i].value));
		assert_true(span_eq(c.address, cases[i].address));
	}
	assert_int_equal(milter_change_needs('c'), 0);
	assert_int_equal(milter_change_needs(0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_out),
		cmocka_unit_test(test_out_is_bounded),
		cmocka_unit_test(test_take),
		cmocka_unit_test(test_optneg),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_text_is_bounded),
		cmocka_unit_test(test_changes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
