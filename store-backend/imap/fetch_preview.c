/* fetch_preview.c - PREVIEW (RFC 8970): the first words of a message's text; see fetch.h.
 *
 * Of the first plain text, or HTML without its tags; from the first KiB of that part only. Owns nothing. */
#include "base/check.h"
#include "store-backend/imap/fetch.h"
#include "store-backend/imap/text.h"

enum { READ_MAX = 16 * 1024, CHARACTERS_MAX = 200, TAG_MAX = 16 };

/* ---- which part ------------------------------------------------------------------------------------- */

enum text_kind { NO_TEXT, PLAIN_TEXT, HTML_TEXT };

struct text_part {
	enum text_kind kind;
	enum mime_transfer transfer;
	char charset[64];
	struct message_range body;
};

static enum text_kind kind_of(bool typed, const struct mime_value *type)
{
	if (!typed)
		return PLAIN_TEXT;
	if (!span_ieq_str(type->type, "text"))
		return NO_TEXT;
	return span_ieq_str(type->subtype, "html") ? HTML_TEXT : PLAIN_TEXT;
}

static void describe(struct span header, const struct mime_part *p, struct text_part *out)
{
	struct buf scratch = BUF_INIT(MIME_HEADER_MAX);
	struct mime_value type = { 0 };
	struct span value, encoding;
	bool typed = mime_find_field(header, "Content-Type", &value) &&
		     mime_parse_value(value, &scratch, &type);
	mime_find_field(header, "Content-Transfer-Encoding", &encoding);
	struct span charset = span_first(mime_param(&type, "charset"), sizeof out->charset - 1);
	*out = (struct text_part){ .kind = kind_of(typed, &type),
		.transfer = mime_transfer_of(mime_token(encoding)),
		.body = message_part_body(p) };
	if (charset.n > 0)
		memcpy(out->charset, charset.p, charset.n);
	buf_end(&scratch);
}

static bool read_part(struct message *m, const struct mime_part *p, struct text_part *out)
{
	struct buf header = BUF_INIT(MIME_HEADER_MAX);
	bool ok = message_part_header(m, p, &header);
	if (ok)
		describe(buf_span(&header), p, out);
	buf_end(&header);
	return ok;
}

/* The first plain text, else the first HTML, among the first few parts. */
static bool find_text(struct message *m, struct text_part *out)
{
	enum { PARTS_LOOKED_AT = 8 };
	const struct mime *parts = message_parts(m);
	*out = (struct text_part){ 0 };
	if (parts == NULL)
		return false;
	for (size_t i = 0; i < parts->n && i < PARTS_LOOKED_AT && out->kind != PLAIN_TEXT; i++) {
		struct text_part part;
		if (parts->v[i].kind != MIME_LEAF)
			continue;
		if (!read_part(m, &parts->v[i], &part))
			return false;
		if (part.kind == PLAIN_TEXT || (part.kind == HTML_TEXT && out->kind == NO_TEXT))
			*out = part;
	}
	return true;
}

/* In UTF-8, as far as it was read. */
static bool read_text(struct message *m, const struct text_part *part, struct buf *out)
{
	struct buf raw = BUF_INIT(READ_MAX), bytes = BUF_INIT(2 * READ_MAX);
	struct transfer t = { .how = part->transfer };
	struct charset c;
	struct message_range r = part->body;
	r.n = r.n < READ_MAX ? r.n : READ_MAX;
	bool ok = message_read(m, r, &raw);
	if (ok) {
		transfer_put(&t, buf_span(&raw), &bytes);
		transfer_end(&t, &bytes);
		charset_begin(&c, span_str(part->charset));
		charset_put(&c, buf_span(&bytes), out);
		charset_end(&c, out);
	}
	buf_end(&raw);
	buf_end(&bytes);
	return ok;
}

/* ---- the words ---------------------------------------------------------------------------------------- */

/* Tags become spaces; what stands in head, style and script is not text. */
static void strip_tags(struct span html, struct buf *out)
{
	static const char *const silent[] = { "head", "style", "script" };
	const char *until = NULL;
	while (html.n > 0) {
		struct span text = span_cut(&html, '<');
		if (until == NULL)
			buf_add_span(out, text);
		struct span tag = span_cut(&html, '>');
		bool closing = tag.n > 0 && tag.p[0] == '/';
		struct span name = span_first(closing ? span_from(tag, 1) : tag, TAG_MAX);
		for (size_t i = 0; i < COUNT_OF(silent); i++) {
			struct span what = span_str(silent[i]);
			if (!span_istarts(name, what) ||
			    (name.n > what.n && ascii_is_alpha((unsigned char)name.p[what.n])))
				continue;
			if (!closing && until == NULL)
				until = silent[i];
			else if (closing && until == silent[i])
				until = NULL;
		}
		buf_add_char(out, ' ');
	}
}

static bool is_space(char c)
{
	return c == ' ' || (unsigned char)c < ' ' || c == 0x7f;
}

/* White space and control bytes become single spaces; cut between two characters. */
static void put_words(struct span text, struct buf *out)
{
	size_t characters = 0;
	bool gap = false;
	for (size_t i = 0; i < text.n; i++) {
		if (is_space(text.p[i])) {
			gap = buf_len(out) > 0;
			continue;
		}
		if (((unsigned char)text.p[i] & 0xc0) != 0x80)
			characters += gap ? 2u : 1u;
		if (characters > CHARACTERS_MAX)
			return;
		if (gap)
			buf_add_char(out, ' ');
		gap = false;
		buf_add_char(out, text.p[i]);
	}
}

bool fetch_put_preview(struct buf *out, struct message *m)
{
	struct buf text = BUF_INIT(8 * READ_MAX), bare = BUF_INIT(8 * READ_MAX);
	struct buf words = BUF_INIT(8 * CHARACTERS_MAX);
	struct text_part part;
	bool ok = find_text(m, &part) && (part.kind == NO_TEXT || read_text(m, &part, &text));
	if (ok && part.kind == HTML_TEXT)
		strip_tags(buf_span(&text), &bare);
	put_words(buf_span(part.kind == HTML_TEXT ? &bare : &text), &words);
	if (ok) {
		buf_add_str(out, "PREVIEW ");
		imap_put_string(out, buf_span(&words));
	}
	buf_end(&text);
	buf_end(&bare);
	buf_end(&words);
	return ok;
}
