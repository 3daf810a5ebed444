/* fuzz_imap_resp.c - responses of a hostile store; and a LOGIN that we wrote reads back as it was. */
#include "base/check.h"
#include "proto/imap_cmd.h"
#include "proto/imap_resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void login_round_trip(struct span in)
{
	size_t half = in.n / 2;
	struct span user = span_first(in, half), secret = span_from(in, half);
	struct buf out = BUF_INIT(65536);
	struct imap_cmd cmd;
	if (imap_put_login(&out, SPAN("t1"), user, secret, true)) {
		struct imap_frame f;
		struct imap_limits limits = { 60000, 60000, 65536 };
		imap_frame_init(&f, limits, true);
		CHECK(imap_frame_scan(&f, buf_span(&out)) == IMAP_RX_COMMAND);
		CHECK(f.len == buf_len(&out));
		CHECK(imap_cmd_parse(&cmd, buf_span(&out)) == ERR_OK);
		CHECK(span_eq(cmd.user, user) && span_eq(cmd.secret, secret));
		imap_cmd_end(&cmd);
	}
	buf_end(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct imap_resp r;
	struct imap_frame f;
	struct imap_limits limits = { 4096, 4096, 8192 };
	struct span in = span_of(data, size);
	login_round_trip(in);
	imap_frame_init(&f, limits, false);
	if (imap_frame_scan(&f, in) != IMAP_RX_COMMAND)
		return 0;
	if (imap_resp_parse(span_first(in, f.len), &r) == ERR_OK)
		(void)span_has_word(imap_resp_capabilities(&r), SPAN("IMAP4rev1"));
	return 0;
}
