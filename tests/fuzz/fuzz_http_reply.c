/* fuzz_http_reply.c - replies of a hostile web server: the same however they are cut, and bounded. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "proto/http_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BODY_MAX = 300 };

static enum http_reply_rx feed(
    struct http_reply_reader *r, struct span in, size_t step, size_t *taken)
{
	enum http_reply_rx rx = HTTP_REPLY_MORE;
	size_t seen = 0;
	*taken = 0;
	while (rx == HTTP_REPLY_MORE && seen < in.n) {
		size_t eat;
		seen = in.n - seen < step ? in.n : seen + step;
		rx = http_reply_take(r, span_from(span_first(in, seen), *taken), &eat);
		*taken += eat;
	}
	return rx;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct http_reply_reader whole, pieces;
	size_t a, b;
	if (size == 0)
		return 0;
	http_reply_init(&whole, BODY_MAX);
	http_reply_init(&pieces, BODY_MAX);
	enum http_reply_rx rx = feed(&whole, in, size, &a);
	CHECK(rx == feed(&pieces, in, 1 + data[size - 1] % 7, &b));
	CHECK(buf_len(&whole.body) <= BODY_MAX);
	if (rx == HTTP_REPLY_READY)
		CHECK(a == b && whole.status == pieces.status &&
		      strlen(whole.type) <= HTTP_TYPE_MAX &&
		      span_eq(buf_span(&whole.body), buf_span(&pieces.body)));
	if (rx == HTTP_REPLY_BAD)
		CHECK(whole.why != NULL);
	http_reply_end(&whole);
	http_reply_end(&pieces);
	return 0;
}
