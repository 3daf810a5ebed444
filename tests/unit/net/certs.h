/* certs.h - an authority and certificates for the tests of TLS, made in memory. */
#ifndef TESTS_NET_CERTS_H
#define TESTS_NET_CERTS_H

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "net_test.h"
#include "net/tls_ctx.h"

struct cert {
	X509 *x;
	EVP_PKEY *key;
	struct buf chain, key_pem;
};

static void cert_extend(struct cert *c, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509V3_set_ctx(&ctx, issuer, c->x, NULL, NULL, 0);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(e);
	assert_int_equal(X509_add_ext(c->x, e, -1), 1);
	X509_EXTENSION_free(e);
}

static void put_pem(BIO *b, struct buf *out)
{
	char *p;
	long n = BIO_get_mem_data(b, &p);
	*out = BUF_INIT(65536);
	assert_true(buf_add(out, p, (size_t)n));
	BIO_free(b);
}

/* Of validity, from now. */
struct cert_days {
	long from, to;
};

/* names: "DNS:a.example,IP:127.0.0.1"; NULL makes an authority. by: NULL signs itself. */
static void cert_make_for(struct cert *c, const struct cert *by, const char *subject,
    const char *names, struct cert_days days)
{
	static long serial = 1;
	c->key = EVP_EC_gen("P-256");
	c->x = X509_new();
	assert_true(c->key != NULL && c->x != NULL);
	X509_set_version(c->x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c->x), serial++);
	X509_gmtime_adj(X509_getm_notBefore(c->x), days.from * 86400);
	X509_gmtime_adj(X509_getm_notAfter(c->x), days.to * 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(c->x), "CN", MBSTRING_ASC,
	    (const unsigned char *)subject, -1, -1, 0);
	X509_set_issuer_name(c->x, X509_get_subject_name(by != NULL ? by->x : c->x));
	X509_set_pubkey(c->x, c->key);
	X509 *issuer = by != NULL ? by->x : c->x;
	cert_extend(c, issuer, NID_basic_constraints,
	    names == NULL ? "critical,CA:TRUE" : "critical,CA:FALSE");
	if (names != NULL)
		cert_extend(c, issuer, NID_subject_alt_name, names);
	assert_true(X509_sign(c->x, by != NULL ? by->key : c->key, EVP_sha256()) > 0);
	BIO *chain = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_mem());
	assert_int_equal(PEM_write_bio_X509(chain, c->x), 1);
	assert_int_equal(PEM_write_bio_PrivateKey(key, c->key, NULL, NULL, 0, NULL, NULL), 1);
	put_pem(chain, &c->chain);
	put_pem(key, &c->key_pem);
}

static void cert_make(struct cert *c, const struct cert *by, const char *subject, const char *names)
{
	cert_make_for(c, by, subject, names, (struct cert_days){ -1, 1 });
}

static void cert_end(struct cert *c)
{
	X509_free(c->x);
	EVP_PKEY_free(c->key);
	buf_end(&c->chain);
	buf_end(&c->key_pem);
}

static struct tls_pair cert_pair(const struct cert *c)
{
	return (struct tls_pair){ buf_span(&c->chain), buf_span(&c->key_pem) };
}

/* ---- the certificates that most tests need ---- */

static struct cert test_ca, test_cert;

__attribute__((unused)) static int certs_setup(void **state)
{
	cert_make(&test_ca, NULL, "test authority", NULL);
	cert_make(&test_cert, &test_ca, "mail.example", "DNS:mail.example,IP:127.0.0.1");
	return 0;
}

__attribute__((unused)) static int certs_teardown(void **state)
{
	cert_end(&test_ca);
	cert_end(&test_cert);
	return 0;
}

__attribute__((unused)) static struct tls_ctx *test_server(void)
{
	struct tls_pair pair = cert_pair(&test_cert);
	struct tls_server_opts o = { .pairs = &pair, .pair_count = 1 };
	struct tls_ctx *c = tls_server_new(&o, NULL);
	assert_non_null(c);
	return c;
}

__attribute__((unused)) static struct tls_ctx *test_client(enum tls_verify verify)
{
	struct tls_client_opts o = { .ca_pem = buf_span(&test_ca.chain), .verify = verify };
	struct tls_ctx *c = tls_client_new(&o, NULL);
	assert_non_null(c);
	return c;
}

#endif
