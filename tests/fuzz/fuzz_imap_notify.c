/* fuzz_imap_notify.c - any arguments of NOTIFY: what was read keeps its bounds, and its items can be read again. */
#include "base/check.h"
#include "base/mem.h"
#include "store-backend/imap/notify_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct notify_request *r, size_t size, struct fetch_request *again)
{
	struct buf scratch = BUF_INIT(size + 1);
	struct imap_cursor c;
	CHECK(r->n <= NOTIFY_GROUPS_MAX && r->name_n <= NOTIFY_NAMES_MAX && (r->none || r->n > 0));
	for (size_t i = 0; i < r->n; i++)
		CHECK(r->v[i].name_at + r->v[i].name_n <= r->name_n);
	if (r->fetch.n > 0) {
		imap_cursor_init(&c, r->fetch, &scratch);
		fetch_parse(&c, false, again);
		imap_read_end(&c);
		CHECK(imap_ok(&c) && r->fetch.n <= size);
	}
	buf_end(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct notify_request *r = mem_array(1, sizeof *r);
	struct fetch_request *items = mem_array(1, sizeof *items);
	struct buf scratch = BUF_INIT(size + 1);
	struct imap_cursor c;
	imap_cursor_init(&c, span_of(data, size), &scratch);
	notify_parse(&c, r, items);
	imap_read_end(&c);
	if (imap_ok(&c))
		check(r, size, items);
	buf_end(&scratch);
	mem_free(items);
	mem_free(r);
	return 0;
}
