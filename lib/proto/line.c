/* line.c - framing of lines, shared by every protocol of commands and replies.
 *
 * Owns nothing; the scanner's state is the caller's. */
#include "proto/line.h"

/* One line that is too long is thrown away piece by piece, so that it needs no buffer. */
static enum line_rx skip_to(struct line_scan *s, size_t seen, size_t *eat_out)
{
	s->skipping = true;
	s->at = 0;
	*eat_out = seen;
	return LINE_MORE;
}

static enum line_rx line_end(
    struct line_scan *s, struct span line, size_t whole, struct span *line_out, size_t *eat_out)
{
	bool too_long = s->skipping;
	s->at = 0;
	s->skipping = false;
	*eat_out = whole;
	if (too_long)
		return LINE_TOO_LONG;
	*line_out = line;
	return LINE_READY;
}

enum line_rx line_take(
    struct line_scan *s, struct span input, struct span *line_out, size_t *eat_out)
{
	*line_out = SPAN_NONE;
	*eat_out = 0;
	size_t i = s->at;
	for (; i < input.n; i++) {
		char c = input.p[i];
		if (c == '\r') {
			if (i + 1 == input.n)
				break;
			if (input.p[i + 1] != '\n')
				return LINE_BAD;
			return line_end(s, span_of(input.p, i), i + 2, line_out, eat_out);
		}
		if (c == '\n' && s->policy == LINE_LF_OK)
			return line_end(s, span_of(input.p, i), i + 1, line_out, eat_out);
		if (c == '\n' || c == '\0')
			return LINE_BAD;
		if (i >= s->max)
			s->skipping = true;
	}
	s->at = i;
	return s->skipping ? skip_to(s, i, eat_out) : LINE_MORE;
}

const char *line_rx_why(enum line_rx rx)
{
	switch (rx) {
	case LINE_TOO_LONG:
		return "line too long";
	case LINE_BAD:
		return "NUL, bare CR or bare LF in a line";
	case LINE_MORE:
	case LINE_READY:
		break;
	}
	return NULL;
}
