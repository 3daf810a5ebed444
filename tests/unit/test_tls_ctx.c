/* test_tls_ctx.c - TLS contexts: certificates by SNI, ALPN, client certificates, what is refused. */
#include "net/certs.h"
#include "net/end.h"

static struct cert first, second, wild, alien_ca, alien;

static int group_setup(void **state)
{
	certs_setup(state);
	cert_make(&first, &test_ca, "first", "DNS:mail.one.example,DNS:imap.one.example");
	cert_make(&second, &test_ca, "second", "DNS:MAIL.two.example");
	cert_make(&wild, &test_ca, "wild", "DNS:*.three.example,DNS:mail.one.example");
	cert_make(&alien_ca, NULL, "alien authority", NULL);
	cert_make(&alien, &alien_ca, "alien", "DNS:alien.example");
	return 0;
}

static int group_teardown(void **state)
{
	struct cert *const all[] = { &first, &second, &wild, &alien_ca, &alien };
	for (size_t i = 0; i < COUNT_OF(all); i++)
		cert_end(all[i]);
	return certs_teardown(state);
}

static struct end us, them;
static struct stream_tls facts;

/* One handshake; facts are the server's. True: both are secure and a byte went each way. */
static bool meet(
    const struct tls_ctx *server, const struct tls_ctx *client, const char *name, const char *alpn)
{
	int v[2];
	unix_pair(v);
	end_begin(&us, v[0], 1000, 1000);
	end_begin(&them, v[1], 1000, 1000);
	stream_start_tls_server(us.s, server);
	stream_start_tls_client(them.s, client, name, alpn);
	stream_write(us.s, "s", 1);
	stream_write(them.s, "c", 1);
	WAIT_FOR(us.n[STREAM_FAILED] || them.n[STREAM_FAILED] ||
		 (buf_len(&us.got) == 1 && buf_len(&them.got) == 1));
	bool ok = us.n[STREAM_FAILED] == 0 && them.n[STREAM_FAILED] == 0;
	memset(&facts, 0, sizeof facts);
	if (ok)
		assert_true(stream_tls(us.s, &facts));
	return ok;
}

static void part(void)
{
	end_end(&us);
	end_end(&them);
}

/* ---- the choice of a certificate ---- */

static void test_by_server_name(void **state)
{
	static const struct {
		const char *name, *subject;
	} cases[] = {
		{ "mail.one.example", "CN=first" }, /* the first that names it wins */
		{ "IMAP.One.Example", "CN=first" },
		{ "mail.two.example", "CN=second" },
		{ "any.three.example", "CN=wild" },
		{ "three.example", "CN=first" },     /* a wildcard is one label */
		{ "a.b.three.example", "CN=first" }, /* not two */
		{ "unknown.example", "CN=first" },
		{ "127.0.0.1", "CN=first" },
	};
	struct tls_pair pairs[] = { cert_pair(&first), cert_pair(&second), cert_pair(&wild) };
	struct tls_server_opts o = { .pairs = pairs, .pair_count = COUNT_OF(pairs) };
	struct tls_ctx *server = tls_server_new(&o, NULL), *client = test_client(TLS_VERIFY_CHAIN);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct stream_tls seen;
		assert_true(meet(server, client, cases[i].name, NULL));
		assert_true(stream_tls(them.s, &seen));
		assert_string_equal(seen.peer_subject, cases[i].subject);
		part();
	}
	assert_true(meet(server, client, NULL, NULL)); /* no SNI: the first */
	assert_string_equal(facts.server_name, "");
	part();
	tls_ctx_unref(&server);
	tls_ctx_unref(&client);
}

static void test_verify(void **state)
{
	static const struct {
		enum tls_verify verify;
		bool alien;
		const char *name;
		bool ok;
	} cases[] = {
		{ TLS_VERIFY_NAME, false, "mail.one.example", true },
		{ TLS_VERIFY_NAME, false, "mail.one.example.", true }, /* as DNS has it */
		{ TLS_VERIFY_NAME, false, "other.example", false },
		{ TLS_VERIFY_NAME, true, "alien.example", false },
		{ TLS_VERIFY_CHAIN, false, "other.example", true },
		{ TLS_VERIFY_CHAIN, true, "alien.example", false },
		{ TLS_VERIFY_NONE, true, "other.example", true },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct stream_tls seen;
		struct tls_pair pair = cert_pair(cases[i].alien ? &alien : &first);
		struct tls_server_opts o = { .pairs = &pair, .pair_count = 1 };
		struct tls_ctx *server = tls_server_new(&o, NULL);
		struct tls_ctx *client = test_client(cases[i].verify);
		assert_int_equal(meet(server, client, cases[i].name, NULL), cases[i].ok);
		if (!cases[i].ok)
			assert_int_equal(stream_err(them.s), ERR_TLS_UNVERIFIED);
		else if (stream_tls(them.s, &seen) && cases[i].verify == TLS_VERIFY_NONE)
			assert_string_equal(seen.peer_subject, ""); /* not verified: not told */
		part();
		tls_ctx_unref(&server);
		tls_ctx_unref(&client);
	}
}

/* What is wrong with a certificate is told whether it is demanded or only looked at. */
static void test_verdicts(void **state)
{
	struct cert old;
	cert_make_for(&old, &test_ca, "old", "DNS:mail.one.example", (struct cert_days){ -3, -1 });
	const struct {
		const struct cert *shown;
		const char *name;
		enum stream_certificate verdict;
	} cases[] = {
		{ &first, "mail.one.example", STREAM_CERT_GOOD },
		{ &first, "other.example", STREAM_CERT_NAME },
		{ &old, "mail.one.example", STREAM_CERT_EXPIRED },
		{ &alien, "alien.example", STREAM_CERT_UNTRUSTED },
	};
	for (size_t i = 0; i < 2 * COUNT_OF(cases); i++) {
		bool tell = i % 2 == 0, good = cases[i / 2].verdict == STREAM_CERT_GOOD;
		struct tls_pair pair = cert_pair(cases[i / 2].shown);
		struct tls_server_opts o = { .pairs = &pair, .pair_count = 1 };
		struct tls_ctx *server = tls_server_new(&o, NULL);
		struct tls_ctx *client = test_client(tell ? TLS_VERIFY_TELL : TLS_VERIFY_NAME);
		assert_int_equal(meet(server, client, cases[i / 2].name, NULL), tell || good);
		assert_int_equal(stream_certificate(them.s), cases[i / 2].verdict);
		part();
		tls_ctx_unref(&server);
		tls_ctx_unref(&client);
	}
	cert_end(&old);
}

static void test_alpn(void **state)
{
	struct tls_pair pair = cert_pair(&first);
	struct tls_server_opts o = { .pairs = &pair, .pair_count = 1, .alpn = "imap" };
	struct tls_ctx *server = tls_server_new(&o, NULL), *client = test_client(TLS_VERIFY_CHAIN);
	assert_true(meet(server, client, "mail.one.example", "imap"));
	assert_string_equal(facts.alpn, "imap");
	part();
	assert_true(meet(server, client, "mail.one.example", NULL));
	assert_string_equal(facts.alpn, "");
	part();
	assert_false(meet(server, client, "mail.one.example", "http/1.1"));
	part();
	tls_ctx_unref(&server);
	server = test_server(); /* one without ALPN does not mind */
	assert_true(meet(server, client, "mail.one.example", "pop3"));
	assert_string_equal(facts.alpn, "");
	part();
	tls_ctx_unref(&server);
	tls_ctx_unref(&client);
}

/* Asked for, not demanded; only a verified one has a subject. */
static void test_client_certificates(void **state)
{
	static const struct {
		const struct cert *cert;
		const char *subject;
	} cases[] = { { NULL, "" }, { &second, "CN=second" }, { &alien, "" } };
	struct tls_pair pair = cert_pair(&first);
	struct tls_server_opts o = {
		.pairs = &pair, .pair_count = 1, .client_ca_pem = buf_span(&test_ca.chain)
	};
	struct tls_ctx *server = tls_server_new(&o, NULL);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct tls_client_opts c = { .ca_pem = buf_span(&test_ca.chain) };
		if (cases[i].cert != NULL)
			c.pair = cert_pair(cases[i].cert);
		struct tls_ctx *client = tls_client_new(&c, NULL);
		assert_true(meet(server, client, "mail.one.example", NULL));
		assert_string_equal(facts.peer_subject, cases[i].subject);
		part();
		tls_ctx_unref(&client);
	}
	tls_ctx_unref(&server);
}

/* ---- what is refused, in words ---- */

static void assert_refused(const struct tls_server_opts *o, const char *words)
{
	struct buf why = BUF_INIT(1000);
	assert_null(tls_server_new(o, &why));
	if (strstr(buf_cstr(&why), words) == NULL)
		fail_msg("wanted words on \"%s\", got: %s", words, buf_cstr(&why));
	buf_end(&why);
	assert_null(tls_server_new(o, NULL));
	assert_int_equal(ERR_peek_error(), 0); /* nothing is left for the next one */
}

static void put_encrypted_key(struct buf *out)
{
	BIO *b = BIO_new(BIO_s_mem());
	assert_int_equal(
	    PEM_write_bio_PKCS8PrivateKey(b, first.key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL),
	    1);
	put_pem(b, out);
}

static void test_bad_pairs(void **state)
{
	struct buf encrypted, cut = BUF_INIT(65536), twice = BUF_INIT(65536);
	put_encrypted_key(&encrypted);
	buf_add_span(&cut, span_first(buf_span(&first.chain), buf_len(&first.chain) / 2));
	buf_add_span(&twice, buf_span(&first.chain));
	buf_add_str(
	    &twice, "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n");
	const struct {
		struct tls_pair pair;
		const char *words;
	} cases[] = {
		{ { SPAN_NONE, SPAN_NONE }, "no certificate" },
		{ { SPAN("hello"), buf_span(&first.key_pem) }, "no certificate" },
		{ { buf_span(&first.key_pem), buf_span(&first.key_pem) }, "no certificate" },
		{ { buf_span(&cut), buf_span(&first.key_pem) }, "cannot be read" },
		{ { buf_span(&twice), buf_span(&first.key_pem) }, "intermediate" },
		{ { buf_span(&first.chain), SPAN_NONE }, "no private key" },
		{ { buf_span(&first.chain), buf_span(&first.chain) }, "no private key" },
		{ { buf_span(&first.chain), buf_span(&second.key_pem) }, "does not fit" },
		{ { buf_span(&first.chain), buf_span(&encrypted) }, "encrypted" },
	};
	/* The running context is not touched by attempts to make another one. */
	struct tls_ctx *running = test_server(), *client = test_client(TLS_VERIFY_NAME);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct tls_pair pairs[2] = { cert_pair(&first), cases[i].pair };
		assert_refused(
		    &(struct tls_server_opts){ .pairs = &cases[i].pair, .pair_count = 1 },
		    cases[i].words);
		assert_refused(
		    &(struct tls_server_opts){ .pairs = pairs, .pair_count = 2 }, cases[i].words);
		assert_true(meet(running, client, "mail.example", NULL));
		part();
	}
	tls_ctx_unref(&running);
	tls_ctx_unref(&client);
	buf_end(&encrypted);
	buf_end(&cut);
	buf_end(&twice);
}

/* What a running server may be given: the same complaints, and those of the calendar. */
static void test_pair_check(void **state)
{
	struct buf why = BUF_INIT(1000);
	struct cert late, early;
	struct tls_pair mixed = { buf_span(&first.chain), buf_span(&second.key_pem) };
	cert_make_for(&late, &test_ca, "late", "DNS:mail.example", (struct cert_days){ -2, -1 });
	cert_make_for(&early, &test_ca, "early", "DNS:mail.example", (struct cert_days){ 1, 2 });
	const struct {
		struct tls_pair pair;
		const char *words;
	} cases[] = {
		{ cert_pair(&first), NULL },
		{ mixed, "does not fit" },
		{ cert_pair(&late), "has expired" },
		{ cert_pair(&early), "not valid yet" },
		{ { span_first(buf_span(&first.chain), 100), buf_span(&first.key_pem) }, "read" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		buf_clear(&why);
		assert_int_equal(tls_pair_check(&cases[i].pair, &why), cases[i].words == NULL);
		if (cases[i].words != NULL)
			assert_non_null(strstr(buf_cstr(&why), cases[i].words));
		assert_int_equal(tls_pair_check(&cases[i].pair, NULL), cases[i].words == NULL);
		assert_int_equal(ERR_peek_error(), 0);
	}
	cert_end(&late);
	cert_end(&early);
	buf_end(&why);
}

static void test_bad_options(void **state)
{
	struct tls_pair pair = cert_pair(&first);
	struct buf why = BUF_INIT(1000);
	assert_refused(&(struct tls_server_opts){ .pair_count = 0 }, "at least one");
	assert_refused(
	    &(struct tls_server_opts){
		.pairs = &pair, .pair_count = 1, .client_ca_pem = SPAN("x") },
	    "authorities");
	assert_null(tls_client_new(&(struct tls_client_opts){ .ca_pem = SPAN("x") }, &why));
	assert_non_null(strstr(buf_cstr(&why), "authorities"));
	buf_clear(&why);
	struct tls_client_opts bad = { .ca_pem = buf_span(&test_ca.chain),
		.pair = { buf_span(&first.chain), buf_span(&second.key_pem) } };
	assert_null(tls_client_new(&bad, &why));
	assert_non_null(strstr(buf_cstr(&why), "does not fit"));
	buf_end(&why);
	struct tls_ctx *c = test_server(), *same = tls_ctx_ref(c);
	assert_ptr_equal(c, same);
	tls_ctx_unref(&c);
	assert_null(c);
	tls_ctx_unref(&c);
	tls_ctx_unref(&same);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, loop_setup, loop_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_by_server_name),
		CASE(test_verify),
		CASE(test_verdicts),
		CASE(test_alpn),
		CASE(test_client_certificates),
		CASE(test_bad_pairs),
		CASE(test_pair_check),
		CASE(test_bad_options),
	};
	return cmocka_run_group_tests_name("tls_ctx", tests, group_setup, group_teardown);
}
