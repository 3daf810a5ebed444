/* token.h - a provider of signed tokens, with keys made in memory. */
#ifndef TESTS_DIRECTORY_TOKEN_H
#define TESTS_DIRECTORY_TOKEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "base/base64.h"
#include "base/buf.h"

/* "RS256", "ES256" or "EdDSA". */
static EVP_PKEY *token_key(const char *alg)
{
	EVP_PKEY *key = alg[0] == 'R'   ? EVP_RSA_gen(2048)
			: alg[1] == 'S' ? EVP_EC_gen("P-256")
					: EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	assert_non_null(key);
	return key;
}

static void token_put_pem(EVP_PKEY *key, struct buf *out)
{
	char *p;
	BIO *b = BIO_new(BIO_s_mem());
	assert_int_equal(PEM_write_bio_PUBKEY(b, key), 1);
	long n = BIO_get_mem_data(b, &p);
	buf_add(out, p, (size_t)n);
	BIO_free(b);
}

static void token_put_part(struct buf *out, struct span raw)
{
	struct buf text = BUF_INIT(16384);
	assert_true(base64_put(&text, raw));
	struct span t = buf_span(&text);
	for (size_t i = 0; i < t.n && t.p[i] != '='; i++)
		buf_add_char(out, t.p[i] == '+' ? '-' : t.p[i] == '/' ? '_' : t.p[i]);
	buf_end(&text);
}

/* r and s of a DER signature, each in 32 bytes. */
static size_t token_raw_ecdsa(unsigned char *sig, size_t n)
{
	const unsigned char *p = sig;
	ECDSA_SIG *parts = d2i_ECDSA_SIG(NULL, &p, (long)n);
	assert_non_null(parts);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(parts), sig, 32), 32);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(parts), sig + 32, 32), 32);
	ECDSA_SIG_free(parts);
	return 64;
}

/* header and claims as given, signed by key as its type signs. */
static void token_make(struct buf *out, EVP_PKEY *key, const char *header, const char *claims)
{
	unsigned char sig[512];
	size_t n = sizeof sig;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ed = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519;
	token_put_part(out, span_str(header));
	buf_add_char(out, '.');
	token_put_part(out, span_str(claims));
	struct span text = buf_span(out);
	assert_int_equal(EVP_DigestSignInit(ctx, NULL, ed ? NULL : EVP_sha256(), NULL, key), 1);
	assert_int_equal(EVP_DigestSign(ctx, sig, &n, (const unsigned char *)text.p, text.n), 1);
	EVP_MD_CTX_free(ctx);
	if (EVP_PKEY_get_base_id(key) == EVP_PKEY_EC)
		n = token_raw_ecdsa(sig, n);
	buf_add_char(out, '.');
	token_put_part(out, span_of(sig, n));
	assert_true(buf_ok(out));
}

#endif
