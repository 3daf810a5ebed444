/* test_adopt.c - a user moves between two indexes: what may be changed when, and what is adopted is the same there,
 * however often it is adopted. */
#include "fixture.h"

#include "store-backend/index.h"
#include "store-backend/index_write.h"
#include "store-backend/operation_wire.h"

static const char user[] = "a@x";
static const struct uid_range all = { 1, UINT32_MAX - 1 };

struct store {
	char dir[64];
	struct index_writer *w;
	uint64_t blobs, inbox;
};

static void store_make(struct store *s)
{
	err_t err;
	*s = (struct store){ 0 };
	snprintf(s->dir, sizeof s->dir, "/tmp/test_adopt.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	s->w = index_writer_open(s->dir, 1 << 28, &err);
	assert_int_equal(err, ERR_OK);
}

static void store_end(struct store *s)
{
	index_writer_close(&s->w, true);
	nftw(s->dir, world_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Only the numbers of the answer live on. */
static struct operation_answer apply(struct store *s, const struct operation *op)
{
	struct index_facts facts = { .wall_s = 5000 + s->blobs };
	err_t err;
	struct index_txn *t = index_txn_begin(s->w, &err);
	assert_non_null(t);
	if (operation_has_message(op->kind))
		facts.blob = ++s->blobs;
	struct operation_answer a = *index_apply(t, op, &facts);
	if (op->kind == OP_DELIVER && a.outcome_n > 0)
		a.result = a.outcomes[0].result;
	assert_int_equal(index_txn_commit(&t, 1), ERR_OK);
	return a;
}

static enum operation_result go(struct store *s, enum store_stay stay)
{
	struct operation op = op_of(OP_STAY, user);
	op.adopted.stay = stay;
	return apply(s, &op).result;
}

static enum operation_result deliver(struct store *s, const char *id)
{
	struct operation op;
	struct op_recipient to = { span_str(user), SPAN_NONE };
	operation_init(&op, OP_DELIVER);
	op.message.size = 10;
	op.recipients = &to;
	op.recipient_n = 1;
	op.delivery_id = span_str(id);
	return apply(s, &op).result;
}

static enum operation_result adopt_mailbox(struct store *s, uint32_t uidvalidity, uint64_t modseq)
{
	struct span words[2] = { SPAN("$One"), SPAN("Two") };
	struct operation op = op_of(OP_ADOPT_MAILBOX, user);
	op.name = SPAN("INBOX");
	op.adopted = (struct op_adopted){ .uidvalidity = uidvalidity,
		.uidnext = 9,
		.recent_from = 4,
		.vanished_from = 2,
		.modseq = modseq,
		.object = 77 };
	op.set = (struct flag_set){ 0, words, 2 };
	struct operation_answer a = apply(s, &op);
	s->inbox = a.mailbox;
	return a.result;
}

static struct operation adopt(struct store *s, enum operation_kind kind, uint64_t modseq)
{
	struct operation op = op_of(kind, user);
	op.mailbox = s->inbox;
	op.adopted.modseq = modseq;
	op.adopted.keywords = 2;
	op.adopted.saved_s = 77;
	op.set.flags = STORE_FLAGGED;
	op.message.size = operation_has_message(kind) ? 10 : 0;
	return op;
}

static enum operation_result adopt_message(struct store *s, uint32_t uid, uint64_t modseq)
{
	struct operation op = adopt(s, OP_ADOPT_MESSAGE, modseq);
	op.adopted.uid = uid;
	op.adopted.object = 1000 + uid;
	return apply(s, &op).result;
}

static enum operation_result adopt_vanished(struct store *s, uint32_t uid, uint64_t modseq)
{
	struct uid_range one = { uid, uid };
	struct operation op = adopt(s, OP_ADOPT_VANISHED, modseq);
	op.uids = (struct uid_set){ &one, 1 };
	return apply(s, &op).result;
}

static uint64_t digest(struct store *s)
{
	struct index_mailbox m;
	err_t err;
	struct index *x = index_open(s->dir, &err);
	struct index_view *v = index_view_begin(x);
	assert_non_null(v);
	uint64_t sum = index_mailbox_find(v, span_str(user), SPAN("INBOX"), &m)
			   ? index_mailbox_digest(v, m.id)
			   : 0;
	index_view_end(&v);
	index_close(&x);
	return sum;
}

/* ---- who may change what ------------------------------------------------------------------------------------ */

static enum operation_result ordinary(struct store *s)
{
	struct operation op = op_of(OP_SUBSCRIBE, user);
	op.name = SPAN("x");
	(void)apply(s, &op);
	op = op_of(OP_CREATE, user);
	op.name = SPAN("made");
	enum operation_result r = apply(s, &op).result;
	return r == OPR_EXISTS ? OPR_OK : r;
}

static void test_stays(void **state)
{
	struct store s;
	store_make(&s);
	assert_int_equal(go(&s, STAY_LEAVING), OPR_NO_USER); /* nobody has heard of the user */
	assert_int_equal(go(&s, STAY_GONE), OPR_OK);
	assert_int_equal(deliver(&s, "1"), OPR_AWAY); /* nor takes anything from now on */
	assert_int_equal(go(&s, STAY_ARRIVING), OPR_OK);
	assert_int_equal(adopt_mailbox(&s, 1, 1), OPR_OK);
	assert_int_equal(go(&s, STAY_HERE), OPR_OK);
	assert_int_equal(deliver(&s, "1"), OPR_OK);
	assert_int_equal(ordinary(&s), OPR_OK);
	assert_int_equal(adopt_mailbox(&s, 5, 5), OPR_AWAY);
	assert_int_equal(
	    go(&s, STAY_ARRIVING), OPR_EXISTS); /* there is mail: it is not thrown away */
	assert_int_equal(go(&s, STAY_GONE), OPR_DENIED);
	for (int i = 0; i < 2; i++) { /* twice is once */
		assert_int_equal(go(&s, STAY_LEAVING), OPR_OK);
		assert_int_equal(ordinary(&s), OPR_AWAY);
		assert_int_equal(deliver(&s, "2"), OPR_AWAY);
		assert_int_equal(deliver(&s, "1"), OPR_AWAY);
		assert_int_equal(adopt_mailbox(&s, 5, 5), OPR_AWAY);
	}
	assert_int_equal(go(&s, STAY_ARRIVING), OPR_EXISTS);
	assert_int_equal(go(&s, STAY_HERE), OPR_OK); /* it was given up */
	assert_int_equal(deliver(&s, "2"), OPR_OK);
	assert_int_equal(go(&s, STAY_LEAVING), OPR_OK);
	assert_int_equal(go(&s, STAY_GONE), OPR_OK);
	assert_int_equal(go(&s, STAY_GONE), OPR_OK);
	assert_int_equal(deliver(&s, "3"), OPR_AWAY);
	assert_int_equal(go(&s, STAY_ARRIVING), OPR_OK);
	assert_int_equal(go(&s, STAY_HERE), OPR_NO_USER); /* not without an INBOX */
	assert_int_equal(deliver(&s, "3"), OPR_AWAY);
	assert_int_equal(ordinary(&s), OPR_AWAY);
	assert_int_equal(adopt_mailbox(&s, 5, 5), OPR_OK);
	assert_int_equal(go(&s, STAY_HERE), OPR_OK);
	assert_int_equal(deliver(&s, "1"), OPR_SEEN); /* it was delivered here before */
	assert_int_equal(deliver(&s, "3"), OPR_OK);
	store_end(&s);
}

/* The same by a move's number. */
static enum operation_result go_by(struct store *s, enum store_stay stay, uint64_t move)
{
	struct operation op = op_of(OP_STAY, user);
	op.adopted.stay = stay;
	op.unchanged_since = move;
	return apply(s, &op).result;
}

static enum operation_result subscribe_by(struct store *s, uint64_t move)
{
	struct operation op = op_of(OP_SUBSCRIBE, user);
	op.name = SPAN("made");
	op.unchanged_since = move;
	return apply(s, &op).result;
}

/* Whoever says leaving or arriving has the user; orders of others come too late. */
static void test_moves_are_told_apart(void **state)
{
	struct store s;
	store_make(&s);
	assert_int_equal(go_by(&s, STAY_ARRIVING, 1), OPR_OK);
	assert_int_equal(subscribe_by(&s, 1), OPR_OK);
	assert_int_equal(adopt_mailbox(&s, 1, 1), OPR_OK); /* by hand */
	assert_int_equal(go_by(&s, STAY_ARRIVING, 2), OPR_OK);
	assert_int_equal(subscribe_by(&s, 1), OPR_AWAY);
	assert_int_equal(go_by(&s, STAY_HERE, 1), OPR_AWAY);
	assert_int_equal(go_by(&s, STAY_GONE, 1), OPR_AWAY);
	assert_int_equal(subscribe_by(&s, 2), OPR_OK);
	assert_int_equal(go_by(&s, STAY_HERE, 2), OPR_OK);
	assert_int_equal(go_by(&s, STAY_HERE, 1), OPR_OK); /* that it is already */
	assert_int_equal(go_by(&s, STAY_LEAVING, 3), OPR_OK);
	assert_int_equal(go_by(&s, STAY_HERE, 2), OPR_AWAY);
	assert_int_equal(go_by(&s, STAY_LEAVING, 4), OPR_OK);
	assert_int_equal(go_by(&s, STAY_GONE, 3), OPR_AWAY);
	assert_int_equal(go_by(&s, STAY_GONE, 4), OPR_OK);
	assert_int_equal(go_by(&s, STAY_HERE, 3), OPR_AWAY);
	assert_int_equal(go_by(&s, STAY_GONE, 3), OPR_OK); /* gone is gone, and 3's now */
	assert_int_equal(go_by(&s, STAY_HERE, 4), OPR_AWAY);
	assert_int_equal(go(&s, STAY_HERE), OPR_OK); /* an operator's hand */
	store_end(&s);
}

/* An account that was made by looking is no obstacle. */
static void test_unused_account_gives_way(void **state)
{
	struct store s;
	struct operation op = op_of(OP_ENSURE_USER, user);
	store_make(&s);
	assert_int_equal(apply(&s, &op).result, OPR_OK);
	assert_int_equal(go(&s, STAY_ARRIVING), OPR_OK);
	assert_int_equal(digest(&s), 0);
	store_end(&s);
}

/* ---- numbers -------------------------------------------------------------------------------------------------- */

static void adopt_all(struct store *s)
{
	assert_int_equal(adopt_mailbox(s, 1234, 40), OPR_OK);
	(void)adopt_message(s, 3, 12);
	(void)adopt_message(s, 7, 30);
	(void)adopt_message(s, 5, 30);
	(void)adopt_message(s, 6, 31);
	assert_int_equal(adopt_vanished(s, 6, 35), OPR_OK);
	assert_int_equal(adopt_vanished(s, 4, 35), OPR_OK); /* never copied */
	assert_int_equal(adopt_mailbox(s, 1234, 40), OPR_OK);
}

static bool on_entry(void *arg, const struct index_entry *e)
{
	static const struct {
		uint32_t uid;
		uint64_t modseq;
	} wanted[] = { { 3, 12 }, { 5, 30 }, { 7, 30 } };
	size_t *n = arg;
	assert_true(*n < 3);
	assert_int_equal(e->uid, wanted[*n].uid);
	assert_int_equal(e->modseq, wanted[*n].modseq);
	assert_int_equal(e->flags, STORE_FLAGGED);
	assert_int_equal(e->keywords, 2);
	assert_int_equal(e->saved_s, 77);
	++*n;
	return true;
}

static void check_numbers(struct store *s)
{
	struct index_mailbox m;
	struct index_user u;
	size_t n = 0;
	err_t err;
	struct index *x = index_open(s->dir, &err);
	struct index_view *v = index_view_begin(x);
	assert_non_null(v);
	assert_true(index_mailbox_find(v, span_str(user), SPAN("INBOX"), &m));
	assert_int_equal(m.uidvalidity, 1234);
	assert_int_equal(m.uidnext, 9);
	assert_int_equal(m.modseq, 40);
	assert_int_equal(m.recent_from, 4);
	assert_int_equal(m.vanished_from, 2);
	assert_int_equal(m.messages, 3);
	assert_true(m.keyword_n == 2 && span_eq_str(m.keywords[1], "Two"));
	index_entries(v, m.id, all, on_entry, &n);
	assert_int_equal(n, 3);
	assert_true(index_user(v, span_str(user), &u));
	assert_int_equal(u.messages, 3);
	assert_int_equal(u.bytes, 30);
	assert_int_equal(u.inbox, m.id);
	assert_int_equal(index_mailbox_object(v, m.id), 77);
	for (uint32_t uid = 1; uid < m.uidnext; uid++) {
		struct index_entry e;
		if (index_entry(v, m.id, uid, &e))
			assert_int_equal(index_object(v, e.blob), 1000 + uid);
	}
	index_view_end(&v);
	index_close(&x);
}

static void test_numbers_are_kept(void **state)
{
	struct store s;
	store_make(&s);
	assert_int_equal(go(&s, STAY_ARRIVING), OPR_OK);
	adopt_all(&s);
	check_numbers(&s);
	uint64_t once = digest(&s);
	assert_int_equal(adopt_message(&s, 3, 12), OPR_EXISTS);
	adopt_all(&s); /* uid 6 comes and goes once more */
	check_numbers(&s);
	assert_int_equal(digest(&s), once);
	struct operation op = adopt(&s, OP_ADOPT_MARKS, 38);
	op.uids = (struct uid_set){ &all, 1 };
	op.set.flags = STORE_SEEN;
	assert_int_equal(apply(&s, &op).result, OPR_OK);
	assert_int_not_equal(digest(&s), once);
	/* Another mailbox of that name takes its place whole. */
	assert_int_equal(adopt_mailbox(&s, 1300, 3), OPR_OK);
	assert_int_not_equal(digest(&s), once);
	adopt_all(&s);
	check_numbers(&s);
	assert_int_equal(digest(&s), once);
	store_end(&s);
}

/* What is made after the move is newer than anything the old store has made. */
static void test_new_mailboxes_are_new(void **state)
{
	struct store s;
	struct operation op = op_of(OP_CREATE, user);
	store_make(&s);
	assert_int_equal(go(&s, STAY_ARRIVING), OPR_OK);
	assert_int_equal(adopt_mailbox(&s, 900000, 40), OPR_OK);
	assert_int_equal(go(&s, STAY_HERE), OPR_OK);
	op.name = SPAN("new");
	assert_int_equal(apply(&s, &op).uidvalidity, 900001);
	store_end(&s);
}

static bool take_hash(void *arg, struct span id, uint64_t hash)
{
	assert_true(span_eq_str(id, "id-1"));
	((struct operation *)arg)->adopted.folder_hash = hash;
	return true;
}

static void test_deliveries_are_known(void **state)
{
	struct store from, to;
	struct operation op = op_of(OP_ADOPT_DELIVERY, user);
	store_make(&from);
	store_make(&to);
	assert_int_equal(deliver(&from, "id-1"), OPR_OK);
	assert_int_equal(go(&to, STAY_ARRIVING), OPR_OK);
	assert_int_equal(adopt_mailbox(&to, 5, 5), OPR_OK);
	err_t err;
	struct index *x = index_open(from.dir, &err);
	struct index_view *v = index_view_begin(x);
	index_deliveries(v, span_str(user), take_hash, &op);
	index_view_end(&v);
	index_close(&x);
	op.delivery_id = SPAN("id-1");
	assert_int_equal(apply(&to, &op).result, OPR_OK);
	assert_int_equal(apply(&to, &op).result, OPR_OK);
	assert_int_equal(go(&to, STAY_HERE), OPR_OK);
	assert_int_equal(deliver(&to, "id-1"), OPR_SEEN);
	assert_int_equal(deliver(&to, "id-2"), OPR_OK);
	store_end(&from);
	store_end(&to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stays),
		cmocka_unit_test(test_moves_are_told_apart),
		cmocka_unit_test(test_unused_account_gives_way),
		cmocka_unit_test(test_numbers_are_kept),
		cmocka_unit_test(test_new_mailboxes_are_new),
		cmocka_unit_test(test_deliveries_are_known),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
