/* test_pop3_cmd.c - POP3 command and response lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "proto/pop3_cmd.h"

static const struct {
	const char *line;
	enum pop3_verb verb;
	err_t err;
	const char *argument;
	uint32_t message, lines;
} commands[] = {
	{ "USER alice@example.org", POP3_VERB_USER, ERR_OK, "alice@example.org", 0, 0 },
	{ "user", POP3_VERB_USER, ERR_SYNTAX, "", 0, 0 },
	{ "PASS two words ", POP3_VERB_PASS, ERR_OK, "two words ", 0, 0 },
	{ "PASS  x", POP3_VERB_PASS, ERR_OK, " x", 0, 0 },
	{ "PASS a\x01z", POP3_VERB_PASS, ERR_OK, "a\x01z", 0, 0 },
	{ "PASS", POP3_VERB_PASS, ERR_SYNTAX, "", 0, 0 },
	{ "APOP a c4c9334bac560ecc979e58001b3e22fb", POP3_VERB_APOP, ERR_OK, "a", 0, 0 },
	{ "APOP a c4c9", POP3_VERB_APOP, ERR_SYNTAX, NULL, 0, 0 },
	{ "AUTH", POP3_VERB_AUTH, ERR_OK, "", 0, 0 },
	{ "AUTH PLAIN =", POP3_VERB_AUTH, ERR_OK, "PLAIN", 0, 0 },
	{ "AUTH PLAIN a b", POP3_VERB_AUTH, ERR_SYNTAX, NULL, 0, 0 },
	{ "STLS", POP3_VERB_STLS, ERR_OK, "", 0, 0 },
	{ "STLS now", POP3_VERB_STLS, ERR_SYNTAX, "", 0, 0 },
	{ "STAT ", POP3_VERB_STAT, ERR_OK, "", 0, 0 },
	{ "LIST", POP3_VERB_LIST, ERR_OK, "", 0, 0 },
	{ "LIST 3", POP3_VERB_LIST, ERR_OK, "", 3, 0 },
	{ "LIST 0", POP3_VERB_LIST, ERR_SYNTAX, "", 0, 0 },
	{ "RETR", POP3_VERB_RETR, ERR_SYNTAX, "", 0, 0 },
	{ "RETR 4294967295", POP3_VERB_RETR, ERR_OK, "", 4294967295u, 0 },
	{ "RETR 4294967296", POP3_VERB_RETR, ERR_SYNTAX, "", 0, 0 },
	{ "RETR 00000000001", POP3_VERB_RETR, ERR_SYNTAX, "", 0, 0 },
	{ "DELE +1", POP3_VERB_DELE, ERR_SYNTAX, "", 0, 0 },
	{ "DELE 1 2", POP3_VERB_DELE, ERR_SYNTAX, "", 0, 0 },
	{ "TOP 1 0", POP3_VERB_TOP, ERR_OK, "", 1, 0 },
	{ "TOP 2  10", POP3_VERB_TOP, ERR_OK, "", 2, 10 },
	{ "TOP 2", POP3_VERB_TOP, ERR_SYNTAX, "", 2, 0 },
	{ "UIDL 7", POP3_VERB_UIDL, ERR_OK, "", 7, 0 },
	{ "QUIT", POP3_VERB_QUIT, ERR_OK, "", 0, 0 },
	{ "USER a\tb", POP3_VERB_USER, ERR_SYNTAX, "", 0, 0 },
	{ "XYZ 1", POP3_VERB_UNKNOWN, ERR_OK, "", 0, 0 },
	{ "", POP3_VERB_UNKNOWN, ERR_OK, "", 0, 0 },
};

static void test_commands(void **state)
{
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		struct pop3_cmd c;
		assert_int_equal(pop3_cmd_parse(span_str(commands[i].line), &c), commands[i].err);
		assert_int_equal(c.verb, commands[i].verb);
		assert_int_equal(c.why != NULL, commands[i].err != ERR_OK);
		if (commands[i].argument != NULL)
			assert_true(span_eq_str(c.argument, commands[i].argument));
		assert_int_equal(c.message, commands[i].message);
		assert_int_equal(c.lines, commands[i].lines);
	}
}

static void test_responses(void **state)
{
	struct pop3_response r;
	assert_true(pop3_response_parse(SPAN("+OK"), &r));
	assert_int_equal(r.status, POP3_OK);
	assert_true(pop3_response_parse(SPAN("-ERR [IN-USE] try later"), &r));
	assert_int_equal(r.status, POP3_ERR);
	assert_true(span_eq_str(r.code, "IN-USE"));
	assert_true(span_eq_str(r.text, "try later"));
	assert_true(pop3_response_parse(SPAN("-ERR [no end"), &r));
	assert_int_equal(r.code.n, 0);
	assert_true(span_eq_str(r.text, "[no end"));
	assert_true(pop3_response_parse(SPAN("+ VXNlcm5hbWU6"), &r));
	assert_int_equal(r.status, POP3_CONTINUE);
	assert_true(span_eq_str(r.text, "VXNlcm5hbWU6"));
	assert_true(pop3_response_parse(SPAN("+ "), &r));
	assert_false(pop3_response_parse(SPAN("+OKAY"), &r));
	assert_false(pop3_response_parse(SPAN("* OK"), &r));
	assert_false(pop3_response_parse(SPAN(""), &r));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_responses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
