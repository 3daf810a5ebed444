/* imap_frame.c - where does an IMAP command or response end? See imap_lex.h.
 *
 * Step before imap_cursor.c: only framed bytes are ever read as tokens. Owns nothing. */
#include <string.h>

#include "proto/imap_lex.h"

void imap_frame_init(struct imap_frame *f, struct imap_limits limits, bool from_client)
{
	memset(f, 0, sizeof *f);
	f->limits = limits;
	f->from_client = from_client;
}

void imap_frame_reset(struct imap_frame *f)
{
	imap_frame_init(f, f->limits, f->from_client);
}

const char *imap_rx_why(enum imap_rx rx)
{
	if (rx == IMAP_RX_TOO_LONG)
		return "Command line too long";
	if (rx == IMAP_RX_BAD)
		return "Lines must end with CRLF and hold no NUL";
	return NULL;
}

/* NUL anywhere, or CR anywhere but as the last byte. */
static bool has_bad_byte(struct span part)
{
	if (span_find(part, '\0') != SIZE_MAX)
		return true;
	size_t cr = span_find(part, '\r');
	return cr != SIZE_MAX && cr + 1 < part.n;
}

/* Looks for the CRLF of the present line; IMAP_RX_COMMAND: found, f->at is behind it. */
static enum imap_rx scan_line(struct imap_frame *f, struct span input)
{
	struct span fresh = span_from(input, f->at);
	size_t lf = span_find(fresh, '\n');
	struct span part = span_first(fresh, lf == SIZE_MAX ? fresh.n : lf);
	if (has_bad_byte(part))
		return IMAP_RX_BAD;
	size_t end = f->at + part.n + (lf != SIZE_MAX);
	if (f->line_used + (end - f->line_at) > f->limits.line_max || end > f->limits.total_max)
		return IMAP_RX_TOO_LONG;
	bool cr = part.n > 0 && part.p[part.n - 1] == '\r';
	if (lf == SIZE_MAX) {
		/* a CR at the end is looked at again, with what follows it */
		f->at = end - (cr ? 1 : 0);
		return IMAP_RX_MORE;
	}
	f->at = end;
	return cr ? IMAP_RX_COMMAND : IMAP_RX_BAD;
}

/* Does the line (without CRLF) announce a literal? A number that does not fit is as good as endless. */
static bool literal_announced(struct span line, uint64_t *size_out, bool *sync_out)
{
	size_t n = line.n;
	if (n < 3 || line.p[n - 1] != '}')
		return false;
	n--;
	*sync_out = line.p[n - 1] != '+';
	if (!*sync_out)
		n--;
	size_t brace = span_rfind(span_first(line, n), '{');
	if (brace == SIZE_MAX || brace + 1 == n)
		return false;
	for (size_t i = brace + 1; i < n; i++) {
		if (!ascii_is_digit((unsigned char)line.p[i]))
			return false;
	}
	if (!span_u64(span_of(line.p + brace + 1, n - brace - 1), UINT64_MAX, size_out))
		*size_out = UINT64_MAX;
	return true;
}

/* A line that announces a literal has ended at f->at. */
static enum imap_rx enter_literal(struct imap_frame *f, uint64_t size, bool sync)
{
	f->line_used += f->at - f->line_at;
	bool many = ++f->literals > IMAP_LITERALS_MAX;
	if (many && !f->from_client)
		return IMAP_RX_TOO_LONG;
	if (many || size > f->limits.literal_max || size > f->limits.total_max - f->at) {
		f->len = f->at;
		f->literal_size = size;
		f->literal_sync = sync;
		return IMAP_RX_LITERAL;
	}
	f->in_literal = true;
	f->literal_end = f->at + (size_t)size;
	return sync && f->from_client ? IMAP_RX_CONTINUE : IMAP_RX_MORE;
}

enum imap_rx imap_frame_scan(struct imap_frame *f, struct span input)
{
	for (;;) {
		if (f->in_literal) {
			if (input.n < f->literal_end)
				return IMAP_RX_MORE;
			f->in_literal = false;
			f->at = f->line_at = f->literal_end;
		}
		enum imap_rx rx = scan_line(f, input);
		if (rx != IMAP_RX_COMMAND)
			return rx;
		uint64_t size;
		bool sync;
		struct span line = span_of(input.p + f->line_at, f->at - f->line_at - 2);
		if (!literal_announced(line, &size, &sync)) {
			f->len = f->at;
			return IMAP_RX_COMMAND;
		}
		rx = enter_literal(f, size, sync);
		if (rx != IMAP_RX_MORE)
			return rx;
	}
}

enum imap_rx imap_frame_line(struct imap_frame *f, struct span input)
{
	enum imap_rx rx = scan_line(f, input);
	if (rx == IMAP_RX_COMMAND)
		f->len = f->at;
	return rx;
}
