/* text_decode.c - charsets and encoded words; see text.h.
 *
 * Steps one and two of three: before: search_scan.c reads the bytes; after: text_fold.c. Owns iconv's
 * descriptor while a charset is in work. */
#include <errno.h>

#include "base/check.h"
#include "proto/mime.h"

#include "store-backend/imap/text.h"

enum { WORD_MAX = 1024, FIELD_MAX = 256 * 1024 };

/* ---- charset ------------------------------------------------------------------------------------- */

/* windows-1252, which ISO-8859-1 in mail mostly is: 0x80 to 0x9f. */
static const uint16_t western[32] = { 0x20ac, 0xfffd, 0x201a, 0x192, 0x201e, 0x2026, 0x2020, 0x2021,
	0x2c6, 0x2030, 0x160, 0x2039, 0x152, 0xfffd, 0x17d, 0xfffd, 0xfffd, 0x2018, 0x2019, 0x201c,
	0x201d, 0x2022, 0x2013, 0x2014, 0x2dc, 0x2122, 0x161, 0x203a, 0x153, 0xfffd, 0x17e, 0x178 };

/* As messages write it, and as iconv is asked for it. */
static const struct {
	const char *name, *ask;
} through_iconv[] = {
	{ "iso-8859-2", "ISO-8859-2" },
	{ "iso-8859-3", "ISO-8859-3" },
	{ "iso-8859-4", "ISO-8859-4" },
	{ "iso-8859-5", "ISO-8859-5" },
	{ "iso-8859-6", "ISO-8859-6" },
	{ "iso-8859-7", "ISO-8859-7" },
	{ "iso-8859-8", "ISO-8859-8" },
	{ "iso-8859-8-i", "ISO-8859-8" },
	{ "iso-8859-9", "ISO-8859-9" },
	{ "iso-8859-10", "ISO-8859-10" },
	{ "iso-8859-13", "ISO-8859-13" },
	{ "iso-8859-14", "ISO-8859-14" },
	{ "iso-8859-15", "ISO-8859-15" },
	{ "iso-8859-16", "ISO-8859-16" },
	{ "windows-1250", "CP1250" },
	{ "windows-1251", "CP1251" },
	{ "windows-1253", "CP1253" },
	{ "windows-1254", "CP1254" },
	{ "windows-1255", "CP1255" },
	{ "windows-1256", "CP1256" },
	{ "windows-1257", "CP1257" },
	{ "windows-1258", "CP1258" },
	{ "windows-874", "CP874" },
	{ "tis-620", "TIS-620" },
	{ "koi8-r", "KOI8-R" },
	{ "koi8-u", "KOI8-U" },
	{ "iso-2022-jp", "ISO-2022-JP" },
	{ "shift_jis", "CP932" },
	{ "euc-jp", "EUC-JP" },
	{ "gb2312", "GBK" },
	{ "gbk", "GBK" },
	{ "gb18030", "GB18030" },
	{ "big5", "BIG5" },
	{ "euc-kr", "CP949" },
	{ "ks_c_5601-1987", "CP949" },
	{ "utf-16", "UTF-16" },
	{ "utf-16le", "UTF-16LE" },
	{ "utf-16be", "UTF-16BE" },
};

void charset_begin(struct charset *c, struct span name)
{
	*c = (struct charset){ .how = CHARSET_UTF8 };
	if (span_ieq_str(name, "iso-8859-1") || span_ieq_str(name, "windows-1252") ||
	    span_ieq_str(name, "latin1") || span_ieq_str(name, "cp1252"))
		c->how = CHARSET_WESTERN;
	for (size_t i = 0; i < COUNT_OF(through_iconv); i++) {
		if (!span_ieq_str(name, through_iconv[i].name))
			continue;
		c->cd = iconv_open("UTF-8", through_iconv[i].ask);
		if (c->cd != (iconv_t)-1) /* not installed here: as if it were not in the list */
			c->how = CHARSET_ICONV;
		return;
	}
}

static void put_western(struct span in, struct buf *out)
{
	for (size_t i = 0; i < in.n; i++) {
		unsigned char b = (unsigned char)in.p[i];
		buf_add_utf8(out, b >= 0x80 && b < 0xa0 ? western[b - 0x80] : b);
	}
}

/* Converts what can be; *in keeps a character at the end that is not whole. */
static void convert(struct charset *c, struct span *in, struct buf *out)
{
	char to[1024];
	while (in->n > 0 && buf_ok(out)) {
		char *from_at = (char *)(uintptr_t)in->p, *to_at = to;
		size_t from_left = in->n, to_left = sizeof to;
		size_t rc = iconv(c->cd, &from_at, &from_left, &to_at, &to_left);
		int why = errno;
		buf_add(out, to, sizeof to - to_left);
		*in = span_from(*in, in->n - from_left);
		if (rc != (size_t)-1 || why == E2BIG)
			continue;
		if (why == EINVAL)
			return;
		buf_add_str(out, "\xef\xbf\xbd");
		*in = span_from(*in, 1);
	}
}

/* What was held back is completed byte by byte until nothing is held. */
static void put_iconv(struct charset *c, struct span in, struct buf *out)
{
	while (c->held_n > 0 && in.n > 0) {
		c->held[c->held_n++] = in.p[0];
		in = span_from(in, 1);
		struct span held = span_of(c->held, c->held_n);
		convert(c, &held, out);
		c->held_n = held.n < sizeof c->held ? held.n : 0;
		memmove(c->held, held.p, c->held_n);
	}
	convert(c, &in, out);
	size_t keep = in.n < sizeof c->held ? in.n : 0;
	if (keep > 0)
		memcpy(c->held, in.p, keep);
	c->held_n = keep > 0 ? keep : c->held_n;
}

void charset_put(struct charset *c, struct span in, struct buf *out)
{
	switch (c->how) {
	case CHARSET_UTF8:
		buf_add_span(out, in);
		break;
	case CHARSET_WESTERN:
		put_western(in, out);
		break;
	case CHARSET_ICONV:
		put_iconv(c, in, out);
		break;
	}
}

void charset_end(struct charset *c, struct buf *out)
{
	char to[64], *to_at = to;
	size_t to_left = sizeof to;
	if (c->how == CHARSET_ICONV) {
		if (c->held_n > 0)
			buf_add_str(out, "\xef\xbf\xbd");
		else if (iconv(c->cd, NULL, NULL, &to_at, &to_left) != (size_t)-1)
			buf_add(out, to, sizeof to - to_left);
		iconv_close(c->cd);
	}
	*c = (struct charset){ .how = CHARSET_UTF8 };
}

/* ---- encoded words ------------------------------------------------------------------------------- */

struct word {
	struct span charset, text;
	enum mime_transfer how;
};

/* =?charset*lang?Q?text?= at the beginning of s; its length, or 0. */
static size_t read_word(struct span s, struct word *out)
{
	if (!span_starts(s, SPAN("=?")))
		return 0;
	struct span rest = span_from(span_first(s, WORD_MAX), 2);
	out->charset = span_cut(&rest, '?');
	struct span how = span_cut(&rest, '?');
	size_t end = span_find_span(rest, SPAN("?="));
	if (rest.p == NULL || end == SIZE_MAX || out->charset.n == 0)
		return 0;
	out->charset = span_cut(&out->charset, '*');
	out->text = span_first(rest, end);
	out->how = span_ieq_str(how, "B") ? TRANSFER_BASE64 : TRANSFER_QUOTED;
	if (out->how != TRANSFER_BASE64 && !span_ieq_str(how, "Q"))
		return 0;
	if (span_find(out->text, ' ') != SIZE_MAX && out->how == TRANSFER_BASE64)
		return 0;
	return (size_t)(rest.p + end + 2 - s.p);
}

static void put_word(const struct word *w, struct buf *out)
{
	struct buf text = BUF_INIT(WORD_MAX), raw = BUF_INIT(WORD_MAX);
	struct transfer t = { .how = w->how };
	struct charset c;
	for (size_t i = 0; i < w->text.n; i++) {
		bool space = w->how == TRANSFER_QUOTED && w->text.p[i] == '_';
		buf_add_char(&text, space ? ' ' : w->text.p[i]);
	}
	transfer_put(&t, buf_span(&text), &raw);
	transfer_end(&t, &raw);
	charset_begin(&c, w->charset);
	charset_put(&c, buf_span(&raw), out);
	charset_end(&c, out);
	buf_end(&text);
	buf_end(&raw);
}

void text_decode_words(struct span value, struct buf *out)
{
	bool behind_word = false;
	while (value.n > 0) {
		struct word w;
		size_t n = 0;
		while (behind_word && n < value.n && (value.p[n] == ' ' || value.p[n] == '\t'))
			n++;
		size_t word_n = read_word(span_from(value, n), &w);
		if (word_n > 0) { /* space between two of them is not text */
			put_word(&w, out);
			value = span_from(value, n + word_n);
			behind_word = true;
			continue;
		}
		size_t next = span_find_span(span_from(value, n + 1), SPAN("=?"));
		size_t plain = next == SIZE_MAX ? value.n : n + 1 + next;
		buf_add_span(out, span_first(value, plain));
		value = span_from(value, plain);
		behind_word = false;
	}
}

void text_fold_field(struct span value, struct buf *out)
{
	struct buf line = BUF_INIT(FIELD_MAX), text = BUF_INIT(4 * FIELD_MAX);
	(void)mime_unfold(span_first(value, FIELD_MAX), &line);
	text_decode_words(buf_span(&line), &text);
	text_fold(buf_span(&text), out);
	buf_end(&line);
	buf_end(&text);
}

/* ---- a body in pieces ---------------------------------------------------------------------------- */

void text_body_begin(struct text_body *b, enum mime_transfer how, struct span charset)
{
	*b = (struct text_body){ .transfer = { .how = how },
		.decoded = BUF_INIT(2 * TEXT_PIECE_MAX),
		.utf8 = BUF_INIT(8 * TEXT_PIECE_MAX) };
	charset_begin(&b->charset, charset);
}

void text_body_put(struct text_body *b, struct span in, struct buf *out)
{
	CHECK(in.n <= TEXT_PIECE_MAX);
	buf_clear(&b->decoded);
	buf_clear(&b->utf8);
	transfer_put(&b->transfer, in, &b->decoded);
	charset_put(&b->charset, buf_span(&b->decoded), &b->utf8);
	folder_put(&b->folder, buf_span(&b->utf8), out);
}

void text_body_end(struct text_body *b, struct buf *out)
{
	buf_clear(&b->decoded);
	buf_clear(&b->utf8);
	transfer_end(&b->transfer, &b->decoded);
	charset_put(&b->charset, buf_span(&b->decoded), &b->utf8);
	charset_end(&b->charset, &b->utf8);
	folder_put(&b->folder, buf_span(&b->utf8), out);
	folder_end(&b->folder, out);
	buf_end(&b->decoded);
	buf_end(&b->utf8);
}
