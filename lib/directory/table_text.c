/* table_text.c - the text of a table, made in place: a row that goes over several lines is moved together, its value gets a NUL
 * where the row's last line ended. Pure. */
#include "directory/table_text.h"

#include "directory/table_keys.h"

struct reader {
	char *text;
	size_t n, at; /* bytes; where the next line begins */
	size_t line;  /* lines before it */
};

/* The next line without spaces at its ends; *goes_on: it begins with one. False: there is none. */
static bool peek_line(const struct reader *r, struct span *out, bool *goes_on)
{
	struct span rest = span_of(r->text + r->at, r->n - r->at);
	if (r->at >= r->n)
		return false;
	*goes_on = rest.p[0] == ' ' || rest.p[0] == '\t';
	*out = span_trim(span_cut(&rest, '\n'));
	return true;
}

static void pass_line(struct reader *r)
{
	const char *end = memchr(r->text + r->at, '\n', r->n - r->at);
	r->at = end != NULL ? (size_t)(end - r->text) + 1 : r->n;
	r->line++;
}

static bool counts(struct span line)
{
	return line.n > 0 && line.p[0] != '#';
}

/* The next row, moved together. A line is at least one byte longer than what is moved of it, so there is room for the space
 * between two lines, and for a NUL behind the row. False: there is none, or *why_out. */
static bool take_row_text(
    struct reader *r, struct span *out, size_t *line_out, const char **why_out)
{
	struct span line;
	bool goes_on = false;
	*out = SPAN_NONE;
	for (; peek_line(r, &line, &goes_on); pass_line(r)) {
		if (!counts(line))
			continue;
		if (out->p != NULL && !goes_on)
			break;
		if (out->p == NULL) {
			*out = line;
			*line_out = r->line + 1;
			*why_out = goes_on ? "there is no line that this one goes on with" : NULL;
			continue;
		}
		char *end = r->text + (out->p - r->text) + out->n;
		*end = ' ';
		memmove(end + 1, line.p, line.n);
		out->n += 1 + line.n;
	}
	return out->p != NULL && *why_out == NULL;
}

/* SIZE_MAX: a quote is not closed. */
static size_t key_length(struct span row)
{
	bool quoted = false;
	size_t i = 0;
	for (; i < row.n && (quoted || (row.p[i] != ' ' && row.p[i] != '\t')); i++) {
		if (row.p[i] == '"')
			quoted = !quoted;
		else if (row.p[i] == '\\' && quoted && i + 1 < row.n)
			i++;
	}
	return quoted ? SIZE_MAX : i;
}

static const char *take_row(struct map *map, char *row, size_t n)
{
	struct span text = span_of(row, n);
	size_t key_n = key_length(text);
	if (key_n == SIZE_MAX)
		return "a quote in the key is not closed";
	struct span key = span_first(text, key_n), value = span_trim(span_from(text, key_n));
	if (key_n >= TABLE_KEY_MAX || value.n > TABLE_VALUE_MAX)
		return key_n >= TABLE_KEY_MAX ? "the key is too long" : "the value is too long";
	span_lower_to(row, key);
	if (map_get(map, key) != NULL)
		return "the key stands here for the second time";
	row[n] = '\0';
	return map_set(map, key, row + n - value.n, NULL) ? NULL : "too many keys";
}

static size_t count_lines(struct span text)
{
	size_t n = 1;
	for (size_t i = 0; i < text.n; i++)
		n += text.p[i] == '\n';
	return n;
}

struct map *table_text_parse(char *text, size_t text_n, size_t *line_out, const char **why_out)
{
	struct reader r = { .text = text, .n = text_n };
	struct span row;
	size_t nul = span_find(span_of(text, text_n), '\0');
	struct map *map = map_new(TABLE_ROWS_MAX);
	*why_out = NULL;
	*line_out = 0;
	if (nul != SIZE_MAX) {
		*line_out = count_lines(span_of(text, nul));
		*why_out = "this is no text";
	}
	while (*why_out == NULL && take_row_text(&r, &row, line_out, why_out))
		*why_out = take_row(map, text + (row.p - text), row.n);
	if (*why_out != NULL)
		map_free(&map);
	return map;
}
