/* stream_bind.h - facts of a TLS session that a login can be bound to. For streams whose handshake is
 * done; false: the session does not have them. */
#ifndef NET_STREAM_BIND_H
#define NET_STREAM_BIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "net/stream.h"

enum { STREAM_BIND_LEN = 32, STREAM_BIND_MAX = 64 };

/* SHA-256 of the peer's public key (SubjectPublicKeyInfo in DER), verified or not: what is pinned. */
bool stream_peer_key(const struct stream *s, uint8_t out[STREAM_BIND_LEN]);
/* SHA-256 of the whole certificate that it has shown, trusted or not. False: none. */
bool stream_peer_certificate(const struct stream *s, uint8_t out[STREAM_BIND_LEN]);

/* Channel binding "tls-exporter" (RFC 9266): TLS 1.3, or 1.2 with an extended master secret. */
bool stream_bind_exporter(const struct stream *s, uint8_t out[STREAM_BIND_LEN]);

/* Channel binding "tls-server-end-point" (RFC 5929): the digest of our own certificate, of a server's
 * stream. Returns its length, 0 when there is none. */
size_t stream_bind_end_point(const struct stream *s, uint8_t out[STREAM_BIND_MAX]);

/* The name in the verified certificate of the peer: its first rfc822Name, or its common name. Printable
 * ASCII only. False: there is none, or the peer has shown no certificate that verifies. */
enum stream_name { STREAM_NAME_EMAIL, STREAM_NAME_COMMON };
bool stream_peer_name(const struct stream *s, enum stream_name kind, struct buf *out);
/* The common name of the peer's certificate, or of who has signed it, as UTF-8 whatever is in it; for others to read, not
 * to decide by. False: as above. */
enum stream_whose { STREAM_SUBJECT, STREAM_ISSUER };
bool stream_peer_common(const struct stream *s, enum stream_whose whose, struct buf *out);

#endif
