/* mime_transfer.c - see mime_transfer.h. Owns nothing. */
#include "proto/mime_transfer.h"

#include "base/base64.h"

enum mime_transfer mime_transfer_of(struct span name)
{
	if (span_ieq_str(name, "base64"))
		return TRANSFER_BASE64;
	return span_ieq_str(name, "quoted-printable") ? TRANSFER_QUOTED : TRANSFER_NONE;
}

/* Lenient, unlike lib's: mail wraps lines, and some glue two encodings together at the padding. */
static void put_base64(struct transfer *t, struct span in, struct buf *out)
{
	for (size_t i = 0; i < in.n; i++) {
		int d = base64_digit(in.p[i]);
		if (in.p[i] == '=')
			t->digits = 0;
		if (d < 0)
			continue;
		t->bits = t->bits << 6 | (uint32_t)d;
		t->digits++;
		if (t->digits > 1)
			buf_add_char(out, (char)(t->bits >> (8 - 2 * t->digits)));
		if (t->digits == 4)
			t->digits = 0;
	}
}

/* "=" and up to two more bytes are held: is it over, and what did it mean? */
static void end_quoted(struct transfer *t, struct buf *out)
{
	int high = t->held_n > 1 ? ascii_hex(t->held[1]) : -1;
	int low = t->held_n > 2 ? ascii_hex(t->held[2]) : -1;
	bool line_end = t->held_n > 1 && t->held[t->held_n - 1] == '\n';
	if (high >= 0 && low >= 0)
		buf_add_char(out, (char)(high << 4 | low));
	else if (!line_end) /* it was no escape */
		buf_add(out, t->held, t->held_n);
	t->held_n = 0;
}

static void put_quoted(struct transfer *t, struct span in, struct buf *out)
{
	for (size_t i = 0; i < in.n; i++) {
		char c = in.p[i];
		if (t->held_n == 0 && c != '=') {
			buf_add_char(out, c);
			continue;
		}
		t->held[t->held_n++] = c;
		if (t->held_n == sizeof t->held || c == '\n')
			end_quoted(t, out);
	}
}

void transfer_put(struct transfer *t, struct span in, struct buf *out)
{
	switch (t->how) {
	case TRANSFER_NONE:
		buf_add_span(out, in);
		break;
	case TRANSFER_BASE64:
		put_base64(t, in, out);
		break;
	case TRANSFER_QUOTED:
		put_quoted(t, in, out);
		break;
	}
}

void transfer_end(struct transfer *t, struct buf *out)
{
	if (t->how == TRANSFER_QUOTED)
		end_quoted(t, out);
}
