/* digest.c - OpenSSL's EVP digests behind a small face. A failure here is a broken libcrypto (or
 * one whose policy forbids the digest), which no caller can answer: it ends the process. */
#include "net/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

struct digest_run {
	EVP_MD_CTX *ctx; /* owned */
};

enum { BLOCK_MAX = 128 };

/* RFC 2104: the digest of the inner pad and the message, within that of the outer pad. */
struct digest_mac {
	EVP_MD_CTX *ctx; /* owned */
	size_t block, len;
	uint8_t inner[BLOCK_MAX], outer[BLOCK_MAX]; /* the key in both */
};

static const EVP_MD *md_of(enum digest_kind kind)
{
	switch (kind) {
	case DIGEST_MD5:
		return EVP_md5();
	case DIGEST_SHA1:
		return EVP_sha1();
	case DIGEST_SHA256:
		return EVP_sha256();
	case DIGEST_SHA384:
		return EVP_sha384();
	case DIGEST_SHA512:
		return EVP_sha512();
	case DIGEST_KINDS:
		break;
	}
	BUG("no such digest");
}

size_t digest_len(enum digest_kind kind)
{
	return (size_t)EVP_MD_get_size(md_of(kind));
}

size_t digest_make(enum digest_kind kind, struct span in, uint8_t out[DIGEST_LEN_MAX])
{
	unsigned n = 0;
	CHECK(EVP_Digest(in.n > 0 ? in.p : "", in.n, out, &n, md_of(kind), NULL) == 1);
	return n;
}

size_t digest_hmac(
    enum digest_kind kind, struct span key, struct span in, uint8_t out[DIGEST_LEN_MAX])
{
	unsigned n = 0;
	const unsigned char *bytes = (const unsigned char *)(in.n > 0 ? in.p : "");
	CHECK(key.n <= INT32_MAX);
	CHECK(HMAC(md_of(kind), key.n > 0 ? key.p : "", (int)key.n, bytes, in.n, out, &n) != NULL);
	return n;
}

struct digest_mac *digest_mac_new(enum digest_kind kind, struct span key)
{
	struct digest_mac *m = MEM_NEW(struct digest_mac);
	EVP_MD *md = EVP_MD_fetch(NULL, EVP_MD_get0_name(md_of(kind)), NULL);
	m->ctx = EVP_MD_CTX_new();
	CHECK(md != NULL && m->ctx != NULL && EVP_DigestInit_ex(m->ctx, md, NULL) == 1);
	m->block = (size_t)EVP_MD_get_block_size(md);
	m->len = (size_t)EVP_MD_get_size(md);
	CHECK(m->block <= BLOCK_MAX && m->len <= m->block);
	EVP_MD_free(md); /* the context holds it */
	digest_mac_set_key(m, key);
	return m;
}

void digest_mac_free(struct digest_mac **m)
{
	if (*m == NULL)
		return;
	digest_mac_forget(*m);
	EVP_MD_CTX_free((*m)->ctx);
	MEM_FREE(m);
}

/* The digest of two pieces; out may be one of them. */
static void mac_digest(struct digest_mac *m, const uint8_t *pad, struct span in, uint8_t *out)
{
	CHECK(EVP_DigestInit_ex(m->ctx, NULL, NULL) == 1);
	CHECK(pad == NULL || EVP_DigestUpdate(m->ctx, pad, m->block) == 1);
	CHECK(in.n == 0 || EVP_DigestUpdate(m->ctx, in.p, in.n) == 1);
	CHECK(EVP_DigestFinal_ex(m->ctx, out, NULL) == 1);
}

void digest_mac_set_key(struct digest_mac *m, struct span key)
{
	uint8_t digest[DIGEST_LEN_MAX];
	CHECK(key.n > 0);
	if (key.n > m->block) {
		mac_digest(m, NULL, key, digest);
		key = span_of(digest, m->len);
	}
	memset(m->inner, 0x36, m->block);
	memset(m->outer, 0x5c, m->block);
	for (size_t i = 0; i < key.n; i++) {
		m->inner[i] ^= (uint8_t)key.p[i];
		m->outer[i] ^= (uint8_t)key.p[i];
	}
	mem_wipe(digest, sizeof digest);
}

void digest_mac_forget(struct digest_mac *m)
{
	mem_wipe(m->inner, m->block);
	mem_wipe(m->outer, m->block);
	CHECK(EVP_DigestInit_ex(m->ctx, NULL, NULL) == 1); /* over the last result, too */
}

size_t digest_mac_make(struct digest_mac *m, struct span in, uint8_t out[DIGEST_LEN_MAX])
{
	uint8_t digest[DIGEST_LEN_MAX];
	mac_digest(m, m->inner, in, digest);
	mac_digest(m, m->outer, span_of(digest, m->len), out);
	return m->len;
}

size_t digest_pbkdf2(enum digest_kind kind, struct span secret, struct span salt, unsigned rounds,
    uint8_t out[DIGEST_LEN_MAX])
{
	size_t n = digest_len(kind);
	const unsigned char *bytes = (const unsigned char *)(salt.n > 0 ? salt.p : "");
	CHECK(secret.n <= INT32_MAX && salt.n <= INT32_MAX && rounds > 0 && rounds <= INT32_MAX);
	CHECK(PKCS5_PBKDF2_HMAC(secret.n > 0 ? secret.p : "", (int)secret.n, bytes, (int)salt.n,
		  (int)rounds, md_of(kind), (int)n, out) == 1);
	return n;
}

struct digest_run *digest_run_new(enum digest_kind kind)
{
	struct digest_run *r = MEM_NEW(struct digest_run);
	r->ctx = EVP_MD_CTX_new();
	CHECK(r->ctx != NULL && EVP_DigestInit_ex(r->ctx, md_of(kind), NULL) == 1);
	return r;
}

void digest_run_add(struct digest_run *r, struct span piece)
{
	if (piece.n > 0)
		CHECK(EVP_DigestUpdate(r->ctx, piece.p, piece.n) == 1);
}

size_t digest_run_end(struct digest_run **r, uint8_t out[DIGEST_LEN_MAX])
{
	unsigned n = 0;
	CHECK(EVP_DigestFinal_ex((*r)->ctx, out, &n) == 1);
	EVP_MD_CTX_free((*r)->ctx);
	MEM_FREE(r);
	return n;
}

bool digest_equal(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || CRYPTO_memcmp(a.p, b.p, a.n) == 0);
}
