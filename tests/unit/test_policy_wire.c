/* test_policy_wire.c - requests of Postfix's policy delegation at every split point, their bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "proto/policy_action.h"
#include "proto/policy_wire.h"

#define HEAD "request=smtpd_access_policy\n"
#define WHOLE                                                                                      \
	HEAD "protocol_state=RCPT\nprotocol_name=ESMTP\nhelo_name=some.domain.tld\n"               \
	     "sender=foo@bar.tld\nrecipient=bar@foo.tld\nrecipient_count=0\n"                      \
	     "client_address=1.2.3.4\nsasl_username=\nsize=12345\ninstance=123.456.7\n"            \
	     "stress=\nccert_subject=a=b\n\n"

static void test_every_split(void **state)
{
	static const struct span in = SPAN(WHOLE HEAD);
	struct policy_request r;
	const char *why;
	size_t eat, at = 0, whole = sizeof(WHOLE) - 1;
	for (size_t n = 0; n < whole; n++) {
		size_t fresh = 0;
		assert_int_equal(policy_take(&at, span_first(in, n), &r, &eat, &why), POLICY_MORE);
		assert_int_equal(
		    policy_take(&fresh, span_first(in, n), &r, &eat, &why), POLICY_MORE);
	}
	for (size_t n = whole; n <= in.n; n++) {
		size_t so_far = at;
		assert_int_equal(
		    policy_take(&so_far, span_first(in, n), &r, &eat, &why), POLICY_READY);
		assert_int_equal(eat, whole);
		assert_true(span_eq_str(r.v[POLICY_STATE], "RCPT"));
		assert_true(span_eq_str(r.v[POLICY_CLIENT], "1.2.3.4"));
		assert_true(span_eq_str(r.v[POLICY_HELO], "some.domain.tld"));
		assert_true(span_eq_str(r.v[POLICY_SENDER], "foo@bar.tld"));
		assert_true(span_eq_str(r.v[POLICY_RECIPIENT], "bar@foo.tld"));
		assert_true(span_eq_str(r.v[POLICY_SIZE], "12345"));
		assert_true(span_eq_str(r.v[POLICY_INSTANCE], "123.456.7"));
		assert_int_equal(r.v[POLICY_USER].n, 0);
		assert_int_equal(r.v[POLICY_QUEUE_ID].n, 0);
	}
}

static void test_what_is_refused(void **state)
{
	static const struct {
		struct span in;
		const char *why;
	} cases[] = {
		{ SPAN("\n"), "request is not smtpd_access_policy" },
		{ SPAN("request=junk\n\n"), "request is not smtpd_access_policy" },
		{ SPAN("sender=a@b\n\n"), "request is not smtpd_access_policy" },
		{ SPAN(HEAD "sender\n\n"), "a line is not name=value" },
		{ SPAN(HEAD "=x\n\n"), "a line is not name=value" },
		{ SPAN(HEAD "sender=a\nsender=\n\n"), "an attribute stands twice" },
		{ SPAN(HEAD "sender=\nsender=a\n\n"), "an attribute stands twice" },
		{ SPAN(HEAD "sender=a\0b\n\n"), "a NUL byte" },
		{ SPAN(HEAD "recipient_count=123456789012345678901\n\n"),
		    "an attribute is too long" },
	};
	struct policy_request r;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const char *why = NULL;
		size_t eat, at = 0;
		assert_int_equal(policy_take(&at, cases[i].in, &r, &eat, &why), POLICY_BAD);
		assert_string_equal(why, cases[i].why);
		assert_int_equal(eat, 0);
	}
}

/* A flood of small lines, one line without an end, and a request of just the most bytes. */
static void test_bounds(void **state)
{
	struct buf b = BUF_INIT(2 * POLICY_REQUEST_MAX);
	struct policy_request r;
	const char *why;
	size_t eat, at = 0;
	buf_add_str(&b, HEAD);
	for (size_t i = 1; i < POLICY_LINES_MAX; i++)
		buf_add_str(&b, "x=\n");
	buf_add_str(&b, "\n");
	assert_int_equal(policy_take(&at, buf_span(&b), &r, &eat, &why), POLICY_READY);
	buf_clear(&b);
	buf_add_str(&b, HEAD "x=\n");
	for (size_t i = 1; i < POLICY_LINES_MAX; i++)
		buf_add_str(&b, "x=\n");
	buf_add_str(&b, "\n");
	at = 0;
	assert_int_equal(policy_take(&at, buf_span(&b), &r, &eat, &why), POLICY_BAD);
	assert_string_equal(why, "too many attributes");
	buf_clear(&b);
	buf_add_str(&b, HEAD "x=");
	while (buf_len(&b) < POLICY_REQUEST_MAX - 2)
		buf_add_char(&b, 'y');
	buf_add_str(&b, "\n\n");
	at = 0;
	assert_int_equal(policy_take(&at, buf_span(&b), &r, &eat, &why), POLICY_READY);
	assert_int_equal(eat, POLICY_REQUEST_MAX);
	at = 0;
	buf_clear(&b);
	while (buf_len(&b) < POLICY_REQUEST_MAX)
		buf_add_char(&b, 'y');
	assert_int_equal(policy_take(&at, buf_span(&b), &r, &eat, &why), POLICY_BAD);
	assert_string_equal(why, "a request is too long");
	buf_end(&b);
}

/* What the mail server's side writes is read, and the other way. */
static void test_both_sides(void **state)
{
	struct buf b = BUF_INIT(POLICY_REQUEST_MAX);
	struct policy_request r;
	struct span action;
	const char *why;
	size_t eat, at = 0;
	policy_attr_put(&b, "request", SPAN("smtpd_access_policy"));
	policy_attr_put(&b, "sender", SPAN("a\nb\0c=@d"));
	policy_attr_end(&b);
	assert_int_equal(policy_take(&at, buf_span(&b), &r, &eat, &why), POLICY_READY);
	assert_int_equal(eat, buf_len(&b));
	assert_true(span_eq_str(r.v[POLICY_SENDER], "a?b?c=@d"));
	buf_clear(&b);
	policy_answer_put(&b, SPAN("450 4.7.1 limit x is reached"));
	assert_int_equal(policy_reply_take(buf_span(&b), &action, &eat), POLICY_REPLY_READY);
	assert_int_equal(eat, buf_len(&b));
	assert_true(span_eq_str(action, "450 4.7.1 limit x is reached"));
	buf_end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_split),
		cmocka_unit_test(test_what_is_refused),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_both_sides),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
