/* digest.c - OpenSSL's EVP digests behind a small face. A failure here is a broken libcrypto (or
 * one whose policy forbids the digest), which no caller can answer: it ends the process. */
#include "net/digest.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>

#include "base/check.h"
#include "base/mem.h"

struct digest_run {
	EVP_MD_CTX *ctx; /* owned */
};

struct digest_mac {
	EVP_MAC_CTX *ctx; /* owned */
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
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	char *name = (char *)(uintptr_t)EVP_MD_get0_name(md_of(kind)); /* it is only read */
	OSSL_PARAM how[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
		OSSL_PARAM_construct_end() };
	CHECK(hmac != NULL);
	m->ctx = EVP_MAC_CTX_new(hmac);
	CHECK(m->ctx != NULL && EVP_MAC_CTX_set_params(m->ctx, how) == 1);
	EVP_MAC_free(hmac); /* the context holds it */
	digest_mac_set_key(m, key);
	return m;
}

void digest_mac_free(struct digest_mac **m)
{
	if (*m == NULL)
		return;
	EVP_MAC_CTX_free((*m)->ctx);
	MEM_FREE(m);
}

void digest_mac_set_key(struct digest_mac *m, struct span key)
{
	CHECK(key.n > 0 && EVP_MAC_init(m->ctx, (const uint8_t *)key.p, key.n, NULL) == 1);
}

size_t digest_mac_make(struct digest_mac *m, struct span in, uint8_t out[DIGEST_LEN_MAX])
{
	size_t n = 0;
	CHECK(EVP_MAC_init(m->ctx, NULL, 0, NULL) == 1); /* the same key once more */
	CHECK(in.n == 0 || EVP_MAC_update(m->ctx, (const uint8_t *)in.p, in.n) == 1);
	CHECK(EVP_MAC_final(m->ctx, out, &n, DIGEST_LEN_MAX) == 1);
	return n;
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
