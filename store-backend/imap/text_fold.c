/* text_fold.c - UTF-8 without case; see text.h.
 *
 * Last step of three: before: text_decode.c. Owns nothing but a character that has not come whole. */
#include "base/check.h"

#include "store-backend/imap/text.h"

enum { REPLACEMENT = 0xfffd };

/* Capitals first .. last, every step-th one, lie `by` below their small letters. */
static const struct {
	uint32_t first, last, step;
	int32_t by;
} capitals[] = {
	{ 0xc0, 0xd6, 1, 32 },
	{ 0xd8, 0xde, 1, 32 },
	{ 0x100, 0x12e, 2, 1 },
	{ 0x132, 0x136, 2, 1 },
	{ 0x139, 0x147, 2, 1 },
	{ 0x14a, 0x176, 2, 1 },
	{ 0x178, 0x178, 1, -121 },
	{ 0x179, 0x17d, 2, 1 },
	{ 0x1cd, 0x1db, 2, 1 },
	{ 0x1de, 0x1ee, 2, 1 },
	{ 0x1f8, 0x21e, 2, 1 },
	{ 0x222, 0x232, 2, 1 },
	{ 0x386, 0x386, 1, 38 },
	{ 0x388, 0x38a, 1, 37 },
	{ 0x38c, 0x38c, 1, 64 },
	{ 0x38e, 0x38f, 1, 63 },
	{ 0x391, 0x3a1, 1, 32 },
	{ 0x3a3, 0x3ab, 1, 32 },
	{ 0x3c2, 0x3c2, 1, 1 }, /* final sigma */
	{ 0x400, 0x40f, 1, 80 },
	{ 0x410, 0x42f, 1, 32 },
	{ 0x460, 0x480, 2, 1 },
	{ 0x48a, 0x4be, 2, 1 },
	{ 0x4c1, 0x4cd, 2, 1 },
	{ 0x4d0, 0x52e, 2, 1 },
	{ 0x531, 0x556, 1, 48 },
	{ 0x1e00, 0x1e94, 2, 1 },
	{ 0x1ea0, 0x1efe, 2, 1 },
	{ 0xff21, 0xff3a, 1, 32 },
};

static uint32_t fold(uint32_t cp)
{
	size_t lo = 0, hi = COUNT_OF(capitals);
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (cp > capitals[mid].last)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == COUNT_OF(capitals) || cp < capitals[lo].first ||
	    (cp - capitals[lo].first) % capitals[lo].step != 0)
		return cp;
	return (uint32_t)((int32_t)cp + capitals[lo].by);
}

/* Bytes of the character that begins with c; 0: none does. */
static unsigned length_of(unsigned char c)
{
	return c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
}

static uint32_t code_point(const char *p, unsigned n)
{
	static const uint8_t mask[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
	uint32_t cp = (unsigned char)p[0] & mask[n];
	for (unsigned i = 1; i < n; i++)
		cp = cp << 6 | ((unsigned char)p[i] & 0x3f);
	return cp;
}

/* The held bytes are a whole character, or none. */
static void put_held(struct folder *f, struct buf *out)
{
	struct span held = span_of(f->held, f->held_n);
	if (f->held_n > 0)
		buf_add_utf8(
		    out, span_is_utf8(held) ? fold(code_point(f->held, f->held_n)) : REPLACEMENT);
	f->held_n = 0;
}

static void put_byte(struct folder *f, char ch, struct buf *out)
{
	unsigned char c = (unsigned char)ch;
	if (f->held_n > 0 && (c & 0xc0) != 0x80)
		put_held(f, out); /* it was cut off */
	f->held[f->held_n++] = ch;
	unsigned want = length_of((unsigned char)f->held[0]);
	if (f->held_n >= want)
		put_held(f, out);
}

void folder_put(struct folder *f, struct span in, struct buf *out)
{
	char lower[256];
	while (in.n > 0) {
		size_t n = 0, most = in.n < sizeof lower ? in.n : sizeof lower;
		while (n < most && (unsigned char)in.p[n] < 0x80) {
			lower[n] = ascii_lower(in.p[n]);
			n++;
		}
		if (n > 0 && f->held_n > 0)
			put_held(f, out);
		buf_add(out, lower, n);
		in = span_from(in, n);
		for (; in.n > 0 && (unsigned char)in.p[0] >= 0x80; in = span_from(in, 1))
			put_byte(f, in.p[0], out);
	}
}

void folder_end(struct folder *f, struct buf *out)
{
	put_held(f, out);
}

void text_fold(struct span utf8, struct buf *out)
{
	struct folder f = { .held_n = 0 };
	folder_put(&f, utf8, out);
	folder_end(&f, out);
}
