/* fuzz_spool_wire.c - frames from another host: what is understood is written back the same, and what is cut off anywhere
 * waits for more or is refused. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#include "edge/spool_wire.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_payload(const struct spool_frame *f)
{
	struct buf out = BUF_INIT(4096);
	struct spool_hello hello;
	struct spool_answer a;
	struct ident id;
	bool adopted;
	if (f->type == SPOOL_FRAME_HELLO && spool_hello_get(f->payload, &hello)) {
		CHECK(spool_hello_put(&out, &hello));
		CHECK(span_eq(span_from(buf_span(&out), SPOOL_FRAME_HEAD), f->payload));
	} else if (f->type == SPOOL_FRAME_HELD && spool_id_get(f->payload, &id, &adopted)) {
		CHECK(spool_id_put(&out, f->type, id, adopted));
		CHECK(buf_len(&out) == SPOOL_FRAME_HEAD + f->payload.n);
	} else if (f->type == SPOOL_FRAME_FAILED && spool_answer_get(f->payload, &a)) {
		CHECK(spool_answer_put(&out, f->type, &a));
	}
	buf_end(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of((const char *)data, size);
	struct spool_frame f;
	size_t eat;
	while (spool_frame_take(in, &f, &eat) == SPOOL_FRAME_READY) {
		struct spool_frame part;
		size_t none;
		for (size_t n = 0; n < eat && n < 100; n++)
			CHECK(
			    spool_frame_take(span_first(in, n), &part, &none) == SPOOL_FRAME_MORE);
		CHECK(eat <= in.n && f.payload.n <= SPOOL_FRAME_MAX);
		check_payload(&f);
		in = span_from(in, eat);
	}
	return 0;
}
