/* test_sasl.c - PLAIN and LOGIN, names of mechanisms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/base64.h"
#include "base/check.h"
#include "proto/sasl.h"

static const struct {
	struct span raw;
	err_t err;
	const char *authzid, *authcid, *secret;
} plains[] = {
	{ { "\0alice\0secret", 13 }, ERR_OK, "", "alice", "secret" },
	{ { "bob\0alice\0s t", 13 }, ERR_OK, "bob", "alice", "s t" },
	{ { "\0alice\0", 7 }, ERR_SYNTAX, NULL, NULL, NULL },
	{ { "\0\0secret", 8 }, ERR_SYNTAX, NULL, NULL, NULL },
	{ { "\0alice", 6 }, ERR_SYNTAX, NULL, NULL, NULL },
	{ { "alice", 5 }, ERR_SYNTAX, NULL, NULL, NULL },
	{ { "", 0 }, ERR_SYNTAX, NULL, NULL, NULL },
	{ { "\0a\0b\0c", 6 }, ERR_SYNTAX, NULL, NULL, NULL },
	{ { "\0al\nice\0x", 9 }, ERR_SYNTAX, NULL, NULL, NULL },
	{ { "\0al\xff\0x", 6 }, ERR_SYNTAX, NULL, NULL, NULL },
};

static void test_plain(void **state)
{
	for (size_t i = 0; i < COUNT_OF(plains); i++) {
		struct buf text = BUF_INIT(4000), again = BUF_INIT(4000);
		struct sasl_plain p;
		assert_true(base64_put(&text, plains[i].raw));
		assert_int_equal(sasl_plain_parse(&p, buf_span(&text)), plains[i].err);
		if (plains[i].err == ERR_OK) {
			assert_true(span_eq_str(p.authzid, plains[i].authzid));
			assert_true(span_eq_str(p.authcid, plains[i].authcid));
			assert_true(span_eq_str(p.secret, plains[i].secret));
			assert_true(sasl_plain_put(&again, p.authzid, p.authcid, p.secret));
			assert_true(span_eq(buf_span(&again), buf_span(&text)));
		}
		sasl_plain_end(&p);
		buf_end(&text);
		buf_end(&again);
	}
}

static void test_plain_limits(void **state)
{
	char raw[4000], long_text[SASL_TEXT_MAX + 4];
	struct buf text = BUF_INIT(8000);
	struct sasl_plain p;
	memset(raw, 'x', sizeof(raw));
	raw[0] = '\0';
	raw[2] = '\0';
	assert_true(base64_put(&text, span_of(raw, 3 + SASL_SECRET_MAX)));
	assert_int_equal(sasl_plain_parse(&p, buf_span(&text)), ERR_OK);
	sasl_plain_end(&p);
	buf_clear(&text);
	assert_true(base64_put(&text, span_of(raw, 4 + SASL_SECRET_MAX)));
	assert_int_equal(sasl_plain_parse(&p, buf_span(&text)), ERR_TOO_LONG);
	sasl_plain_end(&p);
	memset(long_text, 'A', sizeof(long_text));
	assert_int_equal(sasl_plain_parse(&p, span_of(long_text, sizeof(long_text))), ERR_TOO_LONG);
	sasl_plain_end(&p);
	assert_int_equal(sasl_plain_parse(&p, SPAN("AGE=\r\n")), ERR_SYNTAX);
	sasl_plain_end(&p);
	buf_clear(&text);
	assert_false(sasl_plain_put(&text, SPAN(""), SPAN("a"), span_of("b\0c", 3)));
	assert_false(sasl_plain_put(&text, SPAN(""), SPAN(""), SPAN("b")));
	assert_int_equal(buf_len(&text), 0);
	buf_end(&text);
}

static void test_login(void **state)
{
	struct sasl_login s;
	sasl_login_init(&s);
	assert_string_equal(sasl_login_prompt(&s), "VXNlcm5hbWU6");
	assert_int_equal(sasl_login_take(&s, SPAN("YWxpY2U=")), ERR_OK);
	assert_string_equal(sasl_login_prompt(&s), "UGFzc3dvcmQ6");
	assert_int_equal(sasl_login_take(&s, SPAN("c2VjcmV0")), ERR_OK);
	assert_null(sasl_login_prompt(&s));
	assert_true(span_eq_str(buf_span(&s.name), "alice"));
	assert_true(span_eq_str(buf_span(&s.secret), "secret"));
	sasl_login_end(&s);
	sasl_login_init(&s);
	assert_int_equal(sasl_login_take(&s, SPAN("")), ERR_SYNTAX);
	assert_int_equal(sasl_login_take(&s, SPAN("!")), ERR_SYNTAX);
	assert_int_equal(s.step, SASL_LOGIN_NAME);
	sasl_login_end(&s);
}

static void test_names(void **state)
{
	assert_int_equal(sasl_mech_find(SPAN("plain")), SASL_PLAIN);
	assert_int_equal(sasl_mech_find(SPAN("SCRAM-SHA-256-PLUS")), SASL_SCRAM_SHA_256_PLUS);
	assert_int_equal(sasl_mech_find(SPAN("PLAINX")), SASL_UNKNOWN);
	assert_int_equal(sasl_mech_find(SPAN("")), SASL_UNKNOWN);
	assert_string_equal(sasl_mech_name(SASL_LOGIN), "LOGIN");
	assert_true(sasl_is_cancel(SPAN("*")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_plain_limits),
		cmocka_unit_test(test_login),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
