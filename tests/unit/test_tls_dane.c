/* test_tls_dane.c - the certificate that DNSSEC names, and none else (RFC 7672). */
#include "net/tls_ends.h"

/* The server shows its authority too, as RFC 7672 section 3.1.2 wants of those who name it. */
static void server_chain(void)
{
	struct cert both = test_cert;
	both.chain = BUF_INIT(100000);
	buf_add_span(&both.chain, buf_span(&test_cert.chain));
	buf_add_span(&both.chain, buf_span(&test_ca.chain));
	struct tls_pair pair = cert_pair(&both);
	tls_ctx_unref(&server);
	server = tls_server_new(&(struct tls_server_opts){ .pairs = &pair, .pair_count = 1 }, NULL);
	assert_non_null(server);
	buf_end(&both.chain);
}

enum { DIGEST = 32 };

/* SHA-256 of the public key, as in "3 1 1" and "2 1 1". */
static void key_digest(const struct cert *c, unsigned char out[DIGEST])
{
	unsigned char *der = NULL;
	int n = i2d_PUBKEY(c->key, &der);
	assert_true(n > 0);
	assert_int_equal(EVP_Digest(der, (size_t)n, out, NULL, EVP_sha256(), NULL), 1);
	OPENSSL_free(der);
}

static enum stream_certificate verdict;

static bool dane_secure(const struct tls_dane *dane)
{
	them_begin();
	assert_int_equal(stream_start_tls_server(us.s, server), 0);
	assert_int_equal(stream_start_tls_dane(them.s, client, dane), 0);
	WAIT_FOR(them.n[STREAM_SECURED] || them.n[STREAM_FAILED]);
	bool secure = them.n[STREAM_SECURED] > 0;
	verdict = stream_certificate(them.s);
	again();
	return secure;
}

/* An end entity's key counts whatever its name; an authority's for the two names; without a usable record any
 * certificate does. */
static void test_dane(void **state)
{
	unsigned char leaf[DIGEST], authority[DIGEST];
	key_digest(&test_cert, leaf);
	key_digest(&test_ca, authority);
	struct tls_dane_record ee = { 3, 1, 1, span_of(leaf, DIGEST) };
	struct tls_dane_record ee_wrong = { 3, 1, 1, span_of(authority, DIGEST) };
	struct tls_dane_record ta = { 2, 1, 1, span_of(authority, DIGEST) };
	struct tls_dane_record pkix = { 1, 1, 1, span_of(leaf, DIGEST) };
	struct tls_dane_record strange = { 3, 9, 77, span_of(leaf, 5) };
	struct tls_dane_record two[] = { ee_wrong, ee };
	struct tls_dane_record no_good[] = { pkix, strange, { 3, 0, 0, span_of(leaf, DIGEST) },
		{ 3, 1, 1, span_of(leaf, DIGEST - 1) }, ee };
	assert_false(tls_dane_is_usable(no_good, COUNT_OF(no_good) - 1));
	assert_true(tls_dane_is_usable(no_good, COUNT_OF(no_good)));
	assert_true(tls_dane_is_usable(&ee_wrong, 1) && tls_dane_is_usable(&ta, 1));
	assert_false(tls_dane_is_usable(NULL, 0));
	assert_true(dane_secure(&(struct tls_dane){ "mail.example", { NULL }, &ee, 1 }));
	assert_true(dane_secure(&(struct tls_dane){ "other.example", { NULL }, &ee, 1 }));
	assert_true(dane_secure(&(struct tls_dane){ "mail.example", { NULL }, two, 2 }));
	assert_false(dane_secure(&(struct tls_dane){ "mail.example", { NULL }, &ee_wrong, 1 }));
	assert_int_equal(verdict, STREAM_CERT_DANE);
	assert_true(dane_secure(&(struct tls_dane){ "other.example", { NULL }, &pkix, 1 }));
	assert_true(dane_secure(&(struct tls_dane){ "other.example", { NULL }, &strange, 1 }));
	server_chain();
	assert_true(dane_secure(&(struct tls_dane){ "mail.example", { NULL }, &ta, 1 }));
	server_chain();
	assert_false(dane_secure(&(struct tls_dane){ "other.example", { NULL }, &ta, 1 }));
	server_chain();
	assert_true(dane_secure(&(struct tls_dane){ "other.example", { "mail.example" }, &ta, 1 }));
	server_chain();
	assert_true(dane_secure(
	    &(struct tls_dane){ "other.example", { "x.example", "mail.example" }, &ta, 1 }));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_dane, setup, teardown),
	};
	return cmocka_run_group_tests(tests, certs_setup, certs_teardown);
}
