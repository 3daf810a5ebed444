/* header.h - walks the header fields of a message (RFC 5322 section 2.2), nothing decoded.
 *
 * For trace headers, loop detection and the header section's bounds. Tolerant, since it reads what is
 * already stored: a line without a colon ends the header section as an empty line does. */
#ifndef PROTO_HEADER_H
#define PROTO_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/span.h"

enum { HEADER_FIELDS_MAX = 2000, HEADER_BYTES_MAX = 1024 * 1024, HEADER_NAME_MAX = 256 };

struct header_field {
	struct span name;  /* as written */
	struct span value; /* raw, behind the colon, folds inside, without the final line end */
	struct span raw;   /* the whole field with its line end */
};

struct header_walk {
	struct span in;
	size_t at; /* of the next field; after HEADER_END: where the body begins */
	size_t fields;
};

enum header_rx {
	HEADER_FIELD,
	HEADER_END,     /* empty line, end of bytes, or a line that is no field */
	HEADER_TOO_MANY /* HEADER_FIELDS_MAX or HEADER_BYTES_MAX reached */
};

/* message: the bytes of a message from its start (the header section must be whole to be walked to its
 * end). Spans of fields point into it. */
void header_walk_init(struct header_walk *w, struct span message);
enum header_rx header_next(struct header_walk *w, struct header_field *out);

/* The nth field (from 0) of that name, case-blind. */
bool header_find(struct span message, struct span name, size_t nth, struct header_field *out);
size_t header_count(struct span message, struct span name);

/* Where the body begins: behind the empty line; message.n when there is none. */
size_t header_size(struct span message);

/* The value on one line: line ends of folds removed, outer white space trimmed. */
bool header_unfold(struct span value, struct buf *out);

#endif
