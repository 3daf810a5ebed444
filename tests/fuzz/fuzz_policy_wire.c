/* fuzz_policy_wire.c - requests and answers of a hostile mail server or policy service: bounded, the same
 * however they were cut, and what is written again reads as it was. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "proto/policy_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const struct policy_request *r)
{
	struct buf b = BUF_INIT(2 * POLICY_REQUEST_MAX);
	struct policy_request again;
	const char *why;
	size_t eat, at = 0;
	for (size_t i = 0; i < POLICY_ATTRS; i++)
		if (r->v[i].p != NULL)
			policy_put(&b, (enum policy_attr)i, r->v[i]);
	policy_put_end(&b);
	CHECK(policy_take(&at, buf_span(&b), &again, &eat, &why) == POLICY_READY);
	CHECK(eat == buf_len(&b));
	for (size_t i = 0; i < POLICY_ATTRS; i++)
		CHECK(span_eq(r->v[i], again.v[i]));
	buf_end(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size), action;
	struct policy_request r, late;
	const char *why;
	size_t eat, eat_late, at = 0, at_late = 0;
	enum policy_rx rx = policy_take(&at, in, &r, &eat, &why), rx_late = POLICY_MORE;
	CHECK(eat <= size && (eat > 0) == (rx == POLICY_READY));
	for (size_t n = 0; n <= size && rx_late == POLICY_MORE; n++)
		rx_late = policy_take(&at_late, span_first(in, n), &late, &eat_late, &why);
	CHECK(rx_late == rx && eat_late == eat);
	if (rx == POLICY_READY)
		round_trip(&r);
	if (policy_answer_take(in, &action) == POLICY_READY)
		CHECK(action.n > 0 && action.n < POLICY_ANSWER_MAX &&
		      span_find(action, '\n') == SIZE_MAX);
	return 0;
}
