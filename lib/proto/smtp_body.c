/* smtp_body.c - dot transparency both ways.
 *
 * The decoder copies nothing: it hands out pieces of what was received. A CR at the end of the input is
 * held back in the state until the next byte says what it is. */
#include "proto/smtp_body.h"

#include <string.h>

void smtp_body_decoder_init(struct smtp_body_decoder *d, size_t line_max)
{
	*d = (struct smtp_body_decoder){ .line_max = line_max };
}

static void fault(struct smtp_body_decoder *d, enum smtp_body_fault f, uint64_t at)
{
	if ((d->faults & ~(unsigned)SMTP_BODY_8BIT) == 0 && f != SMTP_BODY_8BIT)
		d->fault_at = at;
	d->faults |= (unsigned)f;
}

static void use(struct smtp_body_decoder *d, struct span *input, size_t n)
{
	*input = span_from(*input, n);
	d->taken += n;
}

/* From at on whole words of text with nothing to note: no control characters (a tab is only a slow one), and no bytes
 * above 127 unless they are known already. Most of a message is this. */
static size_t skip_plain(const struct smtp_body_decoder *d, struct span in, size_t at)
{
	const uint64_t ones = 0x0101010101010101u, tops = ones * 0x80u;
	const uint64_t high = d->faults & SMTP_BODY_8BIT ? 0 : tops;
	size_t stop = in.n;
	if (d->line_used <= d->line_max && d->line_max - d->line_used < stop)
		stop = d->line_max - d->line_used; /* the byte there makes the line too long */
	for (uint64_t word; at + sizeof word <= stop; at += sizeof word) {
		memcpy(&word, in.p + at, sizeof word);
		if (((word & high) | ((word - ones * 0x10u) & ~word & tops)) != 0)
			break;
	}
	return at;
}

/* Bytes of a line up to the next CR, LF or the end of what is there, which begins at received byte `base`; notes NUL,
 * 8 bit and length. */
static size_t scan_text(struct smtp_body_decoder *d, struct span in, uint64_t base)
{
	size_t i = skip_plain(d, in, 0);
	while (i < in.n && in.p[i] != '\r' && in.p[i] != '\n') {
		if (in.p[i] == '\0')
			fault(d, SMTP_BODY_NUL, base + i);
		else if (((unsigned char)in.p[i] & 0x80u) != 0)
			d->faults |= SMTP_BODY_8BIT;
		if (d->line_used + i == d->line_max)
			fault(d, SMTP_BODY_LONG_LINE, base + i);
		i++;
		if (i % sizeof(uint64_t) == 0)
			i = skip_plain(d, in, i);
	}
	d->line_used += i;
	return i;
}

/* The rest of this line and all that follow, as long as they end with CR LF and none begins with a dot: one piece. */
static size_t scan_lines(struct smtp_body_decoder *d, struct span in)
{
	size_t at = 0;
	do {
		d->state = SMTP_BODY_ST_LINE;
		at += scan_text(d, span_from(in, at), d->taken + at);
		if (in.n - at < 2 || in.p[at] != '\r' || in.p[at + 1] != '\n')
			return at;
		at += 2;
		d->line_used = 0;
		d->state = SMTP_BODY_ST_START;
	} while (at < in.n && in.p[at] != '.');
	return at;
}

/* The byte behind a CR: an LF completes the line, anything else shows that the CR was bare. */
static struct span after_cr(struct smtp_body_decoder *d, struct span *input)
{
	d->line_used = 0;
	if (input->p[0] == '\n') {
		d->state = SMTP_BODY_ST_START;
		use(d, input, 1);
		return SPAN("\r\n");
	}
	d->state = SMTP_BODY_ST_LINE;
	if (d->normalize)
		return SPAN(" ");
	fault(d, SMTP_BODY_BARE_CR, d->taken - 1);
	return SPAN("\r");
}

static struct span in_line(struct smtp_body_decoder *d, struct span *input)
{
	struct span text = span_first(*input, scan_lines(d, *input));
	use(d, input, text.n);
	if (text.n > 0)
		return text;
	if (input->p[0] == '\r') {
		d->state = SMTP_BODY_ST_CR;
		use(d, input, 1);
		return SPAN_NONE;
	}
	if (!d->normalize)
		fault(d, SMTP_BODY_BARE_LF, d->taken);
	use(d, input, 1);
	if (!d->normalize)
		return SPAN("\n");
	d->line_used = 0;
	d->state = SMTP_BODY_ST_LF_START;
	return SPAN("\r\n");
}

/* The dot was all of its line, but a bare LF stands before or behind it: it is text. */
static struct span lone_dot(struct smtp_body_decoder *d)
{
	d->line_used = 1;
	return SPAN(".");
}

/* One step; an empty span: nothing to hand out yet. */
static struct span step(struct smtp_body_decoder *d, struct span *input)
{
	switch (d->state) {
	case SMTP_BODY_ST_START:
		if (input->p[0] != '.')
			return in_line(d, input);
		d->state = SMTP_BODY_ST_DOT;
		use(d, input, 1);
		return SPAN_NONE;
	case SMTP_BODY_ST_DOT:
		d->state = SMTP_BODY_ST_LINE;
		if (d->normalize && input->p[0] == '\n')
			return lone_dot(d);
		if (input->p[0] != '\r')
			return in_line(d, input);
		d->state = SMTP_BODY_ST_DOT_CR;
		use(d, input, 1);
		return SPAN_NONE;
	case SMTP_BODY_ST_DOT_CR:
		if (input->p[0] != '\n')
			return after_cr(d, input);
		d->state = SMTP_BODY_ST_END;
		use(d, input, 1);
		return SPAN_NONE;
	case SMTP_BODY_ST_LF_START:
		if (input->p[0] != '.')
			return in_line(d, input);
		d->state = SMTP_BODY_ST_LF_DOT;
		use(d, input, 1);
		return SPAN_NONE;
	case SMTP_BODY_ST_LF_DOT:
		d->state = SMTP_BODY_ST_LINE;
		if (input->p[0] == '\r' || input->p[0] == '\n')
			return lone_dot(d);
		return in_line(d, input);
	case SMTP_BODY_ST_CR:
		return after_cr(d, input);
	case SMTP_BODY_ST_LINE:
	case SMTP_BODY_ST_END:
		break;
	}
	return in_line(d, input);
}

enum smtp_body_rx smtp_body_decode(
    struct smtp_body_decoder *d, struct span *input, struct span *out_span)
{
	*out_span = SPAN_NONE;
	while (d->state != SMTP_BODY_ST_END) {
		if (input->n == 0)
			return SMTP_BODY_MORE;
		*out_span = step(d, input);
		if (out_span->n > 0)
			return SMTP_BODY_SPAN;
	}
	return SMTP_BODY_END;
}

/* ---- encoder ---------------------------------------------------------------------------------- */

enum {
	ENCODE_BYTE_MAX =
	    4,        /* the most that one byte can become: CR LF of a held CR, "..", itself */
	RUN_MAX = 512 /* looked through twice, whatever it holds */
};

static void put_line_end(struct smtp_body_encoder *e, struct buf *out)
{
	e->cr = false;
	e->in_line = false;
	buf_add(out, "\r\n", 2);
}

static void put_byte(struct smtp_body_encoder *e, char c, struct buf *out)
{
	bool was_cr = e->cr;
	if (was_cr)
		put_line_end(e, out);
	if (c == '\r') {
		e->cr = true;
		return;
	}
	if (c == '\n') {
		if (!was_cr)
			put_line_end(e, out);
		return;
	}
	if (c == '.' && !e->in_line)
		buf_add_char(out, '.');
	e->in_line = true;
	buf_add_char(out, c);
}

/* Text up to the next byte that needs thought, which is most of a message. */
static size_t plain_run(const struct smtp_body_encoder *e, struct span in, size_t room)
{
	if (!e->in_line || e->cr)
		return 0;
	in = span_first(in, room < RUN_MAX ? room : RUN_MAX);
	in = span_first(in, span_find(in, '\r'));
	return span_first(in, span_find(in, '\n')).n;
}

size_t smtp_body_encode(struct smtp_body_encoder *e, struct span in, struct buf *out)
{
	size_t at = 0, room;
	while (at < in.n && (room = out->max - buf_len(out)) > ENCODE_BYTE_MAX) {
		size_t run = plain_run(e, span_from(in, at), room - ENCODE_BYTE_MAX);
		if (run > 0)
			buf_add(out, in.p + at, run);
		else
			put_byte(e, in.p[at], out);
		at += run > 0 ? run : 1;
	}
	return at;
}

bool smtp_body_encode_end(struct smtp_body_encoder *e, struct buf *out)
{
	if (e->cr || e->in_line)
		put_line_end(e, out);
	return buf_add(out, ".\r\n", 3);
}
