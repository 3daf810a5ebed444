/* test_policy_action.c - requests and replies of policy services, cut at every place; words of actions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "proto/policy_action.h"

static void test_request(void **state)
{
	struct buf out = BUF_INIT(1000);
	policy_attr_put(&out, "sender", SPAN("a@b"));
	policy_attr_put(&out, "helo_name", SPAN("x\ny\r\0z=1"));
	policy_attr_end(&out);
	assert_string_equal(buf_cstr(&out), "sender=a@b\nhelo_name=x?y??z=1\n\n");
	buf_end(&out);
}

static void test_replies(void **state)
{
	static const struct {
		struct span in;
		enum policy_reply_rx rx;
		const char *action;
		size_t eat;
	} cases[] = {
		{ SPAN("action=DUNNO\n\n"), POLICY_REPLY_READY, "DUNNO", 14 },
		{ SPAN("action=550 5.7.1 no\r\n\r\nrest"), POLICY_REPLY_READY, "550 5.7.1 no", 23 },
		{ SPAN("a=b\naction=OK\naction=REJECT\n\n"), POLICY_REPLY_READY, "OK", 29 },
		{ SPAN("action=\n\n"), POLICY_REPLY_READY, "", 9 },
		{ SPAN("\n"), POLICY_REPLY_BAD, NULL, 0 },
		{ SPAN("a=b\n\n"), POLICY_REPLY_BAD, NULL, 0 },
		{ SPAN("HTTP/1.1 400 Bad Request\r\n\r\n"), POLICY_REPLY_BAD, NULL, 0 },
		{ SPAN("action=a\0b\n\n"), POLICY_REPLY_BAD, NULL, 0 },
		{ SPAN("action=DUNNO\n"), POLICY_REPLY_MORE, NULL, 0 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct span action, in = cases[i].in;
		size_t eat;
		assert_int_equal(policy_reply_take(in, &action, &eat), cases[i].rx);
		if (cases[i].rx != POLICY_REPLY_READY)
			continue;
		assert_true(span_eq_str(action, cases[i].action));
		assert_int_equal(eat, cases[i].eat);
		for (size_t n = 0; n < cases[i].eat; n++)
			assert_int_equal(
			    policy_reply_take(span_first(in, n), &action, &eat), POLICY_REPLY_MORE);
	}
	struct buf long_one = BUF_INIT(POLICY_REPLY_MAX + 10);
	struct span action;
	size_t eat;
	while (buf_len(&long_one) < POLICY_REPLY_MAX)
		buf_add_str(&long_one, "a=b\n");
	assert_int_equal(policy_reply_take(buf_span(&long_one), &action, &eat), POLICY_REPLY_BAD);
	buf_end(&long_one);
}

static void test_actions(void **state)
{
	static const struct {
		const char *in;
		bool ok;
		enum policy_word word;
		unsigned code;
		const char *enhanced, *text;
	} cases[] = {
		{ "DUNNO", true, POLICY_DUNNO, 0, "", "" },
		{ "dunno  because", true, POLICY_DUNNO, 0, "", "because" },
		{ "OK", true, POLICY_OK, 0, "", "" },
		{ "1234", true, POLICY_OK, 0, "", "" },
		{ "REJECT", true, POLICY_REFUSE, 554, "", "" },
		{ "REJECT 5.7.1 go away", true, POLICY_REFUSE, 554, "5.7.1", "go away" },
		{ "REJECT 4.7.1 go away", true, POLICY_REFUSE, 554, "", "4.7.1 go away" },
		{ "550 5.7.26 spf", true, POLICY_REFUSE, 550, "5.7.26", "spf" },
		{ "450 5.7. x", true, POLICY_REFUSE, 450, "", "5.7. x" },
		{ "421 4.7.0 bye", true, POLICY_REFUSE, 421, "4.7.0", "bye" },
		{ "250 fine", true, POLICY_OK, 0, "", "" },
		{ "DEFER", true, POLICY_REFUSE, 450, "", "" },
		{ "DEFER_IF_PERMIT Greylisted for 300 seconds", true, POLICY_DEFER_IF_PERMIT, 450,
		    "", "Greylisted for 300 seconds" },
		{ "DEFER_IF_REJECT", true, POLICY_DEFER_IF_REJECT, 450, "", "" },
		{ "DISCARD", true, POLICY_DISCARD, 0, "", "" },
		{ "HOLD a\tb", true, POLICY_HOLD, 0, "", "a?b" },
		{ "PREPEND X-A: b: c", true, POLICY_PREPEND, 0, "", "X-A: b: c" },
		{ "PREPEND X A: b", false, POLICY_PREPEND, 0, "", "X A: b" },
		{ "PREPEND : b", false, POLICY_PREPEND, 0, "", ": b" },
		{ "PREPEND", false, POLICY_PREPEND, 0, "", "" },
		{ "REDIRECT a@b.example", true, POLICY_REDIRECT, 0, "", "a@b.example" },
		{ "BCC", false, POLICY_BCC, 0, "", "" },
		{ "INFO x", true, POLICY_WARN, 0, "", "x" },
		{ "FILTER x:y", false, POLICY_DUNNO, 0, "", "" },
		{ "", false, POLICY_DUNNO, 0, "", "" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct policy_action a;
		assert_int_equal(policy_action_parse(span_str(cases[i].in), &a), cases[i].ok);
		assert_int_equal(a.word, cases[i].word);
		assert_int_equal(a.code, cases[i].code);
		assert_string_equal(a.enhanced, cases[i].enhanced);
		assert_string_equal(a.text, cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_actions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
