/* table.c - prints JSON that came over a control socket as text. Pure: JSON in, bytes out. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fmt.h"
#include "base/mem.h"

#include "admin/table.h"

enum { CELL_MAX = 120 };

static void put_compact(const json_t *v, struct buf *out)
{
	char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
	fmt_line_text(out, span_str(text), CELL_MAX);
	free(text); /* jansson's */
}

static void put_number(json_int_t n, enum column_kind kind, struct buf *out)
{
	char text[CLOCK_RFC3339_SIZE];
	if (n < 0 || kind == COLUMN_NUMBER || kind == COLUMN_TEXT) {
		buf_printf(out, "%" JSON_INTEGER_FORMAT, n);
	} else if (kind == COLUMN_SECONDS) {
		fmt_duration(out, (uint64_t)(n < INT32_MAX ? n : INT32_MAX) * 1000);
	} else if (kind == COLUMN_TIME && n < INT32_MAX * (json_int_t)4) {
		clock_rfc3339((uint64_t)n * 1000000, text);
		buf_printf(out, "%.19sZ", text);
	} else if (n < 10 * 1024) {
		buf_printf(out, "%" JSON_INTEGER_FORMAT, n);
	} else {
		static const char units[] = "kMGTPE";
		double d = (double)n / 1024;
		size_t u = 0;
		for (; d >= 1024 && units[u + 1] != '\0'; u++)
			d /= 1024;
		buf_printf(out, "%.1f%c", d, units[u]);
	}
}

static void put_cell(const json_t *v, enum column_kind kind, struct buf *out)
{
	switch (json_typeof(v)) {
	case JSON_STRING:
		fmt_line_text(out, span_of(json_string_value(v), json_string_length(v)), CELL_MAX);
		break;
	case JSON_INTEGER:
		put_number(json_integer_value(v), kind, out);
		break;
	case JSON_TRUE:
		buf_add_str(out, "yes");
		break;
	case JSON_FALSE:
		buf_add_str(out, "no");
		break;
	case JSON_NULL:
		buf_add_str(out, "-");
		break;
	default:
		put_compact(v, out);
	}
}

/* A cell's text, never empty, in a buffer that is used again. */
static struct span cell(const json_t *row, const struct column *c, struct buf *text)
{
	const json_t *v = json_object_get(row, c->key);
	buf_clear(text);
	if (v != NULL)
		put_cell(v, c->kind, text);
	if (buf_len(text) == 0)
		buf_add_char(text, '-');
	return buf_span(text);
}

static size_t width_of(struct span s)
{
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

/* Numbers stand on the right; the last column of text is not padded. */
static void put_padded(struct span s, size_t width, bool right, bool last, struct buf *out)
{
	size_t fill = width > width_of(s) ? width - width_of(s) : 0;
	if (right)
		buf_printf(out, "%*s", (int)fill, "");
	buf_add_span(out, s);
	if (!right && !last)
		buf_printf(out, "%*s", (int)fill, "");
	buf_add_str(out, last ? "\n" : "  ");
}

static size_t guess_columns(const json_t *rows, struct column *out)
{
	size_t n = 0;
	const char *key;
	json_t *value;
	json_object_foreach(json_array_get(rows, 0), key, value)
	{
		if (n == TABLE_COLUMNS_MAX)
			break;
		out[n++] = (struct column){ key, key,
			json_is_integer(value) ? COLUMN_NUMBER : COLUMN_TEXT };
	}
	return n;
}

bool table_put(const json_t *rows, const struct column *columns, struct buf *out)
{
	struct column guessed[TABLE_COLUMNS_MAX];
	size_t width[TABLE_COLUMNS_MAX], n = 0, row_count = json_array_size(rows);
	struct buf text = BUF_INIT(4 * CELL_MAX + 64);
	if (columns == NULL)
		n = guess_columns(rows, guessed);
	else
		while (n < TABLE_COLUMNS_MAX && columns[n].title != NULL)
			n++;
	const struct column *c = columns != NULL ? columns : guessed;
	for (size_t i = 0; i < n; i++) {
		width[i] = strlen(c[i].title);
		for (size_t r = 0; r < row_count; r++) {
			size_t w = width_of(cell(json_array_get(rows, r), &c[i], &text));
			width[i] = w > width[i] ? w : width[i];
		}
	}
	for (size_t i = 0; i < n; i++)
		put_padded(
		    span_str(c[i].title), width[i], c[i].kind != COLUMN_TEXT, i + 1 == n, out);
	for (size_t r = 0; r < row_count; r++)
		for (size_t i = 0; i < n; i++)
			put_padded(cell(json_array_get(rows, r), &c[i], &text), width[i],
			    c[i].kind != COLUMN_TEXT, i + 1 == n, out);
	buf_end(&text);
	return buf_ok(out);
}

static void put_members(const json_t *object, struct buf *out)
{
	size_t width = 0;
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		size_t w = width_of(span_str(key));
		width = w > width && w < CELL_MAX ? w : width;
	}
	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		struct buf name = BUF_INIT(4 * CELL_MAX);
		fmt_line_text(&name, span_str(key), CELL_MAX);
		put_padded(buf_span(&name), width, false, false, out);
		put_cell(value, COLUMN_TEXT, out);
		buf_add_char(out, '\n');
		buf_end(&name);
	}
}

bool table_put_any(const json_t *value, struct buf *out)
{
	if (json_is_array(value) && json_is_object(json_array_get(value, 0)))
		return table_put(value, NULL, out);
	if (json_is_object(value)) {
		put_members(value, out);
		return buf_ok(out);
	}
	for (size_t i = 0; json_is_array(value) && i < json_array_size(value); i++) {
		put_cell(json_array_get(value, i), COLUMN_TEXT, out);
		buf_add_char(out, '\n');
	}
	if (!json_is_array(value)) {
		put_cell(value, COLUMN_TEXT, out);
		buf_add_char(out, '\n');
	}
	return buf_ok(out);
}
