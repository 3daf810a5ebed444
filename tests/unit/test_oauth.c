/* test_oauth.c - bearer tokens: their SASL messages, JSON, signatures, claims. */
#include "directory/token.h"

#include "base/check.h"
#include "base/clock.h"
#include "directory/oauth_check.h"
#include "net/signature.h"
#include "proto/json.h"
#include "proto/oauth.h"

static void test_messages(void **state)
{
	static const struct {
		const char *text, *user, *token; /* user NULL: refused */
		bool xoauth2;
	} rows[] = {
		{ "n,a=user@example.com,\1host=x\1port=143\1auth=Bearer vF9.a-b_c\1\1",
		    "user@example.com", "vF9.a-b_c", false },
		{ "n,,\1auth=bearer abc==\1\1", "", "abc==", false },
		{ "y,,\1auth=Bearer abc\1\1", "", "abc", false },
		{ "user=me@x\1auth=Bearer abc\1\1", "me@x", "abc", true },
		{ "n,a=u=2Cv,\1auth=Bearer abc\1\1", NULL, NULL, false },
		{ "p=tls-exporter,,\1auth=Bearer abc\1\1", NULL, NULL, false },
		{ "n,,\1auth=Bearer abc\1", NULL, NULL, false },
		{ "n,,\1auth=Bearer abc", NULL, NULL, false },
		{ "n,,\1auth=Bearer \1\1", NULL, NULL, false },
		{ "n,,\1auth=Basic abc\1\1", NULL, NULL, false },
		{ "n,,\1auth=Bearer a b\1\1", NULL, NULL, false },
		{ "n,,\1auth=Bearer a\1auth=Bearer b\1\1", NULL, NULL, false },
		{ "n,,\1host\1auth=Bearer a\1\1", NULL, NULL, false },
		{ "n,\1auth=Bearer abc\1\1", NULL, NULL, false },
		{ "n,,x\1auth=Bearer abc\1\1", NULL, NULL, false },
		{ "n,x=y,\1auth=Bearer abc\1\1", NULL, NULL, false },
		{ "n,a=a b,\1auth=Bearer abc\1\1", NULL, NULL, false },
		{ "n,a=\xff,\1auth=Bearer abc\1\1", NULL, NULL, false },
		{ "", NULL, NULL, false },
		{ "\1\1", NULL, NULL, false },
		{ "user=\1auth=Bearer abc\1\1", NULL, NULL, true },
		{ "me@x\1auth=Bearer abc\1\1", NULL, NULL, true },
		{ "", NULL, NULL, true },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct oauth_message m;
		err_t err = rows[i].xoauth2 ? oauth_xoauth2_parse(&m, span_str(rows[i].text))
					    : oauth_bearer_parse(&m, span_str(rows[i].text));
		if ((err == ERR_OK) != (rows[i].user != NULL))
			fail_msg("row %zu: %d", i, err);
		if (err == ERR_OK) {
			assert_true(span_eq_str(m.user, rows[i].user));
			assert_true(span_eq_str(m.token, rows[i].token));
		}
	}
}

static void test_json(void **state)
{
	static const struct {
		const char *text;
		enum json_type type; /* of "k" */
		const char *value;
	} good[] = {
		{ "{}", JSON_ABSENT, "" },
		{ " { \"k\" : \"v\" } ", JSON_STRING, "v" },
		{ "{\"a\":{\"k\":1},\"b\":[\"k\",{\"k\":2}],\"k\":12.5}", JSON_NUMBER, "12.5" },
		{ "{\"k\":[1,\"x\"]}", JSON_ARRAY, "[1,\"x\"]" },
		{ "{\"k\":{\"x\":[]}}", JSON_OTHER, "{\"x\":[]}" },
		{ "{\"k\":null,\"x\":true,\"y\":false}", JSON_OTHER, "null" },
		{ "{\"k\":\"a\\u0062\"}", JSON_OTHER, "a\\u0062" },
		{ "{\"\\u006b\":1}", JSON_ABSENT, "" },
		{ "{\"k\":\"\"}", JSON_STRING, "" },
		{ "{\"k\":[[[[[[[1]]]]]]]}", JSON_ARRAY, "[[[[[[[1]]]]]]]" },
	};
	static const char *const bad[] = { "", "[]", "\"k\"", "{", "{\"k\"}", "{\"k\":}",
		"{\"k\":1,}", "{\"k\":1}x", "{\"k\":1,\"k\":2}", "{k:1}", "{\"k\":nul}",
		"{\"k\":\"v}", "{\"k\":\"a\nb\"}", "{\"k\":[1,]}", "{\"k\":[1}", "{\"k\" 1}", "{,}",
		"{\"k\":\"\\", "{\"k\":[[[[[[[[1]]]]]]]]}" };
	struct json_value v;
	uint64_t n;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		if (!json_get(span_str(good[i].text), "k", &v) || v.type != good[i].type ||
		    !span_eq_str(v.text, good[i].value))
			fail_msg("%s: %d %.*s", good[i].text, (int)v.type, SPAN_ARG(v.text));
		struct span all = span_trim(span_str(good[i].text));
		for (size_t cut = 0; cut < all.n; cut++)
			assert_false(json_get(span_first(all, cut), "k", &v));
	}
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (json_get(span_str(bad[i]), "k", &v))
			fail_msg("%s", bad[i]);
	assert_true(json_array_has(SPAN("[ \"a\", 1, \"b\" ]"), SPAN("b")));
	assert_false(json_array_has(SPAN("[\"a\"]"), SPAN("b")));
	assert_false(json_array_has(SPAN("[]"), SPAN("b")));
	assert_true(json_get(SPAN("{\"k\":17.9}"), "k", &v) && json_u64(&v, &n) && n == 17);
	assert_true(json_get(SPAN("{\"k\":-1}"), "k", &v) && !json_u64(&v, &n));
	assert_true(json_get(SPAN("{\"k\":1e9}"), "k", &v) && !json_u64(&v, &n));
	assert_true(json_get(SPAN("{\"k\":\"1\"}"), "k", &v) && !json_u64(&v, &n));
}

enum { NOW = 1700000000 };
#define CLAIMS(more) "{\"iss\":\"https://id.example\",\"email\":\"alice@example.org\"," more "}"
#define EXP "\"exp\":1700000600"

static const char *fault_of(
    EVP_PKEY *key, const char *header, const char *claims, const char *audience)
{
	static char text[100];
	struct buf pem = BUF_INIT(16384), token = BUF_INIT(16384), user = BUF_INIT(100);
	token_put_pem(key, &pem);
	struct oauth_settings s = { buf_span(&pem), "https://id.example", audience, "email",
		"imap" };
	struct oauth_check *c = oauth_check_new(&s, NULL);
	assert_non_null(c);
	token_make(&token, key, header, claims);
	const char *fault = oauth_check_token(c, buf_span(&token), &user);
	snprintf(text, sizeof text, "%s", fault != NULL ? fault : buf_cstr(&user));
	/* Whatever is changed or cut off, it is not the provider's any more. */
	for (size_t i = 0; fault == NULL && i < buf_len(&token); i++) {
		char *p = (char *)buf_span(&token).p + i, was = *p;
		*p = was == 'A' ? 'Q' : 'A';
		assert_non_null(oauth_check_token(c, buf_span(&token), &user));
		*p = was;
		if (i % 16 == 0)
			assert_non_null(
			    oauth_check_token(c, span_first(buf_span(&token), i), &user));
	}
	oauth_check_free(&c);
	buf_end(&pem);
	buf_end(&token);
	buf_end(&user);
	return text;
}

static void test_tokens(void **state)
{
	static const char *const algs[] = { "RS256", "ES256", "EdDSA" };
	static const struct {
		const char *claims, *audience, *want;
	} rows[] = {
		{ CLAIMS(EXP), NULL, "alice@example.org" },
		{ CLAIMS(EXP ",\"nbf\":1700000050"), NULL, "alice@example.org" },
		{ CLAIMS("\"exp\":1699999941"), NULL, "alice@example.org" },
		{ CLAIMS("\"exp\":1699999940"), NULL, "expired" },
		{ CLAIMS(EXP ",\"nbf\":1700000061"), NULL, "not valid yet" },
		{ CLAIMS("\"x\":1"), NULL, "no time of expiry" },
		{ CLAIMS("\"exp\":\"1700000600\""), NULL, "no time of expiry" },
		{ CLAIMS(EXP ",\"nbf\":\"x\""), NULL, "not valid yet" },
		{ CLAIMS(EXP ",\"aud\":\"mail\""), "mail", "alice@example.org" },
		{ CLAIMS(EXP ",\"aud\":[\"web\",\"mail\"]"), "mail", "alice@example.org" },
		{ CLAIMS(EXP ",\"aud\":[\"web\"]"), "mail", "for another audience" },
		{ CLAIMS(EXP), "mail", "for another audience" },
		{ "{\"iss\":\"https://evil.example\",\"email\":\"a@b\"," EXP "}", NULL,
		    "another issuer" },
		{ "{\"email\":\"a@b\"," EXP "}", NULL, "another issuer" },
		{ "{\"iss\":\"https://id.example\"," EXP "}", NULL, "names no user" },
		{ "{\"iss\":\"https://id.example\",\"email\":1," EXP "}", NULL, "names no user" },
		{ CLAIMS(EXP ",\"email\":\"bob@example.org\""), NULL, "names no user" },
		{ "no json", NULL, "another issuer" },
	};
	clock_fake(1000000, (uint64_t)NOW * 1000000);
	for (size_t a = 0; a < COUNT_OF(algs); a++) {
		char header[100];
		EVP_PKEY *key = token_key(algs[a]);
		snprintf(header, sizeof header, "{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"1\"}",
		    algs[a]);
		for (size_t i = 0; i < (a == 0 ? COUNT_OF(rows) : 1); i++)
			assert_string_equal(
			    fault_of(key, header, rows[i].claims, rows[i].audience), rows[i].want);
		static const char *const headers[] = { "{\"alg\":\"none\"}", "{\"alg\":\"HS256\"}",
			"{}", "no json", "{\"alg\":1}", "{\"alg\":\"rs256\"}" };
		for (size_t i = 0; i < COUNT_OF(headers); i++)
			assert_string_equal(fault_of(key, headers[i], rows[0].claims, NULL),
			    "not signed by the provider");
		snprintf(header, sizeof header, "{\"alg\":\"%s\",\"crit\":[\"x\"]}", algs[a]);
		assert_string_equal(
		    fault_of(key, header, rows[0].claims, NULL), "not signed by the provider");
		snprintf(header, sizeof header, "{\"alg\":\"%s\"}", algs[(a + 1) % COUNT_OF(algs)]);
		assert_string_equal(
		    fault_of(key, header, rows[0].claims, NULL), "not signed by the provider");
		EVP_PKEY_free(key);
	}
	clock_fake_off();
}

static void test_key_sets(void **state)
{
	EVP_PKEY *keys[3] = { token_key("RS256"), token_key("ES256"), token_key("ES256") };
	struct buf pem = BUF_INIT(65536), why = BUF_INIT(200), token = BUF_INIT(4096),
		   other = BUF_INIT(4096);
	token_put_pem(keys[0], &pem);
	token_put_pem(keys[1], &pem);
	struct key_set *set = key_set_new(buf_span(&pem), &why);
	assert_non_null(set);
	for (size_t i = 1; i < 3; i++) {
		struct jws j;
		buf_clear(&token);
		token_make(&token, keys[i], "{}", "{}");
		assert_int_equal(jws_parse(&j, buf_span(&token)), ERR_OK);
		assert_int_equal(
		    key_set_verifies(set, SPAN("ES256"), j.signing_input, buf_span(&j.signature)),
		    i == 1);
		assert_false(
		    key_set_verifies(set, SPAN("RS256"), j.signing_input, buf_span(&j.signature)));
		assert_false(key_set_verifies(set, SPAN("ES256"), j.signing_input, SPAN_NONE));
		jws_end(&j);
	}
	key_set_free(&set);
	assert_null(key_set_new(SPAN_NONE, &why));
	assert_string_equal(buf_cstr(&why), "no public key in the file");
	buf_clear(&why);
	assert_null(key_set_new(span_first(buf_span(&pem), buf_len(&pem) - 60), &why));
	assert_string_equal(buf_cstr(&why), "a public key cannot be read");
	EVP_PKEY *small = EVP_RSA_gen(1024);
	token_put_pem(small, &other);
	assert_null(key_set_new(buf_span(&other), NULL));
	EVP_PKEY_free(small);
	buf_clear(&pem);
	for (int i = 0; i <= KEY_SET_MAX; i++)
		token_put_pem(keys[1], &pem);
	assert_null(key_set_new(buf_span(&pem), NULL));
	for (size_t i = 0; i < COUNT_OF(keys); i++)
		EVP_PKEY_free(keys[i]);
	buf_end(&pem);
	buf_end(&why);
	buf_end(&token);
	buf_end(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_key_sets),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
