/* header.c - one pass over the header section, field by field.
 *
 * Owns nothing; spans point into the message. */
#include "proto/header.h"

void header_walk_init(struct header_walk *w, struct span message)
{
	*w = (struct header_walk){ .in = message };
}

/* Behind the line that starts at `at`, its line end included. */
static size_t line_after(struct span in, size_t at)
{
	size_t lf = span_find(span_from(in, at), '\n');
	return lf == SIZE_MAX ? in.n : at + lf + 1;
}

static bool is_fold(struct span in, size_t at)
{
	return at < in.n && (in.p[at] == ' ' || in.p[at] == '\t');
}

/* The field's name without the white space that old syntax allows before the colon; empty: no field. */
static struct span field_name(struct span line, size_t *colon_out)
{
	size_t colon = span_find(line, ':');
	if (colon == SIZE_MAX || colon == 0)
		return SPAN_NONE;
	*colon_out = colon;
	struct span name = span_first(line, colon);
	while (name.n > 0 && (name.p[name.n - 1] == ' ' || name.p[name.n - 1] == '\t'))
		name.n--;
	return name.n <= HEADER_NAME_MAX && span_is_visible(name) ? name : SPAN_NONE;
}

static struct span without_line_end(struct span s)
{
	if (s.n > 0 && s.p[s.n - 1] == '\n')
		s.n--;
	if (s.n > 0 && s.p[s.n - 1] == '\r')
		s.n--;
	return s;
}

enum header_rx header_next(struct header_walk *w, struct header_field *out)
{
	size_t colon, end = line_after(w->in, w->at);
	struct span line = without_line_end(span_first(span_from(w->in, w->at), end - w->at));
	if (line.n == 0) {
		w->at = end;
		return HEADER_END;
	}
	out->name = field_name(line, &colon);
	if (out->name.n == 0)
		return HEADER_END;
	if (w->fields == HEADER_FIELDS_MAX)
		return HEADER_TOO_MANY;
	while (is_fold(w->in, end))
		end = line_after(w->in, end);
	if (end > HEADER_BYTES_MAX)
		return HEADER_TOO_MANY;
	out->raw = span_first(span_from(w->in, w->at), end - w->at);
	out->value = without_line_end(span_from(out->raw, colon + 1));
	w->at = end;
	w->fields++;
	return HEADER_FIELD;
}

bool header_find(struct span message, struct span name, size_t nth, struct header_field *out)
{
	struct header_walk w;
	header_walk_init(&w, message);
	while (header_next(&w, out) == HEADER_FIELD)
		if (span_ieq(out->name, name) && nth-- == 0)
			return true;
	return false;
}

size_t header_count(struct span message, struct span name)
{
	struct header_walk w;
	struct header_field f;
	size_t n = 0;
	header_walk_init(&w, message);
	while (header_next(&w, &f) == HEADER_FIELD)
		n += span_ieq(f.name, name);
	return n;
}

size_t header_size(struct span message)
{
	struct header_walk w;
	struct header_field f;
	header_walk_init(&w, message);
	while (header_next(&w, &f) == HEADER_FIELD) {
	}
	return w.at;
}

bool header_unfold(struct span value, struct buf *out)
{
	struct span v = span_trim(value);
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] != '\r' && v.p[i] != '\n')
			buf_add_char(out, v.p[i]);
	return buf_ok(out);
}
