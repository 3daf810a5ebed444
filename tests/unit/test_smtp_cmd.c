/* test_smtp_cmd.c - command lines, paths, ESMTP parameters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include <stdio.h>

#include "proto/smtp_cmd.h"
#include "proto/smtp_ext.h"
#include "proto/smtp_path.h"
#include "proto/utf8_addr.h"

static const struct {
	const char *line;
	enum smtp_verb verb;
	err_t err;
	const char *argument, *path, *params;
} commands[] = {
	{ "EHLO mx.example.org", SMTP_VERB_EHLO, ERR_OK, "mx.example.org", "", "" },
	{ "ehlo [192.0.2.1]  ", SMTP_VERB_EHLO, ERR_OK, "[192.0.2.1]", "", "" },
	{ "HELO", SMTP_VERB_HELO, ERR_SYNTAX, "", "", "" },
	{ "HELO a b", SMTP_VERB_HELO, ERR_SYNTAX, NULL, "", "" },
	{ "LHLO x", SMTP_VERB_LHLO, ERR_OK, "x", "", "" },
	{ "MAIL FROM:<a@b>", SMTP_VERB_MAIL, ERR_OK, "", "<a@b>", "" },
	{ "mail from: <> SIZE=1  BODY=7BIT ", SMTP_VERB_MAIL, ERR_OK, "", "<>",
	    "SIZE=1  BODY=7BIT" },
	{ "MAIL FROM:a@b", SMTP_VERB_MAIL, ERR_SYNTAX, "", "", "" },
	{ "MAIL FROM:<a@b>SIZE=1", SMTP_VERB_MAIL, ERR_SYNTAX, "", NULL, "" },
	{ "MAIL <a@b>", SMTP_VERB_MAIL, ERR_SYNTAX, "", "", "" },
	{ "MAILFROM:<a@b>", SMTP_VERB_UNKNOWN, ERR_OK, "", "", "" },
	{ "RCPT TO:<\"a >b\"@c> NOTIFY=NEVER", SMTP_VERB_RCPT, ERR_OK, "", "<\"a >b\"@c>",
	    "NOTIFY=NEVER" },
	{ "RCPT TO:<a@b", SMTP_VERB_RCPT, ERR_SYNTAX, "", "", "" },
	{ "DATA", SMTP_VERB_DATA, ERR_OK, "", "", "" },
	{ "DATA x", SMTP_VERB_DATA, ERR_SYNTAX, "", "", "" },
	{ "STARTTLS\t", SMTP_VERB_UNKNOWN, ERR_OK, "", "", "" },
	{ "NOOP anything goes", SMTP_VERB_NOOP, ERR_OK, "anything goes", "", "" },
	{ "NOOP \x01", SMTP_VERB_NOOP, ERR_SYNTAX, "", "", "" },
	{ "VRFY", SMTP_VERB_VRFY, ERR_SYNTAX, "", "", "" },
	{ "XCLIENT ADDR=192.0.2.1", SMTP_VERB_XCLIENT, ERR_OK, "ADDR=192.0.2.1", "", "" },
	{ "GET / HTTP/1.1", SMTP_VERB_HTTP, ERR_OK, NULL, "", "" },
	{ "", SMTP_VERB_UNKNOWN, ERR_OK, "", "", "" },
	{ " MAIL FROM:<a@b>", SMTP_VERB_UNKNOWN, ERR_OK, "", "", "" },
};

static void assert_span(struct span got, const char *want)
{
	if (want != NULL && !span_eq_str(got, want))
		fail_msg("got '%.*s', want '%s'", SPAN_ARG(got), want);
}

static void test_commands(void **state)
{
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		struct smtp_cmd c;
		assert_int_equal(smtp_cmd_parse(span_str(commands[i].line), &c), commands[i].err);
		assert_int_equal(c.verb, commands[i].verb);
		assert_int_equal(c.why != NULL, commands[i].err != ERR_OK);
		assert_span(c.argument, commands[i].argument);
		assert_span(c.path, commands[i].path);
		assert_span(c.params, commands[i].params);
	}
	assert_string_equal(smtp_verb_name(SMTP_VERB_RCPT), "RCPT");
	assert_string_equal(smtp_verb_name(SMTP_VERB_UNKNOWN), "?");
}

static void test_auth_and_bdat(void **state)
{
	struct smtp_cmd c;
	assert_int_equal(smtp_cmd_parse(SPAN("AUTH PLAIN AGEAYg=="), &c), ERR_OK);
	assert_span(c.argument, "PLAIN");
	assert_true(c.has_initial);
	assert_span(c.initial, "AGEAYg==");
	assert_int_equal(smtp_cmd_parse(SPAN("AUTH EXTERNAL ="), &c), ERR_OK);
	assert_true(c.has_initial);
	assert_span(c.initial, "");
	assert_int_equal(smtp_cmd_parse(SPAN("AUTH login"), &c), ERR_OK);
	assert_false(c.has_initial);
	assert_int_equal(smtp_cmd_parse(SPAN("AUTH PLAIN a b"), &c), ERR_SYNTAX);
	assert_int_equal(smtp_cmd_parse(SPAN("AUTH"), &c), ERR_SYNTAX);
	assert_int_equal(smtp_cmd_parse(SPAN("BDAT 86 last"), &c), ERR_OK);
	assert_int_equal(c.chunk_bytes, 86);
	assert_true(c.chunk_last);
	assert_int_equal(smtp_cmd_parse(SPAN("BDAT 0"), &c), ERR_OK);
	assert_false(c.chunk_last);
	assert_int_equal(smtp_cmd_parse(SPAN("BDAT -1"), &c), ERR_SYNTAX);
	assert_int_equal(smtp_cmd_parse(SPAN("BDAT 99999999999999999999"), &c), ERR_SYNTAX);
	assert_int_equal(smtp_cmd_parse(SPAN("BDAT 1 FIRST"), &c), ERR_SYNTAX);
}

#define X10 "xxxxxxxxxx"
#define X64 X10 X10 X10 X10 X10 X10 "xxxx"
#define L50 X10 X10 X10 X10 "xxxxxxxxx."

static const struct {
	const char *path;
	unsigned flags;
	err_t err;
	const char *canonical, *local, *domain;
} paths[] = {
	{ "<>", SMTP_PATH_NULL_OK, ERR_OK, "", "", "" },
	{ "<>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<User@Example.ORG>", 0, ERR_OK, "User@example.org", "User", "example.org" },
	{ "<u@example.org.>", 0, ERR_OK, "u@example.org", "u", "example.org" },
	{ "<@a,@b.c:u@d>", 0, ERR_OK, "u@d", "u", "d" },
	{ "<@a:>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<@a u@d>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<\"us\\er\"@d>", 0, ERR_OK, "user@d", "user", "d" },
	{ "<\"a b\"@d>", 0, ERR_OK, "\"a b\"@d", "\"a b\"", "d" },
	{ "<\"a\\\"b\"@d>", 0, ERR_OK, "\"a\\\"b\"@d", "\"a\\\"b\"", "d" },
	{ "<\"a@b\"@d>", 0, ERR_OK, "\"a@b\"@d", "\"a@b\"", "d" },
	{ "<\"a.b\"@d>", 0, ERR_OK, "a.b@d", "a.b", "d" },
	{ "<\"a@d>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<.a@d>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<a..b@d>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<a.@d>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<a b@d>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<a@>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<@d>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<a@b@c>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<a@-b>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<a@b..c>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<a@b_c.d>", 0, ERR_OK, "a@b_c.d", "a", "b_c.d" },
	{ "<a@[192.0.2.1]>", 0, ERR_OK, "a@[192.0.2.1]", "a", "[192.0.2.1]" },
	{ "<a@[ipv6:2001:DB8::0:1]>", 0, ERR_OK, "a@[IPv6:2001:db8::1]", "a",
	    "[IPv6:2001:db8::1]" },
	{ "<a@[300.0.2.1]>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<a@[::1]>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<Postmaster>", SMTP_PATH_POSTMASTER_OK, ERR_OK, "Postmaster", "Postmaster", "" },
	{ "<postmaster>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<other>", SMTP_PATH_POSTMASTER_OK, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<\xc3\xa4@b>", SMTP_PATH_UTF8_OK, ERR_OK, "\xc3\xa4@b", "\xc3\xa4", "b" },
	{ "<\xc3\xa4@b>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<\xc3@b>", SMTP_PATH_UTF8_OK, ERR_SYNTAX, NULL, NULL, NULL },
	{ "<" X64 "@d>", 0, ERR_OK, X64 "@d", X64, "d" },
	{ "<" X64 "x@d>", 0, ERR_TOO_LONG, NULL, NULL, NULL },
	{ "<abcd@" L50 L50 L50 L50 X10 X10 X10 X10 "xxxxxxxxx>", 0, ERR_OK, NULL, "abcd", NULL },
	{ "<abcde@" L50 L50 L50 L50 X10 X10 X10 X10 "xxxxxxxxx>", 0, ERR_TOO_LONG, NULL, NULL,
	    NULL },
	{ "<a@" X64 ".d>", 0, ERR_SYNTAX, NULL, NULL, NULL },
	{ "a@b", 0, ERR_SYNTAX, NULL, NULL, NULL },
};

static void test_paths(void **state)
{
	for (size_t i = 0; i < COUNT_OF(paths); i++) {
		struct smtp_path p;
		const char *why = NULL;
		err_t err = smtp_path_parse(span_str(paths[i].path), paths[i].flags, &p, &why);
		if (err != paths[i].err)
			fail_msg(
			    "%s: %s (%s)", paths[i].path, err_name(err), why != NULL ? why : "");
		assert_int_equal(why != NULL, err != ERR_OK);
		if (err)
			continue;
		assert_span(smtp_path_text(&p), paths[i].canonical);
		assert_span(smtp_path_local(&p), paths[i].local);
		assert_span(smtp_path_domain(&p), paths[i].domain);
	}
}

static void test_detail(void **state)
{
	struct smtp_path p;
	struct span user, detail;
	assert_int_equal(smtp_address_parse(SPAN("user+a+b@d"), 0, &p, NULL), ERR_OK);
	assert_true(smtp_path_split(&p, '+', &user, &detail));
	assert_span(user, "user");
	assert_span(detail, "a+b");
	assert_int_equal(smtp_address_parse(SPAN("+a@d"), 0, &p, NULL), ERR_OK);
	assert_false(smtp_path_split(&p, '+', &user, &detail));
	assert_span(user, "+a");
	assert_int_equal(smtp_address_parse(SPAN("\"a +b\"@d"), 0, &p, NULL), ERR_OK);
	assert_false(smtp_path_split(&p, '+', &user, &detail));
}

enum { ALL = 0xffff };

static const struct {
	const char *params;
	unsigned offered, seen;
	err_t err;
	bool unknown;
	const char *name;
} mails[] = {
	{ "", ALL, 0, ERR_OK, false, "" },
	{ "SIZE=100 body=8bitmime SMTPUTF8", ALL,
	    SMTP_PARAM_SIZE | SMTP_PARAM_BODY | SMTP_PARAM_SMTPUTF8, ERR_OK, false, "" },
	{ "RET=HDRS ENVID=QQ+2B314 AUTH=<>", ALL,
	    SMTP_PARAM_RET | SMTP_PARAM_ENVID | SMTP_PARAM_AUTH, ERR_OK, false, "" },
	{ "XDELIVERYID=abcdefghjkmnpqrstu", ALL, SMTP_PARAM_XDELIVERYID, ERR_OK, false, "" },
	{ "XDELIVERYID=abc", ALL, 0, ERR_SYNTAX, false, "XDELIVERYID" },
	{ "FOO=1", ALL, 0, ERR_SYNTAX, true, "FOO" },
	{ "SIZE=1 SMTPUTF8", SMTP_PARAM_SIZE, SMTP_PARAM_SIZE, ERR_SYNTAX, true, "SMTPUTF8" },
	{ "SIZE=1 SIZE=2", ALL, SMTP_PARAM_SIZE, ERR_SYNTAX, false, "SIZE" },
	{ "SIZE", ALL, 0, ERR_SYNTAX, false, "SIZE" },
	{ "SIZE=", ALL, 0, ERR_SYNTAX, false, "SIZE" },
	{ "SIZE=-1", ALL, 0, ERR_SYNTAX, false, "SIZE" },
	{ "SIZE=123456789012345678901", ALL, 0, ERR_SYNTAX, false, "SIZE" },
	{ "BODY=9BIT", ALL, 0, ERR_SYNTAX, false, "BODY" },
	{ "SMTPUTF8=yes", ALL, 0, ERR_SYNTAX, false, "SMTPUTF8" },
	{ "ENVID=a+2", ALL, 0, ERR_SYNTAX, false, "ENVID" },
	{ "NOTIFY=NEVER", ALL, 0, ERR_SYNTAX, true, "NOTIFY" },
};

static void test_mail_parameters(void **state)
{
	struct smtp_mail_ext m;
	for (size_t i = 0; i < COUNT_OF(mails); i++) {
		assert_int_equal(
		    smtp_ext_mail(span_str(mails[i].params), mails[i].offered, &m), mails[i].err);
		assert_int_equal(m.seen, mails[i].seen);
		assert_int_equal(m.error.unknown, mails[i].unknown);
		assert_span(m.error.name, mails[i].name);
	}
	assert_int_equal(smtp_ext_mail(SPAN("SIZE=77 BODY=8BITMIME RET=FULL"), ALL, &m), ERR_OK);
	assert_int_equal(m.size, 77);
	assert_int_equal(m.body, SMTP_BODY_8BITMIME);
	assert_int_equal(m.ret, SMTP_RET_FULL);
}

static void test_rcpt_parameters(void **state)
{
	struct smtp_rcpt_ext r;
	assert_int_equal(
	    smtp_ext_rcpt(SPAN("NOTIFY=success,FAILURE ORCPT=rfc822;a+2Bb@c"), ALL, &r), ERR_OK);
	assert_int_equal(r.notify, SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE);
	assert_span(r.orcpt, "rfc822;a+2Bb@c");
	assert_int_equal(smtp_ext_rcpt(SPAN("NOTIFY=NEVER,DELAY"), ALL, &r), ERR_SYNTAX);
	assert_int_equal(smtp_ext_rcpt(SPAN("NOTIFY=DELAY,DELAY"), ALL, &r), ERR_SYNTAX);
	assert_int_equal(smtp_ext_rcpt(SPAN("NOTIFY=DELAY,"), ALL, &r), ERR_SYNTAX);
	assert_int_equal(smtp_ext_rcpt(SPAN("ORCPT=rfc822"), ALL, &r), ERR_SYNTAX);
	assert_int_equal(smtp_ext_rcpt(SPAN("ORCPT=;a"), ALL, &r), ERR_SYNTAX);
}

/* utf-8-addr-xtext, and utf-8-addr-unitext where MAIL said SMTPUTF8 (RFC 6533 section 3); the other types stay xtext. */
static void test_orcpt_utf8(void **state)
{
	static const struct {
		const char *value;
		bool ascii, utf8;           /* taken without and with SMTPUTF8 */
		const char *address, *sent; /* decoded; to a next hop without SMTPUTF8 */
	} cases[] = {
		{ "utf-8;j\xc3\xb6rg@x", false, true, "j\xc3\xb6rg@x", "utf-8;j\\x{F6}rg@x" },
		{ "UTF-8;j\\x{F6}\\x{1f600}@x", true, true, "j\xc3\xb6\xf0\x9f\x98\x80@x",
		    "UTF-8;j\\x{F6}\\x{1f600}@x" },
		{ "utf-8;a\\x{2B}\xe2\x82\xac\\x{5C}@x", false, true, "a+\xe2\x82\xac\\@x",
		    "utf-8;a\\x{2B}\\x{20AC}\\x{5C}@x" },
		{ "utf-8;a@x", true, true, "a@x", "utf-8;a@x" },
		{ "rfc822;a+2Bb@x", true, true, "a+b@x", "rfc822;a+2Bb@x" },
		{ "rfc822;j\xc3\xb6rg@x", false, false, NULL, NULL },
		{ "x400;j\xc3\xb6rg", false, false, NULL, NULL },
		{ "\xc3\xb6;a", false, false, NULL, NULL },
		{ "utf-8;", false, false, NULL, NULL },
		{ "utf-8;\xc3", false, false, NULL, NULL },
		{ "utf-8;\xff\xfe@x", false, false, NULL, NULL },
		{ "utf-8;a+2Bb@x", false, false, NULL, NULL },
		{ "utf-8;a=b@x", false, false, NULL, NULL },
		{ "utf-8;a\\x{41}@x", false, false, NULL, NULL },
		{ "utf-8;a\\x{0D}\\x{0A}@x", false, false, NULL, NULL },
		{ "utf-8;a\\x{D800}@x", false, false, NULL, NULL },
		{ "utf-8;a\\x{110000}@x", false, false, NULL, NULL },
		{ "utf-8;a\\x{00F6}@x", false, false, NULL, NULL },
		{ "utf-8;a\\x{}@x", false, false, NULL, NULL },
		{ "utf-8;a\\xF6@x", false, false, NULL, NULL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char line[600];
		struct smtp_rcpt_ext r;
		struct buf address = BUF_INIT(100), sent = BUF_INIT(600);
		snprintf(line, sizeof line, "NOTIFY=NEVER ORCPT=%s", cases[i].value);
		unsigned dsn = SMTP_PARAM_NOTIFY | SMTP_PARAM_ORCPT;
		assert_int_equal(smtp_ext_rcpt(span_str(line), dsn, &r) == ERR_OK, cases[i].ascii);
		assert_int_equal(
		    smtp_ext_rcpt(span_str(line), dsn | SMTP_PARAM_SMTPUTF8, &r) == ERR_OK,
		    cases[i].utf8);
		if (cases[i].utf8) {
			assert_span(r.orcpt, cases[i].value);
			assert_true(smtp_orcpt_get(r.orcpt, &address));
			assert_span(buf_span(&address), cases[i].address);
			assert_true(smtp_orcpt_put(&sent, r.orcpt, false));
			assert_span(buf_span(&sent), cases[i].sent);
			buf_clear(&sent);
			assert_true(smtp_orcpt_put(&sent, r.orcpt, true));
			assert_span(buf_span(&sent), cases[i].value);
		}
		buf_end(&address);
		buf_end(&sent);
	}
}

/* Cut anywhere, a coded character is whole or nothing; one that grows over the limit is not sent. */
static void test_utf8_addr(void **state)
{
	static const char text[] = "a\\x{1F600}\xc3\xb6\\x{5C}";
	for (size_t n = 0; n < sizeof text; n++) {
		struct buf out = BUF_INIT(100);
		bool whole = n <= 1 || n == 10 || n == 12 || n == 18;
		assert_int_equal(utf8_addr_get(span_of(text, n), true, &out), whole);
		buf_end(&out);
	}
	struct buf orcpt = BUF_INIT(SMTP_ORCPT_MAX), sent = BUF_INIT(8 * SMTP_ORCPT_MAX);
	buf_add_str(&orcpt, "utf-8;");
	while (buf_len(&orcpt) + 2 <= SMTP_ORCPT_MAX)
		buf_add_str(&orcpt, "\xc3\xb6");
	assert_true(smtp_orcpt_put(&sent, buf_span(&orcpt), true));
	buf_clear(&sent);
	assert_false(smtp_orcpt_put(&sent, buf_span(&orcpt), false));
	buf_clear(&sent);
	assert_true(utf8_addr_put(&sent, SPAN("a b\x01\x7f+=\\\xc3\xb6")));
	assert_span(buf_span(&sent), "a\\x{20}b??\\x{2B}\\x{3D}\\x{5C}\\x{F6}");
	buf_clear(&sent);
	assert_true(utf8_addr_put(&sent, SPAN("a\xff")));
	assert_span(buf_span(&sent), "a?");
	buf_end(&orcpt);
	buf_end(&sent);
}

static void test_xtext(void **state)
{
	struct buf out = BUF_INIT(100), back = BUF_INIT(100);
	assert_true(smtp_xtext_put(&out, SPAN("a+b=c d\x80")));
	assert_span(buf_span(&out), "a+2Bb+3Dc+20d+80");
	assert_true(smtp_xtext_get(buf_span(&out), &back));
	assert_span(buf_span(&back), "a+b=c d\x80");
	assert_false(smtp_xtext_get(SPAN("+2b"), &back));
	assert_false(smtp_xtext_get(SPAN("a b"), &back));
	buf_end(&out);
	buf_end(&back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_auth_and_bdat),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_detail),
		cmocka_unit_test(test_mail_parameters),
		cmocka_unit_test(test_rcpt_parameters),
		cmocka_unit_test(test_orcpt_utf8),
		cmocka_unit_test(test_utf8_addr),
		cmocka_unit_test(test_xtext),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
