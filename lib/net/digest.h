/* digest.h - message digests, HMAC and PBKDF2, so that no layer above needs OpenSSL's headers.
 *
 * MD5 and SHA-1 are here for stored password schemes and for protocol ids, never for trust. */
#ifndef NET_DIGEST_H
#define NET_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

enum digest_kind {
	DIGEST_MD5,
	DIGEST_SHA1,
	DIGEST_SHA256,
	DIGEST_SHA384,
	DIGEST_SHA512,
	DIGEST_KINDS
};

enum {
	DIGEST_MD5_LEN = 16,
	DIGEST_SHA1_LEN = 20,
	DIGEST_SHA256_LEN = 32,
	DIGEST_SHA384_LEN = 48,
	DIGEST_SHA512_LEN = 64,
	DIGEST_LEN_MAX = 64
};

size_t digest_len(enum digest_kind kind);

/* The digest of in; returns its length. */
size_t digest_make(enum digest_kind kind, struct span in, uint8_t out[DIGEST_LEN_MAX]);
size_t digest_hmac(
    enum digest_kind kind, struct span key, struct span in, uint8_t out[DIGEST_LEN_MAX]);

/* HMAC of one message after the other: OpenSSL finds its way to the digest once, where digest_hmac() looks for it, and
 * for HMAC, each time and costs ten times as much. Not shared by threads. The key is not empty and is wiped with the
 * object, by the next key, or by digest_mac_forget(): then nothing is made before the next key. */
struct digest_mac;
struct digest_mac *digest_mac_new(enum digest_kind kind, struct span key);
void digest_mac_free(struct digest_mac **m);
void digest_mac_set_key(struct digest_mac *m, struct span key);
void digest_mac_forget(struct digest_mac *m);
size_t digest_mac_make(struct digest_mac *m, struct span in, uint8_t out[DIGEST_LEN_MAX]);

/* PBKDF2 (RFC 8018) with HMAC of the kind, one block of digest_len() bytes: SCRAM's Hi().
 * Costs CPU in proportion to rounds: the caller bounds them. */
size_t digest_pbkdf2(enum digest_kind kind, struct span secret, struct span salt, unsigned rounds,
    uint8_t out[DIGEST_LEN_MAX]);

/* The same over bytes that come in pieces. digest_run_end() gives the digest and frees the run. */
struct digest_run;
struct digest_run *digest_run_new(enum digest_kind kind);
void digest_run_add(struct digest_run *r, struct span piece);
size_t digest_run_end(struct digest_run **r, uint8_t out[DIGEST_LEN_MAX]);

/* Equal in length and bytes; takes the same time wherever they differ. */
bool digest_equal(struct span a, struct span b);

#endif
