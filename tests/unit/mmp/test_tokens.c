/* test_tokens.c - logins by OAUTHBEARER and XOAUTH2. */
#include "../directory/token.h"
#include "world.h"

#define PROXY "store_user edge; store_secret edge-secret; store_login proxy; "
#define OAUTH                                                                                      \
	PROXY "auth_mechanisms OAUTHBEARER, XOAUTH2, PLAIN; oauth_keys provider.pem; "             \
	      "oauth_issuer \"https://id.example\"; oauth_audience mail; oauth_scope "             \
	      "\"mail.read\"; "
#define GREETING                                                                                   \
	"* OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID AUTH=OAUTHBEARER AUTH=XOAUTH2 "            \
	"AUTH=PLAIN] mail.example.org multiplexor ready\r\n"
#define REFUSED "a NO [AUTHENTICATIONFAILED] Authentication failed (id)\r\n"
/* {"status":"invalid_token","scope":"mail.read"} */
#define ERROR_SAID "+ eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIiwic2NvcGUiOiJtYWlsLnJlYWQifQ==\r\n"

static EVP_PKEY *key;
static const char *const anybody_in[] = { STORE_GREETING, "C P3 AUTHENTICATE PLAIN ", IMAP_DONE,
	"E", NULL };

static void make_provider(void)
{
	struct buf pem = BUF_INIT(4096);
	FILE *f = world_create("provider.pem");
	key = token_key("ES256");
	token_put_pem(key, &pem);
	fwrite(buf_span(&pem).p, 1, buf_len(&pem), f);
	fclose(f);
	buf_end(&pem);
}

/* The whole initial response in base64; before and behind stand around the token. */
static const char *response(const char *before, const char *email, unsigned long long expires)
{
	static char text[8192];
	char claims[300];
	struct buf token = BUF_INIT(4096), message = BUF_INIT(6000), out = BUF_INIT(8000);
	snprintf(claims, sizeof claims,
	    "{\"iss\":\"https://id.example\",\"aud\":\"mail\",\"email\":\"%s\",\"exp\":%llu}",
	    email, expires);
	token_make(&token, key, "{\"alg\":\"ES256\"}", claims);
	buf_printf(&message, "%s\1auth=Bearer %.*s\1\1", before, SPAN_ARG(buf_span(&token)));
	assert_true(base64_put(&out, buf_span(&message)));
	snprintf(text, sizeof text, "%s", buf_cstr(&out));
	buf_end(&token);
	buf_end(&message);
	buf_end(&out);
	return text;
}

enum { FUTURE = 1800000000, PAST = 1600000000 };

static void test_outcomes(void **state)
{
	static const struct {
		const char *mechanism, *before, *email;
		unsigned expires;
		bool in, error; /* the client is told an error before it is refused */
	} rows[] = {
		{ "OAUTHBEARER", "n,a=alice@example.org,", "alice@example.org", FUTURE, true,
		    false },
		{ "OAUTHBEARER", "n,,\1host=mail.example.org\1port=143", "alice@example.org",
		    FUTURE, true, false },
		{ "xoauth2", "user=alice@example.org", "alice@example.org", FUTURE, true, false },
		{ "XOAUTH2", "user=ALICE@example.org", "alice@example.org", FUTURE, true, false },
		{ "OAUTHBEARER", "n,a=bob@example.org,", "alice@example.org", FUTURE, false, true },
		{ "OAUTHBEARER", "n,,", "alice@example.org", PAST, false, true },
		{ "OAUTHBEARER", "n,a=alice@example.org,", "nobody@example.org", FUTURE, false,
		    true },
		{ "XOAUTH2", "user=nobody@example.org", "nobody@example.org", FUTURE, false, true },
		{ "XOAUTH2", "user=alice@example.org", "alice@example.org", PAST, false, true },
	};
	world_start(OAUTH, NULL);
	world.store[0].script = anybody_in;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		client_open(&c, IMAP_OPEN);
		stream_printf(c.io, "a AUTHENTICATE %s %s\r\n", rows[i].mechanism,
		    response(rows[i].before, rows[i].email, rows[i].expires));
		if (rows[i].error) {
			expect(&c, GREETING ERROR_SAID);
			client_send(&c, i % 2 == 0 ? "AQ==\r\n" : "\r\n");
			expect(&c, GREETING ERROR_SAID REFUSED);
		} else {
			expect(&c, rows[i].in ? GREETING "a " IMAP_IN : GREETING REFUSED);
		}
		client_leave(&c);
	}
	assert_int_equal(logged("login.ok"), 4);
	assert_int_equal(logged("login.refused"), 5);
	world_end();
}

/* The response without SASL-IR, cut at every point. */
static void test_in_two_pieces(void **state)
{
	char text[9000];
	world_start(OAUTH, NULL);
	world.store[0].script = anybody_in;
	snprintf(text, sizeof text, "a AUTHENTICATE OAUTHBEARER\r\n%s\r\nb NOOP\r\n",
	    response("n,a=alice@example.org,", "alice@example.org", FUTURE));
	struct span said = span_str(text);
	for (size_t cut = 0; cut < said.n; cut += 7) {
		struct client c;
		client_open(&c, IMAP_OPEN);
		stream_write_span(c.io, span_first(said, cut));
		settle();
		stream_write_span(c.io, span_from(said, cut));
		expect(&c, GREETING "+ \r\na " IMAP_IN "b NOOP\r\n");
		client_leave(&c);
	}
	world_end();
}

static void test_pop3(void **state)
{
	static const char *const in[] = { "S +OK hi", "C AUTH PLAIN", "S + ", "C ", "S +OK in", "L",
		"E", NULL };
	struct client c;
	world_start(OAUTH, NULL);
	world.store[0].script = in;
	client_open(&c, POP3_OPEN);
	stream_printf(c.io, "AUTH XOAUTH2\r\n%s\r\n",
	    response("user=alice@example.org", "alice@example.org", FUTURE));
	expect(&c, POP3_GREETING "+ \r\n+OK Logged in\r\n");
	client_leave(&c);
	world_end();
}

/* Cancelled after the error; tokens that are none. */
static void test_given_up(void **state)
{
	static const char *const said[] = { "a AUTHENTICATE OAUTHBEARER !\r\n",
		"a AUTHENTICATE OAUTHBEARER =\r\n", "a AUTHENTICATE XOAUTH2 dXNlcj1hAQ==\r\n" };
	struct client c;
	world_start(OAUTH, NULL);
	for (size_t i = 0; i < COUNT_OF(said); i++) {
		client_open(&c, IMAP_OPEN);
		client_send(&c, said[i]);
		expect(&c, GREETING "a BAD Not a response of this mechanism\r\n");
		client_leave(&c);
	}
	client_open(&c, IMAP_OPEN);
	stream_printf(c.io, "a AUTHENTICATE OAUTHBEARER %s\r\n*\r\nb NOOP\r\n",
	    response("n,,", "alice", PAST));
	expect(&c, GREETING ERROR_SAID "a BAD Cancelled\r\nb OK Done\r\n");
	client_leave(&c);
	world_end();
}

static void test_settings_that_cannot_be_meant(void **state)
{
	static const char *const rows[][2] = {
		{ PROXY "auth_mechanisms OAUTHBEARER, PLAIN;", "tokens need oauth_keys" },
		{ PROXY "auth_mechanisms EXTERNAL, PLAIN;", "EXTERNAL needs client_ca" },
		{ PROXY "auth_mechanisms XOAUTH2; oauth_keys provider.pem;", "needs oauth_issuer" },
		{ PROXY "auth_mechanisms XOAUTH2; oauth_issuer x; oauth_keys chain.pem;",
		    "public key" },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct conf_diag *d = conf_diag_new();
		write_config(rows[i][0], NULL);
		assert_null(load_config(d));
		if (strstr(conf_error_text(d, 0), rows[i][1]) == NULL)
			fail_msg("%s: %s", rows[i][0], conf_error_text(d, 0));
		conf_diag_free(&d);
	}
}

static int setup(void **state)
{
	int rc = world_setup(state);
	make_provider();
	return rc;
}

static int teardown(void **state)
{
	EVP_PKEY_free(key);
	return world_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outcomes),
		cmocka_unit_test(test_in_two_pieces),
		cmocka_unit_test(test_pop3),
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_settings_that_cannot_be_meant),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
