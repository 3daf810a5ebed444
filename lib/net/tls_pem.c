/* tls_pem.c - certificates, keys and authorities out of PEM bytes, with readable complaints.
 *
 * Below tls_ctx.c. The bytes come from files that an administrator named; nothing here reads one. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/check.h"
#include "base/mem.h"

#include "net/tls_internal.h"

enum { CHAIN_MAX = 16, AUTHORITIES_MAX = 4096 };

bool tls_say(struct buf *why, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());
	if (why != NULL && reason != NULL)
		buf_printf(why, "%s: %s", what, reason);
	else if (why != NULL)
		buf_add_str(why, what);
	ERR_clear_error();
	return false;
}

bool tls_say_only(struct buf *why, const char *what)
{
	ERR_clear_error();
	return tls_say(why, what);
}

BIO *tls_bio_of(struct span pem)
{
	CHECK(pem.n <= INT32_MAX);
	BIO *b = BIO_new_mem_buf(pem.n > 0 ? pem.p : "", (int)pem.n);
	CHECK(b != NULL);
	return b;
}

/* An encrypted key would make OpenSSL ask on the terminal. */
static int no_passphrase(char *out, int size, int writing, void *arg)
{
	return -1;
}

/* PEM_read_bio_X509*() ends the sequence with this complaint: not an error when some were read. */
bool tls_at_end_of_pem(void)
{
	unsigned long e = ERR_peek_last_error();
	bool end = ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
	if (end)
		ERR_clear_error();
	return end;
}

static bool use_intermediates(SSL_CTX *ctx, BIO *in, struct buf *why)
{
	X509 *x;
	for (size_t n = 0; (x = PEM_read_bio_X509(in, NULL, no_passphrase, NULL)) != NULL; n++) {
		if (n == CHAIN_MAX || SSL_CTX_add0_chain_cert(ctx, x) != 1) {
			X509_free(x);
			return tls_say(why, "the chain holds too many or unusable certificates");
		}
	}
	return tls_at_end_of_pem() || tls_say(why, "an intermediate certificate cannot be read");
}

static bool use_chain(SSL_CTX *ctx, struct span pem, struct buf *why)
{
	BIO *in = tls_bio_of(pem);
	X509 *leaf = PEM_read_bio_X509_AUX(in, NULL, no_passphrase, NULL);
	bool ok;
	if (leaf == NULL)
		ok = tls_at_end_of_pem()
			 ? tls_say_only(why, "the chain holds no certificate in PEM form")
			 : tls_say(why, "the certificate cannot be read");
	else if (SSL_CTX_use_certificate(ctx, leaf) != 1)
		ok = tls_say(why, "the certificate cannot be used");
	else
		ok = use_intermediates(ctx, in, why);
	X509_free(leaf);
	BIO_free(in);
	return ok;
}

EVP_PKEY *tls_private_key(struct span pem, struct buf *why)
{
	BIO *in = tls_bio_of(pem);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL);
	BIO_free(in);
	if (key != NULL)
		return key;
	if (span_find_span(pem, SPAN("PRIVATE KEY-----")) == SIZE_MAX)
		tls_say_only(why, "the key file holds no private key in PEM form");
	else /* OpenSSL 3 says "unsupported" to all of these */
		tls_say(why, "the private key cannot be read (encrypted keys are not supported)");
	return NULL;
}

static bool use_key(SSL_CTX *ctx, struct span pem, struct buf *why)
{
	EVP_PKEY *key = tls_private_key(pem, why);
	if (key == NULL)
		return false;
	X509 *leaf = SSL_CTX_get0_certificate(ctx);
	bool ok = X509_check_private_key(leaf, key) == 1;
	if (!ok)
		tls_say_only(
		    why, "the private key does not fit the first certificate of the chain");
	else if (SSL_CTX_use_PrivateKey(ctx, key) != 1)
		ok = tls_say(why, "the private key cannot be used");
	EVP_PKEY_free(key);
	return ok;
}

bool tls_use_pair(SSL_CTX *ctx, const struct tls_pair *pair, struct buf *why)
{
	ERR_clear_error();
	return use_chain(ctx, pair->chain_pem, why) && use_key(ctx, pair->key_pem, why);
}

static bool is_timely(const X509 *leaf, struct buf *why)
{
	if (X509_cmp_current_time(X509_get0_notAfter(leaf)) <= 0)
		return tls_say_only(why, "the certificate has expired");
	return X509_cmp_current_time(X509_get0_notBefore(leaf)) < 0 ||
	       tls_say_only(why, "the certificate is not valid yet");
}

bool tls_pair_check(const struct tls_pair *pair, struct buf *why)
{
	SSL_CTX *trial = SSL_CTX_new(TLS_server_method());
	CHECK(trial != NULL);
	bool ok = tls_use_pair(trial, pair, why) && is_timely(SSL_CTX_get0_certificate(trial), why);
	SSL_CTX_free(trial);
	return ok;
}

static bool add_authorities(SSL_CTX *ctx, BIO *in, bool ask_client, size_t *n_out)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	X509 *x;
	for (*n_out = 0; (x = PEM_read_bio_X509_AUX(in, NULL, no_passphrase, NULL)) != NULL;
	     ++*n_out) {
		bool ok = *n_out < AUTHORITIES_MAX && X509_STORE_add_cert(store, x) == 1 &&
			  (!ask_client || SSL_CTX_add_client_CA(ctx, x) == 1);
		X509_free(x);
		if (!ok)
			return false;
	}
	return tls_at_end_of_pem();
}

bool tls_use_authorities(SSL_CTX *ctx, struct span pem, bool ask_client, struct buf *why)
{
	size_t n;
	ERR_clear_error();
	BIO *in = tls_bio_of(pem);
	bool ok = add_authorities(ctx, in, ask_client, &n);
	BIO_free(in);
	if (!ok)
		return tls_say(why, "a certificate of the authorities cannot be read");
	return n > 0 || tls_say_only(why, "the authorities hold no certificate in PEM form");
}

void tls_each_name(SSL_CTX *ctx, void (*fn)(void *arg, struct span name), void *arg)
{
	GENERAL_NAMES *names =
	    X509_get_ext_d2i(SSL_CTX_get0_certificate(ctx), NID_subject_alt_name, NULL, NULL);
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		char lower[256];
		if (g->type != GEN_DNS)
			continue;
		struct span v = span_of(
		    ASN1_STRING_get0_data(g->d.dNSName), (size_t)ASN1_STRING_length(g->d.dNSName));
		if (v.n == 0 || v.n >= sizeof lower)
			continue;
		span_lower_to(lower, v);
		fn(arg, span_of(lower, v.n));
	}
	GENERAL_NAMES_free(names);
	ERR_clear_error();
}
