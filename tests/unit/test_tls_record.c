/* test_tls_record.c - parked sessions and peers that break the rules: each record made by hand. */
#include "net/net_test.h"

#include "net/tls_park.h"

enum { APART = 100 };

static const struct tls_facts plain_facts = { .suite = TLS_AES_128_GCM,
	.record_max = TLS_PLAIN_MAX,
	.secret_in = "the secret of what the peer sends to us........",
	.secret_out = "the secret of what we send to the peer........." };

static struct {
	struct tls_park *park;
	int v[2];
	struct tls_keys in, out; /* the peer's: what we send, what it sends */
	char got[2 * WIRE_SCRATCH];
} the;

static void begin_as(const struct tls_facts *f)
{
	tcp_pair(the.v);
	the.park = tls_park_new(f);
	tls_keys_begin(&the.in, f->suite, f->secret_out, f->seq_out);
	tls_keys_begin(&the.out, f->suite, f->secret_in, f->seq_in);
}

static void begin(void)
{
	begin_as(&plain_facts);
}

static void end(void)
{
	tls_park_free(&the.park);
	tls_keys_end(&the.in);
	tls_keys_end(&the.out);
	for (int i = 0; i < 2; i++)
		if (the.v[i] >= 0)
			close(the.v[i]);
}

static void wait_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
}

static enum wire_result take(size_t *got)
{
	return tls_park_read(the.park, the.v[0], the.got, sizeof the.got, got);
}

/* The next read that says something. */
static enum wire_result wait_take(size_t *got)
{
	enum wire_result r;
	WAIT_FOR((r = take(got)) != WIRE_WANT_READ);
	return r;
}

static void send_raw(const void *p, size_t n)
{
	raw_send(the.v[1], span_of(p, n));
	wait_readable(the.v[0]);
}

static void send_record(unsigned type, struct span plain)
{
	static char record[TLS_RECORD_MAX];
	send_raw(record, tls_seal(&the.out, (enum tls_type)type, plain, record));
}

/* The next whole record from us, opened. */
static struct span take_record(uint8_t *type)
{
	static char raw[TLS_RECORD_MAX], open[TLS_RECORD_MAX];
	struct tls_opened o;
	enum tls_alert wrong;
	wait_readable(the.v[1]);
	assert_int_equal(recv(the.v[1], raw, TLS_HEAD_LEN, MSG_PEEK), TLS_HEAD_LEN);
	size_t n = tls_record_len(span_of(raw, TLS_HEAD_LEN), &wrong);
	assert_int_equal(wrong, TLS_FINE);
	assert_int_equal(recv(the.v[1], raw, n, MSG_WAITALL), n);
	assert_int_equal(tls_open(&the.in, span_of(raw, n), open, &o), TLS_FINE);
	*type = o.type;
	return span_of(open, o.n);
}

static void expect_alert(int level, int what)
{
	uint8_t type;
	struct span m = take_record(&type);
	assert_int_equal(type, TLS_TYPE_ALERT);
	assert_int_equal(m.n, 2);
	assert_int_equal(m.p[0], level);
	assert_int_equal(m.p[1], what);
}

/* ---- what is refused ---- */

/* RFC 8448 section 3: the simple handshake's server traffic secret and keys. */
static void test_known_keys(void **state)
{
	static const uint8_t secret[] = { 0xa1, 0x1a, 0xf9, 0xf0, 0x55, 0x31, 0xf8, 0x56, 0xad,
		0x47, 0x11, 0x6b, 0x45, 0xa9, 0x50, 0x32, 0x82, 0x04, 0xb4, 0xf4, 0x4b, 0xfb, 0x6b,
		0x3a, 0x4b, 0x4f, 0x1f, 0x3f, 0xcb, 0x63, 0x16, 0x43 };
	static const uint8_t key[] = { 0x9f, 0x02, 0x28, 0x3b, 0x6c, 0x9c, 0x07, 0xef, 0xc2, 0x6b,
		0xb9, 0xf2, 0xac, 0x92, 0xe3, 0x56 };
	static const uint8_t iv[] = { 0xcf, 0x78, 0x2b, 0x88, 0xdd, 0x83, 0x54, 0x9a, 0xad, 0xf1,
		0xe9, 0x84 };
	struct tls_keys k;
	tls_keys_begin(&k, TLS_AES_128_GCM, secret, 0);
	assert_memory_equal(k.key, key, sizeof key);
	assert_memory_equal(k.iv, iv, sizeof iv);
	tls_keys_end(&k);
	for (size_t i = 0; i < sizeof k; i++)
		assert_int_equal(((const char *)&k)[i], 0);
}

static void test_tampering(void **state)
{
	for (int suite = 0; suite < TLS_SUITES; suite++) {
		struct tls_facts f = plain_facts;
		f.suite = (enum tls_suite)suite;
		for (size_t at = 0; at < 10 + TLS_SEAL_EXTRA; at++) {
			char record[TLS_RECORD_MAX];
			size_t got;
			begin_as(&f);
			size_t n = tls_seal(&the.out, TLS_TYPE_DATA, SPAN("0123456789"), record);
			assert_int_equal(n, 10 + TLS_SEAL_EXTRA);
			record[at] = (char)(record[at] ^ 1 << at % 8);
			send_raw(record, n);
			shutdown(the.v[1], SHUT_WR);
			enum wire_result r = wait_take(&got);
			assert_int_equal(r, WIRE_FAILED);
			assert_int_equal(got, 0);
			assert_int_equal(wait_take(&got), WIRE_FAILED); /* for good */
			end();
		}
	}
}

static void test_replay_and_order(void **state)
{
	for (int swap = 0; swap < 2; swap++) {
		char a[100], b[100];
		size_t got;
		begin();
		size_t n = tls_seal(&the.out, TLS_TYPE_DATA, SPAN("first"), a);
		size_t m = tls_seal(&the.out, TLS_TYPE_DATA, SPAN("second"), b);
		if (!swap)
			send_raw(a, n);
		send_raw(swap ? b : a, swap ? m : n);
		enum wire_result r = wait_take(&got);
		if (!swap && r == WIRE_OK) {
			assert_int_equal(got, 5);
			r = wait_take(&got);
		}
		assert_int_equal(r, WIRE_FAILED);
		expect_alert(2, TLS_BAD_RECORD_MAC);
		end();
	}
}

#define TICKET "\4\0\0\5abcde"
#define UPDATE "\30\0\0\1\0"

static const struct {
	const char *what;
	bool client;
	unsigned type;
	struct span plain;
	int alert; /* -1: taken, and bytes behind it too; -2: the end; -3: a failure, not told */
} cases[] = {
	{ "close_notify", false, 21, { "\1\0", 2 }, -2 },
	{ "close_notify as if fatal", false, 21, { "\2\0", 2 }, -2 },
	{ "user_canceled", false, 21, { "\1\132", 2 }, -1 },
	{ "handshake_failure", false, 21, { "\2\50", 2 }, -3 },
	{ "a warning", false, 21, { "\1\144", 2 }, -3 },
	{ "half an alert", false, 21, { "\1", 1 }, TLS_DECODE_ERROR },
	{ "two alerts", false, 21, { "\1\132\1\0", 4 }, TLS_DECODE_ERROR },
	{ "no alert", false, 21, { "", 0 }, TLS_DECODE_ERROR },
	{ "no message", false, 22, { "", 0 }, TLS_UNEXPECTED_MESSAGE },
	{ "no bytes", false, 23, { "", 0 }, -1 },
	{ "change_cipher_spec inside", false, 20, { "\1", 1 }, TLS_UNEXPECTED_MESSAGE },
	{ "heartbeat", false, 24, { "\1", 1 }, TLS_UNEXPECTED_MESSAGE },
	{ "a type unheard of", false, 255, { "\1", 1 }, TLS_UNEXPECTED_MESSAGE },
	{ "client hello", false, 22, { "\1\0\0\1x", 5 }, TLS_UNEXPECTED_MESSAGE },
	{ "finished", false, 22, { "\24\0\0\1x", 5 }, TLS_UNEXPECTED_MESSAGE },
	{ "certificate request", true, 22, { "\15\0\0\1x", 5 }, TLS_UNEXPECTED_MESSAGE },
	{ "ticket from a client", false, 22, { TICKET, 9 }, TLS_UNEXPECTED_MESSAGE },
	{ "ticket", true, 22, { TICKET, 9 }, -1 },
	{ "two tickets", true, 22, { TICKET TICKET, 18 }, -1 },
	{ "ticket of nothing", true, 22, { "\4\0\0\0", 4 }, -1 },
	{ "ticket that is too long", true, 22, { "\4\1\0\1", 4 }, TLS_DECODE_ERROR },
	{ "bytes within a ticket", true, 22, { TICKET, 8 }, TLS_UNEXPECTED_MESSAGE },
	{ "bytes within a head", false, 22, { UPDATE, 3 }, TLS_UNEXPECTED_MESSAGE },
	{ "bytes within an update", false, 22, { UPDATE, 4 }, TLS_UNEXPECTED_MESSAGE },
	{ "update to 2", false, 22, { "\30\0\0\1\2", 5 }, TLS_ILLEGAL_PARAMETER },
	{ "update of 2", false, 22, { "\30\0\0\2\0\0", 6 }, TLS_DECODE_ERROR },
	{ "update of nothing", false, 22, { "\30\0\0\0", 4 }, TLS_DECODE_ERROR },
	{ "update and more", false, 22, { UPDATE UPDATE, 10 }, TLS_UNEXPECTED_MESSAGE },
};

static void test_types(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct tls_facts f = plain_facts;
		size_t got;
		f.client = cases[i].client;
		begin_as(&f);
		send_record(cases[i].type, cases[i].plain);
		send_record(TLS_TYPE_DATA, SPAN("bytes"));
		enum wire_result r = wait_take(&got);
		int alert = cases[i].alert;
		enum wire_result want = alert == -1   ? WIRE_OK
					: alert == -2 ? WIRE_EOF
						      : WIRE_FAILED;
		if (r != want)
			fail_msg("%s: %d", cases[i].what, (int)r);
		assert_int_equal(got, want == WIRE_OK ? 5 : 0);
		if (alert > 0)
			expect_alert(2, alert);
		end();
	}
}

/* Without a key: heads alone are enough to refuse. */
static void test_heads(void **state)
{
	static const struct {
		struct span head;
		int alert;
	} heads[] = {
		{ { "\24\3\3\0\1\1", 6 }, TLS_UNEXPECTED_MESSAGE }, /* change_cipher_spec */
		{ { "\25\3\3\0\2\1\0", 7 },
		    TLS_UNEXPECTED_MESSAGE }, /* close_notify in the clear */
		{ { "\26\3\3\0\5", 5 }, TLS_UNEXPECTED_MESSAGE },
		{ { "\27\3\3\100\22", 5 }, TLS_RECORD_OVERFLOW }, /* one more than can be */
		{ { "\27\3\3\377\377", 5 }, TLS_RECORD_OVERFLOW },
		{ { "\27\3\3\0\0", 5 }, TLS_BAD_RECORD_MAC },
		{ { "\27\3\3\0\20", 5 }, TLS_BAD_RECORD_MAC },
		{ { "G", 1 }, TLS_UNEXPECTED_MESSAGE }, /* whoever this is */
	};
	for (size_t i = 0; i < COUNT_OF(heads); i++) {
		size_t got;
		begin();
		send_raw(heads[i].head.p, heads[i].head.n);
		assert_int_equal(wait_take(&got), WIRE_FAILED);
		expect_alert(2, heads[i].alert);
		assert_int_equal(tls_park_finish(the.park, the.v[0]), WIRE_OK);
		end();
	}
}

/* The longest record there can be, its content padded; and zeros alone. */
static void test_padding(void **state)
{
	static const char zeros[TLS_PLAIN_MAX];
	char all[TLS_PLAIN_MAX] = "hello\27";
	size_t got;
	begin();
	send_record(0, span_of(all, sizeof all)); /* its type is the last byte that is not 0 */
	assert_int_equal(wait_take(&got), WIRE_OK);
	assert_int_equal(got, 5);
	assert_memory_equal(the.got, "hello", 5);
	send_record(0, span_of(zeros, APART));
	assert_int_equal(wait_take(&got), WIRE_FAILED);
	expect_alert(2, TLS_UNEXPECTED_MESSAGE);
	end();
}

static void test_empty_records_without_end(void **state)
{
	size_t got;
	begin();
	for (int i = 0; i < 32; i++) {
		send_record(TLS_TYPE_DATA, SPAN_NONE);
		assert_int_equal(take(&got), WIRE_WANT_READ);
	}
	send_record(TLS_TYPE_DATA, SPAN("x"));
	assert_int_equal(wait_take(&got), WIRE_OK);
	for (int i = 0; i < 33; i++) {
		send_record(TLS_TYPE_DATA, SPAN_NONE);
		assert_int_equal(take(&got), i < 32 ? WIRE_WANT_READ : WIRE_FAILED);
	}
	end();
}

/* A fault behind bytes: they are given first, and the fault is not forgotten. */
static void test_fault_behind_bytes(void **state)
{
	size_t got, put;
	char two[200];
	begin();
	size_t n = tls_seal(&the.out, TLS_TYPE_DATA, SPAN("bytes"), two);
	n += tls_seal(&the.out, (enum tls_type)99, SPAN("?"), two + n);
	send_raw(two, n);
	assert_int_equal(wait_take(&got), WIRE_OK);
	assert_int_equal(got, 5);
	assert_true(tls_park_has_end(the.park));
	assert_int_equal(tls_park_write(the.park, the.v[0], SPAN("late"), &put), WIRE_FAILED);
	assert_int_equal(wait_take(&got), WIRE_FAILED);
	end();
}

static void test_reset(void **state)
{
	size_t got;
	begin();
	close_with_reset(the.v[1]);
	the.v[1] = -1;
	enum wire_result r = wait_take(&got);
	assert_int_equal(r, WIRE_FAILED);
	assert_int_equal(wire_fault()->err, ERR_CONN_RESET);
	end();
}

/* One key seals no more records than is safe; the peer is told before the next one. */
static void test_own_key_update(void **state)
{
	struct tls_facts f = plain_facts;
	uint8_t type;
	size_t put;
	f.seq_out = (1 << 24) - 1;
	begin_as(&f);
	assert_int_equal(tls_park_write(the.park, the.v[0], SPAN("last"), &put), WIRE_OK);
	assert_true(span_eq_str(take_record(&type), "last"));
	assert_int_equal(tls_park_write(the.park, the.v[0], SPAN("next"), &put), WIRE_OK);
	assert_int_equal(put, 4);
	assert_true(span_eq(take_record(&type), span_of(UPDATE, 5)));
	assert_int_equal(type, TLS_TYPE_HANDSHAKE);
	tls_keys_update(&the.in);
	assert_true(span_eq_str(take_record(&type), "next"));
	assert_int_equal(type, TLS_TYPE_DATA);
	end();
}

/* Sessions take turns with every suite: the shared cipher objects do not mix them up. */
static void test_turns(void **state)
{
	struct tls_keys seal[6], open[6];
	char record[200], out[200];
	struct tls_opened o;
	for (int i = 0; i < 6; i++) {
		uint8_t secret[TLS_SECRET_MAX] = { (uint8_t)i };
		tls_keys_begin(&seal[i], (enum tls_suite)(i % 3), secret, 0);
		tls_keys_begin(&open[i], (enum tls_suite)(i % 3), secret, 0);
	}
	for (int turn = 0; turn < 600; turn++) {
		int i = turn * turn / 7 % 6;
		size_t n = tls_seal(&seal[i], TLS_TYPE_DATA, SPAN("some bytes"), record);
		int wrong = (i + 3) % 6;
		assert_int_equal(
		    tls_open(&open[wrong], span_of(record, n), out, &o), TLS_BAD_RECORD_MAC);
		assert_int_equal(tls_open(&open[i], span_of(record, n), out, &o), TLS_FINE);
		assert_int_equal(o.n, 10);
		if (turn % 50 == 0) {
			tls_keys_update(&seal[i]);
			tls_keys_update(&open[i]);
		}
	}
	for (int i = 0; i < 6; i++) {
		tls_keys_end(&seal[i]);
		tls_keys_end(&open[i]);
	}
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, loop_setup, loop_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_known_keys),
		CASE(test_tampering),
		CASE(test_replay_and_order),
		CASE(test_types),
		CASE(test_heads),
		CASE(test_padding),
		CASE(test_empty_records_without_end),
		CASE(test_fault_behind_bytes),
		CASE(test_reset),
		CASE(test_own_key_update),
		CASE(test_turns),
	};
	return cmocka_run_group_tests_name("tls_record", tests, NULL, NULL);
}
