/* fuzz_imap_url.c - any URL: what is understood lies in it, and the rump is read the same. */
#include "base/check.h"
#include "proto/imap_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct imap_url u, again;
	if (imap_url_parse(&u, in)) {
		CHECK(u.uid > 0 && u.rump.n <= in.n && span_starts(in, u.rump));
		CHECK(u.mailbox.n <= in.n && u.section.n <= in.n && span_is_utf8(u.mailbox));
		CHECK((u.token.n == 0) == (u.mechanism.n == 0));
		if (u.access.n > 0) {
			CHECK(imap_url_parse(&again, u.rump));
			CHECK(again.uid == u.uid && span_eq(again.access, u.access));
			CHECK(span_eq(again.mailbox, u.mailbox) && again.token.n == 0);
			imap_url_end(&again);
		}
	}
	imap_url_end(&u);
	return 0;
}
