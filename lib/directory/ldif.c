/* ldif.c - lines are framed first (line ends, folding, comments), meaning comes second. Pure. */
#include "directory/ldif.h"

#include "base/base64.h"

enum line { LINE_TEXT, LINE_BLANK, LINE_END, LINE_BAD };

struct pair {
	struct span name, value;
	size_t line;
};

static enum line line_bad(struct ldif *l, size_t line, const char *why)
{
	l->why = why;
	l->why_line = line;
	return LINE_BAD;
}

static enum ldif_result bad(struct ldif *l, size_t line, const char *why)
{
	line_bad(l, line, why);
	return LDIF_BAD;
}

/* ---- framing ---- */

/* One line as it stands in the file, without its end. */
static enum line take_physical(struct ldif *l, struct span *out)
{
	if (l->rest.n == 0)
		return LINE_END;
	size_t end = span_find(l->rest, '\n');
	if (end == SIZE_MAX)
		return line_bad(l, l->line, "the last line has no end: is the file cut off?");
	*out = span_first(l->rest, end);
	l->rest = span_from(l->rest, end + 1);
	l->line++;
	if (out->n > 0 && out->p[out->n - 1] == '\r')
		out->n--;
	if (span_find(*out, '\r') != SIZE_MAX || span_find(*out, '\0') != SIZE_MAX)
		return line_bad(l, l->line - 1, "carriage return or NUL inside a line");
	return out->n == 0 ? LINE_BLANK : LINE_TEXT;
}

static bool folded_follows(const struct ldif *l)
{
	return l->rest.n > 0 && l->rest.p[0] == ' ';
}

/* One line with its continuations joined: a view into the file when there are none. */
static enum line take_unfolded(struct ldif *l, struct span *out, size_t *line_out)
{
	struct span more;
	*line_out = l->line;
	enum line got = take_physical(l, out);
	if (got == LINE_TEXT && out->p[0] == ' ')
		return line_bad(l, *line_out, "a continuation of nothing");
	if (got != LINE_TEXT || !folded_follows(l))
		return got;
	buf_clear(&l->unfolded);
	buf_add_span(&l->unfolded, *out);
	while (folded_follows(l)) {
		if (take_physical(l, &more) == LINE_BAD)
			return LINE_BAD;
		buf_add_span(&l->unfolded, span_from(more, 1));
	}
	*out = buf_span(&l->unfolded);
	return buf_ok(&l->unfolded) ? LINE_TEXT : line_bad(l, *line_out, "line too long");
}

static enum line take_line(struct ldif *l, struct span *out, size_t *line_out)
{
	enum line got;
	do
		got = take_unfolded(l, out, line_out);
	while (got == LINE_TEXT && out->p[0] == '#');
	return got;
}

/* ---- meaning ---- */

static bool is_name(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (!ascii_is_alpha(c) && !ascii_is_digit(c) && c != '-' && c != ';' && c != '.' &&
		    c != '_')
			return false;
	}
	return s.n > 0 && s.p[0] != '-' && s.p[0] != ';';
}

static struct span skip_spaces(struct span s)
{
	while (s.n > 0 && s.p[0] == ' ')
		s = span_from(s, 1);
	return s;
}

/* NULL, or why the line is no pair. */
static const char *parse_pair(struct ldif *l, struct span line, struct pair *out)
{
	size_t colon = span_find(line, ':');
	out->name = span_first(line, colon);
	if (colon == SIZE_MAX || !is_name(out->name))
		return "not `attribute: value`";
	struct span rest = span_from(line, colon + 1);
	if (rest.n > 0 && rest.p[0] == '<')
		return "values by URL (:<) are not read";
	if (rest.n == 0 || rest.p[0] != ':') {
		out->value = skip_spaces(rest);
		return span_is_utf8(out->value) ? NULL : "not UTF-8: such a value needs base64";
	}
	buf_clear(&l->decoded);
	if (!base64_get(skip_spaces(span_from(rest, 1)), &l->decoded))
		return "not strict base64";
	out->value = buf_span(&l->decoded);
	return NULL;
}

static enum line take_pair(struct ldif *l, struct pair *out)
{
	struct span line;
	enum line got = take_line(l, &line, &out->line);
	const char *why = got == LINE_TEXT ? parse_pair(l, line, out) : NULL;
	return why == NULL ? got : line_bad(l, out->line, why);
}

/* The line that opens an entry: blank lines and one `version:` may come before. */
static enum line take_dn(struct ldif *l, struct pair *out)
{
	enum line got;
	for (;;) {
		got = take_pair(l, out);
		if (got == LINE_BLANK)
			continue;
		if (got != LINE_TEXT || l->begun || !span_ieq_str(out->name, "version"))
			break;
		l->begun = true;
		if (!span_eq_str(out->value, "1"))
			return line_bad(l, out->line, "only version 1 is known");
	}
	l->begun = true;
	if (got != LINE_TEXT)
		return got;
	if (!span_ieq_str(out->name, "dn"))
		return line_bad(l, out->line, "an entry must begin with `dn:`");
	if (out->value.n == 0)
		return line_bad(l, out->line, "empty dn");
	return LINE_TEXT;
}

enum ldif_result ldif_next(struct ldif *l, struct entry *e)
{
	struct pair pair;
	enum line got = take_dn(l, &pair);
	if (got != LINE_TEXT)
		return got == LINE_END ? LDIF_END : LDIF_BAD;
	size_t line = pair.line;
	if (!entry_start(e, pair.value))
		return bad(l, line, "dn too long");
	e->line = line;
	while ((got = take_pair(l, &pair)) == LINE_TEXT) {
		if (span_ieq_str(pair.name, "changetype") || span_ieq_str(pair.name, "control"))
			return bad(l, pair.line, "change records are not read");
		if (!entry_add(e, pair.name, pair.value))
			return bad(l, pair.line, "entry too large");
	}
	return got == LINE_BAD ? LDIF_BAD : LDIF_ENTRY;
}

void ldif_init(struct ldif *l, struct span text)
{
	*l = (struct ldif){ .rest = text,
		.line = 1,
		.unfolded = BUF_INIT(2 * ENTRY_BYTES_MAX),
		.decoded = BUF_INIT(ENTRY_BYTES_MAX) };
}

void ldif_end(struct ldif *l)
{
	buf_wipe_end(&l->unfolded);
	buf_wipe_end(&l->decoded);
}
