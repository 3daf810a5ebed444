/* dkim.h - signs messages of our own (DKIM, RFC 6376 and 8463): one signature, relaxed/relaxed, over the whole body. Pure.
 *
 * For reports of TLS (RFC 8460 section 3), which domains may ignore without one. Mail of users is for a filter to sign. */
#ifndef EDGE_DKIM_H
#define EDGE_DKIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "net/signature.h"

struct dkim {
	const char *domain, *selector; /* the public key is at SELECTOR._domainkey.DOMAIN */
	const struct sign_key *key;
	/* Names of fields to sign, with colons between. A name that stands there once more than the message has it keeps
	 * others from adding one (RFC 6376 section 8.15). */
	const char *fields;
};

/* Appends the field DKIM-Signature of the message, with its line end: it belongs before the message's first byte. wall_s: of
 * now, since 1970. False: out is full, or the key cannot sign; then out may hold a part. */
bool dkim_put_signature(
    const struct dkim *d, struct span message, uint64_t wall_s, struct buf *out);

/* ---- steps of it, with vectors of their own ---- */

/* Appends the SHA-256 of the body in relaxed form (section 3.4.4), raw. */
bool dkim_put_body_hash(struct span message, struct buf *out);
/* Appends what is signed (section 3.7): the fields in relaxed form (section 3.4.2), then the signature's own without its
 * line end. own: the field DKIM-Signature with an empty b= at its end; a line end there is not looked at. */
bool dkim_put_signed(struct span message, struct span fields, struct span own, struct buf *out);

#endif
