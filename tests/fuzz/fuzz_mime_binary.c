/* fuzz_mime_binary.c - BINARYMIME becomes the same whatever the pieces, and what came out has nothing left to
 * convert. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "proto/mime_binary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool convert(struct span in, size_t step, struct buf *out)
{
	struct mime_binary *b = mime_binary_new();
	for (; in.n > 0; in = span_from(in, step))
		mime_binary_take(b, span_first(in, step), out);
	mime_binary_end(b, out);
	bool ok = mime_binary_why(b) == NULL;
	mime_binary_free(&b);
	CHECK(buf_ok(out));
	return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_first(span_of(data, size), MIME_BINARY_PIECE_MAX);
	struct buf whole = BUF_INIT(MIME_BINARY_OUT_MAX), bytes = BUF_INIT(MIME_BINARY_OUT_MAX);
	struct buf again = BUF_INIT(MIME_BINARY_OUT_MAX);
	bool ok = convert(in, in.n, &whole);
	CHECK(convert(in, 1, &bytes) == ok);
	CHECK(span_eq(buf_span(&whole), buf_span(&bytes)));
	if (ok && buf_len(&whole) <= MIME_BINARY_PIECE_MAX) {
		CHECK(convert(buf_span(&whole), SIZE_MAX, &again));
		CHECK(span_eq(buf_span(&whole), buf_span(&again)));
	}
	buf_end(&whole);
	buf_end(&bytes);
	buf_end(&again);
	return 0;
}
