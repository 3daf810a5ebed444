/* fuzz_smtp_reply.c - replies of a hostile server: whole and byte by byte must mean the same; what was
 * read can be written and read again. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/hash.h"
#include "proto/smtp_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const struct smtp_reply *reply)
{
	struct smtp_reply_reader r;
	struct smtp_reply again;
	struct buf out = BUF_INIT(1 << 20);
	size_t eat;
	smtp_reply_reader_init(&r);
	CHECK(smtp_reply_put(&out, reply->code, reply->enhanced, reply->text));
	CHECK(smtp_reply_take(&r, buf_span(&out), &again, &eat) == SMTP_REPLY_READY);
	CHECK(eat == buf_len(&out) && again.code == reply->code && again.lines == reply->lines);
	smtp_reply_reader_end(&r);
	buf_end(&out);
}

/* A digest of everything that was understood. */
static uint32_t read_all(struct span in, size_t step)
{
	struct smtp_reply_reader r;
	struct smtp_reply reply;
	struct smtp_ehlo ehlo;
	uint32_t sum = 0;
	size_t eaten = 0, there = 0, eat;
	smtp_reply_reader_init(&r);
	for (;;) {
		enum smtp_reply_rx rx =
		    smtp_reply_take(&r, span_of(in.p + eaten, there - eaten), &reply, &eat);
		CHECK(eat <= there - eaten);
		eaten += eat;
		if (rx == SMTP_REPLY_READY) {
			smtp_ehlo_parse(&reply, &ehlo);
			check_again(&reply);
			sum = hash_crc32c(sum, &reply.code, sizeof(reply.code));
			sum = hash_crc32c(sum, reply.text.p, reply.text.n);
		} else if (rx == SMTP_REPLY_BAD || there == in.n) {
			break;
		} else {
			there = in.n - there < step ? in.n : there + step;
		}
	}
	smtp_reply_reader_end(&r);
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	if (size > 0)
		CHECK(read_all(in, size) == read_all(in, 1));
	return 0;
}
