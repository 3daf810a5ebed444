/* test_parse.c - ENVELOPE and BODYSTRUCTURE texts, the cache and what it survives, a message that arrives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "store-backend/incoming.h"
#include "store-backend/parse.h"

static void assert_span(struct span got, const char *want)
{
	if (!span_eq_str(got, want))
		fail_msg("got:  %.*s\nwant: %s", SPAN_ARG(got), want);
}

static void test_envelope(void **state)
{
	static const struct {
		const char *header, *want;
	} cases[] = {
		{ "", "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)" },
		{ "Date: Mon, 7 Feb 1994 21:52:25 -0800\r\nSubject: a\r\n \"b\"\r\nFrom: Joe "
		  "<j@x>\r\nTo: a@b, c\r\n"
		  "Message-ID: <1@x>\r\nIn-Reply-To: <0@x>\r\n\r\n",
		    "(\"Mon, 7 Feb 1994 21:52:25 -0800\" \"a \\\"b\\\"\" ((\"Joe\" NIL \"j\" "
		    "\"x\")) "
		    "((\"Joe\" NIL \"j\" \"x\")) ((\"Joe\" NIL \"j\" \"x\")) ((NIL NIL \"a\" "
		    "\"b\")(NIL NIL \"c\" "
		    "\"MISSING_DOMAIN\")) NIL NIL \"<0@x>\" \"<1@x>\")" },
		{ "Subject: \xc3\xa4\r\nFrom: a@b\r\nSender:\r\nReply-To: r@s\r\nTo: g: "
		  "x@y;\r\nCc: open: z@z\r\n",
		    "(NIL {2}\r\n\xc3\xa4 ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL "
		    "NIL \"r\" \"s\")) "
		    "((NIL NIL \"g\" NIL)(NIL NIL \"x\" \"y\")(NIL NIL NIL NIL)) "
		    "((NIL NIL \"open\" NIL)(NIL NIL \"z\" \"z\")(NIL NIL NIL NIL)) NIL NIL NIL)" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf out = BUF_INIT(4096);
		assert_true(parse_put_envelope(&out, span_str(cases[i].header)));
		assert_span(buf_span(&out), cases[i].want);
		buf_end(&out);
	}
}

#define PLAIN "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" "

static void test_structure(void **state)
{
	static const struct {
		const char *msg, *body, *extended;
	} cases[] = {
		{ "A: b\r\n\r\nx\r\n", PLAIN "3 1)", PLAIN "3 1 NIL NIL NIL NIL)" },
		{ "Content-Type: garbage\r\n\r\n", PLAIN "0 0)", PLAIN "0 0 NIL NIL NIL NIL)" },
		{ "Content-Type: image/png; name=\"a b.png\"\r\nContent-ID: "
		  "<i>\r\nContent-Description: d\r\n"
		  "Content-Transfer-Encoding: BASE64\r\nContent-Disposition: attachment; "
		  "filename=x\r\n"
		  "Content-Language: de, en\r\nContent-Location: u\r\nContent-MD5: m\r\n\r\nabcd",
		    "(\"image\" \"png\" (\"name\" \"a b.png\") \"<i>\" \"d\" \"BASE64\" 4)",
		    "(\"image\" \"png\" (\"name\" \"a b.png\") \"<i>\" \"d\" \"BASE64\" 4 \"m\" "
		    "(\"attachment\" "
		    "(\"filename\" \"x\")) (\"de\" \"en\") \"u\")" },
		{ "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n1\r\n--b\r\n"
		  "Content-Type: message/rfc822\r\n\r\nSubject: s\r\n\r\n2\r\n\r\n--b--",
		    "(" PLAIN "1 0)(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 17 (NIL \"s\" NIL "
		    "NIL NIL NIL NIL NIL "
		    "NIL NIL) " PLAIN "3 1) 3) \"mixed\")",
		    "(" PLAIN "1 0 NIL NIL NIL NIL)(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 17 "
		    "(NIL \"s\" NIL NIL "
		    "NIL NIL NIL NIL NIL NIL) " PLAIN
		    "3 1 NIL NIL NIL NIL) 3 NIL NIL NIL NIL) \"mixed\" (\"boundary\" "
		    "\"b\") NIL NIL NIL)" },
		{ "Content-Type: multipart/mixed\r\n\r\nx", PLAIN "1 0)",
		    PLAIN "1 0 NIL NIL NIL NIL)" },
		{ "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nx",
		    "(\"application\" \"octet-stream\" NIL NIL NIL \"base64\" 1)",
		    "(\"application\" \"octet-stream\" NIL NIL NIL \"base64\" 1 NIL NIL NIL NIL)" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf cache = BUF_INIT(STORE_CACHE_MAX);
		struct parse_cache c;
		parse_message(span_str(cases[i].msg), &cache);
		assert_true(parse_cache_open(buf_span(&cache), &c));
		assert_span(c.body, cases[i].body);
		assert_span(c.bodystructure, cases[i].extended);
		buf_end(&cache);
	}
}

static void test_cache_fields_date_and_parts(void **state)
{
	static const char msg[] =
	    "Received: x\r\nSubject: s\r\n t\r\nDate: 2 Jan 1970 00:00:00 +0000\r\nX-Foo: y\r\n"
	    "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n1\r\n--b\r\n"
	    "Content-Type: message/rfc822\r\n\r\nA: b\r\n\r\n2\r\n--b--";
	struct buf cache = BUF_INIT(STORE_CACHE_MAX);
	struct parse_cache c;
	struct mime fresh = { 0 }, kept = { 0 };
	parse_message(span_of(msg, sizeof msg - 1), &cache);
	assert_true(parse_cache_open(buf_span(&cache), &c));
	assert_span(c.fields, "Subject: s\r\n t\r\nDate: 2 Jan 1970 00:00:00 +0000\r\n"
			      "Content-Type: multipart/mixed; boundary=b\r\n");
	assert_true(c.has_fields && c.has_date);
	assert_int_equal(c.sent_day, 1);
	mime_parse(&fresh, span_of(msg, sizeof msg - 1));
	assert_true(parse_cache_parts(&c, sizeof msg - 1, &kept));
	assert_int_equal(kept.n, fresh.n);
	for (size_t i = 0; i < fresh.n; i++) {
		assert_int_equal(kept.v[i].kind, fresh.v[i].kind);
		assert_int_equal(kept.v[i].first_child, fresh.v[i].first_child);
		assert_int_equal(kept.v[i].next, fresh.v[i].next);
		assert_int_equal(kept.v[i].header_at, fresh.v[i].header_at);
		assert_int_equal(kept.v[i].body_at, fresh.v[i].body_at);
		assert_int_equal(kept.v[i].end, fresh.v[i].end);
	}
	mime_end(&kept);
	assert_false(parse_cache_parts(&c, sizeof msg - 2, &kept));
	assert_null(kept.v);
	/* no byte of it may lead out of bounds */
	char *bad = mem_copy(cache.p + cache.head, buf_len(&cache));
	for (size_t i = 0; i < buf_len(&cache); i++) {
		bad[i] = (char)~bad[i];
		if (parse_cache_open(span_of(bad, buf_len(&cache)), &c) &&
		    parse_cache_parts(&c, sizeof msg - 1, &kept))
			(void)mime_find(&kept, (const uint32_t[]){ 2, 1 }, 2);
		mime_end(&kept);
		bad[i] = (char)~bad[i];
		assert_false(parse_cache_open(span_of(bad, i < 26 ? i : 0), &c));
	}
	mem_free(bad);
	mime_end(&fresh);
	buf_end(&cache);
}

static void test_cache_is_bounded(void **state)
{
	struct buf msg = BUF_INIT(8 << 20), cache = BUF_INIT(STORE_CACHE_MAX);
	struct parse_cache c;
	buf_add_str(&msg, "To: a@b");
	for (int i = 0; i < 20000; i++)
		buf_add_str(&msg, ",\r\n somebody@example.org");
	buf_add_str(&msg, "\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n");
	for (int i = 0; i < 1500; i++)
		buf_add_str(&msg, "--b\r\nContent-Disposition: attachment; filename=\"a long name "
				  "of a file that is\""
				  "\r\n\r\nx\r\n");
	parse_message(buf_span(&msg), &cache);
	assert_true(buf_ok(&cache));
	assert_true(parse_cache_open(buf_span(&cache), &c));
	assert_int_equal(c.envelope.n, 0);
	assert_int_equal(c.bodystructure.n, 0);
	assert_false(c.has_fields);
	assert_true(c.parts.n > 0);
	struct buf envelope = BUF_INIT(2 << 20);
	struct mime m = { 0 };
	mime_parse(&m, buf_span(&msg));
	assert_true(parse_put_envelope(&envelope, mime_header(buf_span(&msg), &m.v[0])));
	assert_true(buf_len(&envelope) < 300 * 1024);
	mime_end(&m);
	buf_end(&envelope);
	buf_end(&msg);
	buf_end(&cache);
}

/* ---- incoming ------------------------------------------------------------------------------------ */

static void read_source(const struct message_source *src, struct buf *out)
{
	char bytes[4096];
	if (src->file == NULL) {
		buf_add_span(out, src->bytes);
		return;
	}
	ssize_t n = pread(file_ref_fd(src->file), bytes, sizeof bytes, (off_t)src->file_at);
	assert_int_equal(n, src->size);
	buf_add(out, bytes, (size_t)n);
}

static void test_incoming_text_at_every_split(void **state)
{
	static const char text[] = "A: 1\nB: 2\r\n\r\n\r\r\n\nx\0y\ry\r";
	static const char want[] = "A: 1\r\nB: 2\r\n\r\n\r\n\r\n\r\nxy\r\ny\r\n";
	for (size_t memory = 4; memory < 64; memory += 16) {
		for (size_t step = 1; step < sizeof text; step++) {
			struct incoming *in = incoming_new(memory, 1000, "/tmp");
			struct message_source src;
			struct buf got = BUF_INIT(4096);
			struct span rest = span_of(text, sizeof text - 1);
			while (rest.n > 0) {
				assert_int_equal(
				    incoming_add_text(in, span_first(rest, step)), ERR_OK);
				rest = span_from(rest, step);
			}
			assert_int_equal(incoming_add_end(in), ERR_OK);
			assert_int_equal(incoming_source(in, &src), ERR_OK);
			assert_int_equal(src.file != NULL, memory < sizeof want - 1);
			assert_true(incoming_has_nul(in));
			assert_int_equal(src.size, sizeof want - 1);
			assert_true(src.cache.n > 0);
			read_source(&src, &got);
			assert_span(buf_span(&got), want);
			buf_end(&got);
			incoming_free(&in);
		}
	}
}

static void test_incoming_too_long_and_no_file(void **state)
{
	struct message_source src;
	struct incoming *in = incoming_new(100, 10, "/tmp");
	assert_int_equal(incoming_add(in, SPAN("0123456789")), ERR_OK);
	assert_int_equal(incoming_add(in, SPAN("x")), ERR_TOO_LONG);
	assert_int_equal(incoming_add_text(in, SPAN("x\r\n")), ERR_TOO_LONG);
	assert_int_equal(incoming_source(in, &src), ERR_TOO_LONG);
	incoming_free(&in);
	in = incoming_new(1, 10, "/nonexistent/folder");
	assert_int_not_equal(incoming_add(in, SPAN("01")), ERR_OK);
	assert_int_not_equal(incoming_err(in), ERR_OK);
	incoming_free(&in);
	assert_null(in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_envelope),
		cmocka_unit_test(test_structure),
		cmocka_unit_test(test_cache_fields_date_and_parts),
		cmocka_unit_test(test_cache_is_bounded),
		cmocka_unit_test(test_incoming_text_at_every_split),
		cmocka_unit_test(test_incoming_too_long_and_no_file),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
