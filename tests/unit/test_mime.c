/* test_mime.c - the tree of parts, header fields, values, dates and addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "proto/mime.h"

static void assert_span(struct span got, const char *want)
{
	if (!span_eq_str(got, want))
		fail_msg("got \"%.*s\", want \"%s\"", SPAN_ARG(got), want);
}

/* ---- the tree ------------------------------------------------------------------------------------ */

static void put_tree(struct buf *out, struct span msg, const struct mime *m, uint16_t i)
{
	static const char kinds[] = "LPMO";
	const struct mime_part *p = &m->v[i];
	buf_printf(out, "%c", kinds[p->kind]);
	if (p->kind == MIME_LEAF || p->kind == MIME_OPAQUE)
		buf_printf(
		    out, "<%.*s>%u", (int)(p->end - p->body_at), msg.p + p->body_at, p->lines);
	if (p->first_child == MIME_NONE)
		return;
	buf_add_char(out, '(');
	for (uint16_t c = p->first_child; c != MIME_NONE; c = m->v[c].next)
		put_tree(out, msg, m, c);
	buf_add_char(out, ')');
}

#define MIXED "Content-Type: multipart/mixed; boundary=b\r\n\r\n"

static void test_tree(void **state)
{
	static const struct {
		const char *msg, *want;
	} cases[] = {
		{ "", "L<>0" },
		{ "A: b", "L<>0" },
		{ "A: b\r\n\r\n", "L<>0" },
		{ "A: b\n\nx\ny", "L<x\ny>1" },
		{ "\r\nhello\r\n", "L<hello\r\n>1" },
		{ MIXED "pre\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n\r\n--b--\r\npost",
		    "P(L<one>0L<two\r\n>1)" },
		{ MIXED "--b\r\n\r\none\r\n--b", "P(L<one>0L<>0)" },
		{ MIXED "--b\r\n--b\r\n\r\n--b--", "P(L<>0L<>0)" },
		{ MIXED "--b \t\r\n\r\none\r\n--b-- \r\n", "P(L<one>0)" },
		{ MIXED "--bb\r\n\r\none\r\n--b--x\r\n", "O<--bb\r\n\r\none\r\n--b--x\r\n>4" },
		{ MIXED "--b--\r\n--b\r\n\r\nx", "O<--b--\r\n--b\r\n\r\nx>3" },
		{ MIXED "--b\r\nA: not\r\n--b\r\n\r\ntwo\r\n--b--", "P(L<>0L<two>0)" },
		{ "Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx", "O<--b\r\n\r\nx>2" },
		{ "Content-Type: multipart/mixed; boundary=\"a b\"\r\n\r\n--a b\r\n\r\nx\r\n--a "
		  "b--",
		    "P(L<x>0)" },
		/* nested: the inner one is not closed, the outer delimiter does it */
		{ MIXED "--b\r\nContent-Type: multipart/x; "
			"boundary=\"bc\"\r\n\r\n--bc\r\n\r\n1\r\n--b\r\n\r\n2\r\n"
			"--b--",
		    "P(P(L<1>0)L<2>0)" },
		{ MIXED "--b\r\nContent-Type: multipart/x; "
			"boundary=\"bc\"\r\n\r\n--bc\r\n\r\n1\r\n--bc--\r\n"
			"--bc\r\nepilogue\r\n--b\r\n\r\n2\r\n--b--",
		    "P(P(L<1>0)L<2>0)" },
		/* messages */
		{ "Content-Type: message/rfc822\r\n\r\nS: x\r\n\r\nin\r\n", "M(L<in\r\n>1)" },
		{ "Content-Type: message/rfc822\r\n\r\nS: x", "M(L<>0)" },
		{ "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nabcd",
		    "O<abcd>0" },
		{ MIXED "--b\r\nContent-Type: message/rfc822\r\n\r\n" MIXED
			"--b\r\n\r\n1\r\n--b--\r\n",
		    "P(M(P(L<1>0)))" },
		{ "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nS: "
		  "x\r\n\r\n1\r\n--b\r\n"
		  "Content-Type: text/plain\r\n\r\n2\r\n--b--",
		    "P(M(L<1>0)L<2>0)" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct span msg = span_str(cases[i].msg);
		char *copy = mem_copy(msg.p, msg.n);
		struct mime m = { 0 };
		struct buf out = BUF_INIT(4096);
		mime_parse(&m, span_of(copy, msg.n));
		put_tree(&out, msg, &m, 0);
		assert_span(buf_span(&out), cases[i].want);
		assert_int_equal(m.v[0].end, msg.n);
		buf_end(&out);
		mime_end(&m);
		mem_free(copy);
	}
}

static void test_limits(void **state)
{
	struct buf msg = BUF_INIT(4 << 20);
	struct mime m = { 0 };
	for (int i = 0; i < 100; i++) /* deeper than 64 */
		buf_printf(
		    &msg, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i);
	mime_parse(&m, buf_span(&msg));
	assert_int_equal(m.n, MIME_DEPTH_MAX + 1);
	assert_int_equal(m.v[MIME_DEPTH_MAX].kind, MIME_OPAQUE);
	mime_end(&m);
	buf_clear(&msg);
	for (int i = 0; i < 100; i++)
		buf_add_str(&msg, "Content-Type: message/rfc822\r\n\r\n");
	mime_parse(&m, buf_span(&msg));
	assert_int_equal(m.n, MIME_DEPTH_MAX + 1);
	mime_end(&m);
	buf_clear(&msg);
	buf_add_str(&msg, MIXED);
	for (int i = 0; i < 2000; i++)
		buf_add_str(&msg, "--b\r\n\r\nx\r\n");
	mime_parse(&m, buf_span(&msg));
	assert_int_equal(m.n, MIME_PARTS_MAX);
	assert_int_equal(m.v[0].end, buf_len(&msg));
	mime_end(&m);
	buf_end(&msg);
}

static void test_find(void **state)
{
	static const char text[] =
	    MIXED "--b\r\n\r\n1\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
		  "Content-Type: multipart/x; "
		  "boundary=c\r\n\r\n--c\r\n\r\n2.1\r\n--c\r\n\r\n2.2\r\n--c--\r\n--b\r\n"
		  "Content-Type: message/rfc822\r\n\r\nS: x\r\n\r\n3.1\r\n--b--";
	static const struct {
		uint32_t path[4];
		size_t n;
		const char *body; /* its beginning; NULL: no such part */
	} cases[] = {
		{ { 1 }, 1, "1" },
		{ { 2 }, 1, "Content-Type: multipart/x" },
		{ { 2, 1 }, 2, "2.1" },
		{ { 2, 2 }, 2, "2.2" },
		{ { 2, 3 }, 2, NULL },
		{ { 3, 1 }, 2, "3.1" },
		{ { 3, 2 }, 2, NULL },
		{ { 3, 1, 1 }, 3, NULL },
		{ { 1, 1 }, 2, NULL },
		{ { 0 }, 1, NULL },
		{ { 4 }, 1, NULL },
		{ { 0 }, 0, "--b" },
	};
	struct mime m = { 0 };
	struct span msg = span_of(text, sizeof text - 1);
	mime_parse(&m, msg);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct mime_part *p = mime_find(&m, cases[i].path, cases[i].n);
		assert_int_equal(p != NULL, cases[i].body != NULL);
		if (p != NULL)
			assert_true(
			    span_starts(span_from(msg, p->body_at), span_str(cases[i].body)));
	}
	mime_end(&m);
	struct mime leaf = { 0 };
	mime_parse(&leaf, SPAN("A: b\r\n\r\nx"));
	assert_ptr_equal(mime_find(&leaf, (const uint32_t[]){ 1 }, 1), &leaf.v[0]);
	assert_null(mime_find(&leaf, (const uint32_t[]){ 2 }, 1));
	assert_null(mime_find(&leaf, (const uint32_t[]){ 1, 1 }, 2));
	mime_end(&leaf);
}

/* ---- fields -------------------------------------------------------------------------------------- */

static void test_fields(void **state)
{
	struct span rest = SPAN("no field\r\nA : 1\r\n folded\r\n: empty\r\nB:\r\nC:2\nD: 3"), v;
	struct mime_field f;
	struct buf line = BUF_INIT(64);
	assert_true(mime_find_field(rest, "c", &v));
	assert_span(v, "2");
	assert_false(mime_find_field(rest, "x", &v));
	assert_null(v.p);
	assert_true(mime_next_field(&rest, &f));
	assert_span(f.name, "A");
	assert_span(f.whole, "A : 1\r\n folded\r\n");
	assert_true(mime_unfold(f.value, &line));
	assert_span(buf_span(&line), "1 folded");
	assert_true(mime_next_field(&rest, &f));
	assert_span(f.name, "B");
	assert_span(f.value, "");
	assert_true(mime_next_field(&rest, &f));
	assert_true(mime_next_field(&rest, &f));
	assert_span(f.whole, "D: 3");
	assert_false(mime_next_field(&rest, &f));
	buf_end(&line);
}

static void test_values(void **state)
{
	struct mime_value v;
	struct buf scratch = BUF_INIT(1024);
	assert_true(mime_parse_value(
	    SPAN("Text (a (b)) / \r\n Plain; Charset=\"ut\\\"f\"; x ; y=a=/b;; name=(c)z"),
	    &scratch, &v));
	assert_span(v.type, "Text");
	assert_span(v.subtype, "Plain");
	assert_int_equal(v.param_count, 3);
	assert_span(mime_param(&v, "charset"), "ut\"f");
	assert_span(mime_param(&v, "Y"), "a=/b");
	assert_span(mime_param(&v, "name"), "z");
	assert_null(mime_param(&v, "none").p);
	buf_clear(&scratch);
	assert_true(mime_parse_value(SPAN("attachment; filename=\"unfinished"), &scratch, &v));
	assert_span(mime_param(&v, "filename"), "unfinished");
	assert_true(mime_parse_value(SPAN("a; b=\"x\\"), &scratch, &v));
	assert_false(mime_parse_value(SPAN(" (only a comment"), &scratch, &v));
	assert_false(mime_parse_value(SPAN(""), &scratch, &v));
	assert_span(mime_token(SPAN(" (x) base64 ")), "base64");
	buf_end(&scratch);
}

static void test_header_dates(void **state)
{
	static const struct {
		const char *in;
		bool ok;
		int64_t unix_s;
		int32_t day;
	} cases[] = {
		{ "Thu, 1 Jan 1970 00:00:00 +0000", true, 0, 0 },
		{ "1 Jan 70 01:00 +0100 (CET)", true, 0, 0 },
		{ "Fri,  2 Jan 1970 00:30:00 +0100", true, 84600, 1 },
		{ "2 January 1970 00:30:00 EST", true, 106200, 1 },
		{ "31 Feb 1999 00:00:00 +0000", false, 0, 0 },
		{ "1 Foo 1999 00:00:00 +0000", false, 0, 0 },
		{ "1 Jan 1999", false, 0, 0 },
		{ "1 Jan 1999 25:00:00 +0000", false, 0, 0 },
		{ "", false, 0, 0 },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		int64_t s = 0;
		int32_t day = 0;
		assert_int_equal(mime_parse_date(span_str(cases[i].in), &s, &day), cases[i].ok);
		if (cases[i].ok) {
			assert_true(s == cases[i].unix_s);
			assert_int_equal(day, cases[i].day);
		}
	}
}

/* ---- addresses ----------------------------------------------------------------------------------- */

static void put_text(struct buf *out, struct span s)
{
	if (s.p == NULL)
		buf_add_str(out, "-");
	else
		buf_add_span(out, s);
}

static void test_addresses(void **state)
{
	static const struct {
		const char *in, *want; /* name|route|mailbox|host, "{" and "}" around groups */
	} cases[] = {
		{ "", "" },
		{ " , ,", "" },
		{ "joe@x.org", "-|-|joe|x.org;" },
		{ "<joe@x.org>", "-|-|joe|x.org;" },
		{ "Joe Bloggs <joe@x.org>, a@b", "Joe Bloggs|-|joe|x.org;-|-|a|b;" },
		{ "\"Bloggs, \\\"Joe\\\"\" <joe@x.org>", "Bloggs, \"Joe\"|-|joe|x.org;" },
		{ "Joe Q. (x) Public\r\n <joe@x.org>", "Joe Q. Public|-|joe|x.org;" },
		{ "joe@x.org (Joe (the) B)", "Joe (the) B|-|joe|x.org;" },
		{ "<@a,@b:joe@x>", "-|@a,@b|joe|x;" },
		{ "\"a b\"@x", "-|-|a b|x;" },
		{ "joe@[192.0.2.1]", "-|-|joe|[192.0.2.1];" },
		{ "a . b @ c . d", "-|-|a.b|c.d;" },
		{ "list: a@b, C <c@d>;, e@f", "{list-|-|a|b;C|-|c|d;}-|-|e|f;" },
		{ "undisclosed-recipients:;", "{undisclosed-recipients}" },
		{ "joe", "-|-|joe|-;" },
		{ "Joe Bloggs", "-|-|JoeBloggs|-;" },
		{ "<>", "-|-||-;" },
		{ "Joe <joe@x", "Joe|-|joe|x;" },
		{ "a@b@c, d@e", "-|-|a|b;-|-|d|e;" },
		{ ")(, a@b", "" }, /* a comment that does not end */
		{ ")x, a@b", "-|-|a|b;" },
		{ "=?utf-8?q?J=C3=B6?= <j@x>", "=?utf-8?q?J=C3=B6?=|-|j|x;" },
		{ "\"unfinished <a@b>", "-|-|unfinished <a@b>|-;" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf out = BUF_INIT(1024), scratch = BUF_INIT(1024);
		struct span rest = span_str(cases[i].in);
		struct mime_address a;
		while (mime_next_address(&rest, &scratch, &a)) {
			if (a.kind == MIME_GROUP_END) {
				buf_add_char(&out, '}');
				continue;
			}
			if (a.kind == MIME_GROUP_START) {
				buf_printf(&out, "{%.*s", SPAN_ARG(a.mailbox));
				continue;
			}
			put_text(&out, a.name);
			buf_add_char(&out, '|');
			put_text(&out, a.route);
			buf_add_char(&out, '|');
			put_text(&out, a.mailbox);
			buf_add_char(&out, '|');
			put_text(&out, a.host);
			buf_add_char(&out, ';');
		}
		if (!span_eq_str(buf_span(&out), cases[i].want))
			fail_msg("%s: got %s", cases[i].in, buf_cstr(&out));
		buf_end(&out);
		buf_end(&scratch);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tree),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_header_dates),
		cmocka_unit_test(test_addresses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
