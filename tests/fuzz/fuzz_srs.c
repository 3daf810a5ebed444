/* fuzz_srs.c - rewritten return paths: none but our own is read back, and each of those to its sender. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#include "edge/srs.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t now = 20000ull * 86400 * 1000000;
	struct span in = span_of(data, size);
	struct srs s = { .domain = "srs.test", .days = 21 };
	struct smtp_path sender, back;
	char out[SMTP_PATH_SIZE];
	CHECK(srs_set_keys(&s, SPAN("0123456789abcdef")));
	CHECK(srs_reverse(&s, in, now, &back) != SRS_GOOD); /* 40 bits are not guessed */
	if (smtp_address_parse(in, SMTP_PATH_LONG_LOCAL_OK, &sender, NULL) ||
	    !srs_forward(&s, smtp_path_text(&sender), now, out))
		return 0;
	CHECK(strlen(out) <= SMTP_ADDRESS_MAX);
	bool again = span_starts(span_str(out), SPAN("SRS1="));
	enum srs_result r = srs_reverse(&s, span_str(out), now, &back);
	CHECK(r == SRS_GOOD || again);
	if (!again)
		CHECK(span_eq(smtp_path_text(&back), smtp_path_text(&sender)));
	return 0;
}
