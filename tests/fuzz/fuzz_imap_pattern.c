/* fuzz_imap_pattern.c - a LIST pattern and a name, a line each: bounded time, and a wildcard said twice says
 * nothing more. */
#include "base/check.h"
#include "base/buf.h"
#include "store-backend/imap/pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span name = span_of(data, size), pattern = span_cut(&name, '\n');
	struct buf twice = BUF_INIT(2 * IMAP_PATTERN_MAX);
	bool fits = imap_pattern_fits(pattern, name);
	for (size_t i = 0; i < pattern.n; i++) {
		buf_add_char(&twice, pattern.p[i]);
		if (pattern.p[i] == '*' || pattern.p[i] == '%')
			buf_add_char(&twice, pattern.p[i]);
	}
	if (buf_ok(&twice) && buf_len(&twice) <= IMAP_PATTERN_MAX)
		CHECK(imap_pattern_fits(buf_span(&twice), name) == fits);
	buf_end(&twice);
	return 0;
}
