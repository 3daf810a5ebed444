/* fuzz_decision.c - lines of decision records: what is read can be written, and read again as the same. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "metermaid/decision.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void names(struct span list)
{
	struct buf name = BUF_INIT(DECISION_LINE_MAX);
	while (decision_take_name(&list, ',', &name))
		CHECK(buf_len(&name) <= DECISION_LINE_MAX);
	buf_end(&name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf scratch = BUF_INIT(DECISION_LINE_MAX),
		   again_scratch = BUF_INIT(DECISION_LINE_MAX),
		   line = BUF_INIT(2 * DECISION_LINE_MAX);
	struct decision d, e;
	struct span in = span_of(data, size);
	in = span_cut(&in, '\n');
	if (decision_parse(in, &scratch, &d)) {
		names(d.bans);
		names(d.tokens);
		if (decision_put(&d, &line)) {
			struct span text = span_first(buf_span(&line), buf_len(&line) - 1);
			CHECK(decision_parse(text, &again_scratch, &e));
			CHECK(e.letter == d.letter && e.us == d.us && e.seq == d.seq);
			if (d.letter == 'D') {
				CHECK(span_eq(e.f.user, d.f.user) && span_eq(e.rule, d.rule));
				CHECK(e.action == d.action && e.wait_us == d.wait_us);
				CHECK(ip_eq(e.f.client, d.f.client) && e.lease == d.lease);
			}
		}
	}
	buf_end(&scratch);
	buf_end(&again_scratch);
	buf_end(&line);
	return 0;
}
