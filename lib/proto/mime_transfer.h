/* mime_transfer.h - transfer encodings of bodies (RFC 2045 section 6) undone, in pieces of any size. Nothing is refused: what
 * is no encoding is left out (base64) or stays as it is (quoted-printable). */
#ifndef PROTO_MIME_TRANSFER_H
#define PROTO_MIME_TRANSFER_H

#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

enum mime_transfer { TRANSFER_NONE, TRANSFER_BASE64, TRANSFER_QUOTED };
enum mime_transfer mime_transfer_of(struct span name); /* of a Content-Transfer-Encoding */

struct transfer {
	enum mime_transfer how;
	uint32_t bits; /* base64: waiting for more digits */
	unsigned digits;
	char held[3]; /* quoted-printable: "=" and what came behind it */
	unsigned held_n;
};
void transfer_put(struct transfer *t, struct span in, struct buf *out);
void transfer_end(struct transfer *t, struct buf *out);

#endif
