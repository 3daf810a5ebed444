/* test_dkim.c - signatures of DKIM: the vectors of RFC 8463 appendix A bit by bit, canonical forms, names that are not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/base64.h"
#include "base/check.h"
#include "edge/dkim.h"
#include "net/digest.h"

enum { TEXT_MAX = 65536 };

/* RFC 8463 appendix A.1 and A.2: the seed in PKCS #8, and the key of 1024 bits. */
static const char ed25519_pem[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
    "-----END PRIVATE KEY-----\n";
static const char rsa_pem[] = "-----BEGIN RSA PRIVATE KEY-----\n"
			      "MIICXQIBAAKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi\n"
			      "Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqM\n"
			      "KrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB\n"
			      "AoGAH0cxOhFZDgzXWhDhnAJDw5s4roOXN4OhjiXa8W7Y3rhX3FJqmJSPuC8N9vQm\n"
			      "6SVbaLAE4SG5mLMueHlh4KXffEpuLEiNp9Ss3O4YfLiQpbRqE7Tm5SxKjvvQoZZe\n"
			      "zHorimOaChRL2it47iuWxzxSiRMv4c+j70GiWdxXnxe4UoECQQDzJB/0U58W7RZy\n"
			      "6enGVj2kWF732CoWFZWzi1FicudrBFoy63QwcowpoCazKtvZGMNlPWnC7x/6o8Gc\n"
			      "uSe0ga2xAkEA8C7PipPm1/1fTRQvj1o/dDmZp243044ZNyxjg+/OPN0oWCbXIGxy\n"
			      "WvmZbXriOWoSALJTjExEgraHEgnXssuk7QJBALl5ICsYMu6hMxO73gnfNayNgPxd\n"
			      "WFV6Z7ULnKyV7HSVYF0hgYOHjeYe9gaMtiJYoo0zGN+L3AAtNP9huqkWlzECQE1a\n"
			      "licIeVlo1e+qJ6Mgqr0Q7Aa7falZ448ccbSFYEPD6oFxiOl9Y9se9iYHZKKfIcst\n"
			      "o7DUw1/hz2Ck4N5JrgUCQQCyKveNvjzkkd8HjYs0SwM0fPjK16//5qDZ2UiDGnOe\n"
			      "uEzxBDAr518Z8VFbR41in3W4Y3yCDgQlLlcETrS+zYcL\n"
			      "-----END RSA PRIVATE KEY-----\n";
static const char public_pem[] = "-----BEGIN PUBLIC KEY-----\n"
				 "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
				 "-----END PUBLIC KEY-----\n";

/* Appendix A.3 */
#define TEXT                                                                                       \
	"From: Joe SixPack <joe@football.example.com>\r\n"                                         \
	"To: Suzie Q <suzie@shopping.example.net>\r\n"                                             \
	"Subject: Is dinner ready?\r\n"                                                            \
	"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"                                          \
	"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"                         \
	"\r\n"                                                                                     \
	"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
#define HASH "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
#define FIELDS "from:to:subject:date:message-id:from:subject:date"

static const struct vector {
	const char *pem, *own, *signature;
} vectors[] = {
	{ ed25519_pem,
	    "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
	    " d=football.example.com; i=@football.example.com;\r\n"
	    " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
	    " subject : date : message-id : from : subject : date;\r\n bh=" HASH ";\r\n b=",
	    "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+"
	    "eXdp1Q1Dw==" },
	{ rsa_pem,
	    "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n"
	    " d=football.example.com; i=@football.example.com;\r\n"
	    " q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n"
	    " date : message-id : from : subject : date;\r\n bh=" HASH ";\r\n b=",
	    "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3DhCVlUrSjV4BwcVcOF6+"
	    "FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2JzdA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNc"
	    "UxZQ4FADY+8=" },
};

static void test_vectors(void **state)
{
	for (size_t i = 0; i < COUNT_OF(vectors); i++) {
		const struct vector *v = &vectors[i];
		struct buf text = BUF_INIT(TEXT_MAX), raw = BUF_INIT(1024), out = BUF_INIT(1024);
		struct sign_key *key = sign_key_new(span_str(v->pem), NULL);
		assert_non_null(key);
		assert_non_null(strstr(v->own, sign_key_algorithm(key)));
		assert_true(dkim_put_signed(SPAN(TEXT), SPAN(FIELDS), span_str(v->own), &text));
		assert_true(sign_key_put(key, buf_span(&text), &raw));
		base64_put(&out, buf_span(&raw));
		assert_string_equal(buf_cstr(&out), v->signature);
		sign_key_free(&key);
		buf_end(&text);
		buf_end(&raw);
		buf_end(&out);
	}
}

static void expect_hash(struct span message, const char *wanted)
{
	struct buf raw = BUF_INIT(64), out = BUF_INIT(64);
	assert_true(dkim_put_body_hash(message, &raw));
	base64_put(&out, buf_span(&raw));
	assert_string_equal(buf_cstr(&out), wanted);
	buf_end(&raw);
	buf_end(&out);
}

/* Section 3.4.4; the digest of nothing is in section 3.4.4, too. */
static void test_body(void **state)
{
	expect_hash(SPAN(TEXT), HASH);
	expect_hash(SPAN(TEXT "\r\n\r\n \t \r\n"), HASH);
	expect_hash(
	    SPAN(
		"A: b\r\n\r\nHi.  \r\n\r\nWe lost the game. \t  Are you hungry\tyet?\r\n \r\nJoe."),
	    HASH);
	expect_hash(SPAN("A: b\r\n\r\n"), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
	expect_hash(SPAN("A: b\r\n\r\n\r\n \r\n"), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
}

/* Section 3.4.5 has these fields; of two of a name the last is first (section 5.4.2), and then there is none. */
static void test_fields(void **state)
{
	static const struct span message =
	    SPAN("A: X\r\nB : Y\t\r\n\tZ  \r\nA:  2 \r\n\r\n C \r\nD \t E\r\n");
	static const struct {
		const char *fields, *wanted;
	} cases[] = {
		{ "A:B", "a:2\r\nb:Y Z\r\n" },
		{ "a:b:a", "a:2\r\nb:Y Z\r\na:X\r\n" },
		{ "a : a : a : c : b", "a:2\r\na:X\r\nb:Y Z\r\n" },
		{ "c", "" },
		{ "", "" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf out = BUF_INIT(TEXT_MAX);
		char wanted[128];
		snprintf(wanted, sizeof wanted, "%sdkim-signature:v=1; b=", cases[i].wanted);
		assert_true(dkim_put_signed(message, span_str(cases[i].fields),
		    SPAN("DKIM-Signature:  v=1;\r\n\tb="), &out));
		assert_string_equal(buf_cstr(&out), wanted);
		buf_end(&out);
	}
	struct buf out = BUF_INIT(TEXT_MAX);
	assert_false(dkim_put_signed(message, SPAN("a"), SPAN("Subject: x"), &out));
	buf_end(&out);
}

/* What stands behind b=, folds taken out and decoded. */
static void take_signature(const char *b, struct buf *out)
{
	struct buf digits = BUF_INIT(1024);
	for (; *b != '\0'; b++)
		if (*b > ' ')
			buf_add_char(&digits, *b);
	assert_true(base64_get(buf_span(&digits), out));
	buf_end(&digits);
}

/* The field as it stands in a message: short lines, and a signature that the public key verifies. */
static void test_whole(void **state)
{
	uint8_t digest[DIGEST_LEN_MAX];
	struct buf out = BUF_INIT(TEXT_MAX), text = BUF_INIT(TEXT_MAX), raw = BUF_INIT(256);
	struct sign_key *key = sign_key_new(span_str(ed25519_pem), NULL);
	struct key_set *set = key_set_new(span_str(public_pem), NULL);
	struct dkim d = { .domain = "football.example.com",
		.selector = "brisbane",
		.key = key,
		.fields = FIELDS };
	assert_true(dkim_put_signature(&d, SPAN(TEXT), 1528637909, &out));
	const char *field = buf_cstr(&out), *b = strstr(field, "\tb=");
	assert_non_null(b);
	b += strlen("\tb=");
	assert_non_null(strstr(field, "t=1528637909;"));
	assert_non_null(strstr(field, "bh=" HASH ";"));
	for (struct span rest = buf_span(&out); rest.n > 0;)
		assert_true(span_cut(&rest, '\n').n < 78);
	struct span own = span_of(field, (size_t)(b - field));
	assert_true(dkim_put_signed(SPAN(TEXT), SPAN(FIELDS), own, &text));
	take_signature(b, &raw);
	size_t n = digest_make(DIGEST_SHA256, buf_span(&text), digest);
	assert_true(key_set_verifies(set, SPAN("EdDSA"), span_of(digest, n), buf_span(&raw)));
	key_set_free(&set);
	sign_key_free(&key);
	buf_end(&raw);
	buf_end(&text);
	buf_end(&out);
}

static void test_limits(void **state)
{
	struct buf small = BUF_INIT(100), why = BUF_INIT(200);
	struct sign_key *key = sign_key_new(span_str(rsa_pem), NULL);
	struct dkim d = { .domain = "a.example", .selector = "s", .key = key, .fields = "from" };
	assert_false(dkim_put_signature(&d, SPAN(TEXT), 1, &small));
	buf_clear(&small);
	assert_false(sign_key_put(key, SPAN("x"), &small));
	sign_key_free(&key);
	assert_null(sign_key_new(SPAN("nonsense"), &why));
	assert_string_equal(buf_cstr(&why), "the key file holds no private key in PEM form");
	assert_null(sign_key_new(span_str(public_pem), NULL));
	assert_null(sign_key_new(span_first(span_str(rsa_pem), 400), NULL));
	buf_end(&small);
	buf_end(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_body),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests_name("dkim", tests, NULL, NULL);
}
