/* signature.c - OpenSSL's EVP signatures behind a small face. Owns: struct key_set, struct sign_key. */
#include "net/signature.h"

#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "base/check.h"
#include "base/mem.h"
#include "net/digest.h"

#include "net/tls_internal.h"

enum { ES256_LEN = 64, RSA_BITS_MIN = 2048, DKIM_RSA_BITS_MIN = 1024 };

struct key_set {
	EVP_PKEY *v[KEY_SET_MAX]; /* owned */
	size_t n;
};

/* The next block. *key_out NULL: it is none of a public key. False: there is no further block. */
static bool read_block(BIO *b, EVP_PKEY **key_out)
{
	char *name = NULL, *header = NULL;
	unsigned char *der = NULL;
	long n = 0;
	*key_out = NULL;
	if (PEM_read_bio(b, &name, &header, &der, &n) != 1)
		return false;
	const unsigned char *p = der;
	if (span_eq_str(span_str(name), PEM_STRING_PUBLIC))
		*key_out = d2i_PUBKEY(NULL, &p, n);
	OPENSSL_free(name);
	OPENSSL_free(header);
	OPENSSL_free(der);
	return true;
}

static bool add_key(struct key_set *k, EVP_PKEY *key, struct buf *why)
{
	if (key == NULL)
		return tls_say_only(why, "a public key cannot be read");
	if (k->n == KEY_SET_MAX) {
		EVP_PKEY_free(key);
		return tls_say_only(why, "too many public keys");
	}
	k->v[k->n++] = key;
	if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) < RSA_BITS_MIN)
		return tls_say_only(why, "an RSA key is shorter than 2048 bits");
	return true;
}

static bool read_keys(struct key_set *k, BIO *b, struct buf *why)
{
	EVP_PKEY *key;
	while (read_block(b, &key))
		if (!add_key(k, key, why))
			return false;
	if (!tls_at_end_of_pem())
		return tls_say_only(why, "a public key cannot be read");
	return k->n > 0 || tls_say_only(why, "no public key in the file");
}

struct key_set *key_set_new(struct span pem, struct buf *why)
{
	struct key_set *k = MEM_NEW(struct key_set);
	ERR_clear_error();
	BIO *b = tls_bio_of(pem);
	bool good = read_keys(k, b, why);
	BIO_free(b);
	ERR_clear_error();
	if (!good)
		key_set_free(&k);
	return k;
}

void key_set_free(struct key_set **k)
{
	if (*k == NULL)
		return;
	for (size_t i = 0; i < (*k)->n; i++)
		EVP_PKEY_free((*k)->v[i]);
	MEM_FREE(k);
}

/* RFC 7518 writes r and s behind each other; OpenSSL wants them in DER. Length, 0: not such a signature. */
static size_t ecdsa_der(struct span raw, unsigned char **out)
{
	if (raw.n != ES256_LEN)
		return 0;
	ECDSA_SIG *sig = ECDSA_SIG_new();
	CHECK(sig != NULL);
	BIGNUM *r = BN_bin2bn((const unsigned char *)raw.p, ES256_LEN / 2, NULL);
	BIGNUM *s = BN_bin2bn((const unsigned char *)raw.p + ES256_LEN / 2, ES256_LEN / 2, NULL);
	CHECK(r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1);
	int n = i2d_ECDSA_SIG(sig, out);
	ECDSA_SIG_free(sig);
	return n > 0 ? (size_t)n : 0;
}

static bool verify(EVP_PKEY *key, const EVP_MD *md, struct span text, struct span signature)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	CHECK(ctx != NULL);
	bool good = EVP_DigestVerifyInit(ctx, NULL, md, NULL, key) == 1 &&
		    EVP_DigestVerify(ctx, (const unsigned char *)signature.p, signature.n,
			(const unsigned char *)text.p, text.n) == 1;
	EVP_MD_CTX_free(ctx);
	return good;
}

bool key_set_verifies(
    const struct key_set *k, struct span alg, struct span text, struct span signature)
{
	int type = span_eq_str(alg, "RS256")   ? EVP_PKEY_RSA
		   : span_eq_str(alg, "ES256") ? EVP_PKEY_EC
		   : span_eq_str(alg, "EdDSA") ? EVP_PKEY_ED25519
					       : EVP_PKEY_NONE;
	unsigned char *der = NULL;
	bool good = type != EVP_PKEY_NONE;
	if (type == EVP_PKEY_EC) {
		size_t n = ecdsa_der(signature, &der);
		signature = span_of(der, n);
		good = n > 0;
	}
	bool found = false;
	for (size_t i = 0; good && i < k->n && !found; i++)
		found = EVP_PKEY_get_base_id(k->v[i]) == type &&
			verify(k->v[i], type == EVP_PKEY_ED25519 ? NULL : EVP_sha256(), text,
			    signature);
	OPENSSL_free(der);
	ERR_clear_error();
	return found;
}

/* ---- making them -------------------------------------------------------------------------------- */

struct sign_key {
	EVP_PKEY *key; /* owned */
};

static bool can_sign(const EVP_PKEY *key, struct buf *why)
{
	int type = EVP_PKEY_get_base_id(key);
	if (type != EVP_PKEY_RSA && type != EVP_PKEY_ED25519)
		return tls_say_only(why, "the private key is neither RSA nor Ed25519");
	return type != EVP_PKEY_RSA || EVP_PKEY_get_bits(key) >= DKIM_RSA_BITS_MIN ||
	       tls_say_only(why, "the RSA key is shorter than 1024 bits");
}

struct sign_key *sign_key_new(struct span pem, struct buf *why)
{
	struct sign_key *k = MEM_NEW(struct sign_key);
	ERR_clear_error();
	k->key = tls_private_key(pem, why);
	if (k->key == NULL || !can_sign(k->key, why))
		sign_key_free(&k);
	return k;
}

void sign_key_free(struct sign_key **k)
{
	if (*k == NULL)
		return;
	EVP_PKEY_free((*k)->key);
	MEM_FREE(k);
}

static bool is_ed25519(const struct sign_key *k)
{
	return EVP_PKEY_get_base_id(k->key) == EVP_PKEY_ED25519;
}

const char *sign_key_algorithm(const struct sign_key *k)
{
	return is_ed25519(k) ? "ed25519-sha256" : "rsa-sha256";
}

/* RSA is given the text and makes the digest; Ed25519, which knows no digest of its own choice, is given the digest. */
bool sign_key_put(const struct sign_key *k, struct span text, struct buf *out)
{
	uint8_t digest[DIGEST_LEN_MAX];
	size_t n = (size_t)EVP_PKEY_get_size(k->key);
	char *room = NULL;
	if (is_ed25519(k))
		text = span_of(digest, digest_make(DIGEST_SHA256, text, digest));
	if (buf_room(out, n, &room) < n)
		return false;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	CHECK(ctx != NULL);
	bool good =
	    EVP_DigestSignInit(ctx, NULL, is_ed25519(k) ? NULL : EVP_sha256(), NULL, k->key) == 1 &&
	    EVP_DigestSign(ctx, (unsigned char *)room, &n, (const unsigned char *)text.p, text.n) ==
		1;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	if (good)
		buf_added(out, n);
	return good;
}
