/* test_search.c - the keys of SEARCH, good and bad; what they match in a message, with a parse cache and
 * without; and the way from bytes to text at every split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "store-backend/imap/search.h"
#include "tests/unit/store/memory_message.h"

static void assert_text(struct span got, struct span want, const char *what)
{
	if (!span_eq(got, want))
		fail_msg("%s\ngot:  %.*s\nwant: %.*s", what, SPAN_ARG(got), SPAN_ARG(want));
}

/* ---- keys ---------------------------------------------------------------------------------------- */

static void put_node(struct buf *out, const struct search_request *r, uint16_t at)
{
	static const char *const keys[] = { "all", "flags", "keyword", "numbers", "uids", "before",
		"on", "since", "larger", "smaller", "modseq", "older", "younger", "savedbefore",
		"savedon", "savedsince", "emailid", "sentbefore", "senton", "sentsince", "header",
		"body", "text", "and", "or" };
	const struct search_node *n = &r->v[at];
	buf_printf(out, "%s%s", n->negate ? "!" : "", keys[n->key]);
	if (n->key == KEY_FLAGS)
		buf_printf(out, ":%u", n->bits);
	if (n->key == KEY_HEADER || n->key == KEY_KEYWORD)
		buf_printf(out, ":%.*s", SPAN_ARG(n->name));
	if (n->key == KEY_HEADER || n->key == KEY_BODY || n->key == KEY_TEXT)
		buf_printf(out, ":%.*s", SPAN_ARG(buf_span(&n->text)));
	if (n->key == KEY_LARGER || n->key == KEY_SMALLER)
		buf_printf(out, ":%llu", (unsigned long long)n->size);
	if (n->key >= KEY_BEFORE && n->key <= KEY_SENT_SINCE && n->key != KEY_LARGER &&
	    n->key != KEY_SMALLER)
		buf_printf(out, ":%d", n->day);
	if (n->key == KEY_NUMBERS || n->key == KEY_UIDS) {
		buf_add_char(out, ':');
		imap_put_set(out, &n->set);
	}
	if (n->key != KEY_AND && n->key != KEY_OR)
		return;
	buf_add_char(out, '(');
	for (uint16_t i = n->first; i != SEARCH_NONE; i = r->v[i].next) {
		put_node(out, r, i);
		buf_add_str(out, r->v[i].next == SEARCH_NONE ? ")" : " ");
	}
}

/* Answers what was understood, or why it was not. */
static void parse(const char *args, struct buf *out)
{
	struct search_request r = { 0 };
	struct buf scratch = BUF_INIT(65536);
	struct imap_cursor c;
	imap_cursor_init(&c, span_str(args), &scratch);
	search_parse(&c, &r);
	if (!r.bad_charset)
		imap_read_end(&c);
	if (!imap_ok(&c))
		buf_add_str(out, c.why);
	else if (r.bad_charset)
		buf_add_str(out, "BADCHARSET");
	else
		put_node(out, &r, 0);
	search_end(&r);
	buf_end(&scratch);
}

static void test_keys(void **state)
{
	static const struct {
		const char *args, *want;
	} cases[] = {
		{ "ALL", "and(all)" },
		{ "answered DELETED Draft FLAGGED RECENT SEEN",
		    "and(flags:2 flags:8 flags:16 flags:4 flags:32 flags:1)" },
		{ "UNANSWERED UNDELETED UNDRAFT UNFLAGGED OLD UNSEEN",
		    "and(!flags:2 !flags:8 !flags:16 !flags:4 !flags:32 !flags:1)" },
		{ "NEW", "and(and(flags:32 !flags:1))" },
		{ "NOT NEW", "and(!and(flags:32 !flags:1))" },
		{ "KEYWORD $Junk UNKEYWORD x", "and(keyword:$Junk !keyword:x)" },
		{ "1:3,5,* 7", "and(numbers:1:3,5,* numbers:7)" },
		{ "UID 1:*", "and(uids:1:*)" },
		{ "*", "and(numbers:*)" },
		{ "BEFORE 2-Jan-1970 ON \"01-Feb-1970\" SINCE 1-Jan-1970",
		    "and(before:1 on:31 since:0)" },
		{ "SENTBEFORE 2-Jan-1970 SENTON 2-Jan-1970 SENTSINCE 2-Jan-1970",
		    "and(sentbefore:1 senton:1 sentsince:1)" },
		{ "LARGER 10 SMALLER 4294967295", "and(larger:10 smaller:4294967295)" },
		{ "FROM a TO \"B c\" CC {1}\r\nD BCC e SUBJECT \"\"",
		    "and(header:From:a header:To:b c header:Cc:d header:Bcc:e header:Subject:)" },
		{ "HEADER X-Foo BAR", "and(header:X-Foo:bar)" },
		{ "BODY x TEXT Y", "and(body:x text:y)" },
		{ "NOT NOT SEEN", "and(flags:1)" },
		{ "NOT UNSEEN", "and(flags:1)" },
		{ "OR SEEN DELETED", "and(or(flags:1 flags:8))" },
		{ "OR NOT SEEN (DELETED DRAFT)", "and(or(!flags:1 and(flags:8 flags:16)))" },
		{ "OR OR SEEN DRAFT DELETED 1", "and(or(or(flags:1 flags:16) flags:8) numbers:1)" },
		{ "((SEEN))", "and(and(and(flags:1)))" },
		/* cheap first, otherwise as written */
		{ "TEXT a FROM b SENTON 1-Jan-1970 SMALLER 5 1 SEEN",
		    "and(flags:1 numbers:1 smaller:5 senton:0 header:From:b text:a)" },
		{ "(TEXT a) SEEN", "and(flags:1 and(text:a))" },
		{ "CHARSET UTF-8 SUBJECT {2}\r\n\xc3\x84", "and(header:Subject:\xc3\xa4)" },
		{ "charset us-ascii ALL", "and(all)" },
		{ "CHARSET KOI8-R ALL", "BADCHARSET" },
		{ "CHARSET UTF-8", "Missing argument" },
		{ "CHARSET ALL", "Missing argument" },
		{ "SUBJECT {1}\r\n\xc4", "Search text is not valid in its charset" },
		{ "", "Atom expected" },
		{ "()", "Atom expected" },
		{ "(SEEN", "Closing parenthesis expected" },
		{ "SEEN)", "Too many arguments" },
		{ "SEEN ", "Atom expected" },
		{ "SEEN  DRAFT", "Atom expected" },
		{ "FOO", "Unknown search key" },
		{ "NOT", "Missing argument" },
		{ "OR SEEN", "Missing argument" },
		{ "OR (SEEN) (", "Atom expected" },
		{ "KEYWORD", "Missing argument" },
		{ "KEYWORD \\Seen", "Atom expected" },
		{ "LARGER x", "Number expected" },
		{ "LARGER -1", "Number expected" },
		{ "BEFORE x", "Bad date" },
		{ "BEFORE 30-Feb-2000", "Date out of range" },
		{ "HEADER a", "Missing argument" },
		{ "UID x", "Number expected" },
		{ "0", "Number must not be zero" },
		{ "1:", "Number expected" },
		{ "FROM (", "String expected" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf out = BUF_INIT(4096);
		parse(cases[i].args, &out);
		assert_text(buf_span(&out), span_str(cases[i].want), cases[i].args);
		buf_end(&out);
	}
}

static void test_bounds(void **state)
{
	struct buf out = BUF_INIT(4096), args = BUF_INIT(65536);
	for (int i = 0; i < SEARCH_DEPTH_MAX; i++)
		buf_add_str(&args, "NOT ");
	buf_add_str(&args, "ALL");
	parse(buf_cstr(&args), &out);
	assert_text(buf_span(&out), SPAN("Search keys are nested too deep"), "not");
	buf_clear(&out);
	buf_clear(&args);
	for (int i = 0; i < 30000; i++)
		buf_add_char(&args, '(');
	parse(buf_cstr(&args), &out);
	assert_text(buf_span(&out), SPAN("Search keys are nested too deep"), "parentheses");
	buf_clear(&out);
	buf_clear(&args);
	buf_add_str(&args, "ALL");
	for (int i = 0; i < SEARCH_KEYS_MAX; i++)
		buf_add_str(&args, " ALL");
	parse(buf_cstr(&args), &out);
	assert_text(buf_span(&out), SPAN("Too many search keys"), "keys");
	buf_end(&out);
	buf_end(&args);
}

/* ---- matching ------------------------------------------------------------------------------------ */

/* The whole way of search.c's job for the second of three messages. */
static bool matches(struct span bytes, const char *args, bool cached, size_t *scans_out)
{
	struct selected_message known[3] = { { .uid = 1 },
		{ .uid = 7, .bits = STORE_SEEN | IMAP_RECENT, .keywords = 2 }, { .uid = 9 } };
	struct selected box = {
		.v = known, .n = 3, .told_n = 3, .keywords = { "$Junk", "Work" }, .keyword_n = 2
	};
	struct search_subject of = { .box = &box, .at = 1 };
	struct search_request r = { 0 };
	struct buf scratch = BUF_INIT(4096), cache = BUF_INIT(STORE_CACHE_MAX);
	struct search_node *key;
	struct imap_cursor c;
	enum search_answer a;
	imap_cursor_init(&c, span_str(args), &scratch);
	search_parse(&c, &r);
	imap_read_end(&c);
	assert_true(imap_ok(&c));
	search_resolve(&r, &box);
	search_forget(&r);
	if (cached)
		parse_message(bytes, &cache);
	*scans_out = 0;
	while ((a = search_match(&r, &of, &key)) == ANSWER_UNKNOWN) {
		if (key == NULL) {
			assert_false(of.has_entry);
			of.has_entry = true;
			/* 1 Jan 1970 23:30 in its zone, the next day in UTC */
			of.entry = (struct index_entry){
				.size = bytes.n, .date_s = 86400 + 1800, .date_zone = -120
			};
			memory_message_init(&of.message, &bytes, buf_span(&cache));
			continue;
		}
		struct search_scan scan;
		search_scan_begin(&scan, key);
		++*scans_out;
		while (key->learned == ANSWER_UNKNOWN)
			key->learned = search_scan_step(&scan, &of.message);
		search_scan_end(&scan);
	}
	assert_int_equal(of.message.err, ERR_OK);
	message_end(&of.message);
	search_end(&r);
	buf_end(&cache);
	buf_end(&scratch);
	return a == ANSWER_YES;
}

static void check_match(struct span bytes, const char *args, bool want)
{
	size_t scans;
	for (int cached = 0; cached < 2; cached++) {
		if (matches(bytes, args, cached, &scans) != want)
			fail_msg("%s (%s) %s\n%.*s", args, cached ? "cached" : "bytes",
			    want ? "does not match" : "matches", SPAN_ARG(bytes));
	}
}

static void test_flags_numbers_sizes_dates(void **state)
{
	static const char msg[] = "Date: Fri, 2 Jan 1970 01:00:00 +0300\r\nSubject: s\r\n\r\nb\r\n";
	static const struct {
		const char *args;
		bool want;
	} cases[] = {
		{ "ALL", true },
		{ "SEEN", true },
		{ "UNSEEN", false },
		{ "RECENT", true },
		{ "NEW", false },
		{ "OLD", false },
		{ "NOT OLD", true },
		{ "DELETED", false },
		{ "UNDELETED", true },
		{ "KEYWORD work", true },
		{ "KEYWORD $Junk", false },
		{ "UNKEYWORD $Junk", true },
		{ "KEYWORD unknown", false },
		{ "2", true },
		{ "1,3", false },
		{ "2:*", true },
		{ "*", false },
		{ "*:1", true },
		{ "4000000000", false },
		{ "UID 7", true },
		{ "UID 2", false },
		{ "UID 8:*", false },
		{ "UID *:5", true },
		{ "ON 1-Jan-1970", true },
		{ "ON 2-Jan-1970", false },
		{ "BEFORE 2-Jan-1970", true },
		{ "BEFORE 1-Jan-1970", false },
		{ "SINCE 1-Jan-1970", true },
		{ "SINCE 2-Jan-1970", false },
		{ "SENTON 2-Jan-1970", true },
		{ "SENTBEFORE 2-Jan-1970", false },
		{ "SENTBEFORE 3-Jan-1970", true },
		{ "SENTSINCE 3-Jan-1970", false },
		{ "LARGER 54", true },
		{ "LARGER 55", false },
		{ "SMALLER 55", false },
		{ "SMALLER 56", true },
		{ "OR UNSEEN 2", true },
		{ "OR UNSEEN 3", false },
		{ "NOT (SEEN RECENT)", false },
		{ "NOT (SEEN DELETED)", true },
		{ "(OR SEEN TEXT zz) UID 7", true },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		check_match(span_of(msg, sizeof msg - 1), cases[i].args, cases[i].want);
	/* no Date: sent on no day */
	check_match(SPAN("A: b\r\n\r\n"), "SENTSINCE 1-Jan-1900", false);
	check_match(SPAN("A: b\r\n\r\n"), "SENTBEFORE 1-Jan-2100", false);
	check_match(SPAN("Date: soon\r\n\r\n"), "NOT SENTBEFORE 1-Jan-2100", true);
}

/* What flags decide is not looked for in the text. */
static void test_cheap_keys_decide(void **state)
{
	size_t scans;
	struct span msg = SPAN("Subject: s\r\n\r\nbody\r\n");
	assert_false(matches(msg, "BODY body UNSEEN", true, &scans));
	assert_int_equal(scans, 0);
	assert_true(matches(msg, "OR BODY body SEEN", true, &scans));
	assert_int_equal(scans, 0);
	assert_false(matches(msg, "TEXT body SUBJECT x BODY body", true, &scans));
	assert_int_equal(scans, 0);
	assert_true(matches(msg, "TEXT body BODY body", true, &scans));
	assert_int_equal(scans, 2);
}

#define MIXED                                                                                      \
	"Subject: =?iso-8859-1?Q?Gr=FC=DFe?= aus\r\n =?UTF-8?B?S8O2bG4=?=\r\n =?utf-8?q?_am?=\r\n" \
	"From: \"Doe, J\" <jd@Example.ORG>\r\nTo: a@b, c@d\r\nX-Num: 1\r\nX-Num: "                 \
	"2\r\nX-Empty:\r\n"                                                                        \
	"Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n"                            \
	"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"                                  \
	"Content-Transfer-Encoding: quoted-printable\r\n\r\n"                                      \
	"Stra=DFe soft=\r\nbreak \x80uro\r\n"                                                      \
	"--b\r\nContent-Type: text/html; charset=koi8-r\r\nContent-Transfer-Encoding: BASE64\r\n"  \
	"X-Part: Part=20Header\r\n\r\n8NLJ18X\r\n0IO3J0g==\r\n"                                    \
	"--b\r\nContent-Type: application/octet-stream\r\n\r\nattached\r\n"                        \
	"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: Inner =?utf-8?q?Th=C3=A9?=\r\n\r\n"   \
	"nested text\r\n--b--\r\nepilogue"

/* Compared with Dovecot 2.3.19, which does not look into the headers of parts, nor into a multipart that it
 * cannot open, and takes INTERNALDATE for a Date that is missing. */
static void test_texts(void **state)
{
	static const struct {
		const char *args;
		bool want;
	} cases[] = {
		{ "SUBJECT {6}\r\nGR\xc3\x9c\xc3\x9f", true },
		{ "SUBJECT \"aus k\xc3\xb6ln am\"", true },
		{ "SUBJECT =?utf-8", false },
		{ "SUBJECT doe", false },
		{ "FROM \"doe, j\"", true },
		{ "FROM jd@example.org", true },
		{ "TO c@d", true },
		{ "CC c@d", false },
		{ "CC \"\"", false },
		{ "SUBJECT \"\"", true },
		{ "HEADER X-Num 2", true },
		{ "HEADER x-num 3", false },
		{ "HEADER X-Empty \"\"", true },
		{ "HEADER X-None \"\"", false },
		{ "NOT HEADER X-None \"\"", true },
		{ "BODY \"STRA\xc3\x9f"
		  "E softbreak \xe2\x82\xac"
		  "uro\"",
		    true },
		{ "BODY {12}\r\n\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82", true },
		{ "BODY \"nested text\"", true },
		{ "BODY inner", true },
		{ "BODY {4}\r\nth\xc3\xa9", true },
		{ "BODY part=20header", true },
		{ "BODY application/octet", true },
		{ "BODY attached", false },
		{ "BODY doe", false },
		{ "TEXT doe", true },
		{ "TEXT \"subject: gr\"", true },
		{ "TEXT \"k\xc3\xb6ln am\"", true },
		{ "TEXT attached", false },
		{ "TEXT \"nested text\"", true },
		{ "BODY \"\"", true },
		/* not from one part into the next */
		{ "BODY \"uro\xd0\xbf\"", false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		check_match(SPAN(MIXED), cases[i].args, cases[i].want);
	/* what cannot be opened is text as it stands; a message without header, a message without anything */
	check_match(
	    SPAN("Content-Type: multipart/mixed\r\n\r\nno boundary\r\n"), "BODY BOUND", true);
	check_match(SPAN("\r\nonly text"), "TEXT only", true);
	check_match(SPAN(""), "TEXT x", false);
	check_match(SPAN(""), "NOT TEXT x", true);
}

/* A match that lies across the pieces in which a body is read. */
static void test_match_across_pieces(void **state)
{
	struct buf msg = BUF_INIT(1 << 20);
	buf_add_str(&msg, "A: b\r\n\r\n");
	size_t body = buf_len(&msg);
	for (size_t at = TEXT_PIECE_MAX - 12; at < TEXT_PIECE_MAX + 4; at++) {
		buf_clear(&msg);
		buf_add_str(&msg, "A: b\r\n\r\n");
		while (buf_len(&msg) < body + at)
			buf_add_char(&msg, '.');
		buf_add_str(&msg, "n\xc3\xa9"
				  "edle....");
		check_match(buf_span(&msg),
		    "BODY {6}\r\nn\xc3\x89"
		    "edl",
		    true);
	}
	buf_end(&msg);
}

/* ---- from bytes to text -------------------------------------------------------------------------- */

/* In two pieces cut at every place, and byte by byte. */
static void check_body(
    enum mime_transfer how, const char *charset, struct span in, struct span want)
{
	for (size_t cut = 0; cut <= in.n + 1; cut++) {
		struct buf out = BUF_INIT(1 << 16);
		struct text_body b;
		text_body_begin(&b, how, span_str(charset));
		if (cut <= in.n) {
			text_body_put(&b, span_first(in, cut), &out);
			text_body_put(&b, span_from(in, cut), &out);
		}
		for (size_t i = 0; cut > in.n && i < in.n; i++)
			text_body_put(&b, span_of(in.p + i, 1), &out);
		text_body_end(&b, &out);
		assert_text(buf_span(&out), want, charset);
		buf_end(&out);
	}
}

static void test_bodies_at_every_split(void **state)
{
	static const struct {
		enum mime_transfer how;
		const char *charset, *in, *want;
	} cases[] = {
		{ TRANSFER_NONE, "utf-8", "A\xc3\x84\xe2\x82\xac\xf0\x9f\x98\x80Z",
		    "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z" },
		{ TRANSFER_NONE, "", "\xc3", "\xef\xbf\xbd" },
		{ TRANSFER_NONE, "",
		    "\xc3"
		    "A\x80\xe2\x82"
		    "B\xff",
		    "\xef\xbf\xbd"
		    "a\xef\xbf\xbd\xef\xbf\xbd"
		    "b\xef\xbf\xbd" },
		{ TRANSFER_NONE, "x-unknown", "\xed\xa0\x80", "\xef\xbf\xbd" },
		{ TRANSFER_NONE, "ISO-8859-1", "\xc4\xe4\x80\xff\x81", /* 0x81 is nothing */
		    "\xc3\xa4\xc3\xa4\xe2\x82\xac\xc3\xbf\xef\xbf\xbd" },
		{ TRANSFER_NONE, "koi8-r", "\xf0\xd2\xc9", "\xd0\xbf\xd1\x80\xd0\xb8" },
		{ TRANSFER_NONE, "iso-2022-jp", "\x1b$B$3$s\x1b(BX", "\xe3\x81\x93\xe3\x82\x93x" },
		{ TRANSFER_NONE, "shift_jis",
		    "\x82\xb1"
		    "A\x82",
		    "\xe3\x81\x93"
		    "a\xef\xbf\xbd" },
		{ TRANSFER_NONE, "gb18030", "\xc4\xe3\xff\xba\xc3",
		    "\xe4\xbd\xa0\xef\xbf\xbd\xe5\xa5\xbd" },
		{ TRANSFER_BASE64, "", "QUJD\r\nREU=\r\nRg==", "abcdef" },
		{ TRANSFER_BASE64, "", "Q*U J\tD", "abc" },
		{ TRANSFER_BASE64, "", "QUJDQ", "abc" },
		{ TRANSFER_BASE64, "utf-8", "w4Q=", "\xc3\xa4" },
		{ TRANSFER_QUOTED, "", "a=41=\r\nb=\nc=3d=", "aabc==" },
		{ TRANSFER_QUOTED, "", "=4x=zz=4", "=4x=zz=4" },
		{ TRANSFER_QUOTED, "iso-8859-1", "=C4", "\xc3\xa4" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		check_body(
		    cases[i].how, cases[i].charset, span_str(cases[i].in), span_str(cases[i].want));
}

static void test_folding(void **state)
{
	static const struct {
		const char *in, *want;
	} cases[] = {
		{ "ABC xyz @[`{", "abc xyz @[`{" },
		{ "\xc3\x80\xc3\x96\xc3\x97\xc3\x98\xc3\x9e\xc3\x9f",
		    "\xc3\xa0\xc3\xb6\xc3\x97\xc3\xb8\xc3\xbe\xc3\x9f" }, /* times stays, sharp s too */
		{ "\xc4\x80\xc4\x81\xc5\xb8\xc5\xbd", "\xc4\x81\xc4\x81\xc3\xbf\xc5\xbe" },
		{ "\xce\x86\xce\x91\xce\xa9\xcf\x82\xce\xa3",
		    "\xce\xac\xce\xb1\xcf\x89\xcf\x83\xcf\x83" },
		{ "\xd0\x81\xd0\x90\xd0\xaf\xd1\x8f", "\xd1\x91\xd0\xb0\xd1\x8f\xd1\x8f" },
		{ "\xd4\xb1\xe1\xba\x80\xef\xbc\xa1", "\xd5\xa1\xe1\xba\x81\xef\xbd\x81" },
		{ "\xe6\xbc\xa2\xf0\x90\x8d\x88", "\xe6\xbc\xa2\xf0\x90\x8d\x88" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf out = BUF_INIT(256);
		text_fold(span_str(cases[i].in), &out);
		assert_text(buf_span(&out), span_str(cases[i].want), cases[i].in);
		buf_end(&out);
	}
}

static void test_encoded_words(void **state)
{
	static const struct {
		const char *in, *want;
	} cases[] = {
		{ "plain =? text ?=", "plain =? text ?=" },
		{ "=?us-ascii?q?a_b=20c?=", "a b c" },
		{ "x =?utf-8*de?B?w6Q=?= y", "x \xc3\xa4 y" },
		{ "=?a?q?1?= \t =?a?Q?2?=  z", "12  z" },
		{ "=?a?q?1?==?a?q?2?=", "12" },
		/* a character cut in two */
		{ "=?utf-8?B?ww==?= =?utf-8?B?pA==?=", "\xc3\xa4" },
		{ "=?windows-1252?q?=80?=", "\xe2\x82\xac" },
		{ "=?koi8-r?B?8NI=?=", "\xd0\x9f\xd1\x80" },
		{ "=?a?x?1?=", "=?a?x?1?=" },
		{ "=?a?b?1 2?=", "=?a?b?1 2?=" },
		{ "=??q?1?=", "=??q?1?=" },
		{ "=?a?q?1", "=?a?q?1" },
		{ "=?a?q?"
		  "?=",
		    "" },
		{ "=?", "=?" },
		{ "=?=?a?q?1?=", "=?1" },
		{ "", "" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf out = BUF_INIT(256);
		text_decode_words(span_str(cases[i].in), &out);
		assert_text(buf_span(&out), span_str(cases[i].want), cases[i].in);
		buf_end(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_flags_numbers_sizes_dates),
		cmocka_unit_test(test_cheap_keys_decide),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_match_across_pieces),
		cmocka_unit_test(test_bodies_at_every_split),
		cmocka_unit_test(test_folding),
		cmocka_unit_test(test_encoded_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
