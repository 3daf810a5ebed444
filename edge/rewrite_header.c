/* rewrite_header.c - the addresses in a message's header, replaced where they stand. Pure; owns nothing.
 *
 * What stands between angle brackets, and what stands bare and has an @ in it, is tried as an address; quoted
 * strings and comments are passed over. All else, and whatever is no plain address, keeps its bytes. */
#include "base/buf.h"
#include "proto/header.h"

#include "edge/rewrite.h"

enum { LINE_BYTES_MAX = 998 };

struct work {
	const struct rewrite *rules;
	const struct rewrite_facts *facts;
	enum rewrite_kind kind; /* of the field at hand */
	struct span in;         /* of the field, behind what is done */
	struct buf *out;
	size_t changed;
};

static unsigned kind_of(struct span name)
{
	static const struct {
		const char *name;
		enum rewrite_kind kind;
	} fields[] = { { "From", REWRITE_FROM }, { "Sender", REWRITE_FROM },
		{ "Reply-To", REWRITE_FROM }, { "To", REWRITE_TO }, { "Cc", REWRITE_TO } };
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
		if (span_ieq_str(name, fields[i].name))
			return fields[i].kind;
	return 0;
}

static void copy(struct work *w, size_t n)
{
	buf_add_span(w->out, span_first(w->in, n));
	w->in = span_from(w->in, n);
}

static void put_address(struct work *w, size_t n)
{
	struct smtp_path path;
	struct span text = span_first(w->in, n);
	bool ok = span_find(text, '@') != SIZE_MAX &&
		  !smtp_address_parse(text, SMTP_PATH_UTF8_OK, &path, NULL);
	if (ok && rewrite_address(w->rules, w->kind, w->facts, &path) != NULL) {
		w->changed++;
		buf_add_span(w->out, smtp_path_text(&path));
		w->in = span_from(w->in, n);
	} else {
		copy(w, n);
	}
}

/* Length up to and with the closing one; quotes do not nest, parentheses do. All of in without one. */
static size_t enclosed(struct span in, char open, char close)
{
	size_t depth = 0;
	for (size_t i = 0; i < in.n; i++) {
		if (in.p[i] == '\\' && i + 1 < in.n)
			i++;
		else if (in.p[i] == close && (open != close || depth > 0) && --depth == 0)
			return i + 1;
		else if (in.p[i] == open)
			depth++;
	}
	return in.n;
}

/* Between angle brackets: up to the '>' that is not quoted. */
static size_t bracketed(struct span in)
{
	size_t i = 0;
	while (i < in.n && in.p[i] != '>')
		i += in.p[i] == '"' ? enclosed(span_from(in, i), '"', '"') : 1;
	return i < in.n ? i : in.n;
}

static bool is_separator(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ',' || c == ';' ||
	       c == ':' || c == '(' || c == ')' || c == '<' || c == '>' || c == '"';
}

static void put_next(struct work *w)
{
	size_t n = 0;
	switch (w->in.p[0]) {
	case '"':
		copy(w, enclosed(w->in, '"', '"'));
		if (w->in.n > 0 &&
		    w->in.p[0] == '@') /* a quoted local part: the domain alone is none */
			while (n < w->in.n && !is_separator(w->in.p[n]))
				n++;
		copy(w, n);
		return;
	case '(':
		copy(w, enclosed(w->in, '(', ')'));
		return;
	case '<':
		copy(w, 1);
		put_address(w, bracketed(w->in));
		return;
	default:
		while (n < w->in.n && !is_separator(w->in.p[n]))
			n++;
	}
	if (n == 0)
		copy(w, 1);
	else
		put_address(w, n);
}

static bool has_long_line(struct span text)
{
	while (text.p != NULL)
		if (span_cut(&text, '\n').n > LINE_BYTES_MAX + 1)
			return true;
	return false;
}

static void put_field(struct work *w, const struct header_field *f, struct buf *room)
{
	struct buf *out = w->out;
	size_t before = w->changed;
	buf_clear(room);
	w->kind = (enum rewrite_kind)kind_of(f->name);
	w->in = f->raw;
	w->out = room;
	copy(w, span_find(f->raw, ':') + 1);
	while (w->in.n > 0)
		put_next(w);
	w->out = out;
	if (w->changed == before || !buf_ok(room) || has_long_line(buf_span(room))) {
		w->changed = before;
		buf_add_span(out, f->raw);
	} else {
		buf_add_span(out, buf_span(room));
	}
}

size_t rewrite_header(
    const struct rewrite *r, const struct rewrite_facts *f, struct span header, struct buf *out)
{
	struct work w = { .rules = r, .facts = f, .out = out };
	struct buf room = BUF_INIT(2 * HEADER_BYTES_MAX);
	struct header_walk walk;
	struct header_field field;
	size_t done = 0;
	header_walk_init(&walk, header);
	while (header_next(&walk, &field) == HEADER_FIELD) {
		if (kind_of(field.name) != 0)
			put_field(&w, &field, &room);
		else
			buf_add_span(out, field.raw);
		done = walk.at;
	}
	buf_add_span(out, span_from(header, done));
	buf_end(&room);
	return buf_ok(out) ? w.changed : 0;
}
