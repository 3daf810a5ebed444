/* index_bench.h - an index of its own for a test, to which operations are applied by hand. Include it from one file of a
 * test only. */
#ifndef TEST_INDEX_BENCH_H
#define TEST_INDEX_BENCH_H

#include "fixture.h"

#include "commitlog/commitlog.h"
#include "store-backend/index.h"
#include "store-backend/index_write.h"
#include "store-backend/operation_wire.h"

struct bench {
	char dir[64];
	struct index_writer *w;
	struct index_txn *t;
	uint64_t sequence, blobs;
};

static void bench_make(struct bench *b)
{
	err_t err;
	*b = (struct bench){ 0 };
	snprintf(b->dir, sizeof b->dir, "/tmp/test_index.XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	b->w = index_writer_open(b->dir, 1 << 30, &err);
	assert_int_equal(err, ERR_OK);
}

static void bench_commit(struct bench *b)
{
	if (b->t != NULL)
		assert_int_equal(index_txn_commit(&b->t, 1), ERR_OK);
}

static void bench_end(struct bench *b)
{
	bench_commit(b);
	index_writer_close(&b->w, true);
	nftw(b->dir, world_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void bench_begin(struct bench *b)
{
	err_t err;
	if (b->t == NULL)
		b->t = index_txn_begin(b->w, &err);
	assert_non_null(b->t);
}

/* The answer lives until the next call. */
static const struct operation_answer *apply(struct bench *b, const struct operation *op)
{
	struct index_facts facts = {
		.client = 1, .sequence = ++b->sequence, .wall_s = 1000 + b->sequence / 7
	};
	bench_begin(b);
	if (operation_has_message(op->kind) && op->kind != OP_APPEND_MANY)
		facts.blob = ++b->blobs;
	const struct operation_answer *a = index_apply(b->t, op, &facts);
	assert_int_equal(index_txn_err(b->t), ERR_OK);
	return a;
}

static enum operation_result result(struct bench *b, const struct operation *op)
{
	return apply(b, op)->result;
}

static uint64_t make_user(struct bench *b, const char *user, uint64_t quota_messages)
{
	struct operation op = op_of(OP_ENSURE_USER, user);
	op.quota_messages = quota_messages;
	return apply(b, &op)->mailbox;
}

static enum operation_result append_to(
    struct bench *b, const char *user, uint64_t box, const struct flag_set *set)
{
	struct operation op = op_of(OP_APPEND, user);
	op.mailbox = box;
	op.message.size = 10;
	if (set != NULL)
		op.set = *set;
	return result(b, &op);
}

#endif
