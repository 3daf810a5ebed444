/* mime_binary.h - a message with BODY=BINARYMIME (RFC 3030) on its way in: parts whose transfer encoding is
 * "binary" become base64, all else keeps its bytes. Multiparts and messages around them are relabelled 8bit.
 *
 * A stream: memory is bounded by one header section, whatever the message. What comes out has the form of
 * any other message, except where the sender broke its own word (a bare LF in a header section, a NUL in a
 * part that says it is text): that is passed on as it is, for smtp_chunk.h to find. */
#ifndef PROTO_MIME_BINARY_H
#define PROTO_MIME_BINARY_H

#include "base/buf.h"
#include "base/span.h"

enum {
	MIME_BINARY_HEADER_MAX = 256 * 1024, /* one header section */
	MIME_BINARY_PIECE_MAX = 64 * 1024,   /* of one mime_binary_take() */
	/* What one piece, or the end, can become: a header section, and the piece in base64 or as it is. */
	MIME_BINARY_OUT_MAX = MIME_BINARY_HEADER_MAX + 4 * MIME_BINARY_PIECE_MAX
};

struct mime_binary;

struct mime_binary *mime_binary_new(void);
void mime_binary_free(struct mime_binary **b);

/* Appends what becomes of the next at most MIME_BINARY_PIECE_MAX bytes to out, which has room for
 * MIME_BINARY_OUT_MAX more. */
void mime_binary_take(struct mime_binary *b, struct span bytes, struct buf *out);
void mime_binary_end(struct mime_binary *b, struct buf *out); /* the message is over */

/* The same for any number of bytes: fn gets what becomes of them, in pieces that it keeps during the call only. */
typedef void mime_binary_fn(void *arg, struct span bytes);
void mime_binary_pass(struct mime_binary *b, struct span bytes, mime_binary_fn *fn, void *arg);
void mime_binary_pass_end(struct mime_binary *b, mime_binary_fn *fn, void *arg);

/* Why it cannot be converted, in words for a reply (554 5.6.1); NULL: it can, so far. Once it cannot, nothing
 * more comes out. */
const char *mime_binary_why(const struct mime_binary *b);

#endif
