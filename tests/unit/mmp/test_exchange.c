/* test_exchange.c - logins that send no password: SCRAM-SHA-256 and -PLUS, EXTERNAL; what is on offer. */
#include "world.h"

#include "tests/unit/sasl_client.h"

#include "base/fmt.h"
#include "directory/sasl_mechanism.h"
#include "net/stream_bind.h"

#define PROXY "store_user edge; store_secret edge-secret; store_login proxy; "
#define SCRAM PROXY "auth_mechanisms SCRAM-SHA-256-PLUS, SCRAM-SHA-256, CRAM-MD5, PLAIN; "
#define WORDS "IMAP4rev1 LITERAL+ SASL-IR ID"
#define GREETING                                                                                   \
	"* OK [CAPABILITY " WORDS                                                                  \
	" AUTH=SCRAM-SHA-256 AUTH=CRAM-MD5 AUTH=PLAIN] mail.example.org multiplexor ready\r\n"
#define REFUSED "a NO [AUTHENTICATIONFAILED] Authentication failed (id)\r\n"
#define BAD_RESPONSE "a BAD Not a response of this mechanism\r\n"

/* RFC 7677 section 3. */
#define RFC_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define RFC_FIRST "biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8="
#define RFC_SERVER_FIRST                                                                           \
	"cj1yT3ByTkdmd0ViZVJXZ2JORWtxTyVodllEcFdVYTJSYVRDQWZ1eEZJbGopaE5sRiRrMCxzPVcyMlphSjBTTlk3" \
	"c29Fc1VFamI2Z1E9PSxpPTQwOTY="
#define RFC_FINAL                                                                                  \
	"Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU8laHZZRHBXVWEyUmFUQ0FmdXhGSWxqKWhObEYkazAscD1kSHpi" \
	"WmFwV0lrNGpVaE4rVXRlOXl0YWc5empmTUhnc3FtbWl6N0FuZFZRPQ=="
#define RFC_SERVER_FINAL "dj02cnJpVFJCaTIzV3BSUi93dHVwK21NaFVaVW4vZEI1bkxUSlJzamw5NUc0PQ=="
static const char *const user_in[] = { STORE_GREETING,
	"C P3 AUTHENTICATE PLAIN dXNlckBleGFtcGxlLm9yZwBlZGdlAGVkZ2Utc2VjcmV0", IMAP_DONE, "E",
	NULL };
static const char *const anybody_in[] = { STORE_GREETING, "C P3 AUTHENTICATE PLAIN ", IMAP_DONE,
	"E", NULL };

/* ---- a client's side --------------------------------------------------------------------------------- */

static void send_line(struct client *c, const char *before, const char *text)
{
	stream_printf(c->io, "%s%s\r\n", before, text);
}

/* One exchange as alice does it; what is heard behind the final message, or after the empty one. */
struct way {
	const char *header; /* gs2 */
	const char *user;
	const char *secret;
	const char *bound; /* instead of the header, in client-final; NULL: the same */
	const char *want;
};

static void scram(struct client *c, const char *mechanism, const struct way *w, struct span channel)
{
	char bare[300], text[600];
	struct buf raw, binding = BUF_INIT(400);
	snprintf(bare, sizeof bare, "n=%s,r=fyko+d2lbbFgONRv9qkxdawL", w->user);
	snprintf(text, sizeof text, "%s%s", w->header, bare);
	stream_printf(c->io, "a AUTHENTICATE %s %s\r\n", mechanism, base64(span_str(text)));
	wait_more(c);
	struct span first = last_challenge(&c->heard, &raw);
	buf_add_str(&binding, w->bound != NULL ? w->bound : w->header);
	buf_add_span(&binding, channel);
	send_line(c, "", scram_final(bare, first, w->secret, buf_span(&binding)));
	buf_end(&raw);
	buf_end(&binding);
	wait_more(c);
}

/* ---- tests ------------------------------------------------------------------------------------------ */

#define RFC_SAID "a AUTHENTICATE SCRAM-SHA-256 " RFC_FIRST "\r\n" RFC_FINAL "\r\n\r\nb NOOP\r\n"
#define RFC_HEARD                                                                                  \
	GREETING "+ " RFC_SERVER_FIRST "\r\n+ " RFC_SERVER_FINAL "\r\na " IMAP_IN "b NOOP\r\n"

/* The published exchange, sent at once and cut at every point. */
static void test_rfc_7677(void **state)
{
	struct span said = SPAN(RFC_SAID);
	world_start(SCRAM, NULL);
	sasl_scram_nonce = RFC_NONCE;
	world.store[0].script = user_in;
	for (size_t cut = 0; cut < said.n; cut++) {
		struct client c;
		client_open(&c, IMAP_OPEN);
		stream_write_span(c.io, span_first(said, cut));
		settle();
		stream_write_span(c.io, span_from(said, cut));
		expect(&c, RFC_HEARD);
		client_leave(&c);
	}
	assert_null(world.store[0].wrong);
	assert_int_equal(logged("login.ok"), said.n);
	sasl_scram_nonce = NULL;
	world_end();
}

static void test_rfc_7677_by_pop3(void **state)
{
	static const char *const in[] = { "S +OK hi", "C AUTH PLAIN", "S + ", "C ", "S +OK in", "L",
		"E", NULL };
	struct client c;
	world_start(SCRAM, NULL);
	sasl_scram_nonce = RFC_NONCE;
	world.store[0].script = in;
	client_open(&c, POP3_OPEN);
	client_send(&c, "AUTH SCRAM-SHA-256\r\n" RFC_FIRST "\r\n" RFC_FINAL "\r\n\r\nSTAT\r\n");
	expect(&c, POP3_GREETING "+ \r\n+ " RFC_SERVER_FIRST "\r\n+ " RFC_SERVER_FINAL
				 "\r\n+OK Logged in\r\nSTAT\r\n");
	client_leave(&c);
	sasl_scram_nonce = NULL;
	world_end();
}

static void test_rfc_7677_by_managesieve(void **state)
{
	struct client c;
	world_start(SCRAM SIEVE_WORDS, NULL);
	sasl_scram_nonce = RFC_NONCE;
	world.store[0].script = sieve_good;
	client_open(&c, SIEVE_OPEN);
	client_send(&c, "AUTHENTICATE \"SCRAM-SHA-256\"\r\n\"" RFC_FIRST "\"\r\n\"" RFC_FINAL
			"\"\r\n\"\"\r\nLISTSCRIPTS\r\n");
	expect(&c, SIEVE_SAYS("SCRAM-SHA-256 CRAM-MD5 PLAIN", "",
		       "mail.example.org multiplexor ready") "\"\"\r\n\"" RFC_SERVER_FIRST
							     "\"\r\n\"" RFC_SERVER_FINAL
							     "\"\r\n" SIEVE_IN "LISTSCRIPTS\r\n");
	client_leave(&c);
	sasl_scram_nonce = NULL;
	world_end();
}

static void test_scram_outcomes(void **state)
{
	static const struct way rows[] = {
		{ "n,,", "alice", "alice-secret", NULL, "a " IMAP_IN },
		{ "n,,", "ALICE@example.org", "alice-secret", NULL, "a " IMAP_IN },
		{ "y,,", "alice", "alice-secret", NULL,
		    "a " IMAP_IN }, /* no TLS here: -PLUS is not on offer */
		{ "n,a=Alice,", "alice", "alice-secret", NULL, "a " IMAP_IN },
		{ "n,,", "alice", "wrong", NULL, REFUSED },
		{ "n,,", "nobody", "alice-secret", NULL, REFUSED },
		{ "n,,", "nobody", "nobody", NULL, REFUSED },
		{ "n,a=bob,", "alice", "alice-secret", NULL, REFUSED },
		{ "n,,", "alice", "alice-secret", "y,,", REFUSED },
		{ "n,,", "closed", "closed-secret", NULL,
		    "a NO [CONTACTADMIN] This account may not log in here, ask your administrator "
		    "(id)\r\n" },
	};
	world_start(SCRAM "auth_failures_max 5;", NULL);
	world.store[0].script = anybody_in;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		client_open(&c, IMAP_OPEN);
		expect(&c, GREETING);
		scram(&c, "SCRAM-SHA-256", &rows[i], SPAN_NONE);
		if (strcmp(rows[i].want, REFUSED) != 0) {
			client_send(&c, "\r\n");
			wait_more(&c);
		}
		if (strstr(heard(&c), rows[i].want) == NULL)
			fail_msg("row %zu: %s", i, heard(&c));
		client_leave(&c);
	}
	assert_int_equal(logged("why=unknown_user"), 2);
	assert_int_equal(logged("why=wrong_secret"), 3);
	assert_int_equal(logged("why=status_closed"), 1);
	world_end();
}

/* The salt of an unknown user is as constant as a known one's. */
static void test_unknown_users_have_salts(void **state)
{
	static const char *const names[] = { "nobody", "alice", "NOBODY" };
	char salts[2][COUNT_OF(names)][64];
	struct client c;
	world_start(SCRAM, NULL);
	for (size_t round = 0; round < 2; round++)
		for (size_t i = 0; i < COUNT_OF(names); i++) {
			char first[100];
			struct buf raw;
			client_open(&c, IMAP_OPEN);
			expect(&c, GREETING);
			snprintf(first, sizeof first, "n,,n=%s,r=xyz", names[i]);
			send_line(&c, "a AUTHENTICATE SCRAM-SHA-256 ", base64(span_str(first)));
			wait_more(&c);
			struct span rest = last_challenge(&c.heard, &raw);
			assert_true(span_starts(rest, SPAN("r=xyz")));
			span_cut(&rest, ',');
			snprintf(salts[round][i], sizeof salts[0][0], "%.*s", SPAN_ARG(rest));
			buf_end(&raw);
			client_leave(&c);
		}
	for (size_t i = 0; i < COUNT_OF(names); i++)
		assert_string_equal(salts[0][i], salts[1][i]);
	assert_string_equal(salts[0][0], salts[0][2]);
	assert_string_not_equal(salts[0][0], salts[0][1]);
	assert_int_equal(logged("login.refused"), 0); /* no proof was tried */
	world_end();
}

static void test_broken_exchanges(void **state)
{
	static const char *const said[] = {
		"a AUTHENTICATE SCRAM-SHA-256 !!!\r\n",
		"a AUTHENTICATE SCRAM-SHA-256 =\r\n",
		"a AUTHENTICATE SCRAM-SHA-256 cD10bHMtZXhwb3J0ZXIsLG49dSxyPXg=\r\n", /* p=tls-exporter,,n=u,r=x */
		"a AUTHENTICATE SCRAM-SHA-256 " RFC_FIRST "\r\n" RFC_FIRST "\r\n",
		"a AUTHENTICATE SCRAM-SHA-256 " RFC_FIRST "\r\n\r\n",
		"a AUTHENTICATE SCRAM-SHA-256 " RFC_FIRST "\r\n" RFC_FINAL "\r\nAAAA\r\n",
		"a AUTHENTICATE CRAM-MD5 AAAA\r\n",
		"a AUTHENTICATE CRAM-MD5\r\n\r\n",
		"a AUTHENTICATE CRAM-MD5\r\nYWxpY2UgMTIzNA==\r\n",
	};
	struct client c;
	world_start(SCRAM, NULL);
	sasl_scram_nonce = RFC_NONCE;
	for (size_t i = 0; i < COUNT_OF(said); i++) {
		client_open(&c, IMAP_OPEN);
		client_send(&c, said[i]);
		client_send(&c, "b NOOP\r\n");
		WAIT(strstr(heard(&c), BAD_RESPONSE "b OK Done\r\n") != NULL);
		client_leave(&c);
	}
	/* given up in the middle; then another way in */
	world.store[0].script = anybody_in;
	client_open(&c, IMAP_OPEN);
	client_send(&c,
	    "a AUTHENTICATE SCRAM-SHA-256 " RFC_FIRST "\r\n*\r\na LOGIN alice alice-secret\r\n");
	expect(&c, GREETING "+ " RFC_SERVER_FIRST "\r\na BAD Cancelled\r\na " IMAP_IN);
	client_leave(&c);
	sasl_scram_nonce = NULL;
	assert_int_equal(logged("login.refused"), 0);
	world_end();
}

/* A client that falls silent in the middle, or goes. */
static void test_silent_in_the_middle(void **state)
{
	struct client c;
	world_start(SCRAM "command_timeout 5s;", NULL);
	for (int i = 0; i < 2; i++) {
		client_open(&c, IMAP_OPEN);
		client_send(&c, "a AUTHENTICATE SCRAM-SHA-256 " RFC_FIRST "\r\n");
		WAIT(strstr(heard(&c), "+ ") != NULL);
		if (i == 0) {
			world_pass(5000);
			WAIT(c.ended);
			assert_non_null(strstr(heard(&c), "* BYE"));
		}
		client_leave(&c);
	}
	assert_int_equal(logged("why=command_timeout"), 1);
	assert_int_equal(logged("state=exchange"), 2);
	world_end();
}

/* Bound to the channel: by the exporter and by the certificate, and to no other channel. */
static void test_channel_binding(void **state)
{
	static const struct way exporter = { "p=tls-exporter,,", "alice", "alice-secret", NULL,
		"" };
	static const struct way unique = { "p=tls-unique,,", "alice", "alice-secret", NULL, "" };
	static const struct way unasked = { "y,,", "alice", "alice-secret", NULL, "" };
	static const struct way none = { "n,,", "alice", "alice-secret", NULL, "" };
	struct client c;
	uint8_t own[STREAM_BIND_LEN];
	world_start(SCRAM "auth_failures_max 9;", NULL);
	world.store[0].script = anybody_in;
	for (int i = 0; i < 3; i++) {
		client_open(&c, IMAPS);
		client_secure(&c);
		wait_more(&c);
		assert_non_null(strstr(heard(&c), "AUTH=SCRAM-SHA-256-PLUS AUTH=SCRAM-SHA-256 "));
		assert_true(stream_bind_exporter(c.io, own));
		own[0] ^= i == 1 ? 1 : 0;
		scram(&c, i == 2 ? "SCRAM-SHA-256" : "SCRAM-SHA-256-PLUS",
		    i == 2 ? &none : &exporter, span_of(own, i == 2 ? 0 : sizeof own));
		if (i != 1) {
			client_send(&c, "\r\n");
			WAIT(strstr(heard(&c), "a " IMAP_IN) != NULL);
		} else {
			assert_non_null(strstr(heard(&c), REFUSED));
		}
		client_leave(&c);
	}
	const struct way *const bad[] = { &unique, &unasked };
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		char first[100];
		client_open(&c, IMAPS);
		client_secure(&c);
		wait_more(&c);
		snprintf(first, sizeof first, "%sn=alice,r=xyz", bad[i]->header);
		send_line(&c,
		    i == 0 ? "a AUTHENTICATE SCRAM-SHA-256-PLUS " : "a AUTHENTICATE SCRAM-SHA-256 ",
		    base64(span_str(first)));
		WAIT(strstr(heard(&c), BAD_RESPONSE) != NULL);
		client_leave(&c);
	}
	world_end();
}

/* ---- certificates ----------------------------------------------------------------------------------- */

/* NAME.pem and NAME.key, of an authority of its own in clients.pem, or one that signs itself. */
static void make_certificate(
    const char *name, const char *subject, const char *alternative, bool trusted)
{
	static const char *const script =
	    "set -e; [ -e clients.pem ] || openssl req -x509 -newkey ec -pkeyopt "
	    "ec_paramgen_curve:P-256 -nodes -days 2 "
	    "-subj '/CN=clients' -addext basicConstraints=critical,CA:TRUE -keyout clients.key "
	    "-out clients.pem; "
	    "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj \"$1\" -keyout "
	    "$0.key -out $0.csr; "
	    "printf 'subjectAltName=%s\n' \"$2\" >$0.ext; if [ \"$3\" = yes ]; then openssl x509 "
	    "-req -in $0.csr "
	    "-CA clients.pem -CAkey clients.key -CAcreateserial -days 2 -extfile $0.ext -out "
	    "$0.pem; else "
	    "openssl x509 -req -in $0.csr -signkey $0.key -days 2 -extfile $0.ext -out $0.pem; fi";
	char *const sh[] = { "sh", "-c", (char *)script, (char *)name, (char *)subject,
		(char *)alternative, trusted ? "yes" : "no", NULL };
	run(sh);
}

static struct span slurp(const char *name, struct buf *out)
{
	char path[128], piece[4096];
	snprintf(path, sizeof path, "%s/%s", world_dir, name);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	*out = BUF_INIT(65536);
	for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
		buf_add(out, piece, n);
	fclose(f);
	return buf_span(out);
}

static void open_as(struct client *c, const char *name)
{
	struct buf chain, key;
	char file[64];
	snprintf(file, sizeof file, "%s.pem", name);
	struct tls_client_opts opts = { .verify = TLS_VERIFY_NONE };
	opts.pair.chain_pem = slurp(file, &chain);
	snprintf(file, sizeof file, "%s.key", name);
	opts.pair.key_pem = slurp(file, &key);
	struct tls_ctx *ctx = tls_client_new(&opts, NULL);
	assert_non_null(ctx);
	client_open(c, IMAPS);
	stream_start_tls_client(c->io, ctx, "localhost", NULL);
	WAIT(c->secured);
	wait_more(c);
	tls_ctx_unref(&ctx);
	buf_end(&chain);
	buf_end(&key);
}

static void test_external(void **state)
{
	static const struct {
		const char *name, *subject, *alternative;
		bool trusted, common;
		const char *authzid, *want; /* NULL: not even offered */
	} rows[] = {
		{ "good", "/CN=somebody",
		    "DNS:x.example,email:alice@example.org,email:bob@example.org", true, false, "",
		    "a " IMAP_IN },
		{ "acts", "/CN=x", "email:alice@example.org", true, false, "alice@EXAMPLE.org",
		    "a " IMAP_IN },
		{ "other", "/CN=x", "email:alice@example.org", true, false, "bob@example.org",
		    REFUSED },
		{ "gone", "/CN=x", "email:nobody@example.org", true, false, "", REFUSED },
		{ "common", "/CN=alice", "DNS:x.example", true, true, "", "a " IMAP_IN },
		{ "nameless", "/CN=alice", "DNS:x.example", true, false, "", NULL },
		{ "spaced", "/CN=alice liddell", "DNS:x.example", true, true, "", NULL },
		{ "stranger", "/CN=alice", "email:alice@example.org", false, false, "", NULL },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		char conf[512];
		make_certificate(
		    rows[i].name, rows[i].subject, rows[i].alternative, rows[i].trusted);
		snprintf(conf, sizeof conf,
		    PROXY "auth_mechanisms EXTERNAL, PLAIN; client_ca clients.pem; client_name %s;",
		    rows[i].common ? "common" : "email");
		world_start(conf, NULL);
		world.store[0].script = anybody_in;
		open_as(&c, rows[i].name);
		assert_int_equal(strstr(heard(&c), "AUTH=EXTERNAL") != NULL, rows[i].want != NULL);
		send_line(&c, "a AUTHENTICATE EXTERNAL ",
		    rows[i].authzid[0] != '\0' ? base64(span_str(rows[i].authzid)) : "=");
		wait_more(&c);
		const char *want =
		    rows[i].want != NULL ? rows[i].want : "a NO Mechanism not offered\r\n";
		if (strstr(heard(&c), want) == NULL)
			fail_msg("%s: %s", rows[i].name, heard(&c));
		client_leave(&c);
		world_end();
	}
}

/* A store without a login of ours cannot take a user who has shown no password. */
static void test_a_store_that_wants_a_password(void **state)
{
	static const struct way way = { "n,,", "alice", "alice-secret", NULL, "" };
	struct client c;
	world_start(SCRAM "store store1 { login password; }", NULL);
	client_open(&c, IMAP_OPEN);
	expect(&c, GREETING);
	scram(&c, "SCRAM-SHA-256", &way, SPAN_NONE);
	client_send(&c, "\r\n");
	wait_more(&c);
	assert_non_null(strstr(heard(&c), "a " LATER));
	assert_int_equal(logged("why=no_password"), 1);
	assert_int_equal(world.store[0].conn_n, 0);
	client_leave(&c);
	world_end();
}

static void test_what_is_on_offer(void **state)
{
	static const struct {
		const char *mmp;
		enum port_id at;
		const char *said, *want;
	} rows[] = {
		{ "", IMAP_OPEN, "a AUTHENTICATE SCRAM-SHA-256\r\n",
		    IMAP_OPEN_GREETING "a NO Mechanism not offered\r\n" },
		{ "", IMAP_OPEN, "a AUTHENTICATE CRAM-MD5\r\n",
		    IMAP_OPEN_GREETING "a NO Mechanism not offered\r\n" },
		{ SCRAM, IMAP_OPEN, "a AUTHENTICATE SCRAM-SHA-256-PLUS\r\n",
		    GREETING "a NO Mechanism not offered\r\n" },
		{ PROXY "auth_mechanisms SCRAM-SHA-256;", IMAP_OPEN,
		    "a LOGIN alice alice-secret\r\n",
		    "* OK [CAPABILITY " WORDS
		    " LOGINDISABLED AUTH=SCRAM-SHA-256] mail.example.org multiplexor ready\r\n"
		    "a BAD Passwords are not taken here, use AUTHENTICATE\r\n" },
		{ PROXY "auth_mechanisms SCRAM-SHA-256;", POP3_OPEN,
		    "CAPA\r\nUSER alice\r\nAUTH\r\n",
		    POP3_GREETING
		    "+OK Capabilities follow\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n"
		    "PIPELINING\r\nSASL SCRAM-SHA-256\r\n.\r\n-ERR Passwords are not taken here, "
		    "use AUTH\r\n"
		    "+OK Mechanisms follow\r\nSCRAM-SHA-256\r\n.\r\n" },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct client c;
		world_start(rows[i].mmp, NULL);
		client_open(&c, rows[i].at);
		client_send(&c, rows[i].said);
		expect(&c, rows[i].want);
		client_leave(&c);
		world_end();
	}
}

static void test_settings_that_cannot_be_meant(void **state)
{
	static const char *const rows[][2] = {
		{ "auth_mechanisms PLAIN, SCRAM-SHA-256;", "leaves no password" },
		{ PROXY "auth_mechanisms PLAIN, DIGEST-MD5;", "DIGEST-MD5 cannot be offered" },
		{ "apop yes;", "apop leaves no password" },
		{ PROXY "auth_mechanisms APOP;", "APOP cannot be offered" },
		{ PROXY "auth_mechanisms ANONYMOUS;", "ANONYMOUS cannot be offered" },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct conf_diag *d = conf_diag_new();
		write_config(rows[i][0], NULL);
		struct conf *c = load_config(d);
		assert_null(c);
		if (strstr(conf_error_text(d, 0), rows[i][1]) == NULL)
			fail_msg("%s: %s", rows[i][0], conf_error_text(d, 0));
		conf_diag_free(&d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc_7677),
		cmocka_unit_test(test_rfc_7677_by_pop3),
		cmocka_unit_test(test_rfc_7677_by_managesieve),
		cmocka_unit_test(test_scram_outcomes),
		cmocka_unit_test(test_unknown_users_have_salts),
		cmocka_unit_test(test_broken_exchanges),
		cmocka_unit_test(test_silent_in_the_middle),
		cmocka_unit_test(test_channel_binding),
		cmocka_unit_test(test_external),
		cmocka_unit_test(test_a_store_that_wants_a_password),
		cmocka_unit_test(test_what_is_on_offer),
		cmocka_unit_test(test_settings_that_cannot_be_meant),
	};
	return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
