/* mime_header.c - header fields, the values of Content-Type and its like, dates; see mime.h. Owns nothing. */
#include "proto/civil.h"
#include "proto/mime.h"

enum { DAY_S = 86400 };

static bool is_wsp(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_space(char c)
{
	return is_wsp(c) || c == '\r' || c == '\n';
}

/* ---- fields -------------------------------------------------------------------------------------- */

/* A field: its line and the lines behind it that begin with white space. */
static struct span take_folded(struct span *rest)
{
	size_t n = 0;
	do {
		size_t lf = span_find(span_from(*rest, n), '\n');
		n = lf == SIZE_MAX ? rest->n : n + lf + 1;
	} while (n < rest->n && is_wsp(rest->p[n]));
	struct span whole = span_first(*rest, n);
	*rest = span_from(*rest, n);
	return whole;
}

bool mime_next_field(struct span *rest, struct mime_field *out)
{
	while (rest->n > 0) {
		struct span whole = take_folded(rest);
		struct span value = whole;
		struct span name = span_cut(&value, ':');
		if (value.p == NULL || name.n == 0 || is_space(name.p[0]))
			continue;
		while (name.n > 0 && is_wsp(name.p[name.n - 1])) /* "Subject :" of old */
			name.n--;
		*out = (struct mime_field){ name, span_trim(value), whole };
		return true;
	}
	return false;
}

bool mime_find_field(struct span header, const char *name, struct span *value_out)
{
	struct mime_field f;
	while (mime_next_field(&header, &f)) {
		if (span_ieq_str(f.name, name)) {
			*value_out = f.value;
			return true;
		}
	}
	*value_out = SPAN_NONE;
	return false;
}

bool mime_unfold(struct span value, struct buf *out)
{
	while (value.n > 0) {
		size_t n = 0;
		while (
		    n < value.n && value.p[n] != '\r' && value.p[n] != '\n' && value.p[n] != '\0')
			n++;
		buf_add(out, value.p, n);
		value = span_from(value, n < value.n ? n + 1 : n);
	}
	return buf_ok(out);
}

/* ---- values -------------------------------------------------------------------------------------- */

/* White space and (comments (nested)). An unfinished comment takes all. */
static void skip_cfws(struct span *v)
{
	size_t i = 0, depth = 0;
	for (; i < v->n; i++) {
		char c = v->p[i];
		if (c == '(')
			depth++;
		else if (c == ')' && depth > 0)
			depth--;
		else if (c == '\\' && depth > 0)
			i++;
		else if (depth == 0 && !is_space(c))
			break;
	}
	*v = span_from(*v, i);
}

static bool is_token_char(char ch)
{
	unsigned char c = (unsigned char)ch;
	return c > 0x20 && c != 0x7f && memchr("()<>@,;:\\\"/[]?=", c, 15) == NULL;
}

static struct span take_token(struct span *v)
{
	size_t n = 0;
	skip_cfws(v);
	while (n < v->n && is_token_char(v->p[n]))
		n++;
	struct span token = span_first(*v, n);
	*v = span_from(*v, n);
	return token;
}

/* A quoted string, as a span into v when it holds nothing that must go, else copied to scratch. */
static struct span take_quoted(struct span *v, struct buf *scratch)
{
	size_t i = 1;
	bool plain = true;
	for (; i < v->n && v->p[i] != '"'; i++) {
		char c = v->p[i];
		plain = plain && c != '\\' && c != '\r' && c != '\n' && c != '\0';
		if (c == '\\')
			i++;
	}
	if (i > v->n)
		i = v->n;
	struct span raw = span_of(v->p + 1, i - 1);
	*v = span_from(*v, i + 1);
	if (plain)
		return raw;
	size_t from = buf_len(scratch);
	for (i = 0; i < raw.n; i++) {
		if (raw.p[i] == '\\' && i + 1 < raw.n)
			i++;
		if (raw.p[i] != '\r' && raw.p[i] != '\n' && raw.p[i] != '\0')
			buf_add_char(scratch, raw.p[i]);
	}
	return span_from(buf_span(scratch), from);
}

/* What stands behind "=": quoted, or everything up to ";" or white space, since "=" and "/" in an
 * unquoted boundary are common. */
static struct span take_param_value(struct span *v, struct buf *scratch)
{
	size_t n = 0;
	skip_cfws(v);
	if (v->n > 0 && v->p[0] == '"')
		return take_quoted(v, scratch);
	while (n < v->n && v->p[n] != ';' && v->p[n] != '\0' && !is_space(v->p[n]))
		n++;
	struct span value = span_first(*v, n);
	*v = span_from(*v, n);
	return value;
}

static void take_params(struct span *v, struct buf *scratch, struct mime_value *out)
{
	for (;;) {
		size_t semi = span_find(*v, ';');
		if (semi == SIZE_MAX || out->param_count == MIME_PARAMS_MAX)
			return;
		*v = span_from(*v, semi + 1);
		struct span name = take_token(v);
		skip_cfws(v);
		if (name.n == 0 || v->n == 0 || v->p[0] != '=')
			continue;
		*v = span_from(*v, 1);
		out->params[out->param_count].name = name;
		out->params[out->param_count++].value = take_param_value(v, scratch);
	}
}

bool mime_parse_value(struct span value, struct buf *scratch, struct mime_value *out)
{
	char *room;
	out->param_count = 0;
	out->type = out->subtype = SPAN_NONE;
	struct span type = take_token(&value);
	if (type.n == 0)
		return false;
	(void)buf_room(scratch, value.n, &room); /* at once: spans into it must not move */
	out->type = type;
	skip_cfws(&value);
	if (value.n > 0 && value.p[0] == '/') {
		value = span_from(value, 1);
		out->subtype = take_token(&value);
	}
	take_params(&value, scratch, out);
	return true;
}

struct span mime_param(const struct mime_value *v, const char *name)
{
	for (size_t i = 0; i < v->param_count; i++) {
		if (span_ieq_str(v->params[i].name, name))
			return v->params[i].value;
	}
	return SPAN_NONE;
}

struct span mime_token(struct span value)
{
	return take_token(&value);
}

bool mime_is_token(struct span value, const char *word)
{
	struct span token = take_token(&value);
	skip_cfws(&value);
	return span_ieq_str(token, word) && value.n == 0;
}

/* ---- dates --------------------------------------------------------------------------------------- */

static bool take_number(struct span *v, size_t digits_max, int32_t *out)
{
	size_t n = 0;
	uint64_t value;
	skip_cfws(v);
	while (n < v->n && n < digits_max && ascii_is_digit((unsigned char)v->p[n]))
		n++;
	if (!span_u64(span_first(*v, n), INT32_MAX, &value))
		return false;
	*v = span_from(*v, n);
	*out = (int32_t)value;
	return true;
}

static bool take_char(struct span *v, char c)
{
	skip_cfws(v);
	if (v->n == 0 || v->p[0] != c)
		return false;
	*v = span_from(*v, 1);
	return true;
}

static struct span take_letters(struct span *v)
{
	size_t n = 0;
	skip_cfws(v);
	while (n < v->n && ascii_is_alpha((unsigned char)v->p[n]))
		n++;
	struct span word = span_first(*v, n);
	*v = span_from(*v, n);
	return word;
}

/* "+0100" or a name of RFC 5322 section 4.3; an unknown one counts as UTC. */
static int32_t take_zone_s(struct span *v)
{
	static const struct {
		const char *name;
		int32_t hours;
	} names[] = { { "EST", -5 }, { "EDT", -4 }, { "CST", -6 }, { "CDT", -5 }, { "MST", -7 },
		{ "MDT", -6 }, { "PST", -8 }, { "PDT", -7 } };
	int32_t hhmm = 0;
	bool west = take_char(v, '-');
	if (west || take_char(v, '+')) {
		if (!take_number(v, 4, &hhmm) || hhmm / 100 > 23 || hhmm % 100 > 59)
			return 0;
		int32_t s = hhmm / 100 * 3600 + hhmm % 100 * 60;
		return west ? -s : s;
	}
	struct span word = take_letters(v);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (span_ieq_str(word, names[i].name))
			return names[i].hours * 3600;
	}
	return 0;
}

static bool take_time_s(struct span *v, int32_t *out)
{
	int32_t h, m, s = 0;
	if (!take_number(v, 2, &h) || !take_char(v, ':') || !take_number(v, 2, &m))
		return false;
	if (take_char(v, ':') && !take_number(v, 2, &s))
		return false;
	*out = h * 3600 + m * 60 + s;
	return h < 24 && m < 60 && s <= 60;
}

bool mime_parse_date(struct span v, int64_t *unix_s_out, int32_t *local_day_out)
{
	struct civil d;
	int32_t time_s;
	(void)take_letters(&v); /* the day of the week says nothing new */
	(void)take_char(&v, ',');
	if (!take_number(&v, 2, &d.day))
		return false;
	struct span month = take_letters(&v);
	d.month = civil_month(month.p, month.n);
	if (!take_number(&v, 4, &d.year))
		return false;
	if (d.year < 100) /* RFC 5322 section 4.3 */
		d.year += d.year < 50 ? 2000 : 1900;
	if (!civil_exists(d) || !take_time_s(&v, &time_s))
		return false;
	*local_day_out = civil_to_days(d);
	*unix_s_out = (int64_t)*local_day_out * DAY_S + time_s - take_zone_s(&v);
	return true;
}
