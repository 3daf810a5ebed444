/* imap_utf7.c - modified UTF-7, strict in both directions; see imap_utf7.h. Owns nothing. */
#include "proto/imap_utf7.h"

static const char digits[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

static bool is_direct(uint32_t c)
{
	return c >= 0x20 && c <= 0x7e;
}

static int digit_value(char c)
{
	const char *at = c == '\0' ? NULL : strchr(digits, c);
	return at == NULL ? -1 : (int)(at - digits);
}

/* ---- decoding ------------------------------------------------------------------------------------ */

struct decoder {
	uint32_t bits, nbits;
	uint32_t high; /* the first half of a surrogate pair, or 0 */
};

static bool take_unit(struct decoder *d, uint32_t unit, struct buf *out)
{
	if (d->high != 0) {
		if (unit < 0xdc00 || unit > 0xdfff)
			return false;
		uint32_t c = 0x10000 + ((d->high - 0xd800) << 10) + (unit - 0xdc00);
		d->high = 0;
		return buf_add_utf8(out, c);
	}
	if (unit >= 0xd800 && unit <= 0xdbff) {
		d->high = unit;
		return true;
	}
	/* what can stand for itself must; controls have no place in a name */
	if ((unit >= 0xdc00 && unit <= 0xdfff) || unit < 0xa0)
		return false;
	return buf_add_utf8(out, unit);
}

/* The inside of one &...- run. */
static bool decode_run(struct span run, struct buf *out)
{
	struct decoder d = { 0 };
	for (size_t i = 0; i < run.n; i++) {
		int v = digit_value(run.p[i]);
		if (v < 0)
			return false;
		d.bits = d.bits << 6 | (uint32_t)v;
		d.nbits += 6;
		if (d.nbits < 16)
			continue;
		d.nbits -= 16;
		if (!take_unit(&d, d.bits >> d.nbits & 0xffff, out))
			return false;
		d.bits &= (1u << d.nbits) - 1;
	}
	return d.high == 0 && d.bits == 0 && d.nbits < 6;
}

bool imap_utf7_decode(struct span name, struct buf *out)
{
	bool after_run = false;
	while (name.n > 0) {
		char c = name.p[0];
		if (!is_direct((unsigned char)c))
			return false;
		if (c != '&') {
			buf_add_char(out, c);
			name = span_from(name, 1);
			after_run = false;
			continue;
		}
		size_t end = span_find(name, '-');
		if (end == SIZE_MAX)
			return false;
		if (end == 1) {
			buf_add_char(out, '&');
		} else if (after_run || !decode_run(span_of(name.p + 1, end - 1), out)) {
			return false; /* two runs side by side have a shorter form */
		}
		after_run = end > 1;
		name = span_from(name, end + 1);
	}
	return buf_ok(out);
}

/* ---- encoding ------------------------------------------------------------------------------------ */

struct encoder {
	struct buf *out;
	bool in_run;
	uint32_t bits, nbits;
};

static void put_unit(struct encoder *e, uint32_t unit)
{
	e->bits = e->bits << 16 | unit;
	e->nbits += 16;
	while (e->nbits >= 6) {
		e->nbits -= 6;
		buf_add_char(e->out, digits[e->bits >> e->nbits & 0x3f]);
	}
	e->bits &= (1u << e->nbits) - 1;
}

static void end_run(struct encoder *e)
{
	if (!e->in_run)
		return;
	if (e->nbits > 0)
		buf_add_char(e->out, digits[e->bits << (6 - e->nbits) & 0x3f]);
	buf_add_char(e->out, '-');
	e->in_run = false;
	e->bits = e->nbits = 0;
}

static void put_in_run(struct encoder *e, uint32_t c)
{
	if (!e->in_run)
		buf_add_char(e->out, '&');
	e->in_run = true;
	if (c >= 0x10000) {
		put_unit(e, 0xd800 + ((c - 0x10000) >> 10));
		c = 0xdc00 + ((c - 0x10000) & 0x3ff);
	}
	put_unit(e, c);
}

/* The next character of text that span_is_utf8() has approved. */
static uint32_t take_char(struct span *s)
{
	unsigned char first = (unsigned char)s->p[0];
	size_t n = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	uint32_t c = n == 1 ? first : first & (0xffu >> (n + 1));
	for (size_t i = 1; i < n; i++)
		c = c << 6 | ((unsigned char)s->p[i] & 0x3f);
	*s = span_from(*s, n);
	return c;
}

bool imap_utf7_encode(struct span utf8, struct buf *out)
{
	struct encoder e = { .out = out };
	if (!span_is_utf8(utf8))
		return false;
	while (utf8.n > 0) {
		uint32_t c = take_char(&utf8);
		if (c < 0x20 || (c >= 0x7f && c < 0xa0))
			return false;
		if (is_direct(c)) {
			end_run(&e);
			buf_add_char(out, (char)c);
			if (c == '&')
				buf_add_char(out, '-');
		} else {
			put_in_run(&e, c);
		}
	}
	end_run(&e);
	return buf_ok(out);
}
