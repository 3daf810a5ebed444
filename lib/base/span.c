/* span.c - views of bytes: comparison, search, cutting, strict numbers. */
#include <string.h>

#include "base/span.h"

bool span_eq(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool span_ieq(struct span a, struct span b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
			return false;
	return true;
}

bool span_eq_str(struct span a, const char *b)
{
	return span_eq(a, span_str(b));
}

bool span_ieq_str(struct span a, const char *b)
{
	return span_ieq(a, span_str(b));
}

int span_cmp(struct span a, struct span b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int c = n == 0 ? 0 : memcmp(a.p, b.p, n);
	if (c != 0)
		return c;
	return a.n < b.n ? -1 : a.n > b.n;
}

bool span_starts(struct span s, struct span prefix)
{
	return s.n >= prefix.n && span_eq(span_first(s, prefix.n), prefix);
}

bool span_istarts(struct span s, struct span prefix)
{
	return s.n >= prefix.n && span_ieq(span_first(s, prefix.n), prefix);
}

bool span_iends(struct span s, struct span suffix)
{
	return s.n >= suffix.n && span_ieq(span_from(s, s.n - suffix.n), suffix);
}

struct span span_from(struct span s, size_t from)
{
	if (from >= s.n)
		return (struct span){ s.p == NULL ? NULL : s.p + s.n, 0 };
	return (struct span){ s.p + from, s.n - from };
}

struct span span_first(struct span s, size_t n)
{
	return (struct span){ s.p, n < s.n ? n : s.n };
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct span span_trim(struct span s)
{
	while (s.n > 0 && is_blank(s.p[0]))
		s = span_from(s, 1);
	while (s.n > 0 && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

size_t span_find(struct span s, char c)
{
	const char *q = s.n == 0 ? NULL : memchr(s.p, c, s.n);
	return q == NULL ? SIZE_MAX : (size_t)(q - s.p);
}

size_t span_rfind(struct span s, char c)
{
	const char *q = s.n == 0 ? NULL : memrchr(s.p, c, s.n);
	return q == NULL ? SIZE_MAX : (size_t)(q - s.p);
}

size_t span_find_span(struct span s, struct span what)
{
	if (what.n == 0)
		return 0;
	const char *q = s.n < what.n ? NULL : memmem(s.p, s.n, what.p, what.n);
	return q == NULL ? SIZE_MAX : (size_t)(q - s.p);
}

struct span span_cut(struct span *rest, char sep)
{
	size_t at = span_find(*rest, sep);
	struct span part = span_first(*rest, at);
	*rest = at == SIZE_MAX ? SPAN_NONE : span_from(*rest, at + 1);
	return part;
}

bool span_has_word(struct span words, struct span word)
{
	while (words.n > 0)
		if (span_ieq(span_cut(&words, ' '), word))
			return true;
	return false;
}

bool span_u64(struct span s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;
	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (!ascii_is_digit((unsigned char)s.p[i]))
			return false;
		uint64_t digit = (uint64_t)(s.p[i] - '0');
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, digit, &v) || v > max)
			return false;
	}
	*out = v;
	return true;
}

bool span_is_ascii(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return false;
	return true;
}

bool span_has_control(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
			return true;
	return false;
}

bool span_is_visible(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f)
			return false;
	return true;
}

/* Length of the well-formed sequence at p (n bytes left), or 0. Table 3-7 of Unicode. */
static size_t utf8_sequence(const unsigned char *p, size_t n)
{
	static const struct {
		unsigned char first_lo, first_hi, second_lo, second_hi;
		size_t len;
	} forms[] = {
		{ 0x00, 0x7f, 0, 0, 1 },
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 },
		{ 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};
	for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		if (p[0] < forms[i].first_lo || p[0] > forms[i].first_hi)
			continue;
		if (n < forms[i].len)
			return 0;
		for (size_t k = 1; k < forms[i].len; k++) {
			unsigned char lo = k == 1 ? forms[i].second_lo : 0x80;
			unsigned char hi = k == 1 ? forms[i].second_hi : 0xbf;
			if (p[k] < lo || p[k] > hi)
				return 0;
		}
		return forms[i].len;
	}
	return 0;
}

bool span_is_utf8(struct span s)
{
	size_t step;
	for (size_t i = 0; i < s.n; i += step) {
		step = utf8_sequence((const unsigned char *)s.p + i, s.n - i);
		if (step == 0)
			return false;
	}
	return true;
}

void span_lower_to(char *dst, struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		dst[i] = ascii_lower(s.p[i]);
}

/* On a mismatch only the last `*` need take one byte more. */
bool span_is_like(struct span text, struct span pattern)
{
	size_t star = SIZE_MAX, again = 0, t = 0, p = 0;
	while (t < text.n) {
		if (p < pattern.n && pattern.p[p] == '*') {
			star = p++;
			again = t;
		} else if (p < pattern.n && ascii_lower(pattern.p[p]) == ascii_lower(text.p[t])) {
			p++;
			t++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			t = ++again;
		} else {
			return false;
		}
	}
	while (p < pattern.n && pattern.p[p] == '*')
		p++;
	return p == pattern.n;
}

bool span_cut_escaped(struct span *rest, char *out)
{
	bool escaped = rest->p[0] == '%';
	int high = escaped && rest->n > 2 ? ascii_hex(rest->p[1]) : -1;
	int low = escaped && rest->n > 2 ? ascii_hex(rest->p[2]) : -1;
	if (escaped && (high < 0 || low < 0))
		return false;
	*out = rest->p[0];
	if (escaped)
		*out = (char)(unsigned char)(high << 4 | low);
	*rest = span_from(*rest, escaped ? 3 : 1);
	return true;
}
