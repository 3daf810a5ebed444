/* test_tls_park.c - parked sessions against OpenSSL: every suite, both roles, any split, key updates. */
#include "net/certs.h"

#include "net/tls_internal.h"
#include "net/tls_notes.h"
#include "net/tls_park.h"

enum { MOST = 1 << 19 };

static char pattern[MOST];

static int group_setup(void **state)
{
	fill_pattern(pattern, sizeof pattern, 7);
	return certs_setup(state);
}

/* ---- our side is a wire on a socket; the peer is OpenSSL with its records in memory ---- */

static struct {
	struct wire us;
	int far_fd; /* the other end of our socket */
	SSL_CTX *ctx;
	SSL *ssl;
	BIO *in, *out; /* the peer's */
	struct tls_ctx *ours;
	size_t sent_at, got_at; /* places in the pattern: by us, by the peer */
} the;

static const char *const suites[] = { "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
	"TLS_CHACHA20_POLY1305_SHA256" };

/* What we have sent goes to the peer. */
static void to_peer(void)
{
	struct buf b = BUF_INIT(1 << 22);
	assert_int_equal(raw_take(the.far_fd, &b), RAW_OPEN);
	if (buf_len(&b) > 0)
		assert_int_equal(
		    BIO_write(the.in, buf_span(&b).p, (int)buf_len(&b)), (int)buf_len(&b));
	buf_end(&b);
}

/* What the peer has sent, taken out of it. */
static struct buf from_peer(void)
{
	struct buf b = BUF_INIT(1 << 22);
	char piece[4096];
	int n;
	while ((n = BIO_read(the.out, piece, sizeof piece)) > 0)
		assert_true(buf_add(&b, piece, (size_t)n));
	return b;
}

static void to_us(void)
{
	struct buf b = from_peer();
	raw_send(the.far_fd, buf_span(&b));
	buf_end(&b);
}

static void peer_begin(bool we_serve, int suite, int version)
{
	the.ctx = SSL_CTX_new(we_serve ? TLS_client_method() : TLS_server_method());
	assert_int_equal(SSL_CTX_set_ciphersuites(the.ctx, suites[suite]), 1);
	assert_int_equal(SSL_CTX_set_max_proto_version(the.ctx, version), 1);
	if (!we_serve) {
		assert_int_equal(SSL_CTX_use_certificate(the.ctx, test_cert.x), 1);
		assert_int_equal(SSL_CTX_use_PrivateKey(the.ctx, test_cert.key), 1);
	}
	the.ssl = SSL_new(the.ctx);
	the.in = BIO_new(BIO_s_mem());
	the.out = BIO_new(BIO_s_mem());
	SSL_set_bio(the.ssl, the.in, the.out);
}

static void begin_handshake(bool we_serve, int suite, int version, int fragment)
{
	int v[2];
	memset(&the, 0, sizeof the);
	tcp_pair(v);
	the.far_fd = v[1];
	the.us = (struct wire){ .fd = v[0] };
	the.ours = we_serve ? test_server() : test_client(TLS_VERIFY_NAME);
	tls_ctx_set_park(the.ours);
	the.us.ssl = tls_session_new(the.ours, we_serve ? NULL : "mail.example", NULL);
	tls_session_attach(the.us.ssl, v[0]);
	peer_begin(we_serve, suite, version);
	if (fragment != 0)
		assert_int_equal(SSL_set_tlsext_max_fragment_length(the.ssl, (uint8_t)fragment), 1);
	if (we_serve)
		SSL_set_connect_state(the.ssl);
	else
		SSL_set_accept_state(the.ssl);
}

static void shake_hands(void)
{
	uint64_t ends_at = clock_mono_ms() + WAIT_MS;
	bool peer_done = false, we_done = false;
	while (!peer_done || !we_done) {
		peer_done = SSL_do_handshake(the.ssl) == 1;
		to_us();
		we_done = wire_handshake(&the.us) == WIRE_OK;
		to_peer();
		assert_true(clock_mono_ms() < ends_at);
	}
}

static void end(void)
{
	wire_close(&the.us);
	close(the.far_fd);
	SSL_free(the.ssl);
	SSL_CTX_free(the.ctx);
	tls_ctx_unref(&the.ours);
	ERR_clear_error();
}

/* ---- it moves to another process, as far as tls_park.c can tell: everything runs once without, once so ---- */

static bool moves;

static struct tls_park *moved(struct span record)
{
	struct bytes_reader in = bytes_reader_of(record);
	struct tls_park *p = tls_park_load(&in);
	assert_true(p == NULL || (bytes_ok(&in) && in.rest.n == 0));
	return p;
}

/* A record that lacks something is refused. Not each length each time: they are many. */
static void expect_no_part(struct span record)
{
	static size_t turn;
	for (size_t n = turn++ % 13; n < record.n; n += 13)
		assert_null(moved(span_first(record, n)));
}

static void move(void)
{
	struct buf record = BUF_INIT(100000);
	if (!moves || the.us.park == NULL)
		return;
	if (tls_park_save(the.us.park, &record)) {
		expect_no_part(buf_span(&record));
		tls_park_free(&the.us.park);
		the.us.park = moved(buf_span(&record));
		assert_non_null(the.us.park);
	} else {
		assert_int_equal(buf_len(&record), 0);
	}
	buf_wipe_end(&record);
}

/* ---- bytes, each with its place ---- */

static void peer_writes(size_t n)
{
	assert_int_equal(SSL_write(the.ssl, pattern + the.got_at, (int)n), (int)n);
}

/* Takes what there is; all must be what the peer wrote. Returns how much. */
static size_t we_read(void)
{
	size_t got = 0, total = 0;
	move();
	while (wire_read(&the.us, wire_scratch(), WIRE_SCRATCH, &got) == WIRE_OK) {
		assert_memory_equal(wire_scratch(), pattern + the.got_at + total, got);
		total += got;
		move();
	}
	move();
	return total;
}

static void expect_read(size_t n)
{
	uint64_t ends_at = clock_mono_ms() + WAIT_MS;
	size_t got = 0;
	while (got < n) {
		struct pollfd p = { .fd = the.us.fd, .events = POLLIN };
		poll(&p, 1, 5);
		size_t more = we_read();
		got += more;
		the.got_at += more;
		assert_true(clock_mono_ms() < ends_at);
	}
	assert_int_equal(got, n);
}

static void peer_to_us(size_t n)
{
	struct buf b = BUF_INIT(MOST);
	the.got_at %= MOST / 2;
	peer_writes(n);
	b = from_peer();
	for (struct span rest = buf_span(&b); rest.n > 0; rest = span_from(rest, 30000))
		raw_send(the.far_fd, span_first(rest, 30000));
	expect_read(n);
	buf_end(&b);
}

static void peer_takes(char *out, size_t n)
{
	size_t had = 0, got = 0;
	uint64_t ends_at = clock_mono_ms() + WAIT_MS;
	while (had < n) {
		to_peer();
		if (SSL_read_ex(the.ssl, out + had, n - had, &got) == 1)
			had += got;
		assert_true(clock_mono_ms() < ends_at);
	}
}

static void us_to_peer(size_t n)
{
	static char out[MOST];
	struct span left = span_of(pattern + (the.sent_at %= MOST / 2), n);
	size_t put, had = 0, got;
	while (left.n > 0) {
		move();
		enum wire_result r = wire_write(&the.us, left, false, &put);
		assert_true(r == WIRE_OK || r == WIRE_WANT_WRITE);
		left = span_from(left, put);
		move();
		to_peer();
		while (SSL_read_ex(the.ssl, out + had, MOST - had, &got) == 1)
			had += got;
	}
	peer_takes(out + had, n - had);
	assert_memory_equal(out, pattern + the.sent_at, n);
	the.sent_at += n;
}

static void must_park(void)
{
	wire_park(&the.us);
	assert_non_null(the.us.park);
	assert_null(the.us.ssl);
}

static void begin_parked(bool we_serve, int suite)
{
	begin_handshake(we_serve, suite, TLS1_3_VERSION, 0);
	shake_hands();
	/* A client has not read the server's tickets yet, or has. */
	if (suite % 2 == 0)
		peer_to_us(1);
	must_park();
}

/* ---- tests ---- */

static void test_both_ways(void **state)
{
	uint32_t x = 1;
	for (int i = 0; i < 6; i++) {
		begin_handshake(i >= 3, i % 3, TLS1_3_VERSION, 0);
		shake_hands();
		for (int n = 0; n < i; n++) { /* some records of OpenSSL's own */
			peer_to_us(100);
			us_to_peer(20000);
		}
		must_park();
		for (int n = 0; n < 60; n++) {
			x = x * 1664525u + 1013904223u;
			size_t size = (x >> 8) % (n % 3 == 0 ? 100 : 100000) + 1;
			peer_to_us(size);
			us_to_peer(size);
		}
		us_to_peer(TLS_PLAIN_MAX);
		us_to_peer(TLS_PLAIN_MAX + 1);
		end();
	}
}

/* Records of 1, 0, 100 and 20 bytes and a key update, in two pieces, at every place. */
static void test_every_split(void **state)
{
	for (int suite = 0; suite < 3; suite++) {
		size_t whole = 2;
		begin_parked(suite != 1, suite);
		for (size_t at = 1; at < whole; at++) {
			the.got_at = 0;
			peer_writes(100);
			SSL_key_update(the.ssl,
			    at % 2 == 0 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
			the.got_at = 100;
			peer_writes(20);
			the.got_at = 0;
			struct buf b = from_peer();
			whole = buf_len(&b);
			raw_send(the.far_fd, span_first(buf_span(&b), at));
			the.got_at += we_read();
			raw_send(the.far_fd, span_from(buf_span(&b), at));
			expect_read(120 - the.got_at);
			us_to_peer(3);
			buf_end(&b);
		}
		assert_true(whole > 150);
		end();
	}
}

static void test_byte_by_byte(void **state)
{
	begin_parked(false, 2); /* tickets too come in single bytes */
	the.got_at = 0;
	peer_writes(300);
	struct buf b = from_peer();
	for (size_t i = 0; i < buf_len(&b); i++) {
		raw_send(the.far_fd, span_first(span_from(buf_span(&b), i), 1));
		the.got_at += we_read();
	}
	expect_read(300 - the.got_at);
	buf_end(&b);
	end();
}

static void test_key_update_storm(void **state)
{
	for (int suite = 0; suite < 3; suite++) {
		begin_parked(true, suite);
		for (int i = 0; i < 200; i++) {
			for (int n = 0; n < 30; n++) {
				SSL_key_update(the.ssl, (i + n) % 3 == 0
							    ? SSL_KEY_UPDATE_REQUESTED
							    : SSL_KEY_UPDATE_NOT_REQUESTED);
				assert_int_equal(SSL_do_handshake(the.ssl), 1);
			}
			if (i % 2 == 0)
				us_to_peer(10); /* before we have read any of it */
			peer_to_us(10);
			us_to_peer(i % 7 == 0 ? 50000 : 10);
		}
		end();
	}
}

/* Of the next read that says something. */
static enum wire_result next_read(void)
{
	enum wire_result r;
	size_t got;
	WAIT_FOR((r = wire_read(&the.us, wire_scratch(), WIRE_SCRATCH, &got)) != WIRE_WANT_READ);
	return r;
}

static void expect_fatal(int alert)
{
	char c;
	size_t got;
	to_peer();
	assert_int_equal(SSL_read_ex(the.ssl, &c, 1, &got), 0);
	assert_int_equal(SSL_get_error(the.ssl, 0), SSL_ERROR_SSL);
	assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_AD_REASON_OFFSET + alert);
}

static void test_key_updates_without_end(void **state)
{
	size_t got;
	begin_parked(true, 0);
	for (int n = 0; n < 33; n++) {
		SSL_key_update(the.ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
		assert_int_equal(SSL_do_handshake(the.ssl), 1);
	}
	to_us();
	assert_int_equal(next_read(), WIRE_FAILED);
	expect_fatal(SSL_AD_UNEXPECTED_MESSAGE);
	assert_int_equal(wire_write(&the.us, SPAN("x"), false, &got), WIRE_FAILED);
	end();
}

static void test_goodbyes(void **state)
{
	for (int i = 0; i < 2; i++) {
		char c;
		size_t got;
		begin_parked(i == 0, 0);
		peer_writes(10);
		SSL_shutdown(the.ssl);
		to_us();
		expect_read(10);
		assert_true(wire_has_pending(&the.us)); /* no event will tell */
		assert_int_equal(next_read(), WIRE_EOF);
		us_to_peer(1000); /* half-closed */
		assert_int_equal(wire_finish(&the.us), WIRE_OK);
		struct buf b = BUF_INIT(1000);
		assert_int_equal(raw_take(the.far_fd, &b), RAW_EOF);
		BIO_write(the.in, buf_span(&b).p, (int)buf_len(&b));
		buf_end(&b);
		assert_int_equal(SSL_read_ex(the.ssl, &c, 1, &got), 0);
		assert_int_equal(SSL_get_error(the.ssl, 0), SSL_ERROR_ZERO_RETURN);
		end();
	}
}

static void test_ends_without_goodbye(void **state)
{
	for (int cut = 0; cut < 2; cut++) {
		begin_parked(true, 1);
		peer_writes(100);
		struct buf b = from_peer();
		raw_send(the.far_fd, span_first(buf_span(&b), buf_len(&b) - (size_t)cut));
		shutdown(the.far_fd, SHUT_WR);
		expect_read(cut ? 0 : 100);
		assert_int_equal(next_read(), cut ? WIRE_FAILED : WIRE_EOF);
		buf_end(&b);
		end();
	}
}

/* The peer does not read: what the kernel took in part goes on where it stopped. */
static void test_slow_reader(void **state)
{
	static char out[MOST];
	begin_parked(true, 0);
	int small = 5000;
	setsockopt(the.us.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
	for (int rounds = 0; rounds < 20; rounds++) {
		struct span left = span_of(pattern, MOST - (size_t)rounds * 1000);
		size_t n = left.n, put, stuck = 0, had = 0, got;
		while (left.n > 0) {
			/* Now and then more is offered than the time before. */
			struct span some = span_first(left, 100000 + stuck % 3 * 777);
			move();
			enum wire_result r = wire_write(&the.us, some, false, &put);
			move();
			left = span_from(left, put);
			if (r == WIRE_OK)
				continue;
			assert_int_equal(r, WIRE_WANT_WRITE);
			char piece[7001];
			ssize_t came = recv(the.far_fd, piece, sizeof piece - stuck++ % 5000, 0);
			if (came > 0)
				BIO_write(the.in, piece, (int)came);
			while (SSL_read_ex(the.ssl, out + had, n - had, &got) == 1)
				had += got;
		}
		peer_takes(out + had, n - had);
		assert_memory_equal(out, pattern, n);
	}
	end();
}

static void test_small_fragments(void **state)
{
	begin_handshake(true, 0, TLS1_3_VERSION, TLSEXT_max_fragment_length_512);
	shake_hands();
	must_park();
	us_to_peer(5000); /* OpenSSL refuses longer records */
	peer_to_us(5000);
	end();
}

/* ---- when OpenSSL keeps the session ---- */

static void test_not_parked(void **state)
{
	size_t got;
	begin_handshake(true, 0, TLS1_2_VERSION, 0);
	shake_hands();
	assert_false(wire_park(&the.us)); /* never */
	assert_non_null(the.us.ssl);
	end();

	begin_handshake(true, 0, TLS1_3_VERSION, 0);
	assert_true(wire_park(&the.us) || the.us.park == NULL); /* not before its handshake */
	assert_non_null(the.us.ssl);
	shake_hands();
	peer_writes(100);
	to_us();
	WAIT_FOR(SSL_read_ex(the.us.ssl, wire_scratch(), 40, &got) == 1);
	assert_true(wire_park(&the.us)); /* later: decrypted bytes are left */
	assert_non_null(the.us.ssl);
	assert_int_equal(SSL_read_ex(the.us.ssl, wire_scratch(), 60, &got), 1);
	the.got_at = 100;
	for (size_t at = 1; at < 40; at++) { /* in the middle of a record, head or body */
		peer_writes(20);
		struct buf b = from_peer();
		raw_send(the.far_fd, span_first(buf_span(&b), at));
		struct pollfd p = { .fd = the.us.fd, .events = POLLIN };
		poll(&p, 1, 1000);
		assert_int_equal(we_read(), 0);
		assert_true(wire_park(&the.us));
		assert_non_null(the.us.ssl);
		raw_send(the.far_fd, span_from(buf_span(&b), at));
		expect_read(20);
		buf_end(&b);
	}
	must_park();
	peer_to_us(1000);
	us_to_peer(1000);
	end();
}

static void test_unusual_is_not_parked(void **state)
{
	for (int update = 0; update < 2; update++) {
		begin_handshake(true, 0, TLS1_3_VERSION, 0);
		shake_hands();
		if (update)
			SSL_key_update(the.ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
		peer_to_us(10);
		if (!update)
			SSL_shutdown(the.ssl);
		to_us();
		struct pollfd p = { .fd = the.us.fd, .events = POLLIN };
		poll(&p, 1, update ? 0 : 1000);
		we_read();
		assert_false(wire_park(&the.us));
		assert_non_null(the.us.ssl);
		us_to_peer(10);
		end();
	}
}

/* A context that does not say so is not watched. */
static void test_off(void **state)
{
	begin_handshake(true, 0, TLS1_3_VERSION, 0);
	SSL_free(the.us.ssl);
	tls_ctx_unref(&the.ours);
	the.ours = test_server();
	the.us.ssl = tls_session_new(the.ours, NULL, NULL);
	SSL_set_fd(the.us.ssl, the.us.fd);
	shake_hands();
	assert_false(wire_park(&the.us));
	assert_non_null(the.us.ssl);
	end();
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, loop_setup, loop_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_both_ways),
		CASE(test_every_split),
		CASE(test_byte_by_byte),
		CASE(test_key_update_storm),
		CASE(test_key_updates_without_end),
		CASE(test_goodbyes),
		CASE(test_ends_without_goodbye),
		CASE(test_slow_reader),
		CASE(test_small_fragments),
		CASE(test_not_parked),
		CASE(test_unusual_is_not_parked),
		CASE(test_off),
	};
	int failed = cmocka_run_group_tests_name("tls_park", tests, group_setup, certs_teardown);
	moves = true;
	return failed +
	       cmocka_run_group_tests_name("tls_park, moving", tests, group_setup, certs_teardown);
}
