/* test_run_wire.c - questions to the runner and its answers: whole, in pieces, too long, with lies in them; what an end
 * means; templates and the names that they let through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <cmocka.h>

#include "base/check.h"
#include "edge/run_outcome.h"
#include "edge/run_wire.h"
#include "edge/template.h"

static struct run_ask sample(void)
{
	struct run_ask a = { .kind = RUN_CONVERT,
		.channel = SPAN("parts"),
		.id = ident_new(),
		.recipient = 7,
		.address = SPAN("a+b@x.example"),
		.user = SPAN("a@x.example"),
		.detail = SPAN("b"),
		.sender = SPAN("s@far.example"),
		.arrived_us = 1764115200000000ull,
		.again = true };
	return a;
}

/* Every piece of it is not enough, and one byte more is too much. */
static void test_ask(void **state)
{
	struct buf b = BUF_INIT(RUN_ASK_MAX + 1);
	struct run_ask a = sample(), got;
	assert_true(run_ask_put(&b, &a));
	for (size_t n = 0; n < buf_len(&b); n++)
		assert_int_equal(run_ask_get(span_first(buf_span(&b), n), &got), RUN_MORE);
	assert_int_equal(run_ask_get(buf_span(&b), &got), RUN_WHOLE);
	assert_int_equal(got.kind, RUN_CONVERT);
	assert_true(span_eq(got.address, a.address) && span_eq(got.user, a.user));
	assert_true(span_eq(got.detail, a.detail) && span_eq(got.sender, a.sender));
	assert_string_equal(got.id.s, a.id.s);
	assert_int_equal(got.recipient, 7);
	assert_true(got.again && got.arrived_us == a.arrived_us);
	buf_add_char(&b, 'x');
	assert_int_equal(run_ask_get(buf_span(&b), &got), RUN_BAD);
	buf_end(&b);
}

static void test_bad_asks(void **state)
{
	struct run_ask a = sample(), got;
	struct buf b = BUF_INIT(RUN_ASK_MAX + 1);
	a.kind = RUN_DELIVER;
	a.address = span_of("a\0b@x", 5); /* one name here, another one there */
	assert_true(run_ask_put(&b, &a));
	assert_int_equal(run_ask_get(buf_span(&b), &got), RUN_BAD);
	buf_clear(&b);
	a.address = SPAN("a@x");
	a.channel = SPAN_NONE;
	assert_true(run_ask_put(&b, &a));
	assert_int_equal(run_ask_get(buf_span(&b), &got), RUN_BAD);
	assert_int_equal(run_ask_get(SPAN("\xff\xff\xff\xff"), &got), RUN_BAD);
	buf_end(&b);
}

static void test_answer(void **state)
{
	struct buf b = BUF_INIT(RUN_ANSWER_MAX);
	struct run_answer got;
	char text[2 * RUN_TEXT_MAX];
	memset(text, 'x', sizeof text);
	assert_true(
	    run_answer_put(&b, &(struct run_answer){ RUN_KILLED, 9, span_of(text, sizeof text) }));
	for (size_t n = 0; n < buf_len(&b); n++)
		assert_int_equal(run_answer_get(span_first(buf_span(&b), n), &got), RUN_MORE);
	assert_int_equal(run_answer_get(buf_span(&b), &got), RUN_WHOLE);
	assert_int_equal(got.end, RUN_KILLED);
	assert_int_equal(got.code, 9);
	assert_int_equal(got.text.n, RUN_TEXT_MAX);
	buf_end(&b);
}

static void expect(enum run_end end, unsigned code, const char *text, const char *want)
{
	struct run_result r = { .answer = { end, code, span_str(text) } };
	struct outcome o;
	char got[600];
	run_outcome(&o, &r);
	snprintf(got, sizeof got, "%u %s %s", o.code, o.enhanced, o.text);
	assert_string_equal(got, want);
	assert_int_equal(o.fate, o.code / 100 == 2   ? FATE_DELIVERED
				 : o.code / 100 == 5 ? FATE_REFUSED
						     : FATE_LATER);
}

static void test_outcomes(void **state)
{
	expect(RUN_EXITED, 0, "", "250 2.0.0 delivered");
	expect(RUN_EXITED, 0, "2.1.5 as you like", "250 2.1.5 as you like");
	expect(RUN_EXITED, 0, "5.1.1 no", "250 2.0.0 5.1.1 no"); /* the status decides */
	expect(RUN_EXITED, EX_NOUSER, "", "550 5.1.1 there is no such user");
	expect(RUN_EXITED, EX_TEMPFAIL, "4.2.2 full\n", "451 4.2.2 full");
	expect(RUN_EXITED, EX_TEMPFAIL, "4.2. x", "451 4.2.0 4.2. x");
	expect(RUN_EXITED, EX_TEMPFAIL, "4.2.2.2 x", "451 4.2.0 4.2.2.2 x");
	expect(RUN_EXITED, EX_NOPERM, "two\nlines", "550 5.7.0 two?lines");
	expect(RUN_EXITED, EX_CONFIG, "", "451 4.3.5 the program's settings are wrong");
	expect(RUN_EXITED, 1, "", "550 5.3.0 the program ended with status 1");
	expect(RUN_EXITED, 126, "", "451 4.3.5 the program ended with status 126");
	expect(RUN_EXITED, 127, "sh: x: not found", "451 4.3.5 sh: x: not found");
	expect(RUN_EXITED, 128, "", "550 5.3.0 the program ended with status 128");
	expect(RUN_EXITED, 137, "Killed", "451 4.3.0 Killed");
	expect(RUN_EXITED, 193, "", "550 5.3.0 the program ended with status 193");
	expect(RUN_EXITED, 255, "bye", "550 5.3.0 bye");
	expect(RUN_KILLED, 9, "half", "451 4.3.0 the program was ended by signal 9");
	expect(RUN_LATE, 0, "", "451 4.3.0 the program did not end in time");
	expect(RUN_REFUSED, 0, "4.3.5 no channel", "451 4.3.5 no channel");
}

static void put(const char *text, const char *local, enum template_use use, const char *want)
{
	struct template_facts f = { .v = { [TEMPLATE_LOCAL] = span_str(local),
					[TEMPLATE_DOMAIN] = SPAN("x.example"),
					[TEMPLATE_HOME] = SPAN("/home/some one") } };
	struct buf b = BUF_INIT(60);
	bool ok = template_put(&b, text, &f, use);
	if (want == NULL)
		assert_false(ok);
	else
		assert_true(ok && span_eq_str(buf_span(&b), want));
	buf_end(&b);
}

static void test_templates(void **state)
{
	put("{local}", "alice", TEMPLATE_ARGUMENT, "alice");
	put("-f{local}@{domain}", "a", TEMPLATE_ARGUMENT, "-fa@x.example");
	put("{home}/Maildir", "a", TEMPLATE_PATH, "/home/some one/Maildir");
	put("/m/{domain}/{local}", "a.b", TEMPLATE_PATH, "/m/x.example/a.b");
	put("{local}", "-f", TEMPLATE_ARGUMENT, NULL);
	put("x{local}", "-f", TEMPLATE_ARGUMENT, "x-f");
	put("{local}", "a b", TEMPLATE_ARGUMENT, NULL);
	put("{local}", "a/b", TEMPLATE_ARGUMENT, NULL);
	put("{local}", "a'b", TEMPLATE_ARGUMENT, NULL);
	put("{local}", "\xc3\xa4", TEMPLATE_ARGUMENT, NULL);
	put("{local}", "", TEMPLATE_ARGUMENT, "");
	put("/m/{local}", "", TEMPLATE_PATH, NULL);
	put("/m/{local}", "..", TEMPLATE_PATH, NULL);
	put("/m/{local}", ".x", TEMPLATE_PATH, NULL);
	put("{local}", "0123456789012345678901234567890123456789012345678901234567891",
	    TEMPLATE_ARGUMENT, NULL); /* too long */
	assert_null(template_mistake("a{user}b{id}"));
	assert_string_equal(template_mistake("a{usr}b"), "{usr}b");
	assert_string_equal(template_mistake("a{user"), "{user");
	assert_true(template_names("x{home}", TEMPLATE_HOME));
	assert_false(template_names("x{local}", TEMPLATE_HOME));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ask),
		cmocka_unit_test(test_bad_asks),
		cmocka_unit_test(test_answer),
		cmocka_unit_test(test_outcomes),
		cmocka_unit_test(test_templates),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
