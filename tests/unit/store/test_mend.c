/* test_mend.c - a mailbox that is put right: who is kept out meanwhile and for how long, what each step does, and that the
 * log makes the same again. What a damaged index becomes: tests/system/test_store_mend.py. */
#include "fixture.h"

#include "base/check.h"
#include "store-backend/index.h"
#include "store-backend/mend.h"

static enum operation_result mend(
    struct world *w, uint64_t mailbox, const struct mend *v, size_t n, struct answer *r)
{
	struct operation op = op_of(OP_MEND, "a@x");
	struct buf steps = BUF_INIT((size_t)MENDS_MAX * MEND_BYTES);
	for (size_t i = 0; i < n; i++)
		assert_true(mend_put(&v[i], &steps));
	op.mailbox = mailbox;
	op.mends = buf_span(&steps);
	enum operation_result result = ask(w, &op, r);
	buf_end(&steps);
	return result;
}

static enum operation_result mend_one(struct world *w, uint64_t mailbox, struct mend m)
{
	struct answer r;
	return mend(w, mailbox, &m, 1, &r);
}

static enum operation_result deliver(struct world *w, const char *user)
{
	struct op_recipient to = { span_str(user), SPAN_NONE };
	struct operation op = deliver_to(&to, 1, "");
	struct answer r;
	assert_int_equal(ask(w, &op, &r), OPR_OK);
	return r.outcomes[0].result;
}

static enum operation_result named(
    struct world *w, enum operation_kind kind, const char *name, const char *new_name)
{
	struct operation op = op_of(kind, "a@x");
	struct answer r;
	op.name = span_str(name);
	op.new_name = span_str(new_name);
	op.adopted.stay = STAY_LEAVING;
	return ask(w, &op, &r);
}

static enum operation_result copy(struct world *w, uint64_t from, uint64_t to)
{
	struct uid_range one = { 1, 1 };
	struct operation op = op_of(OP_COPY, "a@x");
	struct answer r;
	op.mailbox = from;
	op.target = to;
	op.uids = (struct uid_set){ &one, 1 };
	return ask(w, &op, &r);
}

static void test_held(void **state)
{
	struct world w;
	struct answer r;
	world_make(&w);
	uint64_t inbox = ensure(&w, "a@x"), box = create(&w, "a@x", "Box");
	ensure(&w, "b@x");
	assert_int_equal(append(&w, "a@x", box, message, &r), OPR_OK);
	assert_int_equal(append(&w, "a@x", inbox, message, &r), OPR_OK);
	assert_int_equal(
	    mend_one(&w, inbox, (struct mend){ .kind = MEND_HOLD, .size = 600 }), OPR_OK);
	assert_int_equal(append(&w, "a@x", inbox, message, &r), OPR_MENDING);
	assert_int_equal(deliver(&w, "a@x"), OPR_MENDING);
	assert_int_equal(copy(&w, inbox, box), OPR_MENDING);
	assert_int_equal(copy(&w, box, inbox), OPR_MENDING);
	assert_int_equal(named(&w, OP_RENAME, "Box", "Other"), OPR_MENDING);
	assert_int_equal(named(&w, OP_DELETE, "Box", ""), OPR_MENDING);
	assert_int_equal(named(&w, OP_STAY, "", ""), OPR_MENDING);
	/* Everything else goes on. */
	assert_int_equal(append(&w, "a@x", box, message, &r), OPR_OK);
	assert_int_equal(deliver(&w, "b@x"), OPR_OK);
	assert_int_equal(named(&w, OP_CREATE, "New", ""), OPR_OK);
	assert_int_equal(mend_one(&w, inbox, (struct mend){ .kind = MEND_RELEASE }), OPR_OK);
	assert_int_equal(deliver(&w, "a@x"), OPR_OK);
	assert_int_equal(copy(&w, inbox, box), OPR_OK);
	/* Steps are for those who hold. */
	assert_int_equal(mend_one(&w, inbox, (struct mend){ .kind = MEND_RELEASE }), OPR_DENIED);
	assert_int_equal(
	    mend_one(&w, inbox, (struct mend){ .kind = MEND_LOST, .uid = 1 }), OPR_DENIED);
	world_end(&w);
}

/* A tool that died keeps nobody out for ever, also after the committer began anew. */
static void test_hold_ends(void **state)
{
	struct world w;
	struct answer r;
	enum operation_result got = OPR_MENDING;
	world_make(&w);
	uint64_t inbox = ensure(&w, "a@x");
	assert_int_equal(
	    mend_one(&w, inbox, (struct mend){ .kind = MEND_HOLD, .size = 2 }), OPR_OK);
	operation_link_free(&w.link);
	world_close(&w);
	assert_int_equal(world_open(&w), ERR_OK);
	world_link(&w);
	for (uint64_t until = clock_mono_ms() + DEADLINE_MS;
	     got == OPR_MENDING && clock_mono_ms() < until;)
		got = append(&w, "a@x", inbox, message, &r);
	assert_int_equal(got, OPR_OK);
	world_end(&w);
}

static void see(struct world *w, uint64_t mailbox, struct index_mailbox *out)
{
	char dir[160];
	err_t err;
	snprintf(dir, sizeof dir, "%s/index", w->path);
	world_close(w);
	struct index *x = index_open(dir, &err);
	struct index_view *v = index_view_begin(x);
	assert_true(index_mailbox_get(v, mailbox, out));
	index_view_end(&v);
	index_close(&x);
}

/* Steps that say what is there already, and one message that is lost. */
static void test_steps_and_replay(void **state)
{
	struct world w;
	struct answer r;
	struct index_mailbox m;
	world_make(&w);
	uint64_t inbox = ensure(&w, "a@x");
	for (int i = 0; i < 3; i++)
		assert_int_equal(append(&w, "a@x", inbox, message, &r), OPR_OK);
	uint64_t size = 2 * strlen(message), modseq = r.a.modseq;
	struct mend steps[] = {
		{ .kind = MEND_HOLD, .size = 600 },
		{ .kind = MEND_LOST, .uid = 2 },
		{ .kind = MEND_UNMARK, .uid = 9, .modseq = 77 },
		{ .kind = MEND_BLOB, .blob = 4711, .size = 5, .refs = 1, .seen = 9 },
		{ .kind = MEND_TYPE, .type = TYPE_FAX },
		{ .kind = MEND_COUNTS,
		    .refs = 2,
		    .size = size,
		    .unseen = 2,
		    .vanished = 1,
		    .uid = 4 },
		{ .kind = MEND_RELEASE },
	};
	assert_int_equal(mend(&w, inbox, steps, COUNT_OF(steps), &r), OPR_OK);
	assert_int_equal(r.a.uid, 1); /* there is no such row as the one seen */
	operation_link_free(&w.link);
	uint64_t digest = partition_facts(w.partition).digest;
	see(&w, inbox, &m);
	assert_int_equal(m.messages, 2);
	assert_int_equal(m.bytes, size);
	assert_int_equal(m.modseq, modseq + 1);
	w.opts.distrust_index = true;
	assert_int_equal(world_open(&w), ERR_OK);
	assert_string_equal(partition_facts(w.partition).how, "rebuilt");
	assert_true(partition_facts(w.partition).digest == digest);
	world_end(&w);
}

static void test_bytes(void **state)
{
	struct buf b = BUF_INIT((size_t)MENDS_MAX * MEND_BYTES + MEND_BYTES);
	struct mend m = { .kind = MEND_PUT,
		.uid = 7,
		.flags = STORE_SEEN,
		.keywords = 5,
		.modseq = 9,
		.size = 1ull << 40,
		.date_s = -1,
		.saved_s = 3,
		.date_zone = -720,
		.type = TYPE_FAX,
		.blob = 77,
		.refs = 1,
		.seen = UINT64_MAX,
		.unseen = 2,
		.deleted = 3,
		.vanished = 4 };
	struct mend out;
	assert_true(mend_put(&m, &b));
	assert_int_equal(buf_len(&b), MEND_BYTES);
	struct span rest = buf_span(&b);
	assert_true(mend_take(&rest, &out) && rest.n == 0);
	assert_true(mend_put(&out, &b));
	assert_memory_equal(buf_span(&b).p, buf_span(&b).p + MEND_BYTES, MEND_BYTES);
	buf_clear(&b);
	assert_true(mend_put(&m, &b));
	for (size_t n = 0; n < MEND_BYTES; n++) {
		rest = span_first(buf_span(&b), n);
		assert_false(mends_sound(rest));
		assert_false(mend_take(&rest, &out));
	}
	while (buf_len(&b) < (size_t)MENDS_MAX * MEND_BYTES)
		mend_put(&m, &b);
	assert_true(mends_sound(buf_span(&b)));
	mend_put(&m, &b);
	assert_false(mends_sound(buf_span(&b)));
	buf_clear(&b);
	static const struct mend bad[] = {
		{ .kind = MEND_KIND_COUNT },
		{ .kind = MEND_HOLD },
		{ .kind = MEND_HOLD, .size = MEND_HOLD_MAX_S + 1 },
		{ .kind = MEND_PUT, .uid = 1 },
		{ .kind = MEND_PUT, .blob = 1 },
		{ .kind = MEND_PUT, .uid = 1, .blob = 1, .flags = 64 },
		{ .kind = MEND_PUT, .uid = 1, .blob = 1, .date_zone = 1440 },
		{ .kind = MEND_PUT, .uid = 1, .blob = 1, .type = TYPE_COUNT },
		{ .kind = MEND_LOST },
		{ .kind = MEND_MARK, .uid = 1 },
		{ .kind = MEND_BLOB },
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		buf_clear(&b);
		mend_put(&bad[i], &b);
		assert_false(mends_sound(buf_span(&b)));
	}
	buf_end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_held),
		cmocka_unit_test(test_hold_ends),
		cmocka_unit_test(test_steps_and_replay),
		cmocka_unit_test(test_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
