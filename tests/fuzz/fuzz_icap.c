/* fuzz_icap.c - replies of a hostile ICAP server: bounded, the same however they are cut, names fit for a header field. */
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/check.h"
#include "proto/icap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_head(const struct icap_head *h, struct span in, size_t eat)
{
	struct icap_head again;
	size_t eaten;
	CHECK(eat <= in.n && h->http_n <= ICAP_HEAD_MAX && eat >= h->http_n);
	CHECK(h->status >= 100 && h->status < 600 && h->http_status < 600);
	CHECK(h->preview <= ICAP_PREVIEW_MAX && strlen(h->name) <= SCAN_NAME_MAX);
	CHECK(h->found == (h->name[0] != '\0'));
	for (const char *p = h->name; *p != '\0'; p++)
		CHECK(*p > 0x20 && *p < 0x7f);
	CHECK(icap_take_head(span_first(in, eat - 1), &again, &eaten) != SCAN_READY && eaten == 0);
}

static enum icap_chunk_rx feed(struct span in, size_t step, struct buf *body)
{
	struct icap_chunks c = { 0 };
	enum icap_chunk_rx rx = ICAP_CHUNK_MORE;
	struct span piece;
	size_t at = 0, seen = 0;
	while (seen < in.n && rx == ICAP_CHUNK_MORE) {
		seen = in.n - seen < step ? in.n : seen + step;
		struct span rest = span_from(span_first(in, seen), at);
		while ((rx = icap_chunk_take(&c, &rest, &piece)) == ICAP_CHUNK_PIECE)
			buf_add_span(body, piece);
		at = seen - rest.n;
	}
	return rx;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct icap_head h;
	struct buf whole = BUF_INIT(size + 1), pieces = BUF_INIT(size + 1);
	size_t eat;
	if (size == 0)
		return 0;
	if (icap_take_head(in, &h, &eat) == SCAN_READY) {
		check_head(&h, in, eat);
		in = span_from(in, eat);
	}
	enum icap_chunk_rx rx = feed(in, size, &whole);
	CHECK(rx == feed(in, 1 + data[size - 1] % 7, &pieces));
	CHECK(span_eq(buf_span(&whole), buf_span(&pieces)));
	buf_end(&whole);
	buf_end(&pieces);
	return 0;
}
