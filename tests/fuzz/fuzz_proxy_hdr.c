/* fuzz_proxy_hdr.c - PROXY headers: a header that is complete stays so with more behind it, is not
 * complete before, and its addresses survive being written as version 2. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "proto/proxy_hdr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_put(const struct proxy_hdr *h)
{
	struct proxy_hdr again;
	struct buf out = BUF_INIT(100);
	CHECK(proxy_hdr_put(&out, h->client, h->local));
	CHECK(proxy_hdr_parse(buf_span(&out), &again) == PROXY_DONE);
	CHECK(again.kind == PROXY_CLIENT && ip_eq(again.client.addr, h->client.addr));
	CHECK(ip_eq(again.local.addr, h->local.addr) && again.client.port == h->client.port);
	buf_end(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct proxy_hdr h, part;
	if (proxy_hdr_parse(in, &h) != PROXY_DONE)
		return 0;
	CHECK(h.len <= size && h.len <= PROXY_V2_MAX);
	CHECK(proxy_hdr_parse(span_first(in, h.len), &part) == PROXY_DONE && part.len == h.len);
	for (size_t n = 0; n < h.len; n++)
		CHECK(proxy_hdr_parse(span_first(in, n), &part) == PROXY_MORE);
	CHECK(proxy_hdr_looks_like(in));
	if (h.kind == PROXY_CLIENT)
		check_put(&h);
	return 0;
}
