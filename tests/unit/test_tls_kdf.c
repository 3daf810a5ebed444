/* test_tls_kdf.c - the key schedule against OpenSSL's own, for what a handshake asks and for what it never does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <string.h>

#include "base/check.h"
#include "net/tls_kdf.h"

enum { OUT_MAX = 200 };

static uint8_t bytes[400]; /* keys, salts and transcripts */

static int group_setup(void **state)
{
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 7 + 3);
	tls_kdf_begin();
	tls_kdf_begin();
	return 0;
}

/* A request as libssl makes it; lengths of SIZE_MAX: the parameter is absent. */
struct question {
	int mode;
	const char *digest, *label;
	size_t key_n, salt_n, data_n, out_n;
	bool piecewise; /* parameters are set before they are used */
};

struct result {
	int ok;
	uint8_t out[OUT_MAX];
};

static size_t put(OSSL_PARAM *p, size_t at, const char *name, size_t from, size_t n)
{
	if (n == SIZE_MAX)
		return at;
	p[at] = OSSL_PARAM_construct_octet_string(name, bytes + from, n);
	return at + 1;
}

static struct result ask(const struct question *q, const char *properties, const char *from)
{
	struct result r = { 0 };
	OSSL_PARAM p[8];
	int mode = q->mode;
	size_t n = 0;
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_3_KDF, properties);
	assert_non_null(kdf);
	assert_string_equal(OSSL_PROVIDER_get0_name(EVP_KDF_get0_provider(kdf)), from);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	p[n++] = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
	p[n++] = OSSL_PARAM_construct_utf8_string(
	    OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t)q->digest, 0);
	n = put(p, n, OSSL_KDF_PARAM_KEY, 0, q->key_n);
	n = put(p, n, OSSL_KDF_PARAM_SALT, 150, q->salt_n);
	p[n++] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, (char[]){ "tls13 " }, 6);
	p[n++] = OSSL_PARAM_construct_octet_string(
	    OSSL_KDF_PARAM_LABEL, (char *)(uintptr_t)q->label, strlen(q->label));
	n = put(p, n, OSSL_KDF_PARAM_DATA, 100, q->data_n);
	p[n] = OSSL_PARAM_construct_end();
	if (q->piecewise)
		assert_int_equal(EVP_KDF_CTX_set_params(ctx, p), 1);
	r.ok = EVP_KDF_derive(ctx, r.out, q->out_n, q->piecewise ? NULL : p) == 1;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	ERR_clear_error();
	return r;
}

static void expect_same(const struct question *q, bool works)
{
	struct result theirs = ask(q, "provider=default", "default");
	struct result ours = ask(q, TLS_KDF_PROPERTIES, "postern");
	assert_int_equal(theirs.ok, works);
	assert_int_equal(ours.ok, works);
	if (works)
		assert_memory_equal(ours.out, theirs.out, OUT_MAX);
}

static const struct {
	const char *digest;
	size_t n;
} digests[] = { { "SHA2-256", 32 }, { "SHA2-384", 48 } };

/* ---- what is seen of it ---- */

static struct {
	int calls;
	char label[20];
	uint8_t secret[OUT_MAX];
	size_t n;
} seen;

static void on_secret(void *arg, struct span label, struct span secret)
{
	assert_ptr_equal(arg, &seen);
	assert_true(label.n < sizeof seen.label && secret.n <= OUT_MAX);
	seen.calls++;
	memcpy(seen.label, label.p, label.n);
	seen.label[label.n] = '\0';
	memcpy(seen.secret, secret.p, secret.n);
	seen.n = secret.n;
}

/* ---- tests ---- */

static void test_labels(void **state)
{
	static const char *const labels[] = { "ext binder", "res binder", "c e traffic",
		"e exp master", "derived", "c hs traffic", "s hs traffic", "c ap traffic",
		"s ap traffic", "exp master", "res master", "resumption", "finished", "key", "iv",
		"traffic upd", "exporter", "x" };
	static const size_t contexts[] = { SIZE_MAX, 1, 8, 32, 48, 255 };
	for (size_t d = 0; d < COUNT_OF(digests); d++)
		for (size_t l = 0; l < COUNT_OF(labels); l++)
			for (size_t c = 0; c < COUNT_OF(contexts); c++)
				for (size_t n = 1; n <= digests[d].n; n += 5)
					expect_same(
					    &(struct question){ EVP_KDF_HKDF_MODE_EXPAND_ONLY,
						digests[d].digest, labels[l], digests[d].n,
						SIZE_MAX, contexts[c], n, false },
					    true);
}

static void test_extract(void **state)
{
	static const size_t keys[] = { SIZE_MAX, 1, 32, 48, 64, 65, 128, 133 };
	for (size_t d = 0; d < COUNT_OF(digests); d++)
		for (size_t k = 0; k < COUNT_OF(keys); k++)
			for (int salted = 0; salted < 2; salted++)
				expect_same(&(struct question){ EVP_KDF_HKDF_MODE_EXTRACT_ONLY,
						digests[d].digest, "derived", keys[k],
						salted ? digests[d].n : SIZE_MAX, SIZE_MAX,
						digests[d].n, false },
				    true);
}

/* What no handshake asks for, and what cannot be answered: as OpenSSL does it. */
static void test_unusual(void **state)
{
	enum { EXPAND = EVP_KDF_HKDF_MODE_EXPAND_ONLY, EXTRACT = EVP_KDF_HKDF_MODE_EXTRACT_ONLY };
	static const struct {
		struct question q;
		bool works;
	} cases[] = {
		{ { EXPAND, "SHA2-512", "key", 64, SIZE_MAX, 32, 64, false }, true },
		{ { EXPAND, "SHA1", "key", 20, SIZE_MAX, 32, 20, false }, true },
		{ { EXPAND, "SHA256", "key", 32, SIZE_MAX, 32, 32, false }, true },
		{ { EXPAND, "SHA2-256", "key", 32, SIZE_MAX, 32, 33, false }, true },
		{ { EXPAND, "SHA2-256", "exporter", 32, SIZE_MAX, 32, OUT_MAX, false }, true },
		{ { EXPAND, "SHA2-256", "key", 31, SIZE_MAX, 32, 32, false }, true },
		{ { EXPAND, "SHA2-256", "key", 100, SIZE_MAX, 32, 32, false }, true },
		{ { EXPAND, "SHA2-256", "key", 32, 32, 32, 32, false }, true },
		{ { EXPAND, "SHA2-256", "key", 32, SIZE_MAX, 32, 32, true }, true },
		{ { EXTRACT, "SHA2-384", "derived", 32, 48, SIZE_MAX, 48, true }, true },
		{ { EXTRACT, "SHA2-256", "derived", 32, 31, SIZE_MAX, 32, false }, true },
		{ { EXTRACT, "SHA2-256", "derived", 32, 32, 32, 32, false }, true },
		{ { EXPAND, "SHA2-256", "key", 32, SIZE_MAX, 32, 0, false }, true },
		{ { EXPAND, "SHA2-256", "key", 32, SIZE_MAX, 256, 32, false }, false },
		{ { EXTRACT, "SHA2-256", "derived", 32, 32, SIZE_MAX, 31, false }, false },
		{ { EXPAND, "no such digest", "key", 32, SIZE_MAX, 32, 32, false }, false },
		{ { EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND, "SHA2-256", "key", 32, 32, SIZE_MAX, 32,
		      false },
		    false },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		expect_same(&cases[i].q, cases[i].works);
}

static void test_watch(void **state)
{
	struct question q = { EVP_KDF_HKDF_MODE_EXPAND_ONLY, "SHA2-384", "c ap traffic", 48,
		SIZE_MAX, 48, 48, false };
	struct result r;
	ask(&q, TLS_KDF_PROPERTIES, "postern");
	assert_int_equal(seen.calls, 0);
	tls_kdf_watch(on_secret, &seen);
	r = ask(&q, TLS_KDF_PROPERTIES, "postern");
	assert_int_equal(seen.calls, 1);
	assert_string_equal(seen.label, "c ap traffic");
	assert_int_equal(seen.n, 48);
	assert_memory_equal(seen.secret, r.out, 48);
	tls_kdf_watch(NULL, NULL);
	ask(&q, TLS_KDF_PROPERTIES, "postern");
	assert_int_equal(seen.calls, 1);
}

/* An administrator's properties go before our wish. */
static void test_fips_rules_it_out(void **state)
{
	EVP_KDF *kdf =
	    EVP_KDF_fetch(NULL, OSSL_KDF_NAME_TLS1_3_KDF, TLS_KDF_PROPERTIES ",fips=yes");
	assert_null(kdf); /* no FIPS provider here: none rather than ours */
	ERR_clear_error();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_extract),
		cmocka_unit_test(test_unusual),
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_fips_rules_it_out),
	};
	return cmocka_run_group_tests(tests, group_setup, NULL);
}
