/* signature.h - keys from PEM, the signatures that they make and those that they verify, so that no layer above needs OpenSSL. */
#ifndef NET_SIGNATURE_H
#define NET_SIGNATURE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/span.h"

enum { KEY_SET_MAX = 16 };

struct key_set;

/* Every "PUBLIC KEY" block of the text. NULL: there is none, too many, or one that cannot be read; a sentence is
 * in why (may be NULL). */
struct key_set *key_set_new(struct span pem, struct buf *why);
void key_set_free(struct key_set **k); /* fine on NULL */

/* Is it the signature of one of the keys over the text? alg as in RFC 7518: RS256, ES256, EdDSA; each is tried
 * with keys of its own type only, whatever the token says. */
bool key_set_verifies(
    const struct key_set *k, struct span alg, struct span text, struct span signature);

/* ---- for DKIM ---- */

struct sign_key;

/* One private key, RSA of 1024 bits or more (RFC 8301 section 3.2) or Ed25519. NULL: it is none; a sentence is in why
 * (may be NULL). Caller frees. */
struct sign_key *sign_key_new(struct span pem, struct buf *why);
void sign_key_free(struct sign_key **k); /* fine on NULL; the key is wiped */

/* "rsa-sha256" (RFC 6376 section 3.3.1) or "ed25519-sha256" (RFC 8463 section 3). */
const char *sign_key_algorithm(const struct sign_key *k);
/* Appends the signature over the SHA-256 of the text, raw. False: OpenSSL cannot, or out is full. */
bool sign_key_put(const struct sign_key *k, struct span text, struct buf *out);

#endif
