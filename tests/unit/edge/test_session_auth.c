/* test_session_auth.c - AUTH by mechanisms that send no password, in conversations with the edge. */
#define BENCH_EDGE                                                                                 \
	"	auth_mechanisms SCRAM-SHA-256-PLUS, SCRAM-SHA-256, CRAM-MD5, EXTERNAL, PLAIN;\n"         \
	"	client_ca chain.pem;\n"                                                                  \
	"	listener relay { address 127.0.0.1:29; role submission; tls none;\n"                     \
	"		allow_plaintext_auth yes; xclient_from 192.0.2.20/32; }\n"
#include "tests/unit/edge/session_bench.h"

#include "tests/unit/sasl_client.h"

#include "base/fmt.h"

#define OFFER "250-AUTH SCRAM-SHA-256 CRAM-MD5 PLAIN\r\n"

/* Says it, and waits for the whole reply. */
static void ask(struct talk *t, const char *text)
{
	size_t had = buf_len(&t->heard);
	uint64_t until = clock_mono_ms() + TALK_MS;
	talk_send(t, span_str(text), SIZE_MAX);
	while (!t->ended &&
	       (buf_len(&t->heard) == had || !span_iends(buf_span(&t->heard), SPAN("\r\n")))) {
		loop_step(loop, 20);
		talk_listen(t);
		assert_true(clock_mono_ms() < until);
	}
}

static struct talk greeted(void)
{
	struct talk t = talk_open("submission", "192.0.2.1");
	talk_until(&t, "220");
	ask(&t, HELLO);
	assert_non_null(strstr(buf_cstr(&t.heard), OFFER));
	return t;
}

/* The last challenge, decoded. */
static struct span challenge(struct talk *t, struct buf *raw)
{
	struct span heard = buf_span(&t->heard);
	size_t at = SIZE_MAX;
	for (size_t i = 0; i + 4 < heard.n; i++)
		if (span_starts(span_from(heard, i), SPAN("334 ")))
			at = i + 4;
	assert_true(at != SIZE_MAX);
	struct span rest = span_from(heard, at);
	*raw = BUF_INIT(4000);
	assert_true(base64_get(span_first(rest, span_find(rest, '\r')), raw));
	return buf_span(raw);
}

static void finish(struct talk *t, const char *want)
{
	talk_send(t, SPAN(QUIT), SIZE_MAX);
	talk_until(t, NULL);
	assert_string_equal(codes(t), want);
	talk_close(t);
}

static void scram(const char *user, const char *secret, const char *want)
{
	char bare[200], text[1000];
	struct buf raw;
	struct talk t = greeted();
	snprintf(bare, sizeof bare, "n=%s,r=fyko+d2lbbFgONRv9qkxdawL", user);
	snprintf(text, sizeof text, "n,,%s", bare);
	snprintf(text, sizeof text, "AUTH SCRAM-SHA-256 %s\r\n", base64(span_str(text)));
	ask(&t, text);
	struct span first = challenge(&t, &raw);
	snprintf(text, sizeof text, "%s\r\n", scram_final(bare, first, secret, SPAN("n,,")));
	ask(&t, text);
	buf_end(&raw);
	if (strstr(want, "334 334") != NULL) {
		struct span last = challenge(&t, &raw);
		assert_true(span_starts(last, SPAN("v=")));
		buf_end(&raw);
		ask(&t, "\r\n");
	}
	finish(&t, want);
}

/* The same challenge comes for who is unknown, whose password is wrong, and who may not send. */
static void test_scram(void **state)
{
	scram("alice@example.org", "alice-secret", "220 250 334 334 235 221");
	scram("alice@example.org", "alice-secrex", "220 250 334 535 221");
	scram("nobody@example.org", "nobody-secret", "220 250 334 535 221");
	scram("disabled@example.org", "disabled-secret", "220 250 334 334 535 221");
	scram("held@example.org", "held-secret", "220 250 334 334 454 221");
}

static void cram(const char *user, const char *secret, const char *want)
{
	uint8_t mac[DIGEST_LEN_MAX];
	char text[400];
	struct buf raw, hex = BUF_INIT(100);
	struct talk t = greeted();
	ask(&t, "AUTH CRAM-MD5\r\n");
	struct span asked = challenge(&t, &raw);
	assert_true(span_iends(asked, SPAN("@mail.example.org>")));
	digest_hmac(DIGEST_MD5, span_str(secret), asked, mac);
	fmt_hex(&hex, span_of(mac, DIGEST_MD5_LEN));
	snprintf(text, sizeof text, "%s %s", user, buf_cstr(&hex));
	snprintf(text, sizeof text, "%s\r\n", base64(span_str(text)));
	ask(&t, text);
	buf_end(&raw);
	buf_end(&hex);
	finish(&t, want);
}

static void test_cram_md5(void **state)
{
	cram("alice@example.org", "alice-secret", "220 250 334 235 221");
	cram("alice@example.org", "alice-secrex", "220 250 334 535 221");
	cram("nobody@example.org", "", "220 250 334 535 221");
}

/* Whatever a client does in the middle, the session goes on or ends; nobody is let in. */
static void test_broken_exchanges(void **state)
{
#define FIRST "AUTH SCRAM-SHA-256 biwsbj1hbGljZUBleGFtcGxlLm9yZyxyPWFiYw==\r\n"
	static const char *const rows[][2] = {
		{ "AUTH SCRAM-SHA-256\r\n*\r\n", "334 501" },
		{ "AUTH SCRAM-SHA-256 !!!\r\n", "501" },
		{ "AUTH SCRAM-SHA-256 =\r\n", "501" },
		{ FIRST "*\r\n", "334 501" },
		{ FIRST "AAAA\r\n", "334 501" },
		{ FIRST "Yz1iaXdzLHI9YWJjLHA9QUFBQQ==\r\n", "334 535" },
		{ "AUTH SCRAM-SHA-256-PLUS\r\n", "504" }, /* no TLS: nothing to be bound to */
		{ "AUTH EXTERNAL =\r\n", "504" },         /* no certificate */
		{ "AUTH LOGIN\r\n", "504" },              /* not configured */
		{ "AUTH OAUTHBEARER\r\n", "504" },
		{ FIRST "*\r\nAUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAGFsaWNlLXNlY3JldA==\r\n",
		    "334 501 235" },
	};
	char script[512], want[64];
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		snprintf(script, sizeof script, HELLO "%s" QUIT, rows[i][0]);
		snprintf(want, sizeof want, "220 250 %s 221", rows[i][1]);
		check("submission", script, want);
	}
	struct talk t = greeted(); /* gone in the middle */
	ask(&t, FIRST);
	talk_close(&t);
}

/* The multiplexor in front of us says who has logged in there; nobody else may, and only where AUTH is. */
static void test_login_by_xclient(void **state)
{
#define IN "XCLIENT ADDR=192.0.2.77 LOGIN=Alice@example.org\r\n" HELLO
	static const struct {
		const char *listener, *client, *script, *want;
	} rows[] = {
		{ "relay", "192.0.2.20",
		    HELLO IN "MAIL FROM:<alice@example.org>\r\nRCPT TO:<x@far.example>\r\n",
		    "220 250 220 250 250 250 221" },
		{ "relay", "192.0.2.20", HELLO IN "AUTH PLAIN\r\n", "220 250 220 250 503 221" },
		{ "relay", "192.0.2.20", HELLO IN "MAIL FROM:<bob@example.org>\r\n",
		    "220 250 220 250 550 221" },
		{ "relay", "192.0.2.20",
		    HELLO IN "XCLIENT LOGIN=[UNAVAILABLE]\r\n" HELLO
			     "MAIL FROM:<alice@example.org>\r\n",
		    "220 250 220 250 220 250 530 221" },
		{ "relay", "192.0.2.20",
		    HELLO "XCLIENT LOGIN=[UNAVAILABLE]\r\n" HELLO
			  "MAIL FROM:<alice@example.org>\r\n",
		    "220 250 220 250 530 221" },
		{ "relay", "192.0.2.20", HELLO "XCLIENT LOGIN=\r\nXCLIENT LOGIN=a+0Ab\r\n",
		    "220 250 501 501 221" },
		{ "relay", "192.0.2.21", HELLO "XCLIENT LOGIN=alice@example.org\r\n",
		    "220 250 550 221" },
		{ "submission", "192.0.2.20", HELLO "XCLIENT LOGIN=alice@example.org\r\n",
		    "220 250 550 221" },
		{ "internal", "192.0.2.20", HELLO "XCLIENT LOGIN=alice@example.org\r\n",
		    "220 250 501 221" },
	};
	char script[1024];
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		for (size_t cut = 1; cut != 0; cut = cut == 1 ? SIZE_MAX : 0) {
			snprintf(script, sizeof script, "%s" QUIT, rows[i].script);
			struct talk t =
			    talk_whole(rows[i].listener, rows[i].client, span_str(script), cut);
			if (strcmp(codes(&t), rows[i].want) != 0)
				fail_msg("row %zu: %s", i, buf_cstr(&t.heard));
			talk_close(&t);
		}
}

/* hide_submitters: who has authenticated is sent on without address and HELO; a host that may relay without is not. */
static void test_hidden_submitters(void **state)
{
	static const struct {
		bool hides;
		const char *listener, *login, *protocol;
	} rows[] = {
		{ true, "submission", "AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAGFsaWNlLXNlY3JldA==\r\n",
		    "ESMTPA" },
		{ false, "submission",
		    "AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAGFsaWNlLXNlY3JldA==\r\n", "ESMTPA" },
		{ true, "internal", "", "ESMTP" },
	};
	struct edge_conf *c = (struct edge_conf *)(uintptr_t)edge->setup->edge;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		bool hidden = rows[i].hides && rows[i].login[0] != '\0';
		char script[512], want[200];
		c->hide_submitters = rows[i].hides;
		snprintf(script, sizeof script,
		    HELLO "%sMAIL FROM:<alice@example.org>\r\nRCPT TO:<x@far.example>\r\nDATA\r\n"
			  "Subject: x\r\n\r\n.\r\n" QUIT,
		    rows[i].login);
		memset(&given, 0, sizeof given);
		given.code = 250;
		struct talk t =
		    talk_whole(rows[i].listener, "192.0.2.9", span_str(script), SIZE_MAX);
		talk_close(&t);
		snprintf(want, sizeof want, "Received: from %s\r\n\tby %s (Postern) with %s id ",
		    hidden ? edge->setup->hostname : "c.example ([192.0.2.9])",
		    edge->setup->hostname, rows[i].protocol);
		if (!span_starts(span_str(given.head), span_str(want)))
			fail_msg("row %zu: %s, not %s", i, given.head, want);
		assert_int_equal(strstr(given.head, "192.0.2.9") == NULL, hidden);
		assert_int_equal(strstr(given.head, "c.example") == NULL, hidden);
	}
	c->hide_submitters = false;
}

static void test_settings_that_cannot_be_meant(void **state)
{
	static const char *const rows[][2] = {
		{ "auth_mechanisms ANONYMOUS;", "ANONYMOUS cannot be offered" },
		{ "auth_mechanisms XOAUTH2;", "tokens need oauth_keys" },
		{ "auth_mechanisms EXTERNAL;", "EXTERNAL needs client_ca" },
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		FILE *f = create("postern.conf");
		fprintf(f,
		    "hostname m.example.org;\ndirectory { backend file; file users.ldif; }\n"
		    "edge { %s listener internal { address 127.0.0.1:26; role internal; tls none; "
		    "} }\n",
		    rows[i][0]);
		fclose(f);
		struct conf_diag *d = conf_diag_new();
		struct conf *c = load_from(dir, d);
		assert_null(c);
		if (strstr(conf_error_text(d, 0), rows[i][1]) == NULL)
			fail_msg("%s: %s", rows[i][0], conf_error_text(d, 0));
		conf_diag_free(&d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scram),
		cmocka_unit_test(test_cram_md5),
		cmocka_unit_test(test_broken_exchanges),
		cmocka_unit_test(test_login_by_xclient),
		cmocka_unit_test(test_hidden_submitters),
		cmocka_unit_test(test_settings_that_cannot_be_meant),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
