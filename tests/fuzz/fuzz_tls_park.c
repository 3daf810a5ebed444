/* fuzz_tls_park.c - a parked session reads what a hostile peer sends: raw bytes, and records that the
 * peer sealed well around hostile content. The input is a list of pieces: a byte that says how many
 * bytes follow and as what. Whatever comes, what is given out is what was sealed as data, in order. */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "net/tls_park.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PIECES_MAX = 100 }; /* the socket holds so many without being read */

static const uint8_t types[] = { TLS_TYPE_DATA, TLS_TYPE_HANDSHAKE, TLS_TYPE_ALERT, 20 };

static struct {
	struct tls_park *park;
	struct tls_keys out; /* the peer's */
	struct buf sent, got;
	int v[2];
} the;

static void begin(uint8_t how)
{
	struct tls_facts f = {
		.suite = how % TLS_SUITES, .client = how & 0x80, .record_max = TLS_PLAIN_MAX
	};
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, the.v) == 0);
	the.park = tls_park_new(&f);
	tls_keys_begin(&the.out, f.suite, f.secret_in, 0);
	the.sent = BUF_INIT(1 << 20);
	the.got = BUF_INIT(1 << 20);
}

/* To another process and back; of what was saved, cut short, nothing is made. */
static void move(void)
{
	struct buf record = BUF_INIT(1 << 17);
	if (tls_park_save(the.park, &record)) {
		struct bytes_reader whole = bytes_reader_of(buf_span(&record)),
				    part = bytes_reader_of(
					span_first(buf_span(&record), buf_len(&record) - 1));
		CHECK(tls_park_load(&part) == NULL);
		tls_park_free(&the.park);
		the.park = tls_park_load(&whole);
		CHECK(the.park != NULL && whole.rest.n == 0);
	}
	buf_wipe_end(&record);
}

static void take(void)
{
	static char out[WIRE_SCRATCH];
	size_t n;
	while (tls_park_read(the.park, the.v[0], out, sizeof out, &n) == WIRE_OK)
		CHECK(buf_add(&the.got, out, n));
	CHECK(span_starts(buf_span(&the.sent), buf_span(&the.got)));
}

static void send_piece(uint8_t how, struct span piece)
{
	static char record[TLS_RECORD_MAX];
	size_t n = piece.n;
	uint8_t type = types[how >> 5 & 3];
	if (how & 0x80) {
		CHECK(send(the.v[1], piece.p, n, MSG_NOSIGNAL) == (ssize_t)n || n == 0);
		return;
	}
	if (type == TLS_TYPE_DATA)
		CHECK(buf_add_span(&the.sent, piece));
	n = tls_seal(&the.out, (enum tls_type)type, piece, record);
	CHECK(send(the.v[1], record, n, MSG_NOSIGNAL) == (ssize_t)n);
	if (span_eq(piece, SPAN("\30\0\0\1\0")) && type == TLS_TYPE_HANDSHAKE)
		tls_keys_update(&the.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	if (size < 1)
		return 0;
	begin(data[0]);
	in = span_from(in, 1);
	for (int n = 0; n < PIECES_MAX && in.n > 0 && !tls_park_has_end(the.park); n++) {
		uint8_t how = (uint8_t)in.p[0];
		struct span piece = span_first(span_from(in, 1), how & 31);
		in = span_from(in, 1 + piece.n);
		send_piece(how, piece);
		if (how % 3 == 0)
			take();
		if (how % 5 == 0)
			move();
	}
	take();
	size_t put;
	tls_park_write(the.park, the.v[0], SPAN("an answer"), &put);
	tls_park_finish(the.park, the.v[0]);
	tls_park_free(&the.park);
	tls_keys_end(&the.out);
	buf_end(&the.sent);
	buf_end(&the.got);
	close(the.v[0]);
	close(the.v[1]);
	return 0;
}
