/* tls_record.h - TLS 1.3 records (RFC 8446 section 5) sealed and opened under a traffic secret.
 *
 * One direction of a session is a small struct without a buffer or a library object: ciphers are
 * set up in objects that all sessions of the process share. Private to lib/net. */
#ifndef NET_TLS_RECORD_H
#define NET_TLS_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

enum tls_suite { TLS_AES_128_GCM, TLS_AES_256_GCM, TLS_CHACHA20_POLY1305, TLS_SUITES };

enum {
	TLS_SECRET_MAX = 48,
	TLS_KEY_MAX = 32,
	TLS_IV_LEN = 12,
	TLS_HEAD_LEN = 5,
	TLS_PLAIN_MAX = 16384,
	TLS_SEAL_EXTRA = TLS_HEAD_LEN + 1 + 16, /* header, inner type, tag: no padding is sent */
	TLS_RECORD_MAX = TLS_PLAIN_MAX + TLS_SEAL_EXTRA
};

/* Of records, RFC 8446 section 5.1 */
enum tls_type { TLS_TYPE_ALERT = 21, TLS_TYPE_HANDSHAKE = 22, TLS_TYPE_DATA = 23 };

/* Of alerts, section 6; what a record can be refused with. 0: nothing is wrong. */
enum tls_alert {
	TLS_FINE = 0,
	TLS_CLOSE_NOTIFY = 0,
	TLS_UNEXPECTED_MESSAGE = 10,
	TLS_BAD_RECORD_MAC = 20,
	TLS_RECORD_OVERFLOW = 22,
	TLS_ILLEGAL_PARAMETER = 47,
	TLS_DECODE_ERROR = 50,
	TLS_USER_CANCELED = 90
};

struct tls_keys {
	uint64_t seq; /* of the next record */
	uint64_t id;  /* of these keys, never used twice in a process */
	uint8_t suite;
	uint8_t secret[TLS_SECRET_MAX], key[TLS_KEY_MAX], iv[TLS_IV_LEN];
};

size_t tls_secret_len(enum tls_suite suite);

/* secret: tls_secret_len() bytes. seq: of the next record under it. */
void tls_keys_begin(
    struct tls_keys *k, enum tls_suite suite, const uint8_t *secret, uint64_t next_seq);
void tls_keys_update(struct tls_keys *k); /* the next generation, from 0 (section 7.2) */
void tls_keys_end(struct tls_keys *k);    /* wiped, here and where it was set up */

/* A whole record at out, which has room for plain.n + TLS_SEAL_EXTRA bytes and does not overlap.
 * Returns its length. plain.n is at most TLS_PLAIN_MAX. */
size_t tls_seal(struct tls_keys *k, enum tls_type type, struct span plain, char *out);

/* How long the record is whose header begins in: 0 when that needs more bytes. *wrong_out: it is
 * no record that may come here; its length is not to be waited for. */
size_t tls_record_len(struct span in, enum tls_alert *wrong_out);

struct tls_opened {
	uint8_t type; /* as the peer says: anything */
	size_t n;     /* bytes at out */
};
/* Opens a whole record that tls_record_len() has measured; out has room for as many bytes and does
 * not overlap. The alert it is to be answered with, TLS_FINE for none. */
enum tls_alert tls_open(
    struct tls_keys *k, struct span record, char *out, struct tls_opened *opened_out);

#endif
