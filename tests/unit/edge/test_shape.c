/* test_shape.c - messages as members of a group get them: fields that go, texts above and below, passwords. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "edge/body.h"
#include "edge/shape.h"

static struct span read_text(void *arg, uint64_t at, size_t n, err_t *err_out)
{
	*err_out = ERR_OK;
	return span_first(span_from(*(struct span *)arg, (size_t)at), n);
}

/* The whole, with the boundary of ours as B. */
static char *shaped(const struct shape *s, const char *text)
{
	struct span all = span_str(text);
	struct mail_source from = { .read = read_text, .arg = &all, .size = all.n };
	struct body *b = shape_body(s, &from, 1 << 20, "/tmp");
	struct buf out = BUF_INIT(1 << 20);
	err_t err;
	assert_non_null(b);
	struct span rest = body_read(b, 0, 1 << 20, &err);
	size_t at;
	while ((at = span_find_span(rest, SPAN("=_postern_"))) != SIZE_MAX) {
		buf_add_span(&out, span_first(rest, at));
		buf_add_char(&out, 'B');
		rest = span_from(rest, at + 10 + 36);
	}
	buf_add_span(&out, rest);
	char *copy = mem_span_str(buf_span(&out));
	buf_end(&out);
	body_free(&b);
	return copy;
}

static struct shape *shape_for(const struct group *g, struct shape *outer)
{
	return shape_new(&(struct shape_opts){ .group = g,
	    .outer = outer,
	    .wants = g->password != NULL,
	    .texts = true,
	    .refused = "no" });
}

static void becomes(const struct group *g, const char *text, const char *want)
{
	struct shape *s = shape_for(g, NULL);
	char *got = shaped(s, text);
	assert_string_equal(got, want);
	mem_free(got);
	shape_unref(&s);
}

#define UTF8 "caf\303\251"

static void test_plain(void **state)
{
	const struct group g = { .above = "above", .below = "one\ntwo = 2\r\n" };
	becomes(&g, "Subject: x\r\n\r\nhello\r\n",
	    "Subject: x\r\n\r\nabove\r\nhello\r\none\r\ntwo = 2\r\n");
	becomes(&g,
	    "Content-Type: text/plain; charset=ISO-8859-1\r\nContent-Transfer-Encoding: "
	    "8bit\r\n\r\n\351\r\n",
	    "Content-Type: text/plain; charset=ISO-8859-1\r\nContent-Transfer-Encoding: "
	    "8bit\r\n\r\n"
	    "above\r\n\351\r\none\r\ntwo = 2\r\n");
	becomes(&g, "Content-Transfer-Encoding: quoted-printable\r\n\r\n=41\r\n",
	    "Content-Transfer-Encoding: quoted-printable\r\n\r\nabove\r\n=41\r\none\r\ntwo =3D "
	    "2\r\n");
	const struct group utf8 = { .above = UTF8 };
	becomes(&utf8,
	    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
	    "8bit\r\n\r\nx\r\n",
	    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
	    "8bit\r\n\r\n" UTF8 "\r\nx\r\n");
	becomes(&utf8,
	    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
	    "Quoted-Printable\r\n\r\nx\r\n",
	    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
	    "Quoted-Printable\r\n\r\n"
	    "caf=C3=A9\r\nx\r\n");
}

#define PART                                                                                       \
	"--B\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "            \
	"quoted-printable\r\nContent-Disposition: inline\r\n\r\n"
#define AROUND "MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tboundary=\"B\"\r\n"

static void around(const struct group *g, const char *fields, const char *more, const char *above)
{
	struct buf in = BUF_INIT(4000), want = BUF_INIT(4000);
	buf_printf(&in, "Subject: x\r\nMIME-Version: 1.0\r\n%sTo: y\r\n\r\nbody\r\n", fields);
	buf_printf(&want,
	    "Subject: x\r\nTo: y\r\n" AROUND "%s\r\n" PART
	    "%s\r\n\r\n--B\r\n%s\r\nbody\r\n\r\n--B--\r\n",
	    more, above, fields);
	becomes(g, buf_cstr(&in), buf_cstr(&want));
	buf_end(&in);
	buf_end(&want);
}

static void test_parts(void **state)
{
	const struct group g = { .above = "above." }, utf8 = { .above = UTF8 };
	around(&g, "Content-Type: text/html\r\n", "", "above.");
	around(&g, "Content-Type: multipart/mixed;\r\n boundary=b\r\n", "", "above.");
	around(&g, "Content-Transfer-Encoding: base64\r\n", "", "above.");
	around(&g, "Content-Type: text/plain; charset=utf-16\r\n", "", "above.");
	around(&g, "Content-Type: text/html\r\nContent-Transfer-Encoding: 8bit\r\n",
	    "Content-Transfer-Encoding: 8bit\r\n", "above.");
	around(&utf8, "", "", "caf=C3=A9");
	around(&utf8, "Content-Type: text/plain; charset=utf-8\r\n", "", "caf=C3=A9");
	around(&utf8,
	    "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n",
	    "Content-Transfer-Encoding: 8bit\r\n", "caf=C3=A9");
	char line[1001], quoted[1100];
	size_t n = 0;
	memset(line, 'a', 1000);
	line[1000] = '\0';
	for (size_t i = 0; i < 1000; i++) {
		if (i > 0 && i % 72 == 0)
			n += (size_t)snprintf(quoted + n, sizeof quoted - n, "=\r\n");
		quoted[n++] = 'a';
	}
	quoted[n] = '\0';
	const struct group wide = { .above = line };
	around(&wide, "Content-Type: text/plain\r\n", "", quoted);
}

/* What is signed as a whole keeps its bytes. */
static void test_sealed(void **state)
{
	static const char *const types[] = { "multipart/signed; boundary=x", "Multipart/Encrypted",
		"application/pkcs7-mime; smime-type=signed-data", "application/x-pkcs7-mime" };
	const struct group g = { .above = "above", .below = "below" };
	for (size_t i = 0; i < COUNT_OF(types); i++) {
		struct buf in = BUF_INIT(400);
		buf_printf(&in, "Content-Type: %s\r\nA: b\r\n\r\nbytes\r\n", types[i]);
		becomes(&g, buf_cstr(&in), buf_cstr(&in));
		buf_end(&in);
	}
}

static void test_fields(void **state)
{
	static const char names[] = "x-mailer\0Reply-To:\0received\0content-type\0";
	const struct group g = { .removed = { names, 4 } };
	becomes(&g,
	    "Received: a\r\nX-Mailer: b\r\n c\r\nReply-To: d\r\nSubject: e\r\nReply-To: f\r\n"
	    "Content-Type: text/plain\r\n\r\nX-Mailer: g\r\n",
	    "Received: a\r\nSubject: e\r\nContent-Type: text/plain\r\n\r\nX-Mailer: g\r\n");
}

static void test_nested(void **state)
{
	static const char names[] = "A\0";
	const struct group outer = { .above = "1", .below = "4", .removed = { names, 1 } },
			   inner = { .above = "2", .below = "3" };
	struct shape *o = shape_for(&outer, NULL), *i = shape_for(&inner, o);
	shape_unref(&o);
	char *got = shaped(i, "A: b\r\nC: d\r\n\r\nx\r\n");
	assert_string_equal(got, "C: d\r\n\r\n1\r\n2\r\nx\r\n3\r\n4\r\n");
	mem_free(got);
	assert_true(shape_changes(i));
	assert_false(shape_asks(i) || shape_has_secret(i));
	shape_unref(&i);
	const struct group nothing = { 0 };
	assert_null(shape_for(&nothing, NULL));
}

static void test_passwords(void **state)
{
	const struct group g = { .password = "open sesame" }, other = { .password = "2" };
	struct shape *s = shape_for(&g, NULL), *both = shape_for(&other, s);
	struct shape *none =
	    shape_new(&(struct shape_opts){ .group = &g, .wants = true, .without = true });
	struct buf kept = BUF_INIT(1000), taken = BUF_INIT(1000);
	size_t bytes;
	const struct span text =
	    SPAN("A: b\r\napproved:  open sesame \r\nX-Approved: 2\r\nC: d\r\n\r\nApproved: 2\r\n");
	assert_true(shape_strip(text, &kept, &taken, &bytes));
	assert_string_equal(buf_cstr(&kept), "A: b\r\nC: d\r\n\r\n");
	assert_int_equal(bytes, text.n - 13);
	assert_null(shape_refuses(s, buf_span(&taken)));
	assert_null(shape_refuses(both, buf_span(&taken)));
	assert_string_equal(shape_refuses(none, buf_span(&taken)), "");
	static const char *const wrong[] = { "", "Approved: Open sesame\r\n", "Approved: open\r\n",
		"Approved: \r\n", "Approval: open sesame\r\n", "Approved: open sesame2\r\n" };
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		assert_string_equal(shape_refuses(s, span_str(wrong[i])), "no");
		assert_null(shape_refuses(none, span_str(wrong[i])));
	}
	assert_string_equal(shape_refuses(both, SPAN("Approved: 2\r\n")), "no");
	assert_true(shape_has_secret(both) && shape_asks(both));
	assert_false(shape_changes(both));
	buf_end(&kept);
	buf_end(&taken);
	shape_unref(&both);
	shape_unref(&s);
	shape_unref(&none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_sealed),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_nested),
		cmocka_unit_test(test_passwords),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
