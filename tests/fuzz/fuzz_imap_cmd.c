/* fuzz_imap_cmd.c - framing in one piece and byte by byte must agree; what is framed is read as a command
 * before login, as a set, as flags and as a date. */
#include "base/check.h"
#include "proto/imap_cmd.h"
#include "proto/imap_utf7.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct imap_limits limits = {
	.line_max = 1024, .literal_max = 256, .total_max = 2048
};

static enum imap_rx frame(struct imap_frame *f, struct span in, size_t step)
{
	enum imap_rx rx;
	size_t n = 0;
	imap_frame_init(f, limits, true);
	do {
		n = in.n - n < step ? in.n : n + step;
		do {
			rx = imap_frame_scan(f, span_first(in, n));
		} while (rx == IMAP_RX_CONTINUE);
	} while (rx == IMAP_RX_MORE && n < in.n);
	return rx;
}

static void read_sets_and_flags(struct span command)
{
	struct imap_cursor c;
	struct imap_set set = { 0 };
	struct imap_flags flags;
	imap_cursor_init(&c, command, NULL);
	imap_read_set(&c, &set);
	imap_set_resolve(&set, 77);
	for (size_t i = 0; i < set.n; i++)
		CHECK(imap_set_has(&set, set.v[i].last));
	imap_set_end(&set);
	imap_cursor_init(&c, command, NULL);
	imap_read_flags(&c, true, &flags);
	imap_cursor_init(&c, command, NULL);
	int64_t t = imap_read_date_time(&c);
	if (imap_ok(&c)) {
		struct buf b = BUF_INIT(64);
		CHECK(imap_put_date_time(&b, t));
		imap_cursor_init(&c, buf_span(&b), NULL);
		int64_t again = imap_read_date_time(&c);
		CHECK(
		    again == t || !imap_ok(&c)); /* the zone may move it out of the years we read */
		buf_end(&b);
	}
}

static void read_name(struct span command)
{
	struct buf utf8 = BUF_INIT(8192), back = BUF_INIT(16384);
	if (imap_utf7_decode(command, &utf8)) {
		CHECK(span_is_utf8(buf_span(&utf8)));
		CHECK(imap_utf7_encode(buf_span(&utf8), &back));
		CHECK(span_eq(buf_span(&back), command));
	}
	buf_end(&utf8);
	buf_end(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct imap_frame whole, bytes;
	struct span in = span_of(data, size);
	enum imap_rx rx = frame(&whole, in, size == 0 ? 1 : size);
	enum imap_rx again = frame(&bytes, in, 1);
	/* a line that is both too long and bad may be called either */
	CHECK(again == rx || (imap_rx_why(again) != NULL && imap_rx_why(rx) != NULL));
	read_sets_and_flags(in);
	read_name(in);
	if (rx != IMAP_RX_COMMAND)
		return 0;
	CHECK(whole.len == bytes.len && whole.len <= size);
	struct imap_cmd cmd;
	err_t err = imap_cmd_parse(&cmd, span_first(in, whole.len));
	CHECK((err == ERR_OK) == (cmd.why == NULL));
	CHECK(err == ERR_OK || cmd.secret.p == NULL);
	imap_cmd_end(&cmd);
	return 0;
}
