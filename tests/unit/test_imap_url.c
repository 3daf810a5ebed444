/* test_imap_url.c - URLs of messages and their parts, what they are made of and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proto/imap_url.h"

#define TOKEN "91354a473744909de610943775f92038"

/* Everything that was understood, as one line; "-": it is no URL. */
static const char *told(struct span url)
{
	static char line[8192];
	struct imap_url u;
	if (imap_url_parse(&u, url))
		snprintf(line, sizeof line,
		    "%.*s|%.*s|%.*s|%u|%u|%.*s|%d:%u.%u|%d:%lld|%.*s|%.*s|%zu", SPAN_ARG(u.user),
		    SPAN_ARG(u.host), SPAN_ARG(u.mailbox), u.uidvalidity, u.uid,
		    SPAN_ARG(u.section), u.partial, u.from, u.count, u.expires,
		    (long long)u.expire_s, SPAN_ARG(u.access), SPAN_ARG(u.mechanism), u.token.n);
	else
		snprintf(line, sizeof line, "-");
	imap_url_end(&u);
	return line;
}

static void test_forms(void **state)
{
	static const char *const cases[][2] = {
		{ "imap://joe@h.example/INBOX/;uid=20", "joe|h.example|INBOX|0|20||0:0.0|0:0|||0" },
		{ "IMAP://joe;AUTH=*@h:143/a%20b%2Fc;uidvalidity=7/;UID=20/;SECTION=1.2",
		    "joe|h:143|a b/c|7|20|1.2|0:0.0|0:0|||0" },
		{ "/Drafts;UIDVALIDITY=385/;UID=20/;section=HEADER.FIELDS%20(SUBJECT)",
		    "||Drafts|385|20|HEADER.FIELDS (SUBJECT)|0:0.0|0:0|||0" },
		{ ";UID=4", "|||0|4||0:0.0|0:0|||0" },
		{ "/;UID=4/;PARTIAL=5.6", "|||0|4||1:5.6|0:0|||0" },
		{ "/a/b/;UID=4/;SECTION=TEXT/;PARTIAL=5", "||a/b|0|4|TEXT|1:5.4294967295|0:0|||0" },
		{ "imap://joe%40x@h/INBOX/;uid=1;urlauth=anonymous",
		    "joe@x|h|INBOX|0|1||0:0.0|0:0|anonymous||0" },
		{ "imap://joe@h/INBOX/"
		  ";uid=1;expire=1970-01-02T01:00:00+01:00;urlauth=submit+fred:internal:" TOKEN,
		    "joe|h|INBOX|0|1||0:0.0|1:86400|submit+fred|internal|32" },
		{ "imap://joe@h/INBOX/;uid=1;expire=1970-01-01T00:00:01.5Z;urlauth=user+a%2bb",
		    "joe|h|INBOX|0|1||0:0.0|1:1|user+a+b||0" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_string_equal(told(span_str(cases[i][0])), cases[i][1]);
}

static void test_none(void **state)
{
	static const char *const cases[] = {
		"",
		"/",
		"imap://",
		"imap://h",
		"imap://h/",
		"imap:///INBOX/;UID=1",
		"imap://joe@/a/;UID=1",
		"imap://h/;UID=1",
		"/INBOX",
		"/INBOX;UID=1",
		"INBOX/;UID=1",
		"http://h/INBOX/;UID=1",
		"/INBOX/;UID=0",
		"/INBOX/;UID=",
		"/INBOX/;UID=1x",
		"/INBOX/;UID=4294967296",
		"/INBOX;UIDVALIDITY=0/;UID=1",
		"/;UIDVALIDITY=3/;UID=1",
		"/a%0/;UID=1",
		"/a%00b/;UID=1",
		"/a%zz/;UID=1",
		"/%ff/;UID=1",
		"/a/;UID=1/;SECTION=",
		"/a/;UID=1/;PARTIAL=",
		"/a/;UID=1/;PARTIAL=1.0",
		"/a/;UID=1/;SECTION=%",
		"imap://h/a/;UID=1;URLAUTH=",
		"imap://h/a/;UID=1;URLAUTH=anonymous:internal",
		"imap://h/a/;UID=1;URLAUTH=anonymous:internal:12",
		"imap://h/a/;UID=1;URLAUTH=anonymous:internal:9135xa473744909de610943775f92038",
		"imap://h/a/;UID=1;URLAUTH=anonymous::" TOKEN,
		"imap://h/a/;UID=1;EXPIRE=2030-01-01T00:00:00Z",
		"imap://h/a/;UID=1;EXPIRE=2030-13-01T00:00:00Z;URLAUTH=anonymous",
		"imap://h/a/;UID=1;EXPIRE=2030-01-01T00:00:00;URLAUTH=anonymous",
		"imap://h/a/;UID=1;EXPIRE=2030-01-01T24:00:00Z;URLAUTH=anonymous",
		"imap://h/a/;UID=1;EXPIRE=2030-01-01T00:00:00.Z;URLAUTH=anonymous",
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_string_equal(told(span_str(cases[i])), "-");
}

static void test_rump(void **state)
{
	static const char rump[] = "imap://joe@h/INBOX/;uid=1/;section=1;urlauth=user+fred";
	struct span whole =
	    span_str("imap://joe@h/INBOX/;uid=1/;section=1;urlauth=user+fred:internal:" TOKEN);
	struct imap_url u;
	assert_true(imap_url_parse(&u, whole));
	assert_true(span_eq_str(u.rump, rump));
	assert_true(span_eq_str(u.token, TOKEN));
	imap_url_end(&u);
	assert_true(imap_url_parse(&u, span_str(rump)));
	assert_true(span_eq_str(u.rump, rump));
	imap_url_end(&u);
	/* whatever is cut off: never more than what was there */
	for (size_t n = 0; n < whole.n; n++) {
		if (imap_url_parse(&u, span_first(whole, n)))
			assert_true(u.rump.n <= n && u.uid > 0);
		imap_url_end(&u);
	}
}

static void test_too_long(void **state)
{
	char *url = malloc(IMAP_URL_MAX + 1);
	assert_non_null(url);
	memset(url, 'a', IMAP_URL_MAX + 1);
	memcpy(url, "/", 1);
	memcpy(url + IMAP_URL_MAX - 7, "/;UID=1", 7);
	assert_string_not_equal(told(span_of(url, IMAP_URL_MAX)), "-");
	memcpy(url + IMAP_URL_MAX - 7, "a/;UID=1", 8);
	assert_string_equal(told(span_of(url, IMAP_URL_MAX + 1)), "-");
	free(url);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_rump),
		cmocka_unit_test(test_too_long),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
