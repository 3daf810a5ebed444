/* test_proto_rest.c - the parts of lib/proto that other tests only pass by: calendar, domain names,
 * readers of IMAP tokens, names of verbs, a reply that is forgotten half way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "proto/civil.h"
#include "proto/imap_cmd.h"
#include "proto/imap_lex.h"
#include "proto/pop3_cmd.h"
#include "proto/smtp_path.h"
#include "proto/smtp_reply.h"

static void test_calendar(void **state)
{
	struct civil at = { 1970, 1, 1 };
	assert_int_equal(civil_to_days(at), 0);
	assert_int_equal(civil_to_days((struct civil){ 2000, 2, 29 }), 11016);
	for (int64_t day = -30000; day < 60000; day++) { /* each day is the one behind the last */
		struct civil c = civil_from_days(day);
		assert_int_equal(civil_to_days(c), day);
		assert_true(civil_exists(c) == (c.year >= 1900));
	}
	static const struct civil never[] = { { 2023, 2, 29 }, { 1900, 2, 29 }, { 2024, 4, 31 },
		{ 2024, 0, 1 }, { 2024, 13, 1 }, { 2024, 1, 0 }, { 1899, 12, 31 },
		{ 10000, 1, 1 } };
	for (size_t i = 0; i < COUNT_OF(never); i++)
		assert_false(civil_exists(never[i]));
	assert_true(civil_exists((struct civil){ 2024, 2, 29 }));
	for (int32_t m = 1; m <= 12; m++)
		assert_int_equal(civil_month(civil_month_names[m - 1], 3), m);
	assert_int_equal(civil_month("dEC", 3), 12);
	assert_int_equal(civil_month("Foo", 3), 0);
	assert_int_equal(civil_month("Ja", 2), 0);
}

static void test_domains(void **state)
{
	static const struct {
		const char *text;
		bool ascii, utf8;
	} cases[] = {
		{ "example.org", true, true },
		{ "a", true, true },
		{ "_dmarc.x-y.example", true, true },
		{ "", false, false },
		{ ".", false, false },
		{ "example.org.", false, false },
		{ "a..b", false, false },
		{ "a b", false, false },
		{ "a/b", false, false },
		{ "b\xc3\xbc.example", false, true },
		{ "b\xc3.example", false, false },
	};
	char label[70];
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(smtp_domain_ok(span_str(cases[i].text), false), cases[i].ascii);
		assert_int_equal(smtp_domain_ok(span_str(cases[i].text), true), cases[i].utf8);
	}
	memset(label, 'x', sizeof label);
	assert_true(smtp_domain_ok(span_of(label, 63), false));
	assert_false(smtp_domain_ok(span_of(label, 64), false));
}

static void test_literals_and_paths(void **state)
{
	static const char *const good[] = { "[192.0.2.1]", "[IPv6:2001:db8::1]", "[ipv6:::1]" };
	static const char *const bad[] = { "", "[]", "[192.0.2.1", "192.0.2.1", "[192.0.2]",
		"[2001:db8::1]", "[IPv6:192.0.2.1]", "[IPv6:]", "[192.0.2.1]x" };
	for (size_t i = 0; i < COUNT_OF(good); i++)
		assert_true(smtp_literal_ok(span_str(good[i])));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (smtp_literal_ok(span_str(bad[i])))
			fail_msg("taken: %s", bad[i]);
	assert_int_equal(smtp_path_scan(SPAN("<a@b> SIZE=1")), 5);
	assert_int_equal(smtp_path_scan(SPAN("<\"a > b\"@c>x")), 11);
	assert_int_equal(smtp_path_scan(SPAN("<\"a\\\">\"@c> ")), 10);
	assert_int_equal(smtp_path_scan(SPAN("<>")), 2);
	assert_int_equal(smtp_path_scan(SPAN("a@b>")), 0);
	assert_int_equal(smtp_path_scan(SPAN("<a@b")), 0);
	assert_int_equal(smtp_path_scan(SPAN("<\"a@b>")), 0);
	assert_int_equal(smtp_path_scan(SPAN_NONE), 0);
}

/* ---- IMAP tokens ---- */

static struct imap_cursor cursor_of(const char *text)
{
	struct imap_cursor c;
	imap_cursor_init(&c, span_str(text), NULL);
	return c;
}

static void test_imap_readers(void **state)
{
	bool nil = false;
	uint32_t system = 0;
	struct imap_cursor c = cursor_of("NIL \"s\"");
	assert_int_equal(imap_read_nstring(&c, &nil).n, 0);
	assert_true(nil);
	imap_read_sp(&c);
	assert_true(span_eq_str(imap_read_nstring(&c, &nil), "s"));
	assert_false(nil);
	c = cursor_of("9223372036854775807 (inbox/%* {3}\r\nabc \\Seen $Junk");
	assert_true(imap_read_number64(&c) == INT64_MAX);
	imap_read_sp(&c);
	imap_read_char(&c, '(');
	assert_true(span_eq_str(imap_read_list_mailbox(&c), "inbox/%*"));
	imap_read_sp(&c);
	assert_true(span_eq_str(imap_read_literal(&c), "abc"));
	imap_read_sp(&c);
	assert_int_equal(imap_read_flag(&c, &system).n, 0);
	assert_int_equal(system, IMAP_SEEN);
	imap_read_sp(&c);
	assert_true(span_eq_str(imap_read_flag(&c, &system), "$Junk"));
	assert_int_equal(system, 0);
	imap_read_end(&c);
	assert_true(imap_ok(&c));
}

/* The first failure stays, and nothing is read behind it. */
static void test_imap_readers_fail(void **state)
{
	uint32_t system = 7;
	bool nil;
	struct imap_cursor c = cursor_of("x y");
	imap_fail(&c, "first");
	imap_fail(&c, "second");
	assert_string_equal(c.why, "first");
	imap_read_char(&c, 'x');
	assert_int_equal(imap_peek(&c), -1);
	c = cursor_of("x");
	imap_read_char(&c, 'y');
	assert_false(imap_ok(&c));
	c = cursor_of("\\Recent");
	imap_read_flag(&c, &system);
	assert_false(imap_ok(&c));
	c = cursor_of("99999999999999999999");
	imap_read_number64(&c);
	assert_false(imap_ok(&c));
	c = cursor_of("{3}\r\nab");
	imap_read_literal(&c);
	assert_false(imap_ok(&c));
	c = cursor_of("atom");
	imap_read_nstring(&c, &nil);
	assert_false(imap_ok(&c));
	c = cursor_of("(box");
	imap_read_list_mailbox(&c);
	assert_false(imap_ok(&c));
}

static void test_imap_id(void **state)
{
	struct imap_id id;
	struct imap_cursor c = cursor_of("(\"name\" \"mutt\" \"os\" NIL)");
	imap_read_id(&c, &id);
	imap_read_end(&c);
	assert_true(imap_ok(&c));
	assert_int_equal(id.count, 2);
	assert_true(span_eq_str(id.v[0].key, "name") && span_eq_str(id.v[0].value, "mutt"));
	assert_true(span_eq_str(id.v[1].key, "os") && id.v[1].value.p == NULL);
	struct buf b = BUF_INIT(1000);
	imap_put_id(&b, &id);
	assert_string_equal(buf_cstr(&b), "(\"name\" \"mutt\" \"os\" NIL)");
	buf_end(&b);
	c = cursor_of("NIL");
	imap_read_id(&c, &id);
	assert_true(imap_ok(&c) && id.count == 0);
	c = cursor_of("(\"name\")");
	imap_read_id(&c, &id);
	assert_false(imap_ok(&c));
}

/* ---- names, and a reply forgotten half way ---- */

static void test_pop3_verb_names(void **state)
{
	struct pop3_cmd cmd;
	for (int v = POP3_VERB_USER; v < POP3_VERB_COUNT; v++) {
		const char *name = pop3_verb_name((enum pop3_verb)v);
		pop3_cmd_parse(
		    span_str(name), &cmd); /* an argument may be wanted: the verb is known */
		assert_int_equal(cmd.verb, v);
	}
	assert_non_null(pop3_verb_name(POP3_VERB_UNKNOWN));
}

static void test_reply_reader_reset(void **state)
{
	struct smtp_reply_reader r;
	struct smtp_reply reply;
	size_t eat;
	smtp_reply_reader_init(&r);
	assert_int_equal(smtp_reply_take(&r, SPAN("250-old\r\n"), &reply, &eat), SMTP_REPLY_MORE);
	assert_int_equal(eat, 9);
	smtp_reply_reader_reset(&r);
	assert_int_equal(smtp_reply_take(&r, SPAN("220 new\r\n"), &reply, &eat), SMTP_REPLY_READY);
	assert_int_equal(reply.code, 220);
	assert_int_equal(reply.lines, 1);
	assert_true(span_eq_str(reply.text, "new"));
	smtp_reply_reader_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calendar),
		cmocka_unit_test(test_domains),
		cmocka_unit_test(test_literals_and_paths),
		cmocka_unit_test(test_imap_readers),
		cmocka_unit_test(test_imap_readers_fail),
		cmocka_unit_test(test_imap_id),
		cmocka_unit_test(test_pop3_verb_names),
		cmocka_unit_test(test_reply_reader_reset),
	};
	return cmocka_run_group_tests_name("proto_rest", tests, NULL, NULL);
}
