/* test_proxy_hdr.c - PROXY headers: every prefix of each case, then whole; round trips. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "proto/proxy_hdr.h"

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V2(bytes)                                                                                  \
	{                                                                                          \
		SIG bytes, sizeof(SIG bytes) - 1                                                   \
	}
#define V1(text)                                                                                   \
	{                                                                                          \
		text, sizeof(text) - 1                                                             \
	}

static const struct {
	struct span in;
	enum proxy_rx rx;
	enum proxy_kind kind;
	const char *client, *local;
	size_t rest; /* bytes behind the header */
} cases[] = {
	{ V1("PROXY TCP4 192.0.2.1 192.0.2.2 5000 25\r\nEHLO"), PROXY_DONE, PROXY_CLIENT,
	    "192.0.2.1:5000", "192.0.2.2:25", 4 },
	{ V1("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n"), PROXY_DONE, PROXY_CLIENT,
	    "[2001:db8::1]:65535", "[::1]:0", 0 },
	{ V1("PROXY UNKNOWN\r\n"), PROXY_DONE, PROXY_LOCAL, NULL, NULL, 0 },
	{ V1("PROXY UNKNOWN any thing\r\n"), PROXY_DONE, PROXY_LOCAL, NULL, NULL, 0 },
	{ V1("PROXY TCP4 192.0.2.1 192.0.2.2 5000 25\n"), PROXY_BAD, 0, NULL, NULL, 0 },
	{ V1("PROXY TCP4 2001:db8::1 192.0.2.2 5000 25\r\n"), PROXY_BAD, 0, NULL, NULL, 0 },
	{ V1("PROXY TCP6 192.0.2.1 192.0.2.2 5000 25\r\n"), PROXY_BAD, 0, NULL, NULL, 0 },
	{ V1("PROXY TCP4 192.0.2.1 192.0.2.2 05 25\r\n"), PROXY_BAD, 0, NULL, NULL, 0 },
	{ V1("PROXY TCP4 192.0.2.1 192.0.2.2 65536 25\r\n"), PROXY_BAD, 0, NULL, NULL, 0 },
	{ V1("PROXY TCP4 192.0.2.1 192.0.2.2 5 25 9\r\n"), PROXY_BAD, 0, NULL, NULL, 0 },
	{ V1("PROXY TCP4  192.0.2.1 192.0.2.2 5 25\r\n"), PROXY_BAD, 0, NULL, NULL, 0 },
	{ V1("PROXY UDP4 192.0.2.1 192.0.2.2 5 25\r\n"), PROXY_BAD, 0, NULL, NULL, 0 },
	{ V1("PROXY \r\n"), PROXY_BAD, 0, NULL, NULL, 0 },
	{ V1("EHLO x\r\n"), PROXY_BAD, 0, NULL, NULL, 0 },
	{ V2("\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x13\x88\0\x19QUIT"), PROXY_DONE, PROXY_CLIENT,
	    "192.0.2.1:5000", "192.0.2.2:25", 4 },
	{ V2("\x21\x11\0\x11\xc0\0\2\1\xc0\0\2\2\x13\x88\0\x19\x20\0\2ab"), PROXY_DONE,
	    PROXY_CLIENT, "192.0.2.1:5000", "192.0.2.2:25", 0 },
	{ V2("\x21\x11\0\x11\xc0\0\2\1\xc0\0\2\2\x13\x88\0\x19\x20\0\3ab"), PROXY_BAD, 0, NULL,
	    NULL, 0 },
	{ V2("\x21\x11\0\x0e\xc0\0\2\1\xc0\0\2\2\x13\x88\0\x19\x20\0"), PROXY_BAD, 0, NULL, NULL,
	    0 },
	{ V2("\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"
	     "\x13\x88\0\x19"),
	    PROXY_DONE, PROXY_CLIENT, "[2001:db8::1]:5000", "[::1]:25", 0 },
	{ V2("\x21\x21\0\x0c\xc0\0\2\1\xc0\0\2\2\x13\x88\0\x19"), PROXY_BAD, 0, NULL, NULL, 0 },
	{ V2("\x20\0\0\0"), PROXY_DONE, PROXY_LOCAL, NULL, NULL, 0 },
	{ V2("\x20\x11\0\3\xff\xff\xff"), PROXY_DONE, PROXY_LOCAL, NULL, NULL, 0 },
	{ V2("\x21\0\0\2ab"), PROXY_DONE, PROXY_LOCAL, NULL, NULL, 0 },
	{ V2("\x21\x12\0\x0c\xc0\0\2\1\xc0\0\2\2\x13\x88\0\x19"), PROXY_BAD, 0, NULL, NULL, 0 },
	{ V2("\x11\x11\0\0"), PROXY_BAD, 0, NULL, NULL, 0 },
	{ V2("\x22\x11\0\0"), PROXY_BAD, 0, NULL, NULL, 0 },
	{ V2("\x21\x11\x10\0"), PROXY_BAD, 0, NULL, NULL, 0 },
};

static void test_every_prefix(void **state)
{
	char text[IP_TEXT_SIZE];
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct proxy_hdr h;
		size_t n = 0;
		enum proxy_rx rx = PROXY_MORE;
		for (; n <= cases[i].in.n && rx == PROXY_MORE; n++)
			rx = proxy_hdr_parse(span_first(cases[i].in, n), &h);
		assert_int_equal(rx, cases[i].rx);
		assert_int_equal(proxy_hdr_parse(cases[i].in, &h), cases[i].rx);
		if (rx != PROXY_DONE) {
			assert_non_null(h.why);
			continue;
		}
		assert_int_equal(h.kind, cases[i].kind);
		assert_int_equal(h.len, cases[i].in.n - cases[i].rest);
		assert_int_equal(n - 1, h.len);
		assert_true(proxy_hdr_looks_like(cases[i].in));
		if (cases[i].client != NULL) {
			assert_string_equal(ip_port_text(h.client, text), cases[i].client);
			assert_string_equal(ip_port_text(h.local, text), cases[i].local);
		}
	}
}

static void test_v1_length(void **state)
{
	char line[PROXY_V1_MAX + 8];
	struct proxy_hdr h;
	memset(line, 'x', sizeof(line));
	memcpy(line, "PROXY UNKNOWN ", 14);
	assert_int_equal(proxy_hdr_parse(span_of(line, PROXY_V1_MAX - 1), &h), PROXY_MORE);
	assert_int_equal(proxy_hdr_parse(span_of(line, PROXY_V1_MAX), &h), PROXY_BAD);
	memcpy(line + PROXY_V1_MAX - 2, "\r\n", 2);
	assert_int_equal(proxy_hdr_parse(span_of(line, sizeof(line)), &h), PROXY_DONE);
	assert_int_equal(h.len, PROXY_V1_MAX);
}

static void test_put(void **state)
{
	static const char *const ends[][2] = { { "192.0.2.1:1", "192.0.2.2:25" },
		{ "[2001:db8::1]:1", "[::1]:25" }, { "192.0.2.1:1", "[::1]:25" } };
	for (size_t i = 0; i < COUNT_OF(ends); i++) {
		struct buf out = BUF_INIT(100);
		struct ip_port client, local;
		struct proxy_hdr h;
		assert_true(ip_parse_port(span_str(ends[i][0]), &client));
		assert_true(ip_parse_port(span_str(ends[i][1]), &local));
		assert_true(proxy_hdr_put(&out, client, local));
		assert_int_equal(proxy_hdr_parse(buf_span(&out), &h), PROXY_DONE);
		assert_true(ip_eq(h.client.addr, client.addr) && h.client.port == client.port);
		assert_true(ip_eq(h.local.addr, local.addr) && h.local.port == local.port);
		buf_clear(&out);
		assert_true(proxy_hdr_put_local(&out));
		assert_int_equal(proxy_hdr_parse(buf_span(&out), &h), PROXY_DONE);
		assert_int_equal(h.kind, PROXY_LOCAL);
		buf_end(&out);
	}
	assert_false(proxy_hdr_looks_like(SPAN("PROXY TCP")));
	assert_false(proxy_hdr_looks_like(SPAN("EHLO a")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_prefix),
		cmocka_unit_test(test_v1_length),
		cmocka_unit_test(test_put),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
