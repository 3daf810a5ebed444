/* mime_partial.c - see mime_partial.h. Owns nothing. */
#include "proto/mime_partial.h"

#include "proto/mime.h"

enum { VALUE_MAX = 4096 };

/* ---- what a piece says -------------------------------------------------------------------------- */

/* UINT_MAX: not a number that can be. */
static unsigned number_of(const struct mime_value *v, const char *name)
{
	struct span text = mime_param(v, name);
	uint64_t n = 0;
	if (text.p == NULL)
		return 0;
	if (!span_u64(span_trim(text), MIME_PARTIAL_NUMBER_MAX, &n) || n == 0)
		return MIME_PARTIAL_NUMBER_MAX + 1;
	return (unsigned)n;
}

static bool is_plain(struct span header)
{
	struct span encoding;
	if (!mime_find_field(header, "Content-Transfer-Encoding", &encoding))
		return true;
	struct span word = mime_token(encoding);
	return span_ieq(word, SPAN("7bit")) || span_ieq(word, SPAN("8bit"));
}

static bool take_value(const struct mime_value *v, struct mime_partial *out)
{
	struct span id = mime_param(v, "id");
	if (!span_ieq(v->type, SPAN("message")) || !span_ieq(v->subtype, SPAN("partial")) ||
	    id.n == 0 || id.n > sizeof out->id)
		return false;
	memcpy(out->id, id.p, id.n);
	out->id_n = id.n;
	out->number = number_of(v, "number");
	out->total = number_of(v, "total");
	return out->number > 0 && out->number <= MIME_PARTIAL_NUMBER_MAX &&
	       out->total <= MIME_PARTIAL_NUMBER_MAX &&
	       (out->total == 0 || out->number <= out->total);
}

/* Where the empty line ends; 0: it is not there. */
static size_t whole_header(struct span message)
{
	for (size_t at = 0; at < message.n;) {
		struct span line = span_from(message, at);
		if (span_starts(line, SPAN("\n")))
			return at + 1;
		if (span_starts(line, SPAN("\r\n")))
			return at + 2;
		size_t end = span_find(line, '\n');
		if (end == SIZE_MAX)
			return 0;
		at += end + 1;
	}
	return 0;
}

bool mime_partial_parse(struct span head, struct mime_partial *out)
{
	struct buf scratch = BUF_INIT(VALUE_MAX), line = BUF_INIT(VALUE_MAX);
	struct mime_value v;
	struct span value;
	size_t n = whole_header(head);
	struct span header = span_first(head, n);
	*out = (struct mime_partial){ .body_at = n };
	bool ok = n > 0 && mime_find_field(header, "Content-Type", &value) &&
		  mime_unfold(value, &line) && mime_parse_value(buf_span(&line), &scratch, &v) &&
		  take_value(&v, out) && is_plain(header);
	buf_end(&scratch);
	buf_end(&line);
	return ok;
}

/* ---- the header of the whole -------------------------------------------------------------------- */

/* What comes from the message in the pieces, and not from the pieces. */
static bool is_inner(struct span name)
{
	static const char *const names[] = { "Subject", "Message-ID", "Encrypted", "MIME-Version" };
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (span_ieq_str(name, names[i]))
			return true;
	return span_istarts(name, SPAN("Content-"));
}

static void put_fields(struct buf *out, struct span header, bool inner)
{
	struct mime_field f;
	while (mime_next_field(&header, &f))
		if (is_inner(f.name) == inner)
			buf_add_span(out, f.whole);
}

bool mime_partial_header(struct span first, struct buf *out, size_t *body_at_out)
{
	size_t outer = whole_header(first);
	struct span message = span_from(first, outer);
	size_t inner = whole_header(message);
	if (outer == 0 || inner == 0)
		return false;
	put_fields(out, span_first(first, outer), false);
	put_fields(out, span_first(message, inner), true);
	buf_add_str(out, "\r\n");
	*body_at_out = outer + inner;
	return buf_ok(out);
}
