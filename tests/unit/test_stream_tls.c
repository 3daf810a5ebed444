/* test_stream_tls.c - streams under TLS: STARTTLS, broken handshakes, ends, resumption, certificates. */
#include "net/tls_ends.h"

#include "net/stream_bind.h"
#include "net/stream_internal.h"
#include "net/tls_tickets.h"

enum { MANY = TLS_OUT_MAX };

static char pattern[MANY];

static int group_setup(void **state)
{
	fill_pattern(pattern, sizeof pattern, 1);
	return certs_setup(state);
}

static void both_secure(const char *name, const char *alpn)
{
	them_begin();
	assert_int_equal(stream_start_tls_server(us.s, server), 0);
	assert_int_equal(stream_start_tls_client(them.s, client, name, alpn), 0);
	WAIT_FOR((us.n[STREAM_SECURED] || us.n[STREAM_FAILED]) &&
		 (them.n[STREAM_SECURED] || them.n[STREAM_FAILED]));
}

/* ---- handshakes ---- */

static void test_facts(void **state)
{
	struct stream_tls facts;
	both_secure("mail.example", NULL);
	assert_true(stream_is_tls(us.s) && stream_is_tls(them.s));
	assert_true(stream_tls(us.s, &facts));
	assert_string_equal(facts.version, "TLSv1.3");
	assert_string_equal(facts.server_name, "mail.example");
	assert_string_equal(facts.alpn, "");
	assert_string_equal(facts.peer_subject, "");
	assert_true(facts.bits >= 128);
	assert_false(facts.resumed);
	assert_true(stream_tls(them.s, &facts));
	assert_string_equal(facts.peer_subject, "CN=mail.example");
	tls_ctx_unref(&server); /* a connection keeps what it needs */
	tls_ctx_unref(&client);
	stream_write(us.s, "x", 1);
	WAIT_FOR(buf_len(&them.got) == 1);
}

/* What both ends agree on, and no other session has. */
static void test_bindings(void **state)
{
	uint8_t key[STREAM_BIND_LEN], a[STREAM_BIND_LEN], b[STREAM_BIND_LEN], end[STREAM_BIND_MAX];
	both_secure("mail.example", NULL);
	assert_false(stream_peer_key(us.s, key)); /* the client has shown none */
	assert_true(stream_peer_key(them.s, key));
	unsigned char *der = NULL;
	unsigned n = 0;
	int der_n = i2d_PUBKEY(test_cert.key, &der);
	uint8_t want[EVP_MAX_MD_SIZE];
	assert_int_equal(EVP_Digest(der, (size_t)der_n, want, &n, EVP_sha256(), NULL), 1);
	assert_memory_equal(key, want, sizeof key);
	OPENSSL_free(der);
	assert_true(stream_bind_exporter(us.s, a));
	assert_true(stream_bind_exporter(them.s, b));
	assert_memory_equal(a, b, sizeof b);
	assert_int_equal(stream_bind_end_point(us.s, end), 32);
	assert_int_equal(X509_digest(test_cert.x, EVP_sha256(), want, &n), 1);
	assert_memory_equal(end, want, 32);
}

/* Plaintext that came with the command is dropped and counted; what was queued leaves in the clear. */
static void test_starttls(void **state)
{
	us.hold = true;
	raw_send(wire[1], SPAN("STARTTLS\r\nRCPT TO:<evil@x>\r\n"));
	WAIT_FOR(us.n[STREAM_INPUT] == 1);
	stream_eat(us.s, 10);
	stream_write(us.s, "220 go\r\n", 8);
	assert_int_equal(stream_start_tls_server(us.s, server), 18);
	assert_int_equal(stream_input(us.s).n, 0);
	stream_write(us.s, "secret", 6); /* waits for TLS */
	us.hold = false;
	struct buf got = BUF_INIT(1000);
	WAIT_FOR(raw_take(wire[1], &got) == RAW_OPEN && buf_len(&got) == 8);
	run_rounds(5);
	raw_take(wire[1], &got);
	assert_int_equal(buf_len(&got), 8);
	assert_memory_equal(buf_span(&got).p, "220 go\r\n", 8);
	end_begin(&them, wire[1], 1000, 1000);
	stream_start_tls_client(them.s, client, "mail.example", NULL);
	stream_write(them.s, "EHLO again", 10);
	WAIT_FOR(buf_len(&them.got) == 6 && buf_len(&us.got) == 10);
	assert_memory_equal(buf_span(&them.got).p, "secret", 6);
	assert_memory_equal(buf_span(&us.got).p, "EHLO again", 10);
	buf_end(&got);
}

/* Let go before the handshake: what was for under TLS is never sent in the clear. */
static void test_close_before_the_handshake(void **state)
{
	for (unsigned rounds = 0; rounds < 4; rounds++) {
		struct buf got = BUF_INIT(1000);
		stream_write(us.s, "220 go\r\n", 8);
		stream_start_tls_server(us.s, server);
		stream_write(us.s, "secret", 6);
		run_rounds(rounds);
		stream_close(&us.s, WAIT_MS);
		WAIT_FOR(raw_take(wire[1], &got) == RAW_EOF);
		assert_int_equal(buf_len(&got), 8);
		buf_end(&got);
		close(wire[1]);
		again();
	}
	close(wire[1]);
}

static void test_garbage(void **state)
{
	static const char *const garbage[] = { "EHLO me\r\n", "GET / HTTP/1.0\r\n\r\n",
		"\x16\x03\x01\x02", "\x80\x2e\x01\x03\x01", "\x16\x03\x01\xff\xff\x01\x02" };
	for (size_t i = 0; i < COUNT_OF(garbage); i++) {
		stream_start_tls_server(us.s, server);
		raw_send(wire[1], span_str(garbage[i]));
		run_rounds(5);
		shutdown(wire[1], SHUT_WR); /* a short one cannot be told before */
		WAIT_FOR(us.n[STREAM_FAILED] == 1);
		assert_string_equal(us.order, "F");
		assert_true(
		    stream_err(us.s) == ERR_TLS_HANDSHAKE || stream_err(us.s) == ERR_CONN_CLOSED);
		assert_true(stream_err_text(us.s)[0] != '\0');
		close(wire[1]);
		again();
	}
	close(wire[1]);
}

/* A ClientHello that breaks off anywhere: silence keeps waiting, the end fails. */
static void test_half_handshakes(void **state)
{
	struct buf hello = BUF_INIT(4000);
	end_begin(&them, wire[1], 1000, 1000);
	stream_start_tls_client(them.s, client, "mail.example", NULL);
	WAIT_FOR(us.n[STREAM_INPUT] == 1); /* taken as plaintext here */
	buf_add_span(&hello, buf_span(&us.got));
	assert_true(buf_len(&hello) > 100);
	for (size_t k = 0; k < buf_len(&hello); k += 1 + k / 3) {
		again();
		stream_start_tls_server(us.s, server);
		raw_send(wire[1], span_first(buf_span(&hello), k));
		run_rounds(4);
		assert_string_equal(us.order, "");
		assert_false(loop_step(loop, 0)); /* at rest */
		if (k % 2 == 0)
			close(wire[1]);
		else
			close_with_reset(wire[1]);
		WAIT_FOR(us.n[STREAM_FAILED] == 1);
	}
	buf_end(&hello);
}

static void test_client_meets_no_tls(void **state)
{
	end_begin(&them, wire[1], 1000, 1000);
	stream_start_tls_client(them.s, client, "mail.example", NULL);
	stream_write(us.s, "554 no\r\n", 8);
	WAIT_FOR(them.n[STREAM_FAILED] == 1);
	assert_int_equal(stream_err(them.s), ERR_TLS_HANDSHAKE);
	again();
	close(wire[1]);
	wire[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	end_begin(&them, wire[1], 1000, 1000);
	stream_start_tls_client(them.s, client, NULL, NULL); /* nothing to verify against */
	WAIT_FOR(them.n[STREAM_FAILED] == 1);
	assert_non_null(strstr(stream_err_text(them.s), "no name"));
}

static void test_free_in_callbacks(void **state)
{
	us.free_at = STREAM_SECURED;
	both_secure("mail.example", NULL);
	assert_null(us.s);
	run_rounds(5);
	again();
	us.close_at = STREAM_SECURED;
	both_secure("mail.example", NULL);
	assert_null(us.s);
	WAIT_FOR(them.n[STREAM_EOF] == 1);
	again();
	us.free_at = STREAM_FAILED;
	stream_start_tls_server(us.s, server);
	raw_send(wire[1], SPAN("QUIT\r\n"));
	WAIT_FOR(us.s == NULL);
	close(wire[1]);
}

/* ---- bytes and ends ---- */

static void test_large_both_ways(void **state)
{
	struct file_ref *f = file_of(pattern, MANY);
	both_secure("mail.example", NULL);
	stream_write(us.s, pattern, 1000);
	stream_write_file(us.s, f, 1000, MANY - 2000);
	stream_write(us.s, pattern + MANY - 1000, 1000);
	stream_write(them.s, pattern, MANY);
	file_ref_put(&f);
	WAIT_FOR(buf_len(&us.got) == MANY && buf_len(&them.got) == MANY);
	assert_memory_equal(buf_span(&us.got).p, pattern, MANY);
	assert_memory_equal(buf_span(&them.got).p, pattern, MANY);
	WAIT_FOR(us.n[STREAM_SENT] == 1);
	assert_int_equal(stream_bytes_out(us.s), MANY);
	assert_int_equal(stream_bytes_in(us.s), MANY);
	stream_write_file(us.s, NULL, 0, 0);
	assert_null(us.s->in.p);
	assert_null(us.s->out.first);
}

/* A small bound: the rest of a record stays inside OpenSSL and no event tells of it. */
static void test_input_is_bounded(void **state)
{
	end_end(&us);
	close(wire[1]);
	tcp_pair(wire);
	end_begin(&us, wire[0], 1000, 1000);
	both_secure("mail.example", NULL);
	us.hold = true;
	stream_write(them.s, pattern, 50000);
	WAIT_FOR(stream_input(us.s).n == 1000);
	run_rounds(5);
	assert_false(loop_step(loop, 0)); /* at rest */
	for (size_t at = 0; at < 50000; at += 500) {
		WAIT_FOR(stream_input(us.s).n >= 500);
		assert_memory_equal(stream_input(us.s).p, pattern + at, 500);
		stream_eat(us.s, 500);
	}
	/* Paused with decrypted bytes: they come when it goes on. */
	stream_write(them.s, pattern, 5000);
	WAIT_FOR(stream_input(us.s).n == 1000);
	stream_pause(us.s, true);
	stream_eat(us.s, 1000);
	run_rounds(5);
	assert_int_equal(stream_input(us.s).n, 0);
	us.hold = false;
	stream_pause(us.s, false);
	WAIT_FOR(buf_len(&us.got) == 4000);
}

/* The last read ends within a record and the kernel has no more: the rest comes all the same. */
static void test_end_of_a_burst(void **state)
{
	end_end(&us);
	close(wire[1]);
	tcp_pair(wire);
	end_begin(&us, wire[0], MANY, 1000);
	both_secure("mail.example", NULL);
	us.hold = true;
	stream_pause(us.s, true);
	run_rounds(2);
	for (size_t i = 0; i < 132;
	     i++) { /* records of 1000 bytes; 2 * WIRE_SCRATCH ends in the last */
		stream_write(them.s, pattern + i * 1000, 1000);
		WAIT_FOR(stream_pending(them.s) == 0);
	}
	stream_pause(us.s, false);
	WAIT_FOR(stream_input(us.s).n == 132000);
	assert_memory_equal(stream_input(us.s).p, pattern, 132000);
}

/* A peer that does not read: bounded, and it is let go. */
static void test_output_is_bounded(void **state)
{
	both_secure("mail.example", NULL);
	stream_pause(them.s, true);
	while (stream_write(us.s, pattern, 100000))
		run_rounds(1);
	WAIT_FOR(us.n[STREAM_FAILED] == 1);
	assert_int_equal(stream_err(us.s), ERR_TOO_MANY);
}

static void test_close_notify(void **state)
{
	both_secure("mail.example", NULL);
	stream_write(us.s, "last reply", 10);
	stream_close(&us.s, WAIT_MS);
	WAIT_FOR(them.n[STREAM_EOF] == 1);
	assert_int_equal(buf_len(&them.got), 10);
	assert_true(SSL_get_shutdown(them.s->wire.ssl) & SSL_RECEIVED_SHUTDOWN);
	assert_int_equal(them.n[STREAM_FAILED], 0);
}

/* Cut off without close_notify: an end; then bytes that are no record: a failure. */
static void test_cut_off_and_nonsense(void **state)
{
	both_secure("mail.example", NULL);
	shutdown(wire[1], SHUT_WR);
	WAIT_FOR(us.n[STREAM_EOF] == 1);
	assert_int_equal(us.n[STREAM_FAILED], 0);
	again();
	both_secure("mail.example", NULL);
	raw_send(wire[1], SPAN("QUIT\r\nQUIT\r\n"));
	WAIT_FOR(us.n[STREAM_FAILED] == 1);
	assert_int_equal(stream_err(us.s), ERR_PROTOCOL);
	again();
	both_secure("mail.example", NULL);
	struct linger l = { .l_onoff = 1, .l_linger = 0 };
	setsockopt(wire[1], SOL_SOCKET, SO_LINGER, &l, sizeof l);
	stream_free(&them.s);
	WAIT_FOR(us.n[STREAM_FAILED] == 1);
	assert_int_equal(stream_err(us.s), ERR_CONN_RESET);
}

/* ---- a client of OpenSSL's own, for what ours never does ---- */

static SSL_CTX *raw_ctx;
static SSL *raw;
static SSL_SESSION *kept;

static int on_session(SSL *ssl, SSL_SESSION *session)
{
	SSL_SESSION_free(kept);
	kept = session;
	return 1;
}

static void raw_begin(int version)
{
	raw_ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_security_level(raw_ctx, 0);
	SSL_CTX_set_min_proto_version(raw_ctx, version);
	SSL_CTX_set_max_proto_version(raw_ctx, version);
	SSL_CTX_set_session_cache_mode(raw_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(raw_ctx, on_session);
	raw = SSL_new(raw_ctx);
	SSL_set_fd(raw, wire[1]);
	if (kept != NULL)
		SSL_set_session(raw, kept);
	stream_start_tls_server(us.s, server);
}

/* True: done; false: it failed. */
static bool raw_handshake(void)
{
	for (;;) {
		int r = SSL_connect(raw);
		if (r == 1)
			return true;
		int why = SSL_get_error(raw, r);
		if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
			return false;
		loop_step(loop, 2);
	}
}

static void raw_end(void)
{
	SSL_free(raw);
	SSL_CTX_free(raw_ctx);
	ERR_clear_error();
	close(wire[1]);
}

/* Reads one byte: the sessions of TLS 1.3 come after the handshake. */
static void raw_read_one(void)
{
	char c;
	stream_write(us.s, "x", 1);
	while (SSL_read(raw, &c, 1) != 1)
		loop_step(loop, 2);
}

static void test_old_versions_are_refused(void **state)
{
	raw_begin(TLS1_1_VERSION);
	assert_false(raw_handshake());
	WAIT_FOR(us.n[STREAM_FAILED] == 1);
	assert_int_equal(stream_err(us.s), ERR_TLS_HANDSHAKE);
	raw_end();
}

static void test_no_renegotiation(void **state)
{
	raw_begin(TLS1_2_VERSION);
	assert_true(raw_handshake());
	assert_int_equal(SSL_renegotiate(raw), 1);
	for (int i = 0; i < 20; i++) {
		SSL_do_handshake(raw);
		run_rounds(1);
	}
	assert_int_equal(SSL_total_renegotiations(raw), 1); /* asked for */
	assert_int_equal(SSL_total_renegotiations(us.s->wire.ssl), 0);
	assert_int_equal(us.n[STREAM_SECURED], 1);
	raw_end();
}

static bool resumes(int version)
{
	struct stream_tls facts;
	raw_begin(version);
	assert_true(raw_handshake());
	raw_read_one();
	WAIT_FOR(us.n[STREAM_SECURED] == 1);
	assert_true(stream_tls(us.s, &facts));
	assert_int_equal(facts.resumed, SSL_session_reused(raw));
	if (version == TLS1_2_VERSION) /* a ticket that replaces another one is not told of */
		on_session(raw, SSL_get1_session(raw));
	SSL_set_shutdown(raw, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	raw_end();
	again();
	return facts.resumed;
}

/* One key for each letter. */
static void set_keys(struct tls_tickets *t, const char *letters)
{
	char keys[4 * TLS_TICKET_KEY_LEN];
	size_t n = strlen(letters);
	for (size_t i = 0; i < n; i++)
		memset(keys + i * TLS_TICKET_KEY_LEN, letters[i], TLS_TICKET_KEY_LEN);
	assert_true(tls_tickets_set(t, span_of(keys, n * TLS_TICKET_KEY_LEN)));
}

static void server_with_keys(const char *letters, const struct cert *client_ca)
{
	struct tls_tickets *tickets = tls_tickets_new();
	set_keys(tickets, letters);
	struct tls_pair pair = cert_pair(&test_cert);
	struct tls_server_opts o = { .pairs = &pair, .pair_count = 1, .tickets = tickets };
	if (client_ca != NULL)
		o.client_ca_pem = buf_span(&client_ca->chain);
	tls_ctx_unref(&server);
	server = tls_server_new(&o, NULL);
	assert_non_null(server);
	tls_tickets_unref(&tickets);
}

/* A ticket of one worker is good at another one with the same key, and nowhere else. */
static void test_resumption(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	for (size_t i = 0; i < COUNT_OF(versions); i++) {
		server_with_keys("a", NULL);
		assert_false(resumes(versions[i]));
		assert_non_null(kept);
		server_with_keys("a", NULL);
		assert_true(resumes(versions[i]));
		server_with_keys("b", NULL);
		assert_false(resumes(versions[i]));
		assert_false(resumes(versions[i])); /* a key of its own */
		SSL_SESSION_free(kept);
		kept = NULL;
	}
	close(wire[1]);
}

/* The newest key seals, older ones open; a ticket that an older one opened is followed by one under the newest. */
static void test_key_rotation(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	for (size_t i = 0; i < COUNT_OF(versions); i++) {
		server_with_keys("a", NULL);
		assert_false(resumes(versions[i])); /* sealed under a */
		server_with_keys("ba", NULL);
		assert_true(resumes(versions[i]));
		server_with_keys(
		    "cb", NULL); /* that one was sealed under b, or a would be asked for */
		assert_true(resumes(versions[i]));
		server_with_keys("dcb", NULL);
		assert_true(resumes(versions[i]));
		server_with_keys("c", NULL);
		assert_false(resumes(versions[i])); /* under d by now */
		SSL_SESSION_free(kept);
		kept = NULL;
	}
	close(wire[1]);
}

/* Keys change below a context that is in use; what is not whole keys changes nothing. */
static void test_keys_in_use(void **state)
{
	struct tls_tickets *tickets = tls_tickets_new();
	struct tls_pair pair = cert_pair(&test_cert);
	struct tls_server_opts o = { .pairs = &pair, .pair_count = 1, .tickets = tickets };
	static const char many[(TLS_TICKET_KEYS_MAX + 1) * TLS_TICKET_KEY_LEN];
	static const struct {
		const char *keys;
		bool resumes;
	} cases[] = { { "a", false }, { "a", true }, { "b", false }, { "cb", true } };
	struct tls_ctx *one = tls_server_new(&o, NULL);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		set_keys(tickets, cases[i].keys);
		assert_false(tls_tickets_set(tickets, SPAN("short")));
		assert_false(tls_tickets_set(tickets, SPAN_NONE));
		assert_false(tls_tickets_set(tickets, span_of(many, sizeof many)));
		tls_ctx_unref(&server);
		server = tls_ctx_ref(one);
		assert_int_equal(resumes(TLS1_3_VERSION), cases[i].resumes);
	}
	tls_tickets_unref(&tickets);
	tls_ctx_unref(&one); /* its own reference to the keys is the last */
	SSL_SESSION_free(kept);
	kept = NULL;
	close(wire[1]);
}

/* Who was verified by one authority is not taken for verified by another: the key is the same. */
static void test_resumption_keeps_to_its_authorities(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	struct cert other = { 0 };
	cert_make(&other, NULL, "other authority", NULL);
	for (size_t i = 0; i < COUNT_OF(versions); i++) {
		server_with_keys("a", &test_ca);
		assert_false(resumes(versions[i]));
		server_with_keys("a", &test_ca);
		assert_true(resumes(versions[i]));
		server_with_keys("a", &other);
		assert_false(resumes(versions[i]));
		SSL_SESSION_free(kept);
		kept = NULL;
	}
	cert_end(&other);
	close(wire[1]);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_facts),
		CASE(test_bindings),
		CASE(test_starttls),
		CASE(test_close_before_the_handshake),
		CASE(test_garbage),
		CASE(test_half_handshakes),
		CASE(test_client_meets_no_tls),
		CASE(test_free_in_callbacks),
		CASE(test_large_both_ways),
		CASE(test_input_is_bounded),
		CASE(test_end_of_a_burst),
		CASE(test_output_is_bounded),
		CASE(test_close_notify),
		CASE(test_cut_off_and_nonsense),
		CASE(test_old_versions_are_refused),
		CASE(test_no_renegotiation),
		CASE(test_resumption),
		CASE(test_key_rotation),
		CASE(test_keys_in_use),
		CASE(test_resumption_keeps_to_its_authorities),
	};
	return cmocka_run_group_tests_name("stream_tls", tests, group_setup, certs_teardown);
}
