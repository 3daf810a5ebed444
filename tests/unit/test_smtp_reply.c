/* test_smtp_reply.c - replies written, and read at every split point; hostile servers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "proto/smtp_reply.h"

/* Reads all replies of `in`, `first` bytes and then `more` at a time, into a transcript. */
static void feed(struct span in, size_t first, size_t more, struct buf *log)
{
	struct smtp_reply_reader r;
	smtp_reply_reader_init(&r);
	size_t eaten = 0, there = first < in.n ? first : in.n;
	for (;;) {
		struct smtp_reply reply;
		size_t eat;
		enum smtp_reply_rx rx =
		    smtp_reply_take(&r, span_of(in.p + eaten, there - eaten), &reply, &eat);
		eaten += eat;
		if (rx == SMTP_REPLY_READY)
			buf_printf(
			    log, "{%u %s|%.*s}", reply.code, reply.enhanced, SPAN_ARG(reply.text));
		if (rx == SMTP_REPLY_BAD) {
			assert_non_null(r.why);
			buf_add_str(log, "(bad)");
			break;
		}
		if (rx == SMTP_REPLY_MORE && there == in.n)
			break;
		if (rx == SMTP_REPLY_MORE)
			there = in.n - there < more ? in.n : there + more;
	}
	smtp_reply_reader_end(&r);
}

static const struct {
	const char *in, *want;
} cases[] = {
	{ "250 ok\r\n", "{250 |ok}" },
	{ "250\r\n", "{250 |}" },
	{ "250-a\r\n250-b\r\n250 c\r\n354 go\r\n", "{250 |a\nb\nc}{354 |go}" },
	{ "250 2.1.5 fine\r\n", "{250 2.1.5|fine}" },
	{ "250 2.1.5\r\n", "{250 2.1.5|}" },
	{ "550-5.7.1 no\r\n550 5.7.1 never\r\n", "{550 5.7.1|no\nnever}" },
	{ "250 5.1.1 class differs\r\n", "{250 |5.1.1 class differs}" },
	{ "250 2.1000.1 x\r\n", "{250 |2.1000.1 x}" },
	{ "250 2.1.1x\r\n", "{250 |2.1.1x}" },
	{ "250-a\r\n251 b\r\n", "(bad)" },
	{ "150 early\r\n", "(bad)" },
	{ "600 late\r\n", "(bad)" },
	{ "25 x\r\n", "(bad)" },
	{ "250x\r\n", "(bad)" },
	{ "hello\r\n", "(bad)" },
	{ "\r\n", "(bad)" },
	{ "250 ok\n", "(bad)" },
	{ "250 o\rk\r\n", "(bad)" },
	{ "250 half", "" },
	{ "250-a\r\n", "" },
};

static void test_every_split(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct span in = span_str(cases[i].in);
		for (size_t first = 0; first <= in.n; first++) {
			struct buf log = BUF_INIT(1000);
			feed(in, first, first == 0 ? 1 : 1000, &log);
			assert_string_equal(buf_cstr(&log), cases[i].want);
			buf_end(&log);
		}
	}
}

static enum smtp_reply_rx read_many(const char *line, size_t times, const char *last)
{
	struct buf in = BUF_INIT(1000000);
	for (size_t i = 0; i < times; i++)
		buf_add_str(&in, line);
	buf_add_str(&in, last);
	struct smtp_reply_reader r;
	struct smtp_reply reply;
	size_t eat;
	smtp_reply_reader_init(&r);
	enum smtp_reply_rx rx = smtp_reply_take(&r, buf_span(&in), &reply, &eat);
	smtp_reply_reader_end(&r);
	buf_end(&in);
	return rx;
}

static void test_limits(void **state)
{
	assert_int_equal(
	    read_many("250-x\r\n", SMTP_REPLY_LINES_MAX - 1, "250 x\r\n"), SMTP_REPLY_READY);
	assert_int_equal(read_many("250-x\r\n", SMTP_REPLY_LINES_MAX, "250 x\r\n"), SMTP_REPLY_BAD);
	assert_int_equal(read_many("2", SMTP_REPLY_LINE_MAX + 1, ""), SMTP_REPLY_BAD);
	char line[SMTP_REPLY_LINE_MAX + 1];
	memset(line, 'x', sizeof(line));
	memcpy(line, "250-", 4);
	memcpy(line + 1000, "\r\n", 3);
	assert_int_equal(read_many(line, 17, "250 x\r\n"), SMTP_REPLY_BAD);
}

static void test_put(void **state)
{
	struct buf out = BUF_INIT(2000);
	assert_true(smtp_reply_put(&out, 250, "2.0.0", SPAN("queued as x")));
	assert_true(smtp_reply_put(&out, 550, NULL, SPAN("a\nb\r\t\x7f")));
	assert_string_equal(buf_cstr(&out), "250 2.0.0 queued as x\r\n550-a\r\n550 b???\r\n");
	buf_clear(&out);
	char text[SMTP_REPLY_PUT_MAX + 100];
	memset(text, 'y', sizeof(text));
	assert_true(smtp_reply_put(&out, 250, NULL, span_of(text, sizeof(text))));
	assert_true(buf_len(&out) <= SMTP_REPLY_PUT_MAX + 6);
	buf_end(&out);
}

static void test_ehlo(void **state)
{
	struct smtp_reply reply = {
		.code = 250,
		.text =
		    SPAN("mx.example hello\nPIPELINING\nsize 1000\nAUTH PLAIN LOGIN\nXDELIVERYID\n"
			 "X-UNKNOWN a b\n8BITMIME\nSTARTTLS"),
		.lines = 8,
	};
	struct smtp_ehlo e;
	smtp_ehlo_parse(&reply, &e);
	assert_int_equal(e.features, SMTP_HAS_PIPELINING | SMTP_HAS_SIZE | SMTP_HAS_AUTH |
					 SMTP_HAS_XDELIVERYID | SMTP_HAS_8BITMIME |
					 SMTP_HAS_STARTTLS);
	assert_int_equal(e.size_max, 1000);
	assert_true(span_eq_str(e.auth, "PLAIN LOGIN"));
	reply.text = SPAN("PIPELINING");
	smtp_ehlo_parse(&reply, &e);
	assert_int_equal(e.features, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_split),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_put),
		cmocka_unit_test(test_ehlo),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
