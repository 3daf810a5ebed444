/* smtp_chunk.h - the bytes behind BDAT (RFC 3030): no dots, no end mark, but the same rules for lines as behind
 * DATA, since the message may leave by DATA. */
#ifndef PROTO_SMTP_CHUNK_H
#define PROTO_SMTP_CHUNK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/span.h"

struct smtp_chunk_scan {
	size_t line_max, line_used;
	bool cr;         /* the last byte was a CR: its LF may begin the next chunk */
	unsigned faults; /* SMTP_BODY_* of smtp_body.h */
};

void smtp_chunk_scan(struct smtp_chunk_scan *s, struct span bytes);
/* The message is over. False: its last line has no end, CRLF is to be put behind it. */
bool smtp_chunk_scan_end(struct smtp_chunk_scan *s);

/* For peers whose line ends are normalised (smtp_body.h): appends the bytes with bare LF as CR LF and bare CR as
 * a space; at most 2 * bytes.n + 1. *cr, at first false, remembers a CR whose LF may begin the next chunk; at the end of
 * the message the call with no bytes gives it back. */
void smtp_chunk_normalize(bool *cr, struct span bytes, struct buf *out);

#endif
