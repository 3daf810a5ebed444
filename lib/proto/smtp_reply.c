/* smtp_reply.c - replies: the writer for our sessions, the reader for our client side.
 *
 * Owns the reader's text buffer, which is bounded. */
#include "base/check.h"
#include "base/fmt.h"
#include "proto/smtp_reply.h"

bool smtp_reply_put(struct buf *out, unsigned code, const char *enhanced, struct span text)
{
	CHECK(code >= 200 && code <= 599);
	do {
		struct span line = span_cut(&text, '\n');
		buf_add_number(out, code);
		buf_add_char(out, text.p != NULL ? '-' : ' ');
		if (enhanced != NULL && enhanced[0] != '\0') {
			buf_add_str(out, enhanced);
			buf_add_char(out, ' ');
		}
		fmt_line_text(out, line, SMTP_REPLY_PUT_MAX);
		buf_add_str(out, "\r\n");
	} while (text.p != NULL);
	return buf_ok(out);
}

void smtp_reply_reader_init(struct smtp_reply_reader *r)
{
	*r = (struct smtp_reply_reader){
		.scan = LINE_SCAN_INIT(SMTP_REPLY_LINE_MAX),
		.text = BUF_INIT(SMTP_REPLY_TEXT_MAX),
	};
}

void smtp_reply_reader_end(struct smtp_reply_reader *r)
{
	buf_end(&r->text);
}

static void forget(struct smtp_reply_reader *r)
{
	buf_clear(&r->text);
	r->code = 0;
	r->enhanced[0] = '\0';
	r->lines = 0;
	r->done = false;
}

void smtp_reply_reader_reset(struct smtp_reply_reader *r)
{
	forget(r);
	r->scan = LINE_SCAN_INIT(SMTP_REPLY_LINE_MAX);
	r->why = NULL;
}

/* "2.1.0 ": class, subject and detail as RFC 3463 writes them. Its length without the space, or 0. */
static size_t enhanced_len(struct span text, unsigned code)
{
	size_t i = 0;
	for (int part = 0; part < 3; part++) {
		size_t digits = 0;
		while (i + digits < text.n && ascii_is_digit((unsigned char)text.p[i + digits]))
			digits++;
		if (digits == 0 || digits > (part == 0 ? 1u : 3u))
			return 0;
		i += digits;
		if (part < 2 && (i == text.n || text.p[i++] != '.'))
			return 0;
	}
	if ((i < text.n && text.p[i] != ' ') || (unsigned)(text.p[0] - '0') != code / 100)
		return 0;
	return i;
}

static enum smtp_reply_rx bad(struct smtp_reply_reader *r, const char *why)
{
	r->why = why;
	return SMTP_REPLY_BAD;
}

static enum smtp_reply_rx take_line(struct smtp_reply_reader *r, struct span line)
{
	uint64_t code = 0;
	if (line.n < 3 || !span_u64(span_first(line, 3), 599, &code) || code < 200)
		return bad(r, "not a reply");
	if (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-')
		return bad(r, "not a reply");
	if (r->code != 0 && r->code != code)
		return bad(r, "reply lines with different codes");
	if (r->lines == SMTP_REPLY_LINES_MAX)
		return bad(r, "reply with too many lines");
	bool last = line.n == 3 || line.p[3] == ' ';
	struct span text = span_from(line, 4);
	size_t n = enhanced_len(text, (unsigned)code);
	if (n > 0 && r->lines == 0) {
		memcpy(r->enhanced, text.p, n);
		r->enhanced[n] = '\0';
	}
	if (n > 0 && span_eq(span_first(text, n), span_str(r->enhanced)))
		text = span_from(text, n + 1);
	if (r->lines > 0)
		buf_add_char(&r->text, '\n');
	if (!buf_add_span(&r->text, text))
		return bad(r, "reply too long");
	r->code = (uint16_t)code;
	r->lines++;
	return last ? SMTP_REPLY_READY : SMTP_REPLY_MORE;
}

enum smtp_reply_rx smtp_reply_take(
    struct smtp_reply_reader *r, struct span input, struct smtp_reply *out, size_t *eat_out)
{
	*eat_out = 0;
	if (r->done)
		forget(r);
	for (;;) {
		struct span line;
		size_t eat;
		enum line_rx rx = line_take(&r->scan, span_from(input, *eat_out), &line, &eat);
		*eat_out += eat;
		if (rx == LINE_MORE)
			return r->scan.skipping ? bad(r, "reply line too long") : SMTP_REPLY_MORE;
		if (rx != LINE_READY)
			return bad(r, line_rx_why(rx));
		enum smtp_reply_rx got = take_line(r, line);
		if (got == SMTP_REPLY_BAD)
			return got;
		if (got == SMTP_REPLY_READY)
			break;
	}
	r->done = true;
	*out =
	    (struct smtp_reply){ .code = r->code, .text = buf_span(&r->text), .lines = r->lines };
	memcpy(out->enhanced, r->enhanced, sizeof(out->enhanced));
	return SMTP_REPLY_READY;
}

/* ---- EHLO ------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	unsigned bit;
} keywords[] = {
	{ "PIPELINING", SMTP_HAS_PIPELINING },
	{ "8BITMIME", SMTP_HAS_8BITMIME },
	{ "SIZE", SMTP_HAS_SIZE },
	{ "STARTTLS", SMTP_HAS_STARTTLS },
	{ "ENHANCEDSTATUSCODES", SMTP_HAS_ENHANCED },
	{ "SMTPUTF8", SMTP_HAS_SMTPUTF8 },
	{ "CHUNKING", SMTP_HAS_CHUNKING },
	{ "DSN", SMTP_HAS_DSN },
	{ "AUTH", SMTP_HAS_AUTH },
	{ "XCLIENT", SMTP_HAS_XCLIENT },
	{ "XDELIVERYID", SMTP_HAS_XDELIVERYID },
	{ "REQUIRETLS", SMTP_HAS_REQUIRETLS },
	{ "MT-PRIORITY", SMTP_HAS_MT_PRIORITY },
};

void smtp_ehlo_parse(const struct smtp_reply *reply, struct smtp_ehlo *out)
{
	*out = (struct smtp_ehlo){ 0 };
	struct span rest = reply->text;
	span_cut(&rest, '\n');
	while (rest.p != NULL) {
		struct span args = span_cut(&rest, '\n'), word = span_cut(&args, ' ');
		unsigned bit = 0;
		for (size_t i = 0; i < COUNT_OF(keywords); i++)
			if (span_ieq_str(word, keywords[i].name))
				bit = keywords[i].bit;
		out->features |= bit;
		if (bit == SMTP_HAS_SIZE)
			span_u64(span_trim(args), UINT64_MAX, &out->size_max);
		if (bit == SMTP_HAS_AUTH)
			out->auth = span_trim(args);
	}
}
