/* bytes.c - fields of records in the spool, and of frames between processes. */
#include "base/bytes.h"

static void put_number(struct buf *out, uint64_t v, size_t n)
{
	char raw[8];
	for (size_t i = 0; i < n; i++)
		raw[i] = (char)(v >> (8 * i));
	buf_add(out, raw, n);
}

void bytes_put_u8(struct buf *out, unsigned v)
{
	put_number(out, v, 1);
}

void bytes_put_u16(struct buf *out, unsigned v)
{
	put_number(out, v, 2);
}

void bytes_put_u32(struct buf *out, uint64_t v)
{
	put_number(out, v, 4);
}

void bytes_put_u64(struct buf *out, uint64_t v)
{
	put_number(out, v, 8);
}

void bytes_put_string(struct buf *out, struct span s)
{
	if (s.n > UINT16_MAX)
		s.n = UINT16_MAX;
	put_number(out, s.n, 2);
	buf_add_span(out, s);
}

void bytes_put_ident(struct buf *out, struct ident id)
{
	bytes_put_string(out, span_str(id.s));
}

struct span bytes_raw(struct bytes_reader *r, size_t n)
{
	if (r->bad || r->rest.n < n) {
		r->bad = true;
		return SPAN_NONE;
	}
	struct span s = span_first(r->rest, n);
	r->rest = span_from(r->rest, n);
	return s;
}

static uint64_t number(struct bytes_reader *r, size_t n)
{
	struct span raw = bytes_raw(r, n);
	uint64_t v = 0;
	for (size_t i = 0; i < raw.n; i++)
		v |= (uint64_t)(unsigned char)raw.p[i] << (8 * i);
	return v;
}

uint8_t bytes_u8(struct bytes_reader *r)
{
	return (uint8_t)number(r, 1);
}

uint16_t bytes_u16(struct bytes_reader *r)
{
	return (uint16_t)number(r, 2);
}

uint32_t bytes_u32(struct bytes_reader *r)
{
	return (uint32_t)number(r, 4);
}

uint64_t bytes_u64(struct bytes_reader *r)
{
	return number(r, 8);
}

struct span bytes_string(struct bytes_reader *r, size_t max)
{
	size_t n = bytes_u16(r);
	if (n > max)
		r->bad = true;
	return bytes_raw(r, n);
}

struct ident bytes_ident(struct bytes_reader *r)
{
	struct ident id = { "" };
	struct span text = bytes_string(r, IDENT_LEN);
	if (text.n > 0 && !ident_parse(text, &id))
		r->bad = true;
	return id;
}
