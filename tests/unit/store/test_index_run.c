/* test_index_run.c - changes of a mailbox by modseq, beside a model that has a modseq for each message; rows without a
 * value among the runs, as every row once was. */
#include "fixture.h"

#include "base/rand.h"
#include "store-backend/index_check.h"
#include "store-backend/index_txn.h"
#include "store-backend/index_write.h"

enum { UIDS = 60, TURNS = 600 };

struct model {
	char dir[64];
	struct index_writer *w;
	uint64_t sequence, box, modseq;
	struct {
		uint64_t modseq; /* 0: not there */
		uint32_t flags;
	} of[UIDS + 1];
	uint32_t uidnext;
	uint64_t since; /* what a look at the changes asks for */
	uint32_t at;    /* last uid of it */
	uint64_t at_modseq;
	size_t seen;
};

static struct index_txn *begin(struct model *m)
{
	err_t err;
	struct index_txn *t = index_txn_begin(m->w, &err);
	assert_non_null(t);
	return t;
}

static void carry_out(struct model *m, const struct operation *op)
{
	struct index_txn *t = begin(m);
	struct index_facts facts = { .client = 1, .sequence = ++m->sequence, .blob = m->sequence };
	const struct operation_answer *a = index_apply(t, op, &facts);
	assert_int_equal(a->result, OPR_OK);
	if (a->mailbox != 0)
		m->box = a->mailbox;
	assert_int_equal(index_txn_commit(&t, 1), ERR_OK);
}

static struct operation operation_of(const struct model *m, enum operation_kind kind)
{
	struct operation op;
	operation_init(&op, kind);
	op.user = SPAN("a@x");
	op.mailbox = m->box;
	return op;
}

static void append_some(struct model *m)
{
	struct op_message v[4] = { { .size = 1 }, { .size = 1 }, { .size = 1 }, { .size = 1 } };
	struct operation op = operation_of(m, OP_APPEND_MANY);
	op.messages = v;
	op.message_n = 1 + (size_t)rand_below(4);
	if (m->uidnext + op.message_n > UIDS + 1)
		return;
	m->modseq++;
	for (size_t i = 0; i < op.message_n; i++) {
		v[i].blob = (log_pos)(1000 + m->uidnext);
		m->of[m->uidnext].flags = 0;
		m->of[m->uidnext++].modseq = m->modseq;
	}
	carry_out(m, &op);
}

static void throw_range(struct uid_range *r)
{
	r->first = 1 + (uint32_t)rand_below(UIDS);
	r->last = r->first + (uint32_t)rand_below(12);
}

static void flag(struct model *m)
{
	struct uid_range r;
	struct operation op = operation_of(m, OP_FLAGS);
	bool changed = false;
	throw_range(&r);
	op.uids = (struct uid_set){ &r, 1 };
	op.how = rand_below(2) == 0 ? FLAGS_ADD : FLAGS_REMOVE;
	op.set.flags = STORE_FLAGGED;
	for (uint32_t uid = r.first; uid <= r.last && uid < m->uidnext; uid++) {
		uint32_t now = op.how == FLAGS_ADD ? STORE_FLAGGED : 0;
		if (m->of[uid].modseq == 0 || m->of[uid].flags == now)
			continue;
		m->modseq += !changed;
		changed = true;
		m->of[uid].flags = now;
		m->of[uid].modseq = m->modseq;
	}
	carry_out(m, &op);
}

static void expunge(struct model *m)
{
	struct uid_range r;
	struct operation op = operation_of(m, OP_EXPUNGE);
	bool any = false;
	throw_range(&r);
	r.last = r.first + (uint32_t)rand_below(2);
	op.uids = (struct uid_set){ &r, 1 };
	for (uint32_t uid = r.first; uid <= r.last && uid < m->uidnext; uid++) {
		any = any || m->of[uid].modseq != 0;
		m->of[uid].modseq = 0;
	}
	m->modseq += any;
	carry_out(m, &op);
}

/* One run becomes rows of one message each, without values. */
static void make_old(struct model *m)
{
	uint32_t uid = 1 + (uint32_t)rand_below(UIDS), last = uid;
	uint64_t modseq = m->of[uid].modseq;
	if (modseq == 0)
		return;
	while (last < UIDS && m->of[last + 1].modseq == modseq)
		last++;
	struct index_txn *t = begin(m);
	run_cut(t, m->box, modseq, (struct uid_range){ uid, last });
	for (; uid <= last; uid++)
		run_put(t, m->box, modseq, (struct uid_range){ uid, uid });
	assert_int_equal(index_txn_commit(&t, 1), ERR_OK);
}

/* In order, none twice, none that is older than was asked for. */
static bool on_change(void *arg, const struct index_entry *e)
{
	struct model *m = arg;
	assert_int_equal(e->modseq, m->of[e->uid].modseq);
	assert_true(e->modseq > m->since);
	assert_true(e->modseq > m->at_modseq || (e->modseq == m->at_modseq && e->uid > m->at));
	m->at = e->uid;
	m->at_modseq = e->modseq;
	m->seen++;
	return true;
}

static void on_fault(void *arg, const char *text)
{
	fail_msg("%s", text);
}

static void on_blob(void *arg, log_pos blob)
{
}

static void look(struct model *m)
{
	struct index_check c = { .on_fault = on_fault, .on_blob = on_blob };
	struct index *x = index_writer_reader(m->w);
	struct index_view *v = index_view_begin(x);
	size_t newer = 0;
	m->since = rand_below(m->modseq + 1);
	m->at = 0;
	m->at_modseq = m->seen = 0;
	for (uint32_t uid = 1; uid <= UIDS; uid++)
		newer += m->of[uid].modseq > m->since;
	index_changes(v, m->box, m->since, on_change, m);
	assert_int_equal(m->seen, newer);
	index_view_end(&v);
	assert_true(index_check_run(x, &c));
	index_close(&x);
}

static size_t rows(struct model *m)
{
	MDB_stat st;
	struct index_txn *t = begin(m);
	assert_int_equal(mdb_stat(t->txn, m->w->db.t[DB_MODSEQS], &st), 0);
	index_txn_abort(&t);
	return st.ms_entries;
}

static void model_make(struct model *m)
{
	err_t err;
	*m = (struct model){ .uidnext = 1, .modseq = 1 };
	snprintf(m->dir, sizeof m->dir, "/tmp/test_index_run.XXXXXX");
	assert_non_null(mkdtemp(m->dir));
	m->w = index_writer_open(m->dir, 1 << 30, &err);
	assert_int_equal(err, ERR_OK);
	struct operation op = operation_of(m, OP_ENSURE_USER);
	carry_out(m, &op);
}

static void model_end(struct model *m)
{
	index_writer_close(&m->w, true);
	nftw(m->dir, world_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void test_changes_are_those_of_the_model(void **state)
{
	static void (*const turns[])(
	    struct model *) = { append_some, flag, flag, flag, expunge, make_old };
	struct model m;
	for (int round = 0; round < 4; round++) {
		model_make(&m);
		for (int i = 0; i < TURNS; i++) {
			turns[rand_below(sizeof turns / sizeof turns[0])](&m);
			look(&m);
		}
		model_end(&m);
	}
}

/* A change of many messages is one row, whatever they were before. */
static void test_one_row_for_many(void **state)
{
	static const struct uid_range all = { 1, UIDS };
	struct model m;
	model_make(&m);
	for (int i = 0; i < UIDS; i++)
		append_some(&m);
	struct operation op = operation_of(&m, OP_FLAGS);
	op.uids = (struct uid_set){ &all, 1 };
	op.how = FLAGS_ADD;
	op.set.flags = STORE_FLAGGED;
	assert_true(rows(&m) > 1);
	carry_out(&m, &op);
	assert_int_equal(rows(&m), 1);
	model_end(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changes_are_those_of_the_model),
		cmocka_unit_test(test_one_row_for_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
