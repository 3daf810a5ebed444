/* fuzz_imap_select.c - any parameters of SELECT against a mailbox of every third uid: sets stay sets, and what is settled is a
 * message that is there. */
#include "base/check.h"
#include "store-backend/imap/select_parse.h"

enum { MESSAGES = 50 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_known(struct select_params *p)
{
	struct selected_message v[MESSAGES] = { { 0 } };
	struct selected box = { .v = v, .n = MESSAGES, .told_n = MESSAGES };
	struct imap_set above = { 0 };
	for (uint32_t i = 0; i < MESSAGES; i++)
		v[i].uid = 3 * i + 1;
	uint32_t settled = select_settled_uid(&box, p);
	CHECK(settled == 0 || selected_find(&box, settled) < box.n);
	imap_set_resolve(&p->known, UINT32_MAX);
	select_above(&p->known, settled, &above);
	for (size_t i = 0; i < above.n; i++)
		CHECK(above.v[i].first > settled && above.v[i].first <= above.v[i].last &&
		      imap_set_has(&p->known, above.v[i].first));
	imap_set_end(&above);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf scratch = BUF_INIT(size + 1);
	struct select_params p;
	struct imap_cursor c;
	imap_cursor_init(&c, span_of(data, size), &scratch);
	select_parse(&c, &p);
	imap_read_end(&c);
	if (imap_ok(&c) && p.qresync) {
		CHECK(p.uidvalidity > 0 && p.known.n > 0 && !p.known.saved);
		check_known(&p);
	}
	select_params_end(&p);
	buf_end(&scratch);
	return 0;
}
