/* search_scan.c - looks through the text of one message, a little at a time; see search.h.
 *
 * Text is every part of type text or message, and what could not be opened, decoded; and the headers of parts and of
 * messages inside. Attachments of other types are not text: their encoded bytes match nothing. Owns the
 * decoders of the body in work and the window in which the text is looked for. */
#include "base/check.h"

#include "store-backend/imap/search.h"

enum { WINDOW_MAX = 16 * 1024 * 1024 };

void search_scan_begin(struct search_scan *s, const struct search_node *key)
{
	*s = (struct search_scan){ .text = buf_span(&key->text),
		.header = key->key == KEY_TEXT,
		.window = BUF_INIT(WINDOW_MAX) };
}

void search_scan_begin_grams(struct search_scan *s, struct text_grams *grams)
{
	static const char any[TEXT_GRAM] = "...";
	*s = (struct search_scan){ .text = span_of(any, sizeof any),
		.grams = grams,
		.header = true,
		.window = BUF_INIT(WINDOW_MAX) };
}

void search_scan_end(struct search_scan *s)
{
	text_body_end(&s->body, &s->window);
	buf_end(&s->window);
	*s = (struct search_scan){ 0 };
}

/* Keeps only what may be the beginning of a match. */
static bool found(struct search_scan *s)
{
	bool yes = false;
	if (s->grams != NULL)
		text_grams_put(s->grams, buf_span(&s->window));
	else
		yes = span_find_span(buf_span(&s->window), s->text) != SIZE_MAX;
	size_t n = buf_len(&s->window), keep = s->text.n > 0 ? s->text.n - 1 : 0;
	if (n > keep)
		buf_eat(&s->window, n - keep);
	return yes;
}

/* ---- headers ------------------------------------------------------------------------------------- */

/* Each field by itself, with its name. */
static bool find_in_header(struct search_scan *s, struct span header)
{
	struct mime_field f;
	bool yes = false;
	while (!yes && mime_next_field(&header, &f)) {
		buf_clear(&s->window);
		text_fold(f.name, &s->window);
		buf_add_str(&s->window, ": ");
		text_fold_field(f.value, &s->window);
		yes = found(s);
	}
	buf_clear(&s->window);
	return yes;
}

static bool is_text(struct span type)
{
	return span_ieq_str(type, "text") || span_ieq_str(type, "message");
}

/* Prepares the body of the part that the header describes; nothing is left when it is not text. */
static void begin_body(struct search_scan *s, const struct mime_part *p, struct span header)
{
	struct span value, encoding;
	struct mime_value type = { 0 };
	struct buf scratch = BUF_INIT(MIME_HEADER_MAX);
	bool typed = mime_find_field(header, "Content-Type", &value) &&
		     mime_parse_value(value, &scratch, &type);
	s->in_body = true;
	s->left = (struct message_range){ 0, 0 };
	mime_find_field(header, "Content-Transfer-Encoding", &encoding);
	if (p->kind == MIME_OPAQUE || (p->kind == MIME_LEAF && (!typed || is_text(type.type)))) {
		s->left = message_part_body(p);
		text_body_begin(
		    &s->body, mime_transfer_of(mime_token(encoding)), mime_param(&type, "charset"));
	}
	buf_end(&scratch);
}

static enum search_answer scan_header(
    struct search_scan *s, struct message *m, const struct mime_part *p)
{
	struct buf header = BUF_INIT(MIME_HEADER_MAX);
	bool ok = message_part_header(m, p, &header), yes = false;
	if (ok) {
		yes = (s->part > 0 || s->header) && find_in_header(s, buf_span(&header));
		begin_body(s, p, buf_span(&header));
	}
	buf_end(&header);
	return !ok ? ANSWER_NO : yes ? ANSWER_YES : ANSWER_UNKNOWN;
}

/* ---- bodies -------------------------------------------------------------------------------------- */

static void end_body(struct search_scan *s)
{
	text_body_end(&s->body, &s->window);
	s->in_body = false;
	s->part++;
}

static enum search_answer scan_body(struct search_scan *s, struct message *m)
{
	struct buf piece = BUF_INIT(TEXT_PIECE_MAX);
	struct message_range r = s->left;
	bool yes = false;
	r.n = r.n < TEXT_PIECE_MAX ? r.n : TEXT_PIECE_MAX;
	bool ok = message_read(m, r, &piece);
	if (ok) {
		text_body_put(&s->body, buf_span(&piece), &s->window);
		s->left.at += r.n;
		s->left.n -= r.n;
		if (s->left.n == 0)
			end_body(s);
		yes = found(s);
		if (!s->in_body)
			buf_clear(&s->window); /* a match does not reach from part to part */
	}
	buf_end(&piece);
	return !ok ? ANSWER_NO : yes ? ANSWER_YES : ANSWER_UNKNOWN;
}

enum search_answer search_scan_step(struct search_scan *s, struct message *m)
{
	const struct mime *parts = message_parts(m);
	if (s->text.n == 0)
		return ANSWER_YES;
	if (parts == NULL || s->part >= parts->n)
		return ANSWER_NO;
	if (!s->in_body)
		return scan_header(s, m, &parts->v[s->part]);
	if (s->left.n > 0)
		return scan_body(s, m);
	end_body(s);
	return ANSWER_UNKNOWN;
}
