/* fuzz_run_wire.c - questions to the runner from a process that may have been taken over, and answers to it; what is
 * understood is written back the same. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#include "edge/run_wire.c"
#include "edge/template.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ask(struct span in)
{
	static struct run_ask a;
	struct buf out = BUF_INIT(2 * RUN_ASK_MAX), plain = BUF_INIT(RUN_ASK_MAX);
	if (run_ask_get(in, &a) == RUN_WHOLE) {
		CHECK(run_ask_put(&out, &a) && buf_len(&out) == in.n);
		CHECK(template_put_plain(&plain, a.sender) && template_is_plain(buf_span(&plain)));
	}
	buf_end(&out);
	buf_end(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct run_answer a;
	struct buf out = BUF_INIT(2 * RUN_ANSWER_MAX);
	check_ask(in);
	if (run_answer_get(in, &a) == RUN_WHOLE)
		CHECK(run_answer_put(&out, &a) && buf_len(&out) == in.n);
	buf_end(&out);
	return 0;
}
