/* fuzz_operation.c - frames between a worker and a committer and records of the log: what is understood as an
 * operation or an answer is written back the same. */
#include "base/check.h"
#include "store-backend/partition_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_operation(struct span in)
{
	struct operation op, again;
	struct operation_arena a = { 0 }, b = { 0 };
	struct buf out = BUF_INIT(OPERATION_HEAD_MAX), twice = BUF_INIT(OPERATION_HEAD_MAX);
	if (operation_decode(in, &op, &a)) {
		CHECK(operation_encode(&op, &out));
		CHECK(operation_decode(buf_span(&out), &again, &b));
		CHECK(operation_encode(&again, &twice));
		CHECK(span_eq(buf_span(&out), buf_span(&twice)));
		CHECK(buf_len(&out) == in.n);
	}
	operation_arena_end(&a);
	operation_arena_end(&b);
	buf_end(&out);
	buf_end(&twice);
}

static void check_answer(struct span in)
{
	struct operation_answer ans;
	struct operation_arena a = { 0 };
	struct buf out = BUF_INIT(ANSWER_MAX);
	if (answer_decode(in, &ans, &a)) {
		CHECK(answer_encode(&ans, &out));
		CHECK(span_eq(buf_span(&out), in));
	}
	operation_arena_end(&a);
	buf_end(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size), body;
	enum frame_kind kind;
	size_t used;
	struct index_facts facts;
	struct prune prune;
	if (frame_take(in, 4096, &kind, &body, &used) == FRAME_OK) {
		CHECK(used <= in.n && body.n + FRAME_HEAD_BYTES == used);
		check_operation(body);
		check_answer(body);
	}
	check_operation(in);
	check_answer(in);
	if (record_get_operation(in, &facts, &body))
		check_operation(body);
	(void)record_get_prune(in, &prune);
	return 0;
}
