/* tls_kdf.h - the key schedule of TLS 1.3 (RFC 8446 section 7.1): a label's secret, and all of it for OpenSSL.
 *
 * OpenSSL derives two dozen secrets in a handshake and finds its way to HKDF, to HMAC and to the digest anew for each
 * of them. As a provider of its TLS13-KDF we answer the same requests with objects that stay, and see the traffic
 * secrets pass, which a parked session needs. Not shared by threads. Private to lib/net. */
#ifndef NET_TLS_KDF_H
#define NET_TLS_KDF_H

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "net/digest.h"

/* The property query of a context of OpenSSL that derives its secrets here. Where the administrator's own properties
 * (FIPS) rule us out, OpenSSL's implementation goes on to do it. */
#define TLS_KDF_PROPERTIES "?provider=postern"

/* Makes the provider known to OpenSSL: before the first context that is to use it; again: nothing happens. */
void tls_kdf_begin(void);

/* HKDF-Expand-Label(secret, label, context, n): the secret is mac's key, label has its "tls13 " in front. Label and
 * context of at most 255 bytes, n at most the length of mac's digest: one block of HMAC. */
void tls_expand_label(
    struct digest_mac *mac, struct span label, struct span context, uint8_t *out, size_t n);

/* Until the next call, fn is told what is derived under which label (without "tls13 "), within the call of OpenSSL
 * that derives it. NULL: nobody. */
typedef void tls_secret_fn(void *arg, struct span label, struct span secret);
void tls_kdf_watch(tls_secret_fn *fn, void *arg);

#endif
