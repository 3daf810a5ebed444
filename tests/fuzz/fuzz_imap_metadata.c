/* fuzz_imap_metadata.c - any arguments of GETMETADATA and SETMETADATA: what was read keeps its bounds. */
#include "base/check.h"
#include "base/mem.h"
#include "store-backend/imap/metadata_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct metadata_request *r, size_t size, bool values)
{
	CHECK(r->n > 0 && r->n <= METADATA_ENTRIES_MAX);
	for (size_t i = 0; i < r->n; i++) {
		struct span name = metadata_name(&r->v[i]);
		CHECK(r->v[i].value.n <= size && name.p[0] == '/');
		CHECK(!values || operation_entry_ok(name));
		CHECK(metadata_covers(r, &r->v[i], name));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct metadata_request *r = mem_array(1, sizeof *r);
	for (int values = 0; values < 2; values++) {
		struct buf scratch = BUF_INIT(size + 1);
		struct imap_cursor c;
		imap_cursor_init(&c, span_of(data, size), &scratch);
		metadata_parse_options(&c, r);
		if (values)
			metadata_parse_values(&c, r);
		else
			metadata_parse_names(&c, r);
		imap_read_end(&c);
		if (imap_ok(&c))
			check(r, size, values);
		buf_end(&scratch);
	}
	mem_free(r);
	return 0;
}
