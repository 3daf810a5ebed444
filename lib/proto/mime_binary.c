/* mime_binary.c - BINARYMIME becomes 8BITMIME, part by part, while the bytes come.
 *
 * Owns the header section under way, the beginning of a line that may be a delimiter, and up to 57 bytes
 * that wait to be a whole line of base64. Lines end with CRLF only: in a binary part a bare LF is data. */
#include "proto/mime_binary.h"

#include "base/base64.h"
#include "base/check.h"
#include "base/mem.h"
#include "proto/mime.h"

enum {
	LINE_BYTES = 57,       /* of base64: 76 characters (RFC 2045 section 6.8) */
	DELIMITER_MAX = 1024,  /* with its padding; a longer one is text */
	VALUE_MAX = 64 * 1024, /* of a Content-Type */
};

enum place {
	IN_HEADER,
	LINE_START, /* `held` may become a delimiter */
	IN_LINE,
};

struct level {
	size_t n;
	char boundary[MIME_BOUNDARY_MAX];
	bool digest; /* its parts are messages unless they say otherwise */
};

struct mime_binary {
	enum place place;
	bool cr;        /* the last byte was a CR, not passed on yet */
	bool binary;    /* the part's text becomes base64 */
	bool digest;    /* the part's default type is message/rfc822 */
	bool held_crlf; /* stands before `held`: it is the delimiter's if there is one */
	struct buf header;
	size_t line_at; /* in header: where its last line begins */
	struct buf held;
	char raw[LINE_BYTES];
	size_t raw_n;
	size_t level_n;
	struct level levels[MIME_DEPTH_MAX];
	const char *why;
};

/* ---- what comes out --------------------------------------------------------------------------- */

static void put_base64_line(struct mime_binary *b, struct buf *out)
{
	base64_put(out, span_of(b->raw, b->raw_n));
	buf_add(out, "\r\n", 2);
	b->raw_n = 0;
}

static void put_text(struct mime_binary *b, struct span s, struct buf *out)
{
	if (!b->binary) {
		buf_add_span(out, s);
		return;
	}
	while (s.n > 0) {
		size_t n = LINE_BYTES - b->raw_n < s.n ? LINE_BYTES - b->raw_n : s.n;
		memcpy(b->raw + b->raw_n, s.p, n);
		b->raw_n += n;
		s = span_from(s, n);
		if (b->raw_n == LINE_BYTES)
			put_base64_line(b, out);
	}
}

/* The part's text is over; a delimiter or the end of the message follows. */
static void end_text(struct mime_binary *b, struct buf *out)
{
	if (b->raw_n > 0)
		put_base64_line(b, out);
	b->binary = false;
}

/* The line was no delimiter. */
static void put_held(struct mime_binary *b, struct buf *out)
{
	if (b->held_crlf)
		put_text(b, SPAN("\r\n"), out);
	put_text(b, buf_span(&b->held), out);
	buf_clear(&b->held);
	b->held_crlf = false;
}

/* ---- header sections -------------------------------------------------------------------------- */

struct facts {
	struct mime_field encoding;
	size_t encodings, types;
	struct mime_value type;
	struct buf scratch;
};

static void read_header(struct span header, struct facts *f)
{
	struct mime_field field;
	while (mime_next_field(&header, &field)) {
		if (span_ieq_str(field.name, "Content-Transfer-Encoding")) {
			f->encodings++;
			f->encoding = field;
		} else if (span_ieq_str(field.name, "Content-Type")) {
			f->types++;
			if (!mime_parse_value(field.value, &f->scratch, &f->type))
				f->type = (struct mime_value){ 0 };
		}
	}
}

static bool is_identity(struct span encoding)
{
	return encoding.n == 0 || span_ieq_str(encoding, "7bit") ||
	       span_ieq_str(encoding, "8bit") || span_ieq_str(encoding, "binary");
}

static void push_level(struct mime_binary *b, const struct facts *f)
{
	struct span boundary;
	if (b->level_n == MIME_DEPTH_MAX || !mime_boundary(&f->type, &boundary)) {
		b->why = "a multipart is nested too deep or has no boundary";
		return;
	}
	struct level *l = &b->levels[b->level_n++];
	l->n = boundary.n;
	memcpy(l->boundary, boundary.p, boundary.n);
	l->digest = span_ieq_str(f->type.subtype, "digest");
}

/* The header section with another encoding in the place of "binary". */
static void put_header(
    struct mime_binary *b, const struct facts *f, const char *encoding, struct buf *out)
{
	struct span header = buf_span(&b->header);
	if (encoding != NULL) {
		size_t at = (size_t)(f->encoding.whole.p - header.p);
		buf_add_span(out, span_first(header, at));
		buf_printf(out, "Content-Transfer-Encoding: %s\r\n", encoding);
		header = span_from(header, at + f->encoding.whole.n);
	}
	buf_add_span(out, header);
	buf_clear(&b->header);
	b->line_at = 0;
}

static void end_header(struct mime_binary *b, struct buf *out)
{
	struct facts f = { .scratch = BUF_INIT(VALUE_MAX) };
	read_header(buf_span(&b->header), &f);
	struct span encoding = mime_token(f.encoding.value);
	bool binary = span_ieq_str(encoding, "binary"), plain = is_identity(encoding);
	bool multipart = span_ieq_str(f.type.type, "multipart");
	bool message = span_ieq_str(f.type.type, "message");
	bool whole_message = message && (span_ieq_str(f.type.subtype, "rfc822") ||
					    span_ieq_str(f.type.subtype, "global"));
	if (f.types == 0 && b->digest)
		message = whole_message = true;
	if (f.encodings > 1 || f.types > 1)
		b->why = "a part has two types or two transfer encodings";
	else if (binary && message && !whole_message)
		b->why = "a part of this type cannot be converted";
	else if (multipart && plain)
		push_level(b, &f);
	bool around = plain && (multipart || whole_message);
	put_header(b, &f, !binary ? NULL : around ? "8bit" : "base64", out);
	b->binary = binary && !around;
	b->digest = false;
	b->place = whole_message && plain ? IN_HEADER : LINE_START;
	buf_end(&f.scratch);
}

/* ---- lines ------------------------------------------------------------------------------------ */

/* The level that a whole line (without its end) is a delimiter of, counted from 1; 0: of none. */
static size_t level_of(const struct mime_binary *b, struct span line, bool *last_out)
{
	size_t i = b->level_n;
	while (i > 0 && !mime_is_delimiter(
			    span_of(b->levels[i - 1].boundary, b->levels[i - 1].n), line, last_out))
		i--;
	return i;
}

/* Can what stands at the beginning of a line still become a delimiter? */
static bool may_be_delimiter(const struct mime_binary *b, struct span start)
{
	bool may = false;
	if (start.n >= DELIMITER_MAX)
		return false;
	if (start.n < 2)
		return b->level_n > 0 && span_starts(SPAN("--"), start);
	struct span mark = span_from(start, 2);
	for (size_t i = 0; i < b->level_n && !may; i++) {
		struct span whole = span_of(b->levels[i].boundary, b->levels[i].n);
		may = span_starts(whole, mark) || span_starts(mark, whole);
	}
	return may && span_starts(start, SPAN("--"));
}

static void on_delimiter(struct mime_binary *b, size_t level, bool last)
{
	b->level_n = last ? level - 1 : level;
	b->digest = !last && b->levels[level - 1].digest;
	b->place = last ? LINE_START : IN_HEADER;
}

/* A line of a text has ended with CRLF. */
static void text_line_ended(struct mime_binary *b, struct buf *out)
{
	bool last = false;
	size_t level = b->place == LINE_START ? level_of(b, buf_span(&b->held), &last) : 0;
	if (level == 0) {
		if (b->place == LINE_START)
			put_held(b, out);
		b->place = LINE_START;
		b->held_crlf = true;
		return;
	}
	bool based = b->binary;
	end_text(b, out);
	if (b->held_crlf && !based) /* base64 has ended its own last line */
		buf_add(out, "\r\n", 2);
	buf_add_span(out, buf_span(&b->held));
	buf_clear(&b->held);
	b->held_crlf = last; /* what follows the last one is text again */
	if (!last)
		buf_add(out, "\r\n", 2);
	on_delimiter(b, level, last);
}

static void header_line_ended(struct mime_binary *b, struct buf *out)
{
	struct span all = buf_span(&b->header);
	struct span line = span_first(span_from(all, b->line_at), all.n - b->line_at - 2);
	bool last = false;
	size_t level = level_of(b, line, &last);
	b->line_at = all.n;
	if (level > 0) { /* a part that is nothing but a header section */
		put_header(b, NULL, NULL, out);
		on_delimiter(b, level, last);
	} else if (line.n == 0) {
		end_header(b, out);
	}
}

/* ---- bytes ------------------------------------------------------------------------------------ */

static void take_text(struct mime_binary *b, struct span s, struct buf *out)
{
	if (b->place == IN_LINE) {
		put_text(b, s, out);
		return;
	}
	for (size_t i = 0; i < s.n; i++) {
		if (!may_be_delimiter(b, buf_span(&b->held))) {
			put_held(b, out);
			b->place = IN_LINE;
			put_text(b, span_from(s, i), out);
			return;
		}
		buf_add_char(&b->held, s.p[i]);
	}
}

/* Bytes without a line end. */
static void take_plain(struct mime_binary *b, struct span s, struct buf *out)
{
	if (s.n == 0)
		return;
	if (b->place != IN_HEADER)
		take_text(b, s, out);
	else if (!buf_add_span(&b->header, s))
		b->why = "a header section is too big";
}

static void line_ended(struct mime_binary *b, struct buf *out)
{
	if (b->place != IN_HEADER)
		text_line_ended(b, out);
	else if (buf_add(&b->header, "\r\n", 2))
		header_line_ended(b, out);
	else
		b->why = "a header section is too big";
}

void mime_binary_take(struct mime_binary *b, struct span bytes, struct buf *out)
{
	while (bytes.n > 0 && b->why == NULL) {
		bool was_cr = b->cr;
		b->cr = false;
		if (was_cr && bytes.p[0] == '\n') {
			bytes = span_from(bytes, 1);
			line_ended(b, out);
			continue;
		}
		if (was_cr)
			take_plain(b, SPAN("\r"), out);
		size_t n = span_find(bytes, '\r');
		take_plain(b, span_first(bytes, n), out);
		b->cr = n != SIZE_MAX;
		bytes = span_from(bytes, b->cr ? n + 1 : bytes.n);
	}
}

void mime_binary_end(struct mime_binary *b, struct buf *out)
{
	if (b->why != NULL)
		return;
	if (b->cr)
		take_plain(b, SPAN("\r"), out);
	b->cr = false;
	bool last;
	if (b->place == IN_HEADER) {
		put_header(b, NULL, NULL, out);
	} else if (b->place == LINE_START && level_of(b, buf_span(&b->held), &last) > 0) {
		text_line_ended(b, out);
	} else {
		put_held(b, out);
		end_text(b, out);
	}
}

const char *mime_binary_why(const struct mime_binary *b)
{
	return b->why;
}

struct mime_binary *mime_binary_new(void)
{
	struct mime_binary *b = MEM_NEW(struct mime_binary);
	b->header = BUF_INIT(MIME_BINARY_HEADER_MAX);
	b->held = BUF_INIT(DELIMITER_MAX + 1);
	return b;
}

void mime_binary_free(struct mime_binary **b)
{
	struct mime_binary *gone = *b;
	if (gone == NULL)
		return;
	buf_end(&gone->header);
	buf_end(&gone->held);
	MEM_FREE(b);
}

static void hand_over(struct buf *out, mime_binary_fn *fn, void *arg)
{
	if (buf_len(out) > 0)
		fn(arg, buf_span(out));
	buf_clear(out);
}

void mime_binary_pass(struct mime_binary *b, struct span bytes, mime_binary_fn *fn, void *arg)
{
	struct buf out = BUF_INIT(MIME_BINARY_OUT_MAX);
	while (bytes.n > 0) {
		struct span piece = span_first(bytes, MIME_BINARY_PIECE_MAX);
		mime_binary_take(b, piece, &out);
		hand_over(&out, fn, arg);
		bytes = span_from(bytes, piece.n);
	}
	buf_end(&out);
}

void mime_binary_pass_end(struct mime_binary *b, mime_binary_fn *fn, void *arg)
{
	struct buf out = BUF_INIT(MIME_BINARY_OUT_MAX);
	mime_binary_end(b, &out);
	hand_over(&out, fn, arg);
	buf_end(&out);
}
