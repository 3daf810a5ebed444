/* fuzz_header.c - header sections: fields lie one behind the other and the walk ends where it says. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "proto/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct header_walk w;
	struct header_field f;
	struct buf out = BUF_INIT(1 << 20);
	size_t at = 0;
	header_walk_init(&w, in);
	while (header_next(&w, &f) == HEADER_FIELD) {
		CHECK(f.raw.p == in.p + at && f.raw.n > 0 && f.name.p == f.raw.p);
		CHECK(f.value.n < f.raw.n);
		at += f.raw.n;
		CHECK(w.at == at);
		buf_clear(&out);
		CHECK(header_unfold(f.value, &out));
		CHECK(header_count(in, f.name) > 0 || w.fields > 50);
		if (w.fields > 50)
			break;
	}
	CHECK(header_size(in) <= in.n);
	buf_end(&out);
	return 0;
}
