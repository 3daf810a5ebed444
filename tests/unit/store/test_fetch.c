/* test_fetch.c - the arguments of FETCH, good and bad; what each item answers, byte for byte, with a parse
 * cache and without. The sections were compared with Dovecot 2.3.19, which differs where noted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "store-backend/imap/fetch.h"
#include "tests/unit/store/memory_message.h"

/* ---- arguments ----------------------------------------------------------------------------------- */

static void put_request(struct buf *out, const struct fetch_request *req)
{
	static const char *const kinds[] = { "uid", "flags", "date", "size", "modseq", "savedate",
		"emailid", "threadid", "preview", "env", "body", "structure", "section" };
	static const char *const texts[] = { "whole", "header", "fields", "not", "text", "mime" };
	for (size_t i = 0; i < req->n; i++) {
		const struct fetch_item *it = &req->v[i];
		buf_printf(out, i == 0 ? "%s" : " %s", kinds[it->kind]);
		if (it->kind != FETCH_SECTION)
			continue;
		buf_printf(out, ":%s%s", texts[it->text], it->peek ? ":peek" : "");
		for (size_t k = 0; k < it->path_n; k++)
			buf_printf(out, ":%u", it->path[k]);
		for (size_t k = 0; k < it->name_n; k++)
			buf_printf(out, ":%.*s", SPAN_ARG(req->names[it->name_at + k]));
		if (it->partial)
			buf_printf(out, ":<%u.%u>", it->from, it->count);
	}
}

/* Answers what was understood, or why it was not. */
static void parse(const char *args, bool uid, struct buf *out)
{
	struct fetch_request *req = MEM_NEW(struct fetch_request);
	struct buf scratch = BUF_INIT(4096);
	struct imap_cursor c;
	imap_cursor_init(&c, span_str(args), &scratch);
	fetch_parse(&c, uid, req);
	imap_read_end(&c);
	if (imap_ok(&c))
		put_request(out, req);
	else
		buf_add_str(out, c.why);
	buf_end(&scratch);
	mem_free(req);
}

static void assert_text(struct span got, struct span want, const char *what)
{
	if (!span_eq(got, want))
		fail_msg("%s\ngot:  %.*s\nwant: %.*s", what, SPAN_ARG(got), SPAN_ARG(want));
}

static void test_arguments(void **state)
{
	static const struct {
		const char *args, *want;
		bool uid;
	} cases[] = {
		{ "FAST", "flags date size", false },
		{ "all", "flags date size env", false },
		{ "Full", "flags date size env body", false },
		{ "FULL", "uid flags date size env body", true },
		{ "UID", "uid", true },
		{ "(UID FLAGS flags)", "uid flags", false },
		{ "(ENVELOPE BODY BODYSTRUCTURE RFC822.SIZE INTERNALDATE)",
		    "env body structure size date", false },
		{ "rfc822", "section:whole", false },
		{ "(RFC822.HEADER RFC822.TEXT)", "section:header:peek section:text", false },
		{ "BODY[]", "section:whole", false },
		{ "(BODY[] body[])", "section:whole section:whole", false },
		{ "BODY.PEEK[]<0.100>", "section:whole:peek:<0.100>", false },
		{ "BODY[header]", "section:header", false },
		{ "BODY[TEXT]<4294967295.4294967295>", "section:text:<4294967295.4294967295>",
		    false },
		{ "BODY[1.2.3]", "section:whole:1:2:3", false },
		{ "BODY[1.2.MIME]", "section:mime:1:2", false },
		{ "BODY[1.HEADER]", "section:header:1", false },
		{ "BODY[4294967295.TEXT]", "section:text:4294967295", false },
		{ "BODY.PEEK[HEADER.FIELDS (From \"To\" {4}\r\nDate)]",
		    "section:fields:peek:From:To:Date", false },
		{ "BODY[2.HEADER.FIELDS.NOT (X)]<1.2>", "section:not:2:X:<1.2>", false },
		{ "(BODY[HEADER.FIELDS (a)] BODY[HEADER.FIELDS (b c)])",
		    "section:fields:a section:fields:b:c", false },
		{ "", "Unknown FETCH item", false },
		{ "()", "Unknown FETCH item", false },
		{ "(ALL)", "Unknown FETCH item", false },
		{ "ALL FAST", "Too many arguments", false },
		{ "FLAGS UID", "Too many arguments", false },
		{ "(FLAGS  UID)", "Unknown FETCH item", false },
		{ "(FLAGS UID", "Closing parenthesis expected", false },
		{ "FLAGS)", "Too many arguments", false },
		{ "FLAG", "Unknown FETCH item", false },
		{ "RFC822.PEEK", "Unknown FETCH item", false },
		{ "BODY.PEEK", "Unexpected character", false },
		{ "BODY[", "Unknown section", false },
		{ "BODY[MIME]", "Unknown section", false },
		{ "BODY[FOO]", "Unknown section", false },
		{ "BODY[1.]", "Unknown section", false },
		{ "BODY[1.FOO]", "Unknown section", false },
		{ "BODY[.1]", "Unknown section", false },
		{ "BODY[1HEADER]", "Unexpected character", false },
		{ "BODY[0]", "Number must not be zero", false },
		{ "BODY[1.0]", "Number must not be zero", false },
		{ "BODY[4294967296]", "Number out of range", false },
		{ "BODY[HEADER.FIELDS]", "Space expected", false },
		{ "BODY[HEADER.FIELDS ()]", "String expected", false },
		{ "BODY[HEADER.FIELDS (\"\")]", "Header field name expected", false },
		{ "BODY[HEADER.FIELDS From]", "Opening parenthesis expected", false },
		{ "BODY[]<1>", "Unexpected character", false },
		{ "BODY[]<1.0>", "Number must not be zero", false },
		{ "BODY[]<-1.5>", "Number expected", false },
		{ "BODY[]<1.2", "Unexpected character", false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf out = BUF_INIT(4096);
		parse(cases[i].args, cases[i].uid, &out);
		assert_text(buf_span(&out), span_str(cases[i].want), cases[i].args);
		buf_end(&out);
	}
}

/* A list of n items, a path of n numbers, n field names. */
static void test_bounds(void **state)
{
	struct buf out = BUF_INIT(65536), args = BUF_INIT(65536);
	buf_add_str(&args, "BODY[1");
	for (int i = 1; i < MIME_DEPTH_MAX; i++)
		buf_add_str(&args, ".1");
	buf_add_str(&args, ".1]");
	parse(buf_cstr(&args), false, &out);
	assert_text(buf_span(&out), SPAN("Part number too deep"), "path");
	buf_clear(&out);
	buf_clear(&args);
	buf_add_str(&args, "(BODY[]");
	for (int i = 0; i < FETCH_ITEMS_MAX; i++)
		buf_add_str(&args, " BODY[]");
	buf_add_str(&args, ")");
	parse(buf_cstr(&args), false, &out);
	assert_text(buf_span(&out), SPAN("Too many items"), "items");
	buf_clear(&out);
	buf_clear(&args);
	buf_add_str(&args, "BODY[HEADER.FIELDS (a");
	for (int i = 0; i < FETCH_NAMES_MAX; i++)
		buf_add_str(&args, " a");
	buf_add_str(&args, ")]");
	parse(buf_cstr(&args), false, &out);
	assert_text(buf_span(&out), SPAN("Too many header field names"), "names");
	buf_end(&out);
	buf_end(&args);
}

static void test_what_it_needs(void **state)
{
	static const struct {
		const char *args;
		bool seen, entry;
	} cases[] = {
		{ "(UID FLAGS)", false, false },
		{ "FULL", false, true },
		{ "RFC822.HEADER", false, true },
		{ "RFC822.TEXT", true, true },
		{ "RFC822", true, true },
		{ "(FLAGS BODY.PEEK[1])", false, true },
		{ "BODY[HEADER]", true, true },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct fetch_request *req = MEM_NEW(struct fetch_request);
		struct imap_cursor c;
		imap_cursor_init(&c, span_str(cases[i].args), NULL);
		fetch_parse(&c, false, req);
		assert_true(imap_ok(&c));
		assert_int_equal(fetch_sets_seen(req), cases[i].seen);
		assert_int_equal(fetch_needs_entry(req), cases[i].entry);
		mem_free(req);
	}
}

/* ---- answers ------------------------------------------------------------------------------------- */

struct answer {
	struct span bytes;
	struct buf cache, out;
	size_t ranges, unreadable;
};

/* All items of the request, as one message's answer; announced ranges are filled in. */
static void answer(struct answer *a, const char *args)
{
	struct fetch_request *req = MEM_NEW(struct fetch_request);
	struct selected_message known = { .uid = 7, .bits = STORE_SEEN | IMAP_RECENT };
	struct selected box = { .v = &known, .n = 1, .told_n = 1 };
	struct message m;
	struct fetch_subject of = { .box = &box,
		.message = &m,
		.entry = { .size = a->bytes.n, .date_s = 31536000, .date_zone = -90 } };
	struct imap_cursor c;
	imap_cursor_init(&c, span_str(args), NULL);
	fetch_parse(&c, false, req);
	assert_true(imap_ok(&c));
	memory_message_init(&m, &a->bytes, buf_span(&a->cache));
	for (size_t i = 0; i < req->n; i++) {
		struct message_range r;
		size_t before = buf_len(&a->out);
		if (i > 0)
			buf_add_char(&a->out, ' ');
		enum fetch_put put = fetch_put_item(&a->out, req, &req->v[i], &of, &r);
		if (put == PUT_RANGE) {
			a->ranges++;
			assert_true(message_read(&m, r, &a->out));
		}
		a->unreadable += put == PUT_UNREADABLE;
		assert_true(put != PUT_UNREADABLE || buf_len(&a->out) == before + (i > 0));
		message_rest(&m);
		message_set_cache(&m, buf_span(&a->cache));
	}
	message_end(&m);
	mem_free(req);
}

static void check_answer(const char *message, const char *args, const char *want)
{
	for (int cached = 0; cached < 2; cached++) {
		struct answer a = { .bytes = span_str(message),
			.cache = BUF_INIT(STORE_CACHE_MAX),
			.out = BUF_INIT(1 << 20) };
		if (cached)
			parse_message(a.bytes, &a.cache);
		answer(&a, args);
		assert_text(buf_span(&a.out), span_str(want), args);
		assert_int_equal(a.unreadable, 0);
		buf_end(&a.cache);
		buf_end(&a.out);
	}
}

#define INNER                                                                                      \
	"Subject: in\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n"                   \
	"--c\r\n\r\ni1\r\n--c\r\nContent-Type: text/html\r\n\r\ni2\r\n--c--"
#define NESTED                                                                                     \
	"Subject: o\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n"            \
	"X-A: 1\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n" INNER "\r\n--b--\r\n"
#define PLAIN "Subject: p\r\n\r\nbody\r\n"
#define FORWARD "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ninbody\r\n"
#define EMPTY_MULTI "Content-Type: multipart/mixed; boundary=b\r\n\r\nnothing here\r\n"
#define DIGEST                                                                                     \
	"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: d\r\n\r\nx\r\n"     \
	"--b--\r\n"
#define FIELDS "Received: a\r\nReceived: b\r\n\tc\r\nSubject : sp\r\nbroken line\r\nX: y\r\n\r\nz"

/* A section that a message does not have is NIL here and "" in Dovecot; the line end between two closing
 * delimiters is the outer one's (RFC 2046 section 5.1.1), while Dovecot counts it to part 2 of NESTED. */
static const struct {
	const char *message, *args, *want;
} section_cases[] = {
	{ NESTED, "BODY[1]", "BODY[1] {3}\r\none" },
	{ NESTED, "BODY[1.MIME]", "BODY[1.MIME] {10}\r\nX-A: 1\r\n\r\n" },
	{ NESTED, "BODY[2]", "BODY[2] {116}\r\n" INNER },
	{ NESTED, "BODY[2.HEADER]",
	    "BODY[2.HEADER] {64}\r\nSubject: in\r\n"
	    "Content-Type: multipart/alternative; boundary=c\r\n\r\n" },
	{ NESTED, "BODY[2.TEXT]",
	    "BODY[2.TEXT] {52}\r\n--c\r\n\r\ni1\r\n--c\r\nContent-Type: text/html\r\n\r\n"
	    "i2\r\n--c--" },
	{ NESTED, "BODY[2.MIME]", "BODY[2.MIME] {32}\r\nContent-Type: message/rfc822\r\n\r\n" },
	{ NESTED, "(BODY[2.1] BODY[2.2])", "BODY[2.1] {2}\r\ni1 BODY[2.2] {2}\r\ni2" },
	{ NESTED, "BODY[2.2.MIME]", "BODY[2.2.MIME] {27}\r\nContent-Type: text/html\r\n\r\n" },
	{ NESTED, "(BODY[1.HEADER] BODY[1.TEXT] BODY[3] BODY[2.3] BODY[1.1.1])",
	    "BODY[1.HEADER] NIL BODY[1.TEXT] NIL BODY[3] NIL BODY[2.3] NIL "
	    "BODY[1.1.1] NIL" },
	{ NESTED, "BODY[2.HEADER.FIELDS (SUBJECT)]",
	    "BODY[2.HEADER.FIELDS (SUBJECT)] {15}\r\nSubject: in\r\n\r\n" },
	{ NESTED, "BODY[2.HEADER.FIELDS.NOT (subject)]",
	    "BODY[2.HEADER.FIELDS.NOT (subject)] {51}\r\n"
	    "Content-Type: multipart/alternative; boundary=c\r\n\r\n" },
	{ PLAIN, "BODY[]", "BODY[] {20}\r\n" PLAIN },
	{ PLAIN, "RFC822", "RFC822 {20}\r\n" PLAIN },
	{ PLAIN, "RFC822.HEADER", "RFC822.HEADER {14}\r\nSubject: p\r\n\r\n" },
	{ PLAIN, "RFC822.TEXT", "RFC822.TEXT {6}\r\nbody\r\n" },
	{ PLAIN, "BODY[HEADER]", "BODY[HEADER] {14}\r\nSubject: p\r\n\r\n" },
	{ PLAIN, "BODY.PEEK[1]", "BODY[1] {6}\r\nbody\r\n" },
	{ PLAIN, "BODY[1.MIME]", "BODY[1.MIME] {14}\r\nSubject: p\r\n\r\n" },
	{ PLAIN, "(BODY[2] BODY[1.1.1] BODY[1.HEADER])",
	    "BODY[2] NIL BODY[1.1.1] NIL BODY[1.HEADER] NIL" },
	{ PLAIN, "BODY[TEXT]<3.100>", "BODY[TEXT]<3> {3}\r\ny\r\n" },
	{ PLAIN, "BODY[TEXT]<1.2>", "BODY[TEXT]<1> {2}\r\nod" },
	{ PLAIN, "BODY[TEXT]<6.1>", "BODY[TEXT]<6> {0}\r\n" },
	{ PLAIN, "BODY[TEXT]<4294967295.4294967295>", "BODY[TEXT]<4294967295> {0}\r\n" },
	{ PLAIN, "BODY[]<18.4294967295>", "BODY[]<18> {2}\r\n\r\n" },
	{ PLAIN, "BODY[HEADER.FIELDS (\"subject\" From)]<2.3>",
	    "BODY[HEADER.FIELDS (subject From)]<2> {3}\r\nbje" },
	{ PLAIN, "BODY[HEADER.FIELDS (X)]<99.3>", "BODY[HEADER.FIELDS (X)]<99> {0}\r\n" },
	{ "Subject: nb\r\n", "(BODY[] BODY[HEADER] BODY[TEXT] BODY[1])",
	    "BODY[] {13}\r\nSubject: nb\r\n BODY[HEADER] {13}\r\nSubject: nb\r\n "
	    "BODY[TEXT] {0}\r\n BODY[1] {0}\r\n" },
	{ "Subject: nb", "BODY[HEADER.FIELDS (Subject)]",
	    "BODY[HEADER.FIELDS (Subject)] {15}\r\nSubject: nb\r\n\r\n" },
	{ FORWARD, "BODY[1]", "BODY[1] {23}\r\nSubject: in\r\n\r\ninbody\r\n" },
	{ FORWARD, "BODY[1.HEADER]", "BODY[1.HEADER] {15}\r\nSubject: in\r\n\r\n" },
	{ FORWARD, "BODY[1.TEXT]", "BODY[1.TEXT] {8}\r\ninbody\r\n" },
	{ FORWARD, "BODY[1.1]", "BODY[1.1] {8}\r\ninbody\r\n" },
	{ FORWARD, "BODY[1.MIME]", "BODY[1.MIME] {32}\r\nContent-Type: message/rfc822\r\n\r\n" },
	{ FORWARD, "BODY[1.1.MIME]", "BODY[1.1.MIME] {15}\r\nSubject: in\r\n\r\n" },
	{ FORWARD, "BODY[1.2]", "BODY[1.2] NIL" },
	{ FORWARD, "BODY[HEADER]", "BODY[HEADER] {32}\r\nContent-Type: message/rfc822\r\n\r\n" },
	/* shown as text/plain, so it has a part 1; to Dovecot it is an empty multipart */
	{ EMPTY_MULTI, "(BODY[1] BODY[TEXT])",
	    "BODY[1] {14}\r\nnothing here\r\n BODY[TEXT] {14}\r\nnothing here\r\n" },
	{ "\r\njust body\r\n", "(BODY[HEADER] BODY[TEXT] BODY[1.MIME])",
	    "BODY[HEADER] {2}\r\n\r\n BODY[TEXT] {11}\r\njust body\r\n "
	    "BODY[1.MIME] {2}\r\n\r\n" },
	{ "\r\njust body\r\n", "(BODY[HEADER.FIELDS (X)] BODY[HEADER.FIELDS.NOT (X)])",
	    "BODY[HEADER.FIELDS (X)] {2}\r\n\r\n BODY[HEADER.FIELDS.NOT (X)] {2}\r\n\r\n" },
	{ DIGEST, "(BODY[1] BODY[1.MIME] BODY[1.HEADER] BODY[1.1])",
	    "BODY[1] {15}\r\nSubject: d\r\n\r\nx BODY[1.MIME] {2}\r\n\r\n "
	    "BODY[1.HEADER] {14}\r\nSubject: d\r\n\r\n BODY[1.1] {1}\r\nx" },
	/* a field that no cache keeps, and one with white space before the colon; a line that is no
	 * field belongs to no answer by fields (Dovecot has it in the second) */
	{ FIELDS, "BODY[HEADER.FIELDS (received subject x)]",
	    "BODY[HEADER.FIELDS (received subject x)] {52}\r\nReceived: a\r\n"
	    "Received: b\r\n\tc\r\nSubject : sp\r\nX: y\r\n\r\n" },
	{ FIELDS, "BODY[HEADER.FIELDS.NOT (received)]",
	    "BODY[HEADER.FIELDS.NOT (received)] {22}\r\nSubject : sp\r\nX: y\r\n\r\n" },
	{ FIELDS, "BODY[HEADER.FIELDS (Subject)]",
	    "BODY[HEADER.FIELDS (Subject)] {16}\r\nSubject : sp\r\n\r\n" },
	{ "", "(BODY[] BODY[HEADER] BODY[TEXT] BODY[1] BODY[HEADER.FIELDS (a)])",
	    "BODY[] {0}\r\n BODY[HEADER] {0}\r\n BODY[TEXT] {0}\r\n BODY[1] {0}\r\n "
	    "BODY[HEADER.FIELDS (a)] {2}\r\n\r\n" },
};

static void test_sections(void **state)
{
	for (size_t i = 0; i < COUNT_OF(section_cases); i++)
		check_answer(
		    section_cases[i].message, section_cases[i].args, section_cases[i].want);
}

static void test_texts(void **state)
{
	check_answer(PLAIN, "(UID FLAGS INTERNALDATE RFC822.SIZE)",
	    "UID 7 FLAGS (\\Seen \\Recent) INTERNALDATE \"31-Dec-1970 22:30:00 -0130\" "
	    "RFC822.SIZE 20");
	check_answer("From: a@b\r\nTo: undisclosed-recipients:;, g: x@y, z@w;\r\n\r\n", "ENVELOPE",
	    "ENVELOPE (NIL NIL ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) "
	    "((NIL NIL \"a\" \"b\")) ((NIL NIL \"undisclosed-recipients\" NIL)(NIL NIL NIL NIL)"
	    "(NIL NIL \"g\" NIL)(NIL NIL \"x\" \"y\")(NIL NIL \"z\" \"w\")(NIL NIL NIL NIL)) "
	    "NIL NIL NIL NIL)");
	check_answer(DIGEST, "BODY",
	    "BODY ((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 15 "
	    "(NIL \"d\" NIL NIL NIL NIL NIL NIL NIL NIL) "
	    "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 1 0) 2) \"digest\")");
	check_answer(PLAIN, "(BODYSTRUCTURE BODY)",
	    "BODYSTRUCTURE (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 6 1 "
	    "NIL NIL NIL NIL) "
	    "BODY (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 6 1)");
}

/* What is longer than FETCH_INLINE_MAX goes as a range, and only that. */
static void test_long_literals(void **state)
{
	struct buf msg = BUF_INIT(1 << 20), want = BUF_INIT(1 << 20);
	buf_add_str(&msg, "Subject: long\r\n\r\n");
	for (int i = 0; i < 5000; i++)
		buf_printf(&msg, "line %d\r\n", i);
	struct answer a = { .bytes = buf_span(&msg),
		.cache = BUF_INIT(STORE_CACHE_MAX),
		.out = BUF_INIT(1 << 20) };
	answer(&a, "(BODY[TEXT] BODY[]<10.16384> BODY[]<10.16385> BODY[HEADER])");
	assert_int_equal(a.ranges, 2);
	struct span body = span_from(a.bytes, 17);
	buf_printf(&want, "BODY[TEXT] {%zu}\r\n", body.n);
	buf_add_span(&want, body);
	buf_add_str(&want, " BODY[]<10> {16384}\r\n");
	buf_add(&want, a.bytes.p + 10, 16384);
	buf_add_str(&want, " BODY[]<10> {16385}\r\n");
	buf_add(&want, a.bytes.p + 10, 16385);
	buf_add_str(&want, " BODY[HEADER] {17}\r\nSubject: long\r\n\r\n");
	assert_text(buf_span(&a.out), buf_span(&want), "long");
	buf_end(&a.out);
	buf_end(&a.cache);
	buf_end(&want);
	buf_end(&msg);
}

/* A structure that no answer can hold stays closed. */
static void test_structure_too_long(void **state)
{
	struct buf msg = BUF_INIT(16 << 20);
	buf_add_str(&msg, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
	for (int i = 0; i < 900; i++) {
		buf_add_str(&msg, "--b\r\nContent-Type: text/plain; name=\"");
		for (int k = 0; k < 600; k++)
			buf_add_str(&msg, "0123456789");
		buf_add_str(&msg, "\"\r\n\r\nx\r\n");
	}
	struct answer a = { .bytes = buf_span(&msg),
		.cache = BUF_INIT(STORE_CACHE_MAX),
		.out = BUF_INIT(1 << 20) };
	struct buf want = BUF_INIT(256);
	answer(&a, "BODYSTRUCTURE");
	buf_printf(&want,
	    "BODYSTRUCTURE (\"application\" \"octet-stream\" NIL NIL NIL \"binary\" %zu NIL NIL "
	    "NIL NIL)",
	    a.bytes.n);
	assert_text(buf_span(&a.out), buf_span(&want), "structure");
	buf_end(&want);
	buf_end(&a.out);
	buf_end(&a.cache);
	buf_end(&msg);
}

/* Bytes that are not there: no item says anything, those that do not need them do. */
static void test_unreadable(void **state)
{
	struct answer a = { .cache = BUF_INIT(STORE_CACHE_MAX), .out = BUF_INIT(4096) };
	a.bytes = (struct span){ NULL, 0 };
	struct fetch_request *req = MEM_NEW(struct fetch_request);
	struct imap_cursor c;
	struct message m;
	struct message_range r;
	struct fetch_subject of = { .message = &m, .box = &(struct selected){ .n = 0 } };
	imap_cursor_init(&c,
	    SPAN("(BODY[] ENVELOPE BODY BODYSTRUCTURE BODY[1] BODY[HEADER.FIELDS (a)] "
		 "BODY[1.HEADER.FIELDS.NOT (a)] RFC822.TEXT)"),
	    NULL);
	fetch_parse(&c, false, req);
	message_init(&m, &(struct message_bytes){ memory_read, &a.bytes, 100 });
	for (size_t i = 0; i < req->n; i++) {
		assert_int_equal(fetch_put_item(&a.out, req, &req->v[i], &of, &r), PUT_UNREADABLE);
		assert_int_equal(buf_len(&a.out), 0);
		assert_int_equal(m.err, ERR_NOT_FOUND);
	}
	message_end(&m);
	mem_free(req);
	buf_end(&a.cache);
	buf_end(&a.out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_what_it_needs),
		cmocka_unit_test(test_sections),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_long_literals),
		cmocka_unit_test(test_structure_too_long),
		cmocka_unit_test(test_unreadable),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
