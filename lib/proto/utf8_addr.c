/* utf8_addr.c - the two forms of RFC 6533; no I/O. Owns nothing. */
#include "proto/utf8_addr.h"

enum { HEX_MIN = 2, HEX_MAX = 6, POINT_MAX = 0x10ffff, POINT_CODED = 0x80 };

/* QCHAR: printable ASCII that stands for itself. */
static bool is_plain(unsigned char c)
{
	return c > 0x20 && c < 0x7f && c != '+' && c != '=' && c != '\\';
}

/* HEXPOINT, but for the controls: what has to be coded, and no other character. */
static bool may_be_coded(unsigned point)
{
	if (point < POINT_CODED)
		return point == ' ' || point == '+' || point == '=' || point == '\\';
	return point <= POINT_MAX && (point < 0xd800 || point > 0xdfff);
}

/* "\x{HEX}" at the beginning: how long it is; 0: it is not. */
static size_t take_coded(struct span v, unsigned *point_out)
{
	size_t at = 3;
	unsigned point = 0;
	if (!span_starts(v, SPAN("\\x{")))
		return 0;
	for (; at < v.n && at < 3 + HEX_MAX && ascii_hex(v.p[at]) >= 0; at++)
		point = point << 4 | (unsigned)ascii_hex(v.p[at]);
	size_t digits = at - 3;
	bool padded = digits > HEX_MIN && v.p[3] == '0';
	if (digits < HEX_MIN || padded || at == v.n || v.p[at] != '}' || !may_be_coded(point))
		return 0;
	*point_out = point;
	return at + 1;
}

bool utf8_addr_get(struct span text, bool raw_ok, struct buf *out)
{
	if (!span_is_utf8(text) || (!raw_ok && !span_is_ascii(text)))
		return false;
	while (text.n > 0) {
		unsigned char c = (unsigned char)text.p[0];
		size_t used = 1;
		unsigned point;
		if (c >= POINT_CODED || is_plain(c))
			buf_add_char(out, (char)c);
		else if ((used = take_coded(text, &point)) > 0)
			buf_add_utf8(out, point);
		else
			return false;
		text = span_from(text, used);
	}
	return buf_ok(out);
}

/* A character that begins with this byte, in well-formed UTF-8. */
static unsigned take_point(struct span *v)
{
	unsigned first = (unsigned char)v->p[0];
	size_t n = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
	unsigned point = n == 4 ? first & 7u : n == 3 ? first & 15u : n == 2 ? first & 31u : first;
	for (size_t i = 1; i < n; i++)
		point = point << 6 | ((unsigned char)v->p[i] & 63u);
	*v = span_from(*v, n);
	return point;
}

bool utf8_addr_put(struct buf *out, struct span address)
{
	bool good = span_is_utf8(address);
	while (address.n > 0) {
		unsigned char c = (unsigned char)address.p[0];
		if (is_plain(c)) {
			buf_add_char(out, (char)c);
			address = span_from(address, 1);
		} else if (!good || c < ' ' || c == 0x7f) {
			buf_add_char(out, '?');
			address = span_from(address, 1);
		} else {
			buf_printf(out, "\\x{%02X}", take_point(&address));
		}
	}
	return buf_ok(out);
}
