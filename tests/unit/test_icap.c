/* test_icap.c - replies of ICAP servers: every prefix of each, every cut of a body in chunks, and what they must not be
 * taken for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/check.h"
#include "proto/icap.h"

#define OK "ICAP/1.0 200 OK\r\n"
#define NONE "ICAP/1.0 204 No Content\r\n"

static enum scan_rx whole(struct span in, struct icap_head *h, size_t *eat)
{
	for (size_t n = 0; n < in.n; n++) {
		enum scan_rx rx = icap_take_head(span_first(in, n), h, eat);
		assert_int_not_equal(rx, SCAN_READY);
		assert_int_equal(*eat, 0);
		if (rx == SCAN_BAD)
			return rx;
	}
	return icap_take_head(in, h, eat);
}

static void test_verdicts(void **state)
{
	static const struct {
		const char *in, *name; /* "": nothing was found */
		unsigned status;
	} cases[] = {
		{ NONE "\r\n", "", 204 },
		{ NONE "X-Infection-Found: Type=0; Resolution=2; Threat=Eicar-Test;\r\n\r\n",
		    "Eicar-Test", 204 },
		{ OK "x-infection-found:Worm\r\n\r\n", "Worm", 200 },
		{ OK "X-Infection-Found: Type=0; Threat=;\r\n\r\n", "Type=0;?Threat=;", 200 },
		{ OK "X-Virus-ID: a\x01 b\r\n\r\n", "a??b", 200 },
		{ NONE "X-Virus-ID: none\r\nX-Infection-Found: \r\n\r\n", "", 204 },
		{ NONE "X-Violations-Found: 0\r\n\r\n", "", 204 },
		{ OK "X-Violations-Found: 1\r\n\tbad.zip\r\n\tEICAR\r\n\t0\r\n\t2\r\nISTag: "
		     "x\r\n\r\n",
		    "EICAR", 200 },
		{ OK "X-Violations-Found: 2\r\n\r\n", "violation", 200 },
		{ NONE "X-Response-Info: Allowed\r\n\r\n", "", 204 },
		{ "ICAP/1.0 403 Forbidden\r\nX-Response-Info: blocked by policy\r\n\r\n",
		    "blocked?by?policy", 403 },
		{ OK "X-Virus-ID: second\r\nX-Infection-Found: Threat=first\r\n\r\n", "second",
		    200 },
		{ "ICAP/1.0 100 Continue\r\n\r\n", "", 100 },
		{ "ICAP/1.0 500\r\n\r\n", "", 500 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct icap_head h;
		size_t eat;
		struct span in = span_str(cases[i].in);
		assert_int_equal(whole(in, &h, &eat), SCAN_READY);
		assert_int_equal(eat, in.n);
		assert_int_equal(h.status, cases[i].status);
		assert_string_equal(h.name, cases[i].name);
		assert_int_equal(h.found, cases[i].name[0] != '\0');
		assert_false(h.has_body);
	}
}

static void test_options(void **state)
{
	struct icap_head h;
	size_t eat;
	assert_int_equal(whole(SPAN(OK "Methods: RESPMOD, REQMOD\r\nPreview: 1024\r\n"
				       "Options-TTL: 60\r\nEncapsulated: null-body=0\r\n"
				       "Connection: close\r\n\r\n"),
			     &h, &eat),
	    SCAN_READY);
	assert_int_equal(h.methods, ICAP_REQMOD | ICAP_RESPMOD);
	assert_true(h.has_preview && h.has_ttl && h.closes && !h.has_body);
	assert_int_equal(h.preview, 1024);
	assert_int_equal(h.ttl_s, 60);
	assert_int_equal(
	    whole(SPAN(OK "Preview: 4000000000\r\nMethods: OTHER\r\n\r\n"), &h, &eat), SCAN_READY);
	assert_int_equal(h.preview, ICAP_PREVIEW_MAX);
	assert_int_equal(h.methods, 0);
	/* a number that is none is no preview of nothing */
	assert_int_equal(
	    whole(SPAN(OK "Preview: x\r\nOptions-TTL: -1\r\n\r\n"), &h, &eat), SCAN_READY);
	assert_false(h.has_preview || h.has_ttl);
}

static void test_http_behind(void **state)
{
	const struct span all = SPAN(OK "Encapsulated: req-hdr=0, res-hdr=9, res-body=41\r\n\r\n"
					"GET / X\r\nHTTP/1.1 403 Forbidden\r\nA: b\r\n\r\n");
	struct icap_head h;
	size_t eat;
	assert_int_equal(whole(all, &h, &eat), SCAN_READY);
	assert_int_equal(eat, all.n);
	assert_int_equal(h.http_n, 41);
	assert_int_equal(h.http_status, 403);
	assert_true(h.has_body);
}

static void test_bad(void **state)
{
	static const char *const cases[] = {
		"HTTP/1.1 200 OK\r\n\r\n",
		"ICAP/1.0 20 OK\r\n\r\n",
		"ICAP/1.0 2000 OK\r\n\r\n",
		"ICAP/1.0 600 OK\r\n\r\n",
		"ICAP/2.0 200 OK\r\n\r\n",
		OK "no field\r\n\r\n",
		OK ": empty\r\n\r\n",
		OK "Encapsulated: res-hdr=0\r\n\r\n",
		OK "Encapsulated: res-hdr=5, res-body=9\r\n\r\n",
		OK "Encapsulated: res-hdr=0, res-body=9, null-body=10\r\n\r\n",
		OK "Encapsulated: req-hdr=0, res-hdr=20, res-body=19\r\n\r\n",
		OK "Encapsulated: res-hdr=0, res-body=99999999\r\n\r\n",
		OK "Encapsulated: res-hdr=0, res-body=-1\r\n\r\n",
		OK "Encapsulated: null-body=0\r\nEncapsulated: null-body=0\r\n\r\n",
		OK "Encapsulated: res-hdr=0, res-body=4\r\n\r\nGET ",
	};
	static char big[ICAP_HEAD_MAX + 1];
	struct icap_head h;
	size_t eat;
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(icap_take_head(span_str(cases[i]), &h, &eat), SCAN_BAD);
	memset(big, 'x', sizeof big);
	assert_int_equal(icap_take_head(span_of(big, sizeof big - 1), &h, &eat), SCAN_MORE);
	assert_int_equal(icap_take_head(span_of(big, sizeof big), &h, &eat), SCAN_BAD);
}

/* ---- chunks ------------------------------------------------------------------------------------ */

static enum icap_chunk_rx feed(struct span in, size_t step, struct buf *body)
{
	struct icap_chunks c = { 0 };
	enum icap_chunk_rx rx = ICAP_CHUNK_MORE;
	struct span piece;
	for (size_t at = 0, seen = 0; seen < in.n && rx == ICAP_CHUNK_MORE;) {
		seen = in.n - seen < step ? in.n : seen + step;
		struct span rest = span_from(span_first(in, seen), at);
		while ((rx = icap_chunk_take(&c, &rest, &piece)) == ICAP_CHUNK_PIECE)
			buf_add_span(body, piece);
		at = seen - rest.n;
	}
	return rx;
}

static void test_chunks(void **state)
{
	static const struct {
		const char *in, *body;
		enum icap_chunk_rx rx;
	} cases[] = {
		{ "5\r\nhello\r\n0\r\n\r\n", "hello", ICAP_CHUNK_END },
		{ "5;x=y\r\nhello\r\n1\r\n!\r\n0; ieof\r\nA: b\r\n\r\n", "hello!", ICAP_CHUNK_END },
		{ "A\n0123456789\n0\n\n", "0123456789", ICAP_CHUNK_END },
		{ "0\r\n\r\n", "", ICAP_CHUNK_END },
		{ "5\r\nhel", "hel", ICAP_CHUNK_MORE },
		{ "5\r\nhello\r\n0\r\n", "hello", ICAP_CHUNK_MORE },
		{ "5\r\nhelloX\r\n", "hello", ICAP_CHUNK_BAD },
		{ "x\r\n", "", ICAP_CHUNK_BAD },
		{ "\r\n", "", ICAP_CHUNK_BAD },
		{ "123456789\r\n", "", ICAP_CHUNK_BAD },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		for (size_t step = 1; step < 40; step++) {
			struct buf body = BUF_INIT(100);
			assert_int_equal(feed(span_str(cases[i].in), step, &body), cases[i].rx);
			assert_string_equal(buf_cstr(&body), cases[i].body);
			buf_end(&body);
		}
}

static void test_chunk_bounds(void **state)
{
	static char line[ICAP_LINE_MAX];
	struct buf body = BUF_INIT(100), in = BUF_INIT(100000);
	memset(line, '1', sizeof line);
	assert_int_equal(feed(span_of(line, sizeof line - 1), 4096, &body), ICAP_CHUNK_MORE);
	assert_int_equal(feed(span_of(line, sizeof line), 4096, &body), ICAP_CHUNK_BAD);
	buf_add_str(&in, "0\r\n");
	for (size_t i = 0; i < 2000; i++)
		buf_add_str(&in, "A: bc\r\n");
	assert_int_equal(feed(buf_span(&in), 100, &body), ICAP_CHUNK_BAD);
	buf_end(&body);
	buf_end(&in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_http_behind),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_chunk_bounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
