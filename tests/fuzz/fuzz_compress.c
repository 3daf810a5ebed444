/* fuzz_compress.c - any bytes as DEFLATE data: at once or one by one, the same comes out; and any bytes packed come back. */
#include "base/check.h"
#include "net/compress.h"

enum { OUT_MAX = 1 << 22, STEPS_MAX = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool unpack(struct compress *c, struct buf *out)
{
	char room[4096];
	size_t got;
	for (int i = 0; i < STEPS_MAX && buf_len(out) < OUT_MAX / 2; i++) {
		if (!compress_unpack(c, room, sizeof room, &got))
			return false;
		CHECK(got <= sizeof room && buf_add(out, room, got));
		if (!compress_has_pending(c))
			return true;
	}
	return false;
}

static bool unpack_cut(struct span in, size_t cut, struct buf *out)
{
	struct compress *c = compress_new(in.n);
	bool ok = true;
	while (ok && in.n > 0) {
		compress_take(c, span_first(in, cut));
		in = span_from(in, cut);
		ok = unpack(c, out);
	}
	compress_free(&c);
	return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct buf whole = BUF_INIT(OUT_MAX), cut = BUF_INIT(OUT_MAX), packed = BUF_INIT(OUT_MAX);
	struct compress *c = compress_new(1);
	bool a = unpack_cut(in, SIZE_MAX, &whole), b = unpack_cut(in, 1, &cut);
	CHECK(a == b || buf_len(&whole) >= OUT_MAX / 2 || buf_len(&cut) >= OUT_MAX / 2);
	if (a && b)
		CHECK(span_eq(buf_span(&whole), buf_span(&cut)));
	buf_clear(&whole);
	compress_pack(c, span_first(in, size / 2), size % 2 == 0, &packed);
	compress_pack(c, span_from(in, size / 2), true, &packed);
	CHECK(unpack_cut(buf_span(&packed), 7, &whole) && span_eq(in, buf_span(&whole)));
	compress_free(&c);
	buf_end(&whole);
	buf_end(&cut);
	buf_end(&packed);
	return 0;
}
