/* test_domain.c - what the users of a domain have is known at any time, and what the domain is allowed. */
#include "index_bench.h"

#include "store-backend/index_txn.h"

static struct index_domain look_domain(struct bench *b, const char *domain)
{
	struct index_domain d;
	bench_commit(b);
	struct index *x = index_writer_reader(b->w);
	struct index_view *v = index_view_begin(x);
	assert_non_null(v);
	index_domain(v, span_str(domain), &d);
	index_view_end(&v);
	index_close(&x);
	return d;
}

static void leave(struct bench *b, const char *user)
{
	struct operation op = op_of(OP_STAY, user);
	op.adopted.stay = STAY_LEAVING;
	assert_int_equal(apply(b, &op)->result, OPR_OK);
	op.adopted.stay = STAY_GONE;
	while (apply(b, &op)->uid > 0)
		;
}

/* What the users of a domain have, with limits that outlast them; counted anew it is the same. */
static void test_domains(void **state)
{
	struct bench b;
	bench_make(&b);
	uint64_t box = make_user(&b, "a@x", 0), other = make_user(&b, "b@x", 0);
	(void)make_user(&b, "c@y", 0);
	assert_int_equal(append_to(&b, "a@x", box, &(struct flag_set){ 0 }), OPR_OK);
	assert_int_equal(append_to(&b, "b@x", other, &(struct flag_set){ 0 }), OPR_OK);
	struct index_domain x = look_domain(&b, "x");
	assert_int_equal(x.users, 2);
	assert_int_equal(x.messages, 2);
	assert_true(x.bytes > 0 && x.version == 0);
	assert_int_equal(index_writer_mark(b.w, "boot", false), ERR_OK);
	struct index_domain again = look_domain(&b, "x");
	assert_memory_equal(&again, &x, sizeof x);
	struct operation op = op_of(OP_DOMAIN_LIMITS, "b@x");
	op.quota_bytes = 1000;
	op.unchanged_since = 7;
	assert_int_equal(apply(&b, &op)->result, OPR_OK);
	leave(&b, "a@x");
	assert_int_equal(look_domain(&b, "x").users, 1);
	assert_int_equal(look_domain(&b, "x").messages, 1);
	leave(&b, "b@x");
	x = look_domain(&b, "x");
	assert_true(x.users == 0 && x.messages == 0 && x.bytes == 0);
	assert_true(x.quota_bytes == 1000 && x.version == 7);
	struct db_key counted = { .n = 0 };
	key_span(&counted, SPAN("domains"));
	bench_begin(&b);
	(void)txn_del(b.t, DB_META, &counted);
	bench_commit(&b);
	assert_int_equal(index_writer_mark(b.w, "boot", false), ERR_OK);
	x = look_domain(&b, "x");
	assert_true(x.quota_bytes == 1000 && x.version == 7 && x.users == 0);
	assert_int_equal(look_domain(&b, "y").users, 1);
	leave(&b, "c@y");
	assert_int_equal(look_domain(&b, "y").users, 0);
	bench_end(&b);
}

/* A program that counted nothing has written users: nothing fails, and the next start counts anew. */
static void test_stale_count(void **state)
{
	static const struct domain_row none = { 0 };
	struct bench b;
	bench_make(&b);
	uint64_t box = make_user(&b, "a@x", 0);
	assert_int_equal(append_to(&b, "a@x", box, &(struct flag_set){ 0 }), OPR_OK);
	assert_int_equal(append_to(&b, "a@x", box, &(struct flag_set){ 0 }), OPR_OK);
	struct index_domain right = look_domain(&b, "x");
	struct db_key k = { .n = 0 };
	key_span(&k, SPAN("x"));
	bench_begin(&b);
	txn_put(b.t, DB_DOMAINS, &k, &none, sizeof none);
	assert_int_equal(look_domain(&b, "x").messages, 0);
	struct operation op = op_of(OP_EXPUNGE, "a@x");
	struct uid_range first = { 1, 1 };
	op.mailbox = box;
	op.uses = EXPUNGE_BY_RULE;
	op.uids = (struct uid_set){ &first, 1 };
	assert_int_equal(apply(&b, &op)->result, OPR_OK);
	assert_int_equal(look_domain(&b, "x").users, 1);
	assert_int_equal(index_writer_mark(b.w, "boot", false), ERR_OK);
	struct index_domain now = look_domain(&b, "x");
	assert_int_equal(now.users, 1);
	assert_int_equal(now.messages, right.messages - 1);
	bench_end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_domains),
		cmocka_unit_test(test_stale_count),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
