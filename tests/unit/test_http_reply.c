/* test_http_reply.c - replies of a web server, whole and in two pieces at every cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/check.h"
#include "proto/http_reply.h"

enum { BODY_MAX = 20 };

static const struct {
	const char *in;
	enum http_reply_rx rx;
	unsigned status;
	const char *type, *body;
	size_t left; /* bytes behind it that are nobody's */
} cases[] = {
#define OK "HTTP/1.1 200 OK\r\n"
	{ OK "Content-Length: 5\r\nContent-Type: Text/Plain; charset=x\r\n\r\nhello",
	    HTTP_REPLY_READY, 200, "text/plain", "hello", 0 },
	{ "HTTP/1.0 404\ncontent-length:0\n\n", HTTP_REPLY_READY, 404, "", "", 0 },
	{ "HTTP/1.1 301 Moved\r\nLocation: https://x/\r\nContent-Length: 1\r\n\r\nxyz",
	    HTTP_REPLY_READY, 301, "", "x", 2 },
	{ OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n, wonderfu\r\n0\r\nx: "
	     "y\r\n\r\n",
	    HTTP_REPLY_READY, 200, "", "hello, wonderfu", 0 },
	{ "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" OK "Content-Length: 2\r\n\r\nok",
	    HTTP_REPLY_READY, 200, "", "ok", 0 },
	{ "HTTP/1.1 204 No\r\n\r\n", HTTP_REPLY_READY, 204, "", "", 0 },
	{ OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", HTTP_REPLY_READY, 200, "",
	    "hello", 0 },
	{ OK "Content-Length: 20\r\n\r\n12345678901234567890", HTTP_REPLY_READY, 200, "",
	    "12345678901234567890", 0 },
	{ OK "Content-Length: 21\r\n\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP_REPLY_BAD, 0, "", "",
	    0 },
	{ OK "Content-Length: -5\r\n\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ OK "Content-Length: 99999999999999999999\r\n\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ OK "\r\nhello", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ OK "Content-Length: 5\r\nContent-Encoding: gzip\r\n\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ OK "Transfer-Encoding: gzip, chunked\r\n\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ OK "Transfer-Encoding: chunked\r\n\r\n\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ OK "Transfer-Encoding: chunked\r\n\r\n100000000\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ OK "Transfer-Encoding: chunked\r\n\r\nA\r\n1234567890\r\nB\r\n", HTTP_REPLY_BAD, 0, "",
	    "", 0 },
	{ OK " folded: x\r\n\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ OK "nothing\r\n\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ OK "a b: c\r\n\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ "HTTP/2 200\r\n\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ "HTTP/1.1 2000 OK\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ "HTTP/1.1 600 OK\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ "HTTP/1.1 101 Switch\r\n\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ "220 mail.example.org ESMTP\r\n", HTTP_REPLY_BAD, 0, "", "", 0 },
	{ OK "Content-Length: 5\r\n\r\nhell", HTTP_REPLY_MORE, 0, "", "", 0 },
};

static enum http_reply_rx feed(
    struct http_reply_reader *r, struct span in, size_t cut, size_t *left)
{
	size_t eat, first;
	enum http_reply_rx rx = http_reply_take(r, span_first(in, cut), &first);
	assert_true(first <= cut);
	if (rx == HTTP_REPLY_MORE) {
		rx = http_reply_take(r, span_from(in, first), &eat);
		first += eat;
	}
	*left = in.n - first;
	return rx;
}

static void test_every_cut(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct span in = span_str(cases[i].in);
		for (size_t cut = 0; cut <= in.n; cut++) {
			struct http_reply_reader r;
			size_t left;
			http_reply_init(&r, BODY_MAX);
			assert_int_equal(feed(&r, in, cut, &left), cases[i].rx);
			if (cases[i].rx == HTTP_REPLY_BAD)
				assert_non_null(r.why);
			if (cases[i].rx == HTTP_REPLY_READY) {
				assert_int_equal(r.status, cases[i].status);
				assert_string_equal(r.type, cases[i].type);
				assert_true(span_eq_str(buf_span(&r.body), cases[i].body));
				assert_int_equal(left, cases[i].left);
			}
			http_reply_end(&r);
		}
	}
}

static enum http_reply_rx repeat(const char *begin, const char *more, size_t times)
{
	struct http_reply_reader r;
	size_t eat;
	http_reply_init(&r, BODY_MAX);
	enum http_reply_rx rx = http_reply_take(&r, span_str(begin), &eat);
	for (size_t i = 0; i < times && rx == HTTP_REPLY_MORE; i++)
		rx = http_reply_take(&r, span_str(more), &eat);
	http_reply_end(&r);
	return rx;
}

/* A head, a trailer, chunk sizes or replies that never end. */
static void test_endless(void **state)
{
	assert_int_equal(repeat(OK, "a: b\r\n", HTTP_HEAD_MAX), HTTP_REPLY_BAD);
	assert_int_equal(
	    repeat(OK "Transfer-Encoding: chunked\r\n\r\n0\r\n", "a: b\r\n", HTTP_HEAD_MAX),
	    HTTP_REPLY_BAD);
	assert_int_equal(repeat("", "HTTP/1.1 100 Go on\r\n\r\n", 100), HTTP_REPLY_BAD);
	struct http_reply_reader r;
	char line[HTTP_LINE_MAX + 1];
	size_t eat;
	memset(line, 'a', sizeof line);
	http_reply_init(&r, BODY_MAX);
	assert_int_equal(
	    http_reply_take(&r, span_of(line, sizeof line - 1), &eat), HTTP_REPLY_MORE);
	assert_int_equal(http_reply_take(&r, span_of(line, sizeof line), &eat), HTTP_REPLY_BAD);
	http_reply_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_cut),
		cmocka_unit_test(test_endless),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
