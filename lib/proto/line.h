/* line.h - cuts complete lines out of the bytes received so far; meaning never sees unframed bytes.
 *
 * A line ends with CRLF. NUL, a CR without LF and an LF without CR are not part of any line: two
 * programs that disagree on where a line ends can be made to see two different conversations. */
#ifndef PROTO_LINE_H
#define PROTO_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

enum line_rx {
	LINE_MORE,     /* no complete line yet */
	LINE_READY,    /* *line_out is the line without its CRLF */
	LINE_TOO_LONG, /* the line was longer than max; all of it is eaten: one error for one line */
	LINE_BAD /* NUL, bare CR or bare LF: nothing can be trusted any more, end the session */
};

enum line_policy {
	LINE_STRICT, /* CRLF only */
	LINE_LF_OK   /* LF ends a line too: for words of local helpers, never for mail protocols */
};

/* Remembers how far it has looked, so that a line that comes byte by byte is not read again and
 * again. Set max and policy; the rest starts as zero. */
struct line_scan {
	size_t max; /* bytes of one line, its end not counted */
	enum line_policy policy;
	size_t at;     /* bytes of the input that were looked at */
	bool skipping; /* inside a line that is too long */
};

#define LINE_SCAN_INIT(max_bytes) ((struct line_scan){ .max = (max_bytes) })

/* input: everything received and not yet eaten: what was there at the last call less what was eaten,
 * or more behind it. In every case the caller then eats *eat_out bytes (which may be more than 0 with
 * LINE_MORE, while the rest of a line that is too long is thrown away). *line_out points into input. */
enum line_rx line_take(
    struct line_scan *s, struct span input, struct span *line_out, size_t *eat_out);

const char *line_rx_why(enum line_rx rx); /* a sentence for TOO_LONG and BAD, else NULL */

#endif
