/* fuzz_mime_partial.c - pieces of messages as anybody may send them. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#include "proto/mime_partial.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct buf out = BUF_INIT(64 * 1024);
	struct mime_partial p;
	size_t body_at = 0;
	if (mime_partial_parse(in, &p)) {
		CHECK(p.number >= 1 && p.number <= MIME_PARTIAL_NUMBER_MAX);
		CHECK(p.total == 0 || p.number <= p.total);
		CHECK(p.id_n > 0 && p.id_n <= MIME_PARTIAL_ID_MAX && p.body_at <= size);
	}
	if (mime_partial_header(in, &out, &body_at))
		CHECK(body_at <= size && buf_len(&out) <= size + 2);
	buf_end(&out);
	return 0;
}
