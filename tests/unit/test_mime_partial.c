/* test_mime_partial.c - pieces of messages: what they say of themselves, at every split point, and the header of the whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/check.h"
#include "proto/mime_partial.h"

#define TYPE "Content-Type: message/partial; id=\"a b@c\";\r\n\tnumber=2; total=3\r\n"
#define WHOLE "From: x\r\n" TYPE "Subject: outer\r\n\r\nbody\r\n"

static void test_piece(void **state)
{
	struct mime_partial p;
	size_t header = strlen(WHOLE) - strlen("body\r\n");
	for (size_t n = 0; n < header; n++)
		assert_false(mime_partial_parse(span_of(WHOLE, n), &p));
	for (size_t n = header; n <= strlen(WHOLE); n++) {
		assert_true(mime_partial_parse(span_of(WHOLE, n), &p));
		assert_true(p.number == 2 && p.total == 3 && p.body_at == header);
		assert_true(span_eq(span_of(p.id, p.id_n), SPAN("a b@c")));
	}
}

static void test_hostile(void **state)
{
	static const struct {
		const char *type;
		bool ok;
	} cases[] = {
		{ "message/partial; id=a; number=1", true },
		{ "MESSAGE/Partial; NUMBER=\"1\"; ID=a; total=1", true },
		{ "message/partial; id=a; number=1000; total=1000", true },
		{ "message/partial; id=a; number=0", false },
		{ "message/partial; id=a; number=2; total=1", false },
		{ "message/partial; id=a; number=1; total=1001", false },
		{ "message/partial; id=a; number=1; total=99999999999999999999", false },
		{ "message/partial; id=a; number=-1", false },
		{ "message/partial; id=a; number=1; total=0", false },
		{ "message/partial; id=a", false },
		{ "message/partial; number=1; total=2", false },
		{ "message/partial; id=\"\"; number=1; total=2", false },
		{ "message/rfc822; id=a; number=1; total=2", false },
		{ "message/partial; id=a; number=1\r\nContent-Transfer-Encoding: base64", false },
		{ "message/partial; id=a; number=1\r\nContent-Transfer-Encoding: 7bit", true },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char text[300], id[400];
		struct mime_partial p;
		snprintf(text, sizeof text, "Content-Type: %s\r\n\r\nx", cases[i].type);
		assert_int_equal(mime_partial_parse(span_str(text), &p), cases[i].ok);
		memset(id, 'i', MIME_PARTIAL_ID_MAX + 1);
		id[MIME_PARTIAL_ID_MAX + 1] = '\0';
		char longer[700];
		snprintf(longer, sizeof longer,
		    "Content-Type: message/partial; id=%s; number=1\r\n\r\n", id);
		assert_false(mime_partial_parse(span_str(longer), &p));
	}
}

static void expect_header(const char *first, const char *want)
{
	struct buf out = BUF_INIT(4000);
	size_t body_at = 0;
	bool ok = mime_partial_header(span_str(first), &out, &body_at);
	assert_int_equal(ok, want != NULL);
	if (want != NULL) {
		assert_string_equal(buf_cstr(&out), want);
		assert_string_equal(first + body_at, "text\r\n");
	}
	buf_end(&out);
}

/* The example of RFC 2046 section 5.2.2.1, and what it leaves out. */
static void test_header(void **state)
{
	expect_header(
	    "X-Weird-Header-1: Foo\r\nFrom: Bill@host.com\r\nSubject: Audio mail (part 1 of 2)\r\n"
	    "Message-ID: <id1@host.com>\r\nMIME-Version: 1.0\r\n"
	    "Content-type: message/partial; id=\"ABC@host.com\"; number=1; total=2\r\n\r\n"
	    "X-Weird-Header-1: Bar\r\nX-Weird-Header-2: Hello\r\nMessage-ID: "
	    "<anotherid@foo.com>\r\n"
	    "Subject: Audio mail\r\nMIME-Version: 1.0\r\nContent-type: audio/basic\r\n"
	    "Content-transfer-encoding: base64\r\n\r\ntext\r\n",
	    "X-Weird-Header-1: Foo\r\nFrom: Bill@host.com\r\nMessage-ID: <anotherid@foo.com>\r\n"
	    "Subject: Audio mail\r\nMIME-Version: 1.0\r\nContent-type: audio/basic\r\n"
	    "Content-transfer-encoding: base64\r\n\r\n");
	expect_header("A: b\r\n\r\n\r\ntext\r\n", "A: b\r\n\r\n");
	expect_header("A: b\r\n\r\nSubject: x\r\n", NULL); /* the inner header does not end */
	expect_header("A: b\r\n", NULL);
	expect_header("", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_piece),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_header),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
