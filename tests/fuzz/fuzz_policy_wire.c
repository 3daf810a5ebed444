/* fuzz_policy_wire.c - requests of a hostile mail server: bounded, and the same however they were cut. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "proto/policy_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct policy_request r, late;
	const char *why;
	size_t eat, eat_late, at = 0, at_late = 0;
	enum policy_rx rx = policy_take(&at, in, &r, &eat, &why), rx_late = POLICY_MORE;
	CHECK(eat <= size && (eat > 0) == (rx == POLICY_READY));
	for (size_t n = 0; n <= size && rx_late == POLICY_MORE; n++)
		rx_late = policy_take(&at_late, span_first(in, n), &late, &eat_late, &why);
	CHECK(rx_late == rx && eat_late == eat);
	for (size_t i = 0; i < POLICY_ATTRS && rx == POLICY_READY; i++)
		CHECK(span_eq(r.v[i], late.v[i]) && span_find(r.v[i], '\n') == SIZE_MAX);
	return 0;
}
