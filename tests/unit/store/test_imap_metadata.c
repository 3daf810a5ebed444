/* test_imap_metadata.c - annotations (RFC 5464): exact to the byte, in pieces of one byte and with all commands at once. */
#include "tests/unit/store/imap_fixture.h"

#define RUN(...) PLAY(NULL, talk_login, __VA_ARGS__)
#define SET "a OK SETMETADATA completed\r\n"
#define GOT "a OK GETMETADATA completed\r\n"

static void test_set_and_get(void **state)
{
	RUN({ "a SETMETADATA INBOX (/private/comment \"mine\" /Shared/Comment {4+}\r\nours)\r\n",
		SET },
	    { "a GETMETADATA inbox /shared/comment\r\n",
		"* METADATA INBOX (/shared/comment \"ours\")\r\n" GOT },
	    { "a GETMETADATA \"INBOX\" (/PRIVATE/comment /private/none)\r\n",
		"* METADATA INBOX (/private/comment \"mine\" /private/none NIL)\r\n" GOT },
	    { "a SETMETADATA INBOX (/private/comment NIL /private/b ~{3}\r\n", "+ go on\r\n" },
	    { "x\r\n)\r\n", SET },
	    { "a GETMETADATA INBOX (/private/comment /private/b)\r\n",
		"* METADATA INBOX (/private/comment NIL /private/b {3}\r\nx\r\n)\r\n" GOT },
	    { "a SETMETADATA \"\" (/private/vendor/x \"\" /private/v {2+}\r\n\x80\x81)\r\n", SET },
	    { "a GETMETADATA (DEPTH infinity) \"\" /private\r\n",
		"* METADATA \"\" (/private/v {2}\r\n\x80\x81 /private/vendor/x \"\")\r\n" GOT },
	    { "a GETMETADATA \"\" (/shared/comment)\r\n",
		"* METADATA \"\" (/shared/comment NIL)\r\n" GOT });
}

static void test_options(void **state)
{
	RUN({ "a SETMETADATA INBOX (/private/a \"1\" /private/a/b \"22\" /private/a/b/c \"333\" "
	      "/private/ab \"4444\" /shared/a \"5\")\r\n",
		SET },
	    { "a GETMETADATA (DEPTH 0) INBOX /private/a\r\n",
		"* METADATA INBOX (/private/a \"1\")\r\n" GOT },
	    { "a GETMETADATA (DEPTH 1) INBOX /private/a\r\n",
		"* METADATA INBOX (/private/a \"1\" /private/a/b \"22\")\r\n" GOT },
	    { "a GETMETADATA (MAXSIZE 2 DEPTH infinity) INBOX (/private/a /shared)\r\n",
		"* METADATA INBOX (/private/a \"1\" /private/a/b \"22\" /shared/a \"5\")\r\n"
		"a OK [METADATA LONGENTRIES 3] GETMETADATA completed\r\n" },
	    { "a GETMETADATA (DEPTH infinity) INBOX /private/none\r\n", GOT },
	    { "a GETMETADATA (MAXSIZE 0) INBOX /shared/a\r\n",
		"a OK [METADATA LONGENTRIES 1] GETMETADATA completed\r\n" });
}

static void test_refused(void **state)
{
	RUN({ "a GETMETADATA none /shared/a\r\n", "a NO [NONEXISTENT] No such mailbox\r\n" },
	    { "a SETMETADATA none (/shared/a \"b\")\r\n",
		"a NO [NONEXISTENT] No such mailbox\r\n" },
	    { "a SETMETADATA \"\" (/shared/comment \"b\")\r\n",
		"a NO [NOPERM] This cannot be done\r\n" },
	    { "a GETMETADATA INBOX /other/a\r\n", "a BAD Bad entry name\r\n" },
	    { "a GETMETADATA INBOX !urlkey\r\n", "a BAD Bad entry name\r\n" },
	    { "a GETMETADATA INBOX /private/a/\r\n", "a BAD Bad entry name\r\n" },
	    { "a GETMETADATA INBOX /private//a\r\n", "a BAD Bad entry name\r\n" },
	    { "a GETMETADATA INBOX \"/private/a*\"\r\n", "a BAD Bad entry name\r\n" },
	    { "a GETMETADATA (DEPTH 2) INBOX /private/a\r\n",
		"a BAD DEPTH is 0, 1 or infinity\r\n" },
	    { "a GETMETADATA (WIDTH 2) INBOX /private/a\r\n", "a BAD Unknown option\r\n" },
	    { "a GETMETADATA INBOX ()\r\n", "a BAD String expected\r\n" },
	    { "a GETMETADATA INBOX\r\n", "a BAD Missing argument\r\n" },
	    { "a SETMETADATA INBOX (/private/a)\r\n", "a BAD Space expected\r\n" },
	    { "a SETMETADATA INBOX (/private \"b\")\r\n", "a BAD Bad entry name\r\n" },
	    { "a SETMETADATA INBOX (/private/a atom)\r\n", "a BAD String expected\r\n" },
	    { "a SETMETADATA INBOX (/private/SpecialUse \"\\\\Sent\")\r\n",
		"a NO [USEATTR] CREATE gives a mailbox its use\r\n" },
	    { "a NOOP\r\n", "a OK NOOP completed\r\n" });
}

static void test_limits(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = talk_login(f);
	struct buf b = BUF_INIT(1 << 20);
	char line[128];
	buf_printf(&b, "a SETMETADATA INBOX (/private/a {8193+}\r\n%08193d)\r\n", 0);
	talk_expect(&t, buf_cstr(&b), "a NO [METADATA MAXSIZE 8192] The value is too long\r\n");
	buf_clear(&b);
	buf_printf(&b, "a SETMETADATA INBOX (/private/a ~{40000+}\r\n%040000d)\r\nb NOOP\r\n", 0);
	talk_expect(&t, buf_cstr(&b),
	    "a NO [METADATA MAXSIZE 8192] The value is too long\r\nb OK NOOP completed\r\n");
	talk_expect(&t, "a SETMETADATA INBOX (/private/a {40000}\r\n",
	    "a NO [METADATA MAXSIZE 8192] The value is too long\r\n");
	for (int i = 0; i < 100; i++) {
		snprintf(line, sizeof line, "a SETMETADATA INBOX (/private/n%d \"%d\")\r\n", i, i);
		talk_expect(&t, line, SET);
	}
	talk_expect(&t, "a SETMETADATA INBOX (/private/one \"more\")\r\n",
	    "a NO [METADATA TOOMANY] Too many annotations\r\n");
	talk_expect(&t,
	    "a SETMETADATA INBOX (/private/one \"more\" /private/n3 NIL /shared/x \"y\")\r\n", SET);
	talk_expect(&t, "a SETMETADATA INBOX (/private/n4 \"other\")\r\n", SET);
	buf_clear(&b);
	buf_add_str(&b, "a GETMETADATA INBOX (");
	for (int i = 0; i <= STORE_ENTRIES_MAX; i++)
		buf_printf(&b, "%s/private/m%d", i == 0 ? "" : " ", i);
	buf_add_str(&b, ")\r\n");
	talk_expect(&t, buf_cstr(&b), "a BAD Too many entries\r\n");
	buf_end(&b);
	talk_close(&t);
	fixture_close(&f);
}

/* Private ones are each user's own; others need rights; what was removed takes its annotations along. */
static void test_others(void **state)
{
	struct fixture *f = fixture_open();
	struct talk t = talk_login(f), o = talk_open(f);
	talk(&o, "l LOGIN bob bob-secret\r\n");
	talk_expect(&t, "a SETMETADATA INBOX (/private/x \"alice\" /shared/x \"all\")\r\n", SET);
	talk(&t, "a SETACL INBOX bob lr\r\n");
	talk_send(
	    &o, "a GETMETADATA \"Other Users/alice@example.org/INBOX\" (/private/x /shared/x)\r\n");
	talk_until(&o, GOT);
	assert_non_null(strstr(buf_cstr(&o.heard), "(/private/x NIL /shared/x \"all\")\r\n"));
	talk_expect(&o,
	    "a SETMETADATA \"Other Users/alice@example.org/INBOX\" (/shared/x \"bob\")\r\n",
	    "a NO [NOPERM] This cannot be done\r\n");
	talk_expect(&o,
	    "a SETMETADATA \"Other Users/alice@example.org/INBOX\" (/private/x \"bob\")\r\n", SET);
	talk_expect(&t, "a GETMETADATA INBOX /private/x\r\n",
	    "* METADATA INBOX (/private/x \"alice\")\r\n" GOT);
	talk(&t, "a SETACL INBOX bob l\r\n");
	talk_expect(&o, "a GETMETADATA \"Other Users/alice@example.org/INBOX\" /private/x\r\n",
	    "a NO [NOPERM] This cannot be done\r\n");
	talk(&t, "a CREATE box\r\n");
	talk_expect(&t, "a SETMETADATA box (/shared/x \"1\")\r\n", SET);
	talk(&t, "a RENAME box boxes\r\n");
	talk_expect(
	    &t, "a GETMETADATA boxes /shared/x\r\n", "* METADATA boxes (/shared/x \"1\")\r\n" GOT);
	talk(&t, "a DELETE boxes\r\n");
	talk(&t, "a CREATE boxes\r\n");
	talk_expect(
	    &t, "a GETMETADATA boxes /shared/x\r\n", "* METADATA boxes (/shared/x NIL)\r\n" GOT);
	talk_close(&t);
	talk_close(&o);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set_and_get),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_others),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
