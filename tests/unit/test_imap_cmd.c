/* test_imap_cmd.c - commands before login, a server's responses, mailbox names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "proto/imap_cmd.h"
#include "proto/imap_resp.h"
#include "proto/imap_utf7.h"

static void assert_span(struct span got, const char *want)
{
	if (!span_eq_str(got, want))
		fail_msg("got \"%.*s\", want \"%s\"", SPAN_ARG(got), want);
}

static void test_commands(void **state)
{
	static const struct {
		const char *in, *tag;
		enum imap_verb verb;
		bool ok;
		const char *a, *b; /* user and secret, or mechanism and initial response */
	} cases[] = {
		{ "a1 capability\r\n", "a1", IMAP_VERB_CAPABILITY, true, NULL, NULL },
		{ "a NOOP x\r\n", "a", IMAP_VERB_NOOP, false, NULL, NULL },
		{ "a NOOP \r\n", "a", IMAP_VERB_NOOP, false, NULL, NULL },
		{ "a LOGIN joe secret\r\n", "a", IMAP_VERB_LOGIN, true, "joe", "secret" },
		{ "a LOGIN \"joe x\" \"se\\\"c\"\r\n", "a", IMAP_VERB_LOGIN, true, "joe x",
		    "se\"c" },
		{ "a LOGIN {3}\r\njoe {4+}\r\n\"\\ \"\r\n", "a", IMAP_VERB_LOGIN, true, "joe",
		    "\"\\ \"" },
		{ "a LOGIN joe\r\n", "a", IMAP_VERB_LOGIN, false, NULL, NULL },
		{ "a LOGIN joe x y\r\n", "a", IMAP_VERB_LOGIN, false, NULL, NULL },
		{ "a AUTHENTICATE PLAIN\r\n", "a", IMAP_VERB_AUTHENTICATE, true, "PLAIN", NULL },
		{ "a authenticate plain AGEAYg==\r\n", "a", IMAP_VERB_AUTHENTICATE, true, "plain",
		    "AGEAYg==" },
		{ "a authenticate external =\r\n", "a", IMAP_VERB_AUTHENTICATE, true, "external",
		    "" },
		{ "a authenticate plain \r\n", "a", IMAP_VERB_AUTHENTICATE, false, NULL, NULL },
		{ "a SELECT INBOX\r\n", "a", IMAP_VERB_UNKNOWN, false, NULL, NULL },
		{ "a LOGOUT\r\n", "a", IMAP_VERB_LOGOUT, true, NULL, NULL },
		{ "a STARTTLS\r\n", "a", IMAP_VERB_STARTTLS, true, NULL, NULL },
		{ "a\r\n", "a", IMAP_VERB_UNKNOWN, false, NULL, NULL },
		{ "\r\n", "", IMAP_VERB_UNKNOWN, false, NULL, NULL },
		{ " NOOP\r\n", "", IMAP_VERB_UNKNOWN, false, NULL, NULL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct imap_cmd cmd;
		err_t err = imap_cmd_parse(&cmd, span_str(cases[i].in));
		assert_int_equal(err, cases[i].ok ? ERR_OK : ERR_SYNTAX);
		assert_int_equal(err == ERR_OK, cmd.why == NULL);
		assert_span(cmd.tag, cases[i].tag);
		assert_int_equal(cmd.verb, cases[i].verb);
		if (cases[i].ok && cmd.verb == IMAP_VERB_LOGIN) {
			assert_span(cmd.user, cases[i].a);
			assert_span(cmd.secret, cases[i].b);
		}
		if (cases[i].ok && cmd.verb == IMAP_VERB_AUTHENTICATE) {
			assert_span(cmd.mechanism, cases[i].a);
			assert_int_equal(cmd.has_initial, cases[i].b != NULL);
			assert_span(cmd.initial, cases[i].b == NULL ? "" : cases[i].b);
		}
		imap_cmd_end(&cmd);
	}
}

static void test_id(void **state)
{
	struct imap_cmd cmd;
	struct buf out = BUF_INIT(4096);
	assert_int_equal(
	    imap_cmd_parse(&cmd, SPAN("a ID (\"name\" \"x\\\"y\" \"os\" NIL)\r\n")), ERR_OK);
	assert_int_equal(cmd.id.count, 2);
	assert_span(cmd.id.v[0].value, "x\"y");
	assert_null(cmd.id.v[1].value.p);
	imap_put_id(&out, &cmd.id);
	assert_span(buf_span(&out), "(\"name\" \"x\\\"y\" \"os\" NIL)");
	imap_cmd_end(&cmd);
	assert_int_equal(imap_cmd_parse(&cmd, SPAN("a ID NIL\r\n")), ERR_OK);
	imap_cmd_end(&cmd);
	assert_int_equal(imap_cmd_parse(&cmd, SPAN("a ID ()\r\n")), ERR_OK);
	imap_cmd_end(&cmd);
	buf_clear(&out);
	buf_add_str(&out, "a ID (\"k\" \"v\"");
	for (int i = 1; i < IMAP_ID_MAX; i++)
		buf_add_str(&out, " \"k\" \"v\"");
	struct buf more = BUF_INIT(4096);
	buf_printf(&more, "%s)", buf_cstr(&out));
	assert_int_equal(imap_cmd_parse(&cmd, buf_span(&more)), ERR_OK);
	imap_cmd_end(&cmd);
	buf_clear(&more);
	buf_printf(&more, "%s \"k\" \"v\")", buf_cstr(&out));
	assert_int_equal(imap_cmd_parse(&cmd, buf_span(&more)), ERR_SYNTAX);
	imap_cmd_end(&cmd);
	buf_end(&more);
	buf_end(&out);
}

static void test_responses(void **state)
{
	static const struct {
		const char *in;
		bool ok;
		enum imap_resp_kind kind;
		enum imap_cond cond;
		const char *tag, *code, *args, *text, *name, *data;
	} cases[] = {
		{ "* OK ready\r\n", true, IMAP_RESP_UNTAGGED, IMAP_COND_OK, "", "", "", "ready", "",
		    "" },
		{ "* OK [CAPABILITY IMAP4rev1 ID] hi\r\n", true, IMAP_RESP_UNTAGGED, IMAP_COND_OK,
		    "", "CAPABILITY", "IMAP4rev1 ID", "hi", "", "" },
		{ "* PREAUTH x\r\n", true, IMAP_RESP_UNTAGGED, IMAP_COND_PREAUTH, "", "", "", "x",
		    "", "" },
		{ "* BYE\r\n", true, IMAP_RESP_UNTAGGED, IMAP_COND_BYE, "", "", "", "", "", "" },
		{ "* CAPABILITY IMAP4rev1\r\n", true, IMAP_RESP_UNTAGGED, IMAP_COND_NONE, "", "",
		    "", "", "CAPABILITY", "IMAP4rev1" },
		{ "* 3 EXISTS\r\n", true, IMAP_RESP_UNTAGGED, IMAP_COND_NONE, "", "", "", "",
		    "EXISTS", "" },
		{ "A1 NO [UNAVAILABLE] later\r\n", true, IMAP_RESP_TAGGED, IMAP_COND_NO, "A1",
		    "UNAVAILABLE", "", "later", "", "" },
		{ "A1 BAD what\r\n", true, IMAP_RESP_TAGGED, IMAP_COND_BAD, "A1", "", "", "what",
		    "", "" },
		{ "A1 OK [x\r\n", true, IMAP_RESP_TAGGED, IMAP_COND_OK, "A1", "", "", "[x", "",
		    "" },
		{ "A1 BYE what\r\n", false, 0, 0, "A1", "", "", "", "", "" },
		{ "A1 OKAY\r\n", false, 0, 0, "A1", "", "", "", "", "" },
		{ "+ Zm9v\r\n", true, IMAP_RESP_CONTINUE, IMAP_COND_NONE, "", "", "", "Zm9v", "",
		    "" },
		{ "+\r\n", true, IMAP_RESP_CONTINUE, IMAP_COND_NONE, "", "", "", "", "", "" },
		{ "*\r\n", false, 0, 0, "", "", "", "", "", "" },
		{ "\r\n", false, 0, 0, "", "", "", "", "", "" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct imap_resp r;
		err_t err = imap_resp_parse(span_str(cases[i].in), &r);
		if ((err == ERR_OK) != cases[i].ok)
			fail_msg("case %zu", i);
		if (err)
			continue;
		assert_int_equal(r.kind, cases[i].kind);
		assert_int_equal(r.cond, cases[i].cond);
		assert_span(r.tag, cases[i].tag);
		assert_span(r.code, cases[i].code);
		assert_span(r.code_args, cases[i].args);
		assert_span(r.text, cases[i].text);
		assert_span(r.name, cases[i].name);
		assert_span(r.data, cases[i].data);
	}
}

static void test_capabilities_and_login(void **state)
{
	struct imap_resp r;
	struct buf out = BUF_INIT(64);
	imap_resp_parse(SPAN("a OK [CAPABILITY IMAP4rev1 LITERAL+] x\r\n"), &r);
	assert_true(span_has_word(imap_resp_capabilities(&r), SPAN("literal+")));
	assert_false(span_has_word(imap_resp_capabilities(&r), SPAN("LITERAL")));
	imap_resp_parse(SPAN("* CAPABILITY A B\r\n"), &r);
	assert_true(span_has_word(imap_resp_capabilities(&r), SPAN("B")));
	imap_resp_parse(SPAN("* OK A B\r\n"), &r);
	assert_false(span_has_word(imap_resp_capabilities(&r), SPAN("B")));
	assert_true(imap_put_login(&out, SPAN("t"), SPAN("joe"), SPAN("a\"b"), false));
	assert_span(buf_span(&out), "t LOGIN \"joe\" \"a\\\"b\"\r\n");
	buf_clear(&out);
	assert_true(imap_put_login(&out, SPAN("t"), SPAN("joe"), SPAN("\xe4"), true));
	assert_span(buf_span(&out), "t LOGIN \"joe\" {1+}\r\n\xe4\r\n");
	buf_clear(&out);
	assert_false(imap_put_login(&out, SPAN("t"), SPAN("joe"), SPAN("\xe4"), false));
	buf_end(&out);
}

static void test_mailbox_names(void **state)
{
	static const struct {
		const char *wire, *utf8; /* utf8 NULL: no name */
	} cases[] = {
		{ "INBOX", "INBOX" },
		{ "", "" },
		{ "a&-b", "a&b" },
		{ "Entw&APw-rfe", "Entw\xc3\xbcrfe" },
		{ "~peter/mail/&U,BTFw-/&ZeVnLIqe-",
		    "~peter/mail/\xe5\x8f\xb0\xe5\x8c\x97/\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e" },
		{ "&2D3eAA-", "\xf0\x9f\x98\x80" },
		{ "&APw-&-&APw-", "\xc3\xbc&\xc3\xbc" },
		{ "&APw-&APw-", NULL },
		{ "&AGE-", NULL }, /* "a" stands for itself */
		{ "&AAE-", NULL }, /* a control */
		{ "&2D0-", NULL }, /* half a pair */
		{ "&3gA-", NULL }, /* the other half */
		{ "&2D0APw-", NULL },
		{ "&APx-", NULL },  /* bits left over */
		{ "&APwA-", NULL }, /* a digit too many */
		{ "&AP-", NULL },
		{ "&A/w-", NULL },
		{ "&APw", NULL },
		{ "\xc3\xbc", NULL },
		{ "a\x7f", NULL },
		{ "a\t", NULL },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf out = BUF_INIT(256), back = BUF_INIT(256);
		bool ok = imap_utf7_decode(span_str(cases[i].wire), &out);
		if (ok != (cases[i].utf8 != NULL))
			fail_msg("case %zu: %s", i, cases[i].wire);
		if (ok) {
			assert_span(buf_span(&out), cases[i].utf8);
			assert_true(imap_utf7_encode(buf_span(&out), &back));
			assert_span(buf_span(&back), cases[i].wire);
		}
		buf_end(&out);
		buf_end(&back);
	}
	struct buf out = BUF_INIT(64);
	assert_false(imap_utf7_encode(SPAN("\xff"), &out));
	assert_false(imap_utf7_encode(SPAN("a\n"), &out));
	buf_end(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_id),
		cmocka_unit_test(test_responses),
		cmocka_unit_test(test_capabilities_and_login),
		cmocka_unit_test(test_mailbox_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
