/* json.c - a reader that goes through all of a JSON text and stops at one member. */
#include "proto/json.h"

struct reader {
	struct span rest;
	unsigned depth;
};

static bool read_value(struct reader *r, struct json_value *out);

static void skip_space(struct reader *r)
{
	while (r->rest.n > 0 && (r->rest.p[0] == ' ' || r->rest.p[0] == '\t' ||
				    r->rest.p[0] == '\n' || r->rest.p[0] == '\r'))
		r->rest = span_from(r->rest, 1);
}

/* Eats c and the space before it. */
static bool take(struct reader *r, char c)
{
	skip_space(r);
	if (r->rest.n == 0 || r->rest.p[0] != c)
		return false;
	r->rest = span_from(r->rest, 1);
	return true;
}

/* Behind the opening quote. */
static bool read_string(struct reader *r, struct json_value *out)
{
	bool escaped = false;
	for (size_t i = 0; i < r->rest.n; i++) {
		unsigned char c = (unsigned char)r->rest.p[i];
		if (c < 0x20)
			break;
		if (c == '\\') {
			escaped = true;
			i++;
		} else if (c == '"') {
			out->type = escaped ? JSON_OTHER : JSON_STRING;
			out->text = span_first(r->rest, i);
			r->rest = span_from(r->rest, i + 1);
			return true;
		}
	}
	return false;
}

/* One member of an object or element of an array. */
static bool read_item(
    struct reader *r, bool keyed, struct json_value *key, struct json_value *value)
{
	if (keyed && (!take(r, '"') || !read_string(r, key) || !take(r, ':')))
		return false;
	return read_value(r, value);
}

/* Behind the opening bracket, to behind the closing one. */
static bool skip_items(struct reader *r, bool keyed)
{
	struct json_value key, value;
	if (++r->depth > JSON_DEPTH_MAX)
		return false;
	bool more = !take(r, keyed ? '}' : ']');
	while (more) {
		if (!read_item(r, keyed, &key, &value))
			return false;
		more = take(r, ',');
		if (!more && !take(r, keyed ? '}' : ']'))
			return false;
	}
	r->depth--;
	return true;
}

/* A number, or true, false, null: what stands there until something else begins. */
static bool read_word(struct reader *r, struct json_value *out)
{
	size_t n = 0;
	while (n < r->rest.n && (ascii_is_alpha((unsigned char)r->rest.p[n]) ||
				    ascii_is_digit((unsigned char)r->rest.p[n]) ||
				    span_find(SPAN("+-."), r->rest.p[n]) != SIZE_MAX))
		n++;
	out->text = span_first(r->rest, n);
	r->rest = span_from(r->rest, n);
	bool number =
	    n > 0 && (out->text.p[0] == '-' || ascii_is_digit((unsigned char)out->text.p[0]));
	out->type = number ? JSON_NUMBER : JSON_OTHER;
	return number || span_eq_str(out->text, "true") || span_eq_str(out->text, "false") ||
	       span_eq_str(out->text, "null");
}

static bool read_value(struct reader *r, struct json_value *out)
{
	skip_space(r);
	struct span from = r->rest;
	*out = (struct json_value){ .type = JSON_OTHER };
	if (take(r, '"'))
		return read_string(r, out);
	bool object = take(r, '{');
	if (!object && !take(r, '['))
		return read_word(r, out);
	bool good = skip_items(r, object);
	out->type = object ? JSON_OTHER : JSON_ARRAY;
	out->text = span_first(from, from.n - r->rest.n);
	return good;
}

bool json_get(struct span text, const char *key, struct json_value *out)
{
	struct reader r = { .rest = text, .depth = 1 };
	*out = (struct json_value){ .type = JSON_ABSENT };
	if (!take(&r, '{'))
		return false;
	bool more = !take(&r, '}');
	while (more) {
		struct json_value name, value;
		if (!read_item(&r, true, &name, &value))
			return false;
		if (name.type == JSON_STRING && span_eq_str(name.text, key)) {
			if (out->type != JSON_ABSENT)
				return false;
			*out = value;
		}
		more = take(&r, ',');
		if (!more && !take(&r, '}'))
			return false;
	}
	skip_space(&r);
	return r.rest.n == 0;
}

bool json_array_has(struct span array, struct span string)
{
	struct reader r = { .rest = array };
	struct json_value v;
	bool found = false;
	if (!take(&r, '['))
		return false;
	do {
		if (!read_value(&r, &v))
			return false;
		found = found || (v.type == JSON_STRING && span_eq(v.text, string));
	} while (take(&r, ','));
	return found;
}

bool json_u64(const struct json_value *v, uint64_t *out)
{
	struct span whole = span_first(v->text, span_find(v->text, '.'));
	return v->type == JSON_NUMBER && span_u64(whole, UINT64_MAX / 4, out);
}
