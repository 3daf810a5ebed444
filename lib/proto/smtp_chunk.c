/* smtp_chunk.c - looks for what may not stand in a message that comes by BDAT. */
#include "proto/smtp_chunk.h"

#include "proto/smtp_body.h"

static void take_byte(struct smtp_chunk_scan *s, unsigned char c)
{
	if (c == '\n') {
		if (!s->cr)
			s->faults |= SMTP_BODY_BARE_LF;
		s->cr = false;
		s->line_used = 0;
		return;
	}
	if (s->cr)
		s->faults |= SMTP_BODY_BARE_CR;
	s->cr = c == '\r';
	if (c == 0)
		s->faults |= SMTP_BODY_NUL;
	if (c > 0x7f)
		s->faults |= SMTP_BODY_8BIT;
	if (!s->cr && ++s->line_used > s->line_max)
		s->faults |= SMTP_BODY_LONG_LINE;
}

void smtp_chunk_scan(struct smtp_chunk_scan *s, struct span bytes)
{
	for (size_t i = 0; i < bytes.n; i++)
		take_byte(s, (unsigned char)bytes.p[i]);
}

bool smtp_chunk_scan_end(struct smtp_chunk_scan *s)
{
	if (s->cr)
		s->faults |= SMTP_BODY_BARE_CR;
	return s->line_used == 0;
}

static void normalize_byte(bool *cr, char c, struct buf *out)
{
	bool was_cr = *cr;
	*cr = c == '\r';
	if (was_cr && c != '\n')
		buf_add_char(out, ' ');
	if (c == '\n')
		buf_add(out, "\r\n", 2);
	else if (c != '\r')
		buf_add_char(out, c);
}

void smtp_chunk_normalize(bool *cr, struct span bytes, struct buf *out)
{
	for (size_t i = 0; i < bytes.n; i++)
		normalize_byte(cr, bytes.p[i], out);
	if (bytes.n > 0)
		return;
	if (*cr)
		buf_add_char(out, ' ');
	*cr = false;
}
