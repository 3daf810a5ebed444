/* base64.c - strict RFC 4648 base64. */
#include "base/base64.h"

static const char digits[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool base64_put(struct buf *out, struct span raw)
{
	for (size_t i = 0; i < raw.n; i += 3) {
		size_t left = raw.n - i;
		unsigned v = (unsigned)(unsigned char)raw.p[i] << 16;
		if (left > 1)
			v |= (unsigned)(unsigned char)raw.p[i + 1] << 8;
		if (left > 2)
			v |= (unsigned)(unsigned char)raw.p[i + 2];
		char q[4] = { digits[v >> 18], digits[(v >> 12) & 63], digits[(v >> 6) & 63],
			digits[v & 63] };
		if (left < 3)
			q[3] = '=';
		if (left < 2)
			q[2] = '=';
		if (!buf_add(out, q, sizeof q))
			return false;
	}
	return buf_ok(out);
}

int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes four characters; `keep` bytes (1-3) come of them. False: a bad digit or stray bits. */
static bool get_quad(const char *p, size_t keep, char out[3])
{
	unsigned v = 0;
	for (size_t i = 0; i < 4; i++) {
		int d = i <= keep ? base64_digit(p[i]) : 0;
		if (d < 0)
			return false;
		v = v << 6 | (unsigned)d;
	}
	out[0] = (char)(v >> 16);
	out[1] = (char)(v >> 8);
	out[2] = (char)v;
	return (v & ((1u << (24 - 8 * keep)) - 1)) == 0;
}

bool base64_get(struct span text, struct buf *out)
{
	if (text.n % 4 != 0)
		return false;
	for (size_t i = 0; i < text.n; i += 4) {
		size_t keep = 3;
		char raw[3];
		if (i + 4 == text.n && text.p[i + 3] == '=')
			keep = text.p[i + 2] == '=' ? 1 : 2;
		if (!get_quad(text.p + i, keep, raw) || !buf_add(out, raw, keep))
			return false;
	}
	return buf_ok(out);
}
