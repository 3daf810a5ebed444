/* signature.h - public keys from PEM and the signatures they verify, so that no layer above needs OpenSSL. */
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

#endif
