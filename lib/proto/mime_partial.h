/* mime_partial.h - messages in pieces (message/partial, RFC 2046 section 5.2.2): what a piece says of itself, and the
 * header of the whole. */
#ifndef PROTO_MIME_PARTIAL_H
#define PROTO_MIME_PARTIAL_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/span.h"

enum {
	MIME_PARTIAL_ID_MAX = 256,
	MIME_PARTIAL_NUMBER_MAX = 1000 /* of pieces: a message that claims more is none */
};

struct mime_partial {
	char id[MIME_PARTIAL_ID_MAX];
	size_t id_n;
	unsigned number; /* from 1 */
	unsigned total;  /* 0: this piece does not say */
	size_t body_at;  /* where its body begins */
};

/* head: the message, or as much of it as has its whole header. False: it is no piece, or says impossible things: no id, a
 * number of 0 or beyond the total, too many pieces, an encoding. */
bool mime_partial_parse(struct span head, struct mime_partial *out);

/* The header of the whole, with its empty line (section 5.2.2.1): of first, the first piece, what it does not share with
 * the message in it; of that message Content-*, Subject, Message-ID, Encrypted and MIME-Version. *body_at_out: where in
 * first the body of the whole begins. False: a header does not end within first, or out is full. */
bool mime_partial_header(struct span first, struct buf *out, size_t *body_at_out);

#endif
