/* fuzz_sieve_cmd.c - ManageSieve: framing in one piece and byte by byte must agree; what is framed is read as a
 * command, an answer and a response; a tag that was read comes back as it was. */
#include "base/check.h"
#include "proto/sieve_cmd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct imap_limits limits = {
	.line_max = 1024, .literal_max = 256, .total_max = 2048
};

static enum imap_rx frame(struct imap_frame *f, struct span in, size_t step, bool client)
{
	enum imap_rx rx;
	size_t n = 0;
	imap_frame_init(f, limits, client);
	do {
		n = in.n - n < step ? in.n : n + step;
		rx = imap_frame_scan(f, span_first(in, n));
	} while (rx == IMAP_RX_MORE && n < in.n);
	return rx;
}

/* What the front answers to NOOP. */
static void answer_tag(struct span tag)
{
	struct buf out = BUF_INIT(8192);
	struct sieve_resp r;
	buf_add_str(&out, "OK (TAG ");
	imap_put_string(&out, tag);
	buf_add_str(&out, ") \"Done\"\r\n");
	CHECK(buf_ok(&out) && sieve_resp_parse(&r, buf_span(&out)) == ERR_OK);
	CHECK(r.kind == SIEVE_RESP_OK && span_eq(r.code_text, tag));
	CHECK(span_eq_str(r.code, "TAG") && span_eq_str(r.text, "Done"));
	sieve_resp_end(&r);
	buf_end(&out);
}

static void read_command(struct span command)
{
	struct sieve_cmd cmd;
	err_t err = sieve_cmd_parse(&cmd, command);
	CHECK((err == ERR_OK) == (cmd.why == NULL));
	CHECK(err == ERR_OK || (cmd.initial.p == NULL && !cmd.has_tag));
	if (cmd.has_tag)
		answer_tag(cmd.tag);
	sieve_cmd_end(&cmd);
	err = sieve_answer_parse(&cmd, command);
	CHECK((err == ERR_OK) == (cmd.why == NULL));
	sieve_cmd_end(&cmd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct imap_frame whole, bytes;
	struct span in = span_of(data, size);
	for (int client = 0; client < 2; client++) {
		enum imap_rx rx = frame(&whole, in, size == 0 ? 1 : size, client == 1);
		enum imap_rx again = frame(&bytes, in, 1, client == 1);
		/* a line that is both too long and bad may be called either */
		CHECK(again == rx || (imap_rx_why(again) != NULL && imap_rx_why(rx) != NULL));
		if (rx != IMAP_RX_COMMAND)
			continue;
		CHECK(whole.len == bytes.len && whole.len <= size);
		read_command(span_first(in, whole.len));
		struct sieve_resp r;
		bool good = sieve_resp_parse(&r, span_first(in, whole.len)) == ERR_OK;
		CHECK(good || (r.name.p == NULL && r.text.p == NULL));
		sieve_resp_end(&r);
	}
	return 0;
}
