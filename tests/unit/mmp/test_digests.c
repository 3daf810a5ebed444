/* test_digests.c - logins by a digest of the password and a challenge: CRAM-MD5, and POP3's APOP. */
#include "world.h"

#include "tests/unit/sasl_client.h"

#include "base/fmt.h"

#define PROXY "store_user edge; store_secret edge-secret; store_login proxy; "
#define REFUSED "a NO [AUTHENTICATIONFAILED] Authentication failed (id)\r\n"
#define CRAM_GREETING                                                                              \
	"* OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID AUTH=CRAM-MD5 AUTH=PLAIN] "                \
	"mail.example.org multiplexor ready\r\n"

static const char *const anybody_in[] = { STORE_GREETING, "C P3 AUTHENTICATE PLAIN ", IMAP_DONE,
	"E", NULL };

/* ---- CRAM-MD5 --------------------------------------------------------------------------------------- */

static void cram(struct client *c, const char *user, const char *secret)
{
	uint8_t mac[DIGEST_LEN_MAX];
	struct buf raw, hex = BUF_INIT(100);
	char text[300];
	client_send(c, "a AUTHENTICATE cram-md5\r\n");
	wait_more(c);
	struct span challenge = last_challenge(&c->heard, &raw);
	assert_true(
	    span_starts(challenge, SPAN("<")) && span_iends(challenge, SPAN("@mail.example.org>")));
	digest_hmac(DIGEST_MD5, span_str(secret), challenge, mac);
	fmt_hex(&hex, span_of(mac, DIGEST_MD5_LEN));
	snprintf(text, sizeof text, "%s %s", user, buf_cstr(&hex));
	stream_printf(c->io, "%s\r\n", base64(span_str(text)));
	buf_end(&raw);
	buf_end(&hex);
	wait_more(c);
}

static void test_cram_md5(void **state)
{
	static const char *const rows[][3] = {
		{ "alice", "alice-secret", IMAP_IN },
		{ "alice", "alice-secrex", REFUSED },
		{ "nobody", "nobody", REFUSED },
	};
	struct client c;
	world_start(PROXY "auth_mechanisms CRAM-MD5, PLAIN;", NULL);
	world.store[0].script = anybody_in;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		client_open(&c, IMAP_OPEN);
		expect(&c, CRAM_GREETING);
		cram(&c, rows[i][0], rows[i][1]);
		if (strstr(heard(&c), rows[i][2]) == NULL)
			fail_msg("row %zu: %s", i, heard(&c));
		client_leave(&c);
	}
	world_end();
}

/* ---- APOP ------------------------------------------------------------------------------------------- */

#define APOP PROXY "apop yes; "

/* The digest as a client makes it, of the greeting that has come. */
static void apop(struct client *c, const char *user, const char *secret)
{
	uint8_t md5[DIGEST_LEN_MAX];
	struct buf whole = BUF_INIT(1000), hex = BUF_INIT(100);
	const char *at = strchr(buf_cstr(&c->heard), '<');
	assert_non_null(at);
	buf_add(&whole, at, strcspn(at, "\r"));
	buf_add_str(&whole, secret);
	digest_make(DIGEST_MD5, buf_span(&whole), md5);
	fmt_hex(&hex, span_of(md5, DIGEST_MD5_LEN));
	stream_printf(c->io, "APOP %s %s\r\n", user, buf_cstr(&hex));
	buf_end(&whole);
	buf_end(&hex);
}

static void test_apop(void **state)
{
	static const char *const in[] = { "S +OK hi", "C AUTH PLAIN", "S + ",
		"C YWxpY2VAZXhhbXBsZS5vcmcAZWRnZQBlZGdlLXNlY3JldA==", "S +OK in", "L", "E", NULL };
	static const struct {
		const char *user, *secret, *want;
	} rows[] = {
		{ "alice", "alice-secret", "\r\n+OK Logged in\r\n" },
		{ "alice", "alice-secrex", "\r\n-ERR [AUTH] Authentication failed (id)\r\n" },
		{ "nobody", "nobody", "\r\n-ERR [AUTH] Authentication failed (id)\r\n" },
		{ "user", "pencil",
		    "\r\n-ERR [AUTH] Authentication failed (id)\r\n" }, /* not as it stands there */
		{ "closed", "closed-secret",
		    "\r\n-ERR [SYS/PERM] This account may not log in here, ask your administrator "
		    "(id)\r\n" },
	};
	struct client c;
	world_start(APOP, NULL);
	world.store[0].script = in;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		client_open(&c, POP3_OPEN);
		wait_more(&c);
		apop(&c, rows[i].user, rows[i].secret);
		wait_more(&c);
		if (strstr(heard(&c), rows[i].want) == NULL)
			fail_msg("row %zu: %s", i, heard(&c));
		client_leave(&c);
	}
	assert_null(world.store[0].wrong);
	client_open(&c, POP3); /* the digest is not taken before TLS: it could be guessed at */
	wait_more(&c);
	apop(&c, "alice", "alice-secret");
	wait_more(&c);
	assert_non_null(strstr(heard(&c), "-ERR [SYS/PERM] Start TLS before you send a password"));
	client_leave(&c);
	world_end();
}

/* RFC 1939 section 7 has the digest's form; each connection has a challenge of its own. */
static void test_apop_is_off_or_wrong(void **state)
{
	struct client c;
	world_start("", NULL);
	client_open(&c, POP3_OPEN);
	client_send(&c, "APOP alice c4c9334bac560ecc979e58001b3e22fb\r\n");
	expect(&c, POP3_GREETING "-ERR Unknown, or not before login\r\n");
	client_leave(&c);
	world_end();
	world_start(APOP, NULL);
	char first[200];
	client_open(&c, POP3_OPEN);
	wait_more(&c);
	snprintf(first, sizeof first, "%s", heard(&c));
	client_leave(&c);
	client_open(&c, POP3_OPEN);
	wait_more(&c);
	assert_string_not_equal(first, heard(&c));
	client_send(&c, "APOP alice\r\nAUTH APOP\r\n");
	WAIT(strstr(heard(&c),
		 "-ERR expected APOP name digest\r\n-ERR Mechanism not offered\r\n") != NULL);
	client_leave(&c);
	world_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cram_md5),
		cmocka_unit_test(test_apop),
		cmocka_unit_test(test_apop_is_off_or_wrong),
	};
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
