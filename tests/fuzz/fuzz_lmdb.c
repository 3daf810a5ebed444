/* fuzz_lmdb.c - an LMDB file of an enemy: look-ups end, stay within the file, and answer. The first byte is the length of
 * the key, which follows; the rest is the file. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "proto/lmdb.h"

enum { VALUE_MAX = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct file {
	struct span bytes;
	size_t reads;
};

static bool read_file(void *arg, uint64_t at, void *into, size_t n)
{
	struct file *f = arg;
	CHECK(++f->reads <= 8 * (LMDB_DEPTH_MAX + 8) && n <= LMDB_PAGE_MAX);
	if (at > f->bytes.n || n > f->bytes.n - at)
		return false;
	memcpy(into, f->bytes.p + at, n);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	size_t key_n = size > 0 ? data[0] : 0;
	struct file f = { .bytes = span_from(in, 1 + key_n) };
	struct lmdb_source src = { read_file, &f };
	struct buf out = BUF_INIT(VALUE_MAX);
	const char *why;
	buf_add_str(&out, "before");
	enum lmdb_answer a = lmdb_find(&src, span_first(span_from(in, 1), key_n), &out, &why);
	CHECK((a == LMDB_BROKEN) == (why != NULL));
	CHECK(span_starts(buf_span(&out), SPAN("before")) && buf_len(&out) <= VALUE_MAX);
	CHECK(a == LMDB_FOUND || buf_len(&out) == 6);
	buf_end(&out);
	return 0;
}
