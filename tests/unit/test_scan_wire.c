/* test_scan_wire.c - replies of spamd and clamd: every prefix of each, and what they must not be taken for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "proto/scan_wire.h"

static void test_spamd(void **state)
{
	static const struct {
		struct span in;
		bool ok, spam;
		int64_t score;
		const char *words;
		uint64_t length;
	} cases[] = {
#define OK "SPAMD/1.1 0 EX_OK\r\n"
		{ SPAN(OK "Spam: True ; 15.2 / 5.0\r\n\r\n"), true, true, 15200, "15.2", 0 },
		{ SPAN(OK "Content-length: 20\r\nSpam: False ; -0.1 / 5.0\r\n\r\n"), true, false,
		    -100, "-0.1", 20 },
		{ SPAN(OK "spam: yes ; 7 / 5\r\nDidSet: x\r\n\r\n"), true, true, 7000, "7", 0 },
		{ SPAN(OK "Spam: True ; 1.23456 / 5\r\n\r\n"), true, true, 1234, "1.23456", 0 },
		{ SPAN("SPAMD/1.1 76 Bad header line\r\n\r\n"), false, false, 0, "", 0 },
		{ SPAN(OK "\r\n"), false, false, 0, "", 0 },
		{ SPAN(OK "Content-length: 20\r\n\r\n"), false, false, 0, "", 0 },
		{ SPAN(OK "Spam: Perhaps ; 1 / 5\r\n\r\n"), false, false, 0, "", 0 },
		{ SPAN(OK "Spam: True ; x / 5\r\n\r\n"), false, false, 0, "", 0 },
		{ SPAN(OK "Spam: True ; 1e9 / 5\r\n\r\n"), false, false, 0, "", 0 },
		{ SPAN(OK "Spam: True ; 1\r\n\r\n"), false, false, 0, "", 0 },
		{ SPAN(OK "Spam: True ; 11111111111111111 / 5\r\n\r\n"), false, false, 0, "", 0 },
		{ SPAN(OK "Content-length: -1\r\nSpam: True ; 1 / 5\r\n\r\n"), false, false, 0, "",
		    0 },
		{ SPAN("HTTP/1.1 0 x\r\nSpam: True ; 1 / 5\r\n\r\n"), false, false, 0, "", 0 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct spamd_head h;
		size_t eat;
		for (size_t n = 0; n < cases[i].in.n; n++)
			assert_int_equal(
			    spamd_take_head(span_first(cases[i].in, n), &h, &eat), SCAN_MORE);
		enum scan_rx rx = spamd_take_head(cases[i].in, &h, &eat);
		assert_int_equal(rx, cases[i].ok ? SCAN_READY : SCAN_BAD);
		assert_int_equal(eat, cases[i].in.n);
		if (rx != SCAN_READY)
			continue;
		assert_int_equal(h.spam, cases[i].spam);
		assert_int_equal(h.score_milli, cases[i].score);
		assert_string_equal(h.score, cases[i].words);
		assert_int_equal(h.length, cases[i].length);
	}
	static char long_line[SPAMD_HEAD_MAX + 1];
	struct spamd_head h;
	size_t eat;
	memset(long_line, 'x', sizeof long_line);
	assert_int_equal(spamd_take_head(span_of(long_line, sizeof long_line), &h, &eat), SCAN_BAD);
}

static void test_clamd(void **state)
{
	static const struct {
		struct span in;
		enum scan_rx rx;
		const char *name;
	} cases[] = {
		{ SPAN("stream: OK\0"), SCAN_READY, "" },
		{ SPAN("stream: OK\n"), SCAN_READY, "" },
		{ SPAN("stream: Eicar-Test-Signature FOUND\0"), SCAN_READY,
		    "Eicar-Test-Signature" },
		{ SPAN("stream: a\r\x01 b FOUND\0"), SCAN_READY, "a???b" },
		{ SPAN("stream: FOUND\0"), SCAN_BAD, "" },
		{ SPAN("stream: OK FOUNDED\0"), SCAN_BAD, "" },
		{ SPAN("INSTREAM size limit exceeded. ERROR\0"), SCAN_BAD, "" },
		{ SPAN("stream: x ERROR\0"), SCAN_BAD, "" },
		{ SPAN("\0"), SCAN_BAD, "" },
	};
	char name[SCAN_NAME_MAX + 1];
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		for (size_t n = 0; n < cases[i].in.n; n++)
			assert_int_equal(clamd_take(span_first(cases[i].in, n), name), SCAN_MORE);
		assert_int_equal(clamd_take(cases[i].in, name), cases[i].rx);
		if (cases[i].rx == SCAN_READY)
			assert_string_equal(name, cases[i].name);
	}
	static char big[CLAMD_REPLY_MAX + 1];
	memset(big, 'x', sizeof big);
	assert_int_equal(clamd_take(span_of(big, sizeof big), name), SCAN_BAD);
	memcpy(big, "stream: ", 8);
	memcpy(big + 1000, " FOUND", 7);
	assert_int_equal(clamd_take(span_of(big, sizeof big), name), SCAN_READY);
	assert_int_equal(strlen(name), SCAN_NAME_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spamd),
		cmocka_unit_test(test_clamd),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
