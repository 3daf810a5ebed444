/* sort_key.c - what SORT and THREAD take from a message; see sort_key.h.
 *
 * Before: sort.c and thread.c. After: message.c, whose fields are nearly always those of the parse cache. Owns
 * nothing. */
#include "store-backend/imap/sort_key.h"

#include "base/check.h"

enum { VALUE_MAX = 64 * 1024 };

/* ---- the request ---------------------------------------------------------------------------------- */

static enum sort_by parse_by(struct imap_cursor *c)
{
	static const char *const words[] = { "ARRIVAL", "CC", "DATE", "DISPLAYFROM", "DISPLAYTO",
		"FROM", "SIZE", "SUBJECT", "TO" };
	struct span word = imap_read_atom(c);
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		if (span_ieq_str(word, words[i]))
			return (enum sort_by)i;
	}
	imap_fail(c, "Unknown sort key");
	return SORT_ARRIVAL;
}

void sort_parse(struct imap_cursor *c, struct sort_request *out)
{
	out->n = 0;
	imap_read_char(c, '(');
	do {
		bool reverse = imap_try_word(c, "REVERSE");
		if (reverse)
			imap_read_sp(c);
		enum sort_by by = parse_by(c);
		if (out->n == SORT_KEYS_MAX)
			imap_fail(c, "Too many sort keys");
		if (!imap_ok(c))
			return;
		out->v[out->n].by = by;
		out->v[out->n++].reverse = reverse;
	} while (imap_try(c, ' '));
	imap_read_char(c, ')');
}

/* ---- the base subject ------------------------------------------------------------------------------- */

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static struct span skip_spaces(struct span s)
{
	while (s.n > 0 && is_space(s.p[0]))
		s = span_from(s, 1);
	return s;
}

/* "[" ... "]" and spaces. */
static bool skip_blob(struct span *s)
{
	if (s->n == 0 || s->p[0] != '[')
		return false;
	for (size_t i = 1; i < s->n && s->p[i] != '['; i++) {
		if (s->p[i] != ']')
			continue;
		*s = skip_spaces(span_from(*s, i + 1));
		return true;
	}
	return false;
}

/* Blobs, "re" or "fw" or "fwd", perhaps one blob, ":" */
static bool skip_refwd(struct span *s)
{
	struct span at = *s;
	while (skip_blob(&at)) {
	}
	bool two = span_istarts(at, SPAN("re")) || span_istarts(at, SPAN("fw"));
	size_t n = span_istarts(at, SPAN("fwd")) ? 3 : two ? 2 : 0;
	if (n == 0)
		return false;
	at = skip_spaces(span_from(at, n));
	(void)skip_blob(&at);
	if (at.n == 0 || at.p[0] != ':')
		return false;
	*s = span_from(at, 1);
	return true;
}

static bool cut_trailer(struct span *s)
{
	bool fwd = false;
	for (;;) {
		if (s->n > 0 && is_space(s->p[s->n - 1])) {
			s->n--;
		} else if (span_iends(*s, SPAN("(fwd)"))) {
			s->n -= 5;
			fwd = true;
		} else {
			return fwd;
		}
	}
}

static bool cut_leader(struct span *s)
{
	bool fwd = false;
	for (;;) {
		struct span rest = skip_spaces(*s);
		bool refwd = skip_refwd(&rest);
		if (!refwd && skip_blob(&rest) && rest.n == 0)
			rest = skip_spaces(*s); /* the blob is all there is */
		fwd = fwd || refwd;
		if (rest.n == s->n)
			return fwd;
		*s = rest;
	}
}

static bool cut_around(struct span *s)
{
	if (!span_istarts(*s, SPAN("[fwd:")) || s->p[s->n - 1] != ']')
		return false;
	*s = span_of(s->p + 5, s->n - 6);
	return true;
}

static void add_one_spaced(struct span s, struct buf *out)
{
	for (size_t i = 0; i < s.n; i++) {
		bool space = is_space(s.p[i]);
		if (!space)
			buf_add_char(out, s.p[i]);
		else if (i + 1 < s.n && !is_space(s.p[i + 1]))
			buf_add_char(out, ' ');
	}
}

bool sort_base_subject(struct span value, struct buf *out)
{
	struct buf line = BUF_INIT(VALUE_MAX), decoded = BUF_INIT(4 * VALUE_MAX);
	bool fwd = false, around;
	(void)mime_unfold(span_first(value, VALUE_MAX), &line);
	text_decode_words(buf_span(&line), &decoded);
	struct span s = buf_span(&decoded);
	do {
		fwd = cut_trailer(&s) || fwd;
		fwd = cut_leader(&s) || fwd;
		around = cut_around(&s);
		fwd = fwd || around;
	} while (around);
	add_one_spaced(s, out);
	buf_end(&line);
	buf_end(&decoded);
	return fwd;
}

/* ---- fields ----------------------------------------------------------------------------------------- */

struct span sort_field(struct search_subject *of, const char *name)
{
	struct span names = span_str(name), fields, value;
	if (!message_fields(&of->message, &names, 1, &fields) ||
	    !mime_find_field(fields, name, &value))
		return SPAN_NONE;
	return value;
}

bool sort_subject(struct search_subject *of, struct buf *out)
{
	struct buf base = BUF_INIT(4 * VALUE_MAX);
	bool fwd = sort_base_subject(sort_field(of, "Subject"), &base);
	text_fold(span_first(buf_span(&base), SORT_TEXT_MAX), out);
	buf_end(&base);
	return fwd;
}

int64_t sort_sent(struct search_subject *of)
{
	int64_t unix_s;
	int32_t day;
	if (mime_parse_date(sort_field(of, "Date"), &unix_s, &day))
		return unix_s;
	return of->entry.date_s;
}

/* The display name if it is asked for and there, else the local part, with the host when displayed. */
static void put_address(const struct mime_address *a, bool display, struct buf *out)
{
	struct buf decoded = BUF_INIT(4 * VALUE_MAX);
	if (display && a->name.n > 0) {
		text_decode_words(a->name, &decoded);
	} else {
		buf_add_span(&decoded, a->mailbox);
		if (display && a->host.p != NULL)
			buf_printf(&decoded, "@%.*s", SPAN_ARG(a->host));
	}
	text_fold(span_first(buf_span(&decoded), SORT_TEXT_MAX), out);
	buf_end(&decoded);
}

/* Of the first address. */
static void put_first(struct search_subject *of, const char *field, bool display, struct buf *out)
{
	struct buf scratch = BUF_INIT(VALUE_MAX);
	struct span rest = span_first(sort_field(of, field), VALUE_MAX);
	struct mime_address a;
	if (mime_next_address(&rest, &scratch, &a))
		put_address(&a, display, out);
	buf_end(&scratch);
}

/* ---- keys --------------------------------------------------------------------------------------------- */

static void put_number(int64_t n, struct buf *out)
{
	uint64_t v = (uint64_t)n ^ (uint64_t)1 << 63; /* negative ones come first */
	for (int shift = 56; shift >= 0; shift -= 8)
		buf_add_char(out, (char)(v >> shift & 0xff));
}

/* A text ends with a zero, so that one that goes on comes later. */
static void put_text(enum sort_by by, struct search_subject *of, struct buf *out)
{
	struct buf text = BUF_INIT(4 * SORT_TEXT_MAX);
	if (by == SORT_SUBJECT)
		(void)sort_subject(of, &text);
	else if (by == SORT_CC)
		put_first(of, "Cc", false, &text);
	else
		put_first(of, by == SORT_FROM || by == SORT_DISPLAYFROM ? "From" : "To",
		    by == SORT_DISPLAYFROM || by == SORT_DISPLAYTO, &text);
	struct span s = buf_span(&text);
	for (size_t i = 0; i < s.n; i++)
		buf_add_char(out, s.p[i] == '\0' ? '\1' : s.p[i]);
	buf_add_char(out, '\0');
	buf_end(&text);
}

static void put_one(enum sort_by by, struct search_subject *of, struct buf *out)
{
	switch (by) {
	case SORT_ARRIVAL:
		put_number(of->entry.date_s, out);
		break;
	case SORT_DATE:
		put_number(sort_sent(of), out);
		break;
	case SORT_SIZE:
		put_number((int64_t)of->entry.size, out);
		break;
	default:
		put_text(by, of, out);
		break;
	}
}

bool sort_put_key(const struct sort_request *r, struct search_subject *of, struct buf *out)
{
	for (size_t i = 0; i < r->n; i++) {
		size_t from = buf_len(out);
		put_one(r->v[i].by, of, out);
		for (size_t k = from; r->v[i].reverse && k < buf_len(out); k++)
			out->p[out->head + k] = (char)~out->p[out->head + k];
	}
	return buf_ok(out);
}
