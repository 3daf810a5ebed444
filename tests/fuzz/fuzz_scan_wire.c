/* fuzz_scan_wire.c - replies of a hostile scanner: what is taken is bounded and fit for a header field. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "proto/scan_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_plain(const char *text, size_t max)
{
	CHECK(strlen(text) <= max);
	for (; *text != '\0'; text++)
		CHECK(*text > 0x20 && *text < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct spamd_head h;
	char name[SCAN_NAME_MAX + 1];
	size_t eat;
	if (spamd_take_head(in, &h, &eat) == SCAN_READY) {
		CHECK(eat <= size);
		check_plain(h.score, SPAMD_NUMBER_MAX - 1);
		check_plain(h.required, SPAMD_NUMBER_MAX - 1);
		CHECK(spamd_take_head(span_first(in, eat - 1), &h, &eat) == SCAN_MORE);
	}
	if (clamd_take(in, name) == SCAN_READY)
		check_plain(name, SCAN_NAME_MAX);
	return 0;
}
