/* fuzz_imap_list.c - any arguments of LIST: what was read keeps its bounds and lies in the command. */
#include "base/check.h"
#include "store-backend/imap/list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span args = span_of(data, size);
	struct list_request req;
	struct buf scratch = BUF_INIT(size + 1);
	struct imap_cursor c;
	imap_cursor_init(&c, args, &scratch);
	list_parse(&c, &req);
	imap_read_end(&c);
	CHECK(req.pattern_n <= LIST_PATTERNS_MAX);
	if (imap_ok(&c) && !req.extended)
		CHECK(req.pattern_n == 1 && req.select == 0 && req.status == 0);
	for (size_t i = 0; imap_ok(&c) && i < req.pattern_n; i++)
		CHECK(req.patterns[i].n <= size);
	buf_end(&scratch);
	return 0;
}
