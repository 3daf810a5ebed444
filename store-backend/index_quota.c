/* index_quota.c - users who were told of as out of room (RFC 5423 QuotaExceed), so that it is not told with each message
 * that is refused, and that QuotaWithin follows. Before: index_apply.c picks the function; partition_mark.c decides. Owns
 * nothing.
 *
 * The marks are part of what the log makes: whether events are kept now does not matter to them. */
#include "store-backend/index_apply.h"

enum { MARK_MAX = sizeof(struct quota_mark_row) + STORE_MAILBOX_NAME_MAX };

static struct db_key mark_key(struct span user)
{
	struct db_key k = { .n = 0 };
	key_span(&k, user);
	return k;
}

static bool find_mark(
    const struct db *db, MDB_txn *txn, struct span user, struct index_quota_mark *out)
{
	struct db_key k = mark_key(user);
	struct quota_mark_row row;
	MDB_val v;
	*out = (struct index_quota_mark){ 0 };
	if (user.n == 0 || user.n > STORE_USER_MAX || !db_get(db, txn, DB_QUOTA_MARKS, &k, &v) ||
	    !row_get(&v, &row, sizeof row))
		return false;
	*out = (struct index_quota_mark){ row.since_s, row.first_s, row.mailbox,
		span_from(val_span(&v), sizeof row) };
	return true;
}

bool index_quota_mark(struct index_view *v, struct span user, struct index_quota_mark *out)
{
	const struct db *db;
	MDB_txn *txn;
	index_view_db(v, &db, &txn);
	return find_mark(db, txn, user, out);
}

bool index_txn_quota_mark(struct index_txn *t, struct span user, struct index_quota_mark *out)
{
	return find_mark(&t->writer->db, t->txn, user, out);
}

void quota_mark_drop(struct index_txn *t, struct span user)
{
	struct db_key k = mark_key(user);
	(void)txn_del(t, DB_QUOTA_MARKS, &k);
}

/* was: the mark that is there; empty: none. */
static void store(struct apply *a, const struct index_quota_mark *was)
{
	struct db_key k = mark_key(a->op->user);
	struct quota_mark_row row = { a->facts->wall_s,
		was->since_s != 0 ? was->first_s : a->facts->wall_s, a->op->mailbox };
	struct buf value = BUF_INIT(MARK_MAX);
	buf_add(&value, &row, sizeof row);
	buf_add_span(&value, a->op->name);
	txn_put(a->t, DB_QUOTA_MARKS, &k, buf_span(&value).p, buf_len(&value));
	buf_end(&value);
}

/* Two who have seen the same mark tell of one thing: the second finds another. */
enum operation_result apply_quota_mark(struct apply *a)
{
	const struct operation *op = a->op;
	struct index_quota_mark was;
	struct event_limit by = { op->name, NULL };
	bool full = op->how == FLAGS_ADD;
	if (!user_load(a->t, op->user, &a->user))
		return OPR_NO_USER;
	bool there = index_txn_quota_mark(a->t, op->user, &was);
	if (there != (op->unchanged_since != 0) || was.since_s != op->unchanged_since ||
	    (!there && !full))
		return OPR_OK;
	if (full)
		store(a, &was);
	else
		quota_mark_drop(a->t, op->user);
	if (op->mailbox != 0 && apply_load_box(a, op->mailbox, &a->box))
		by.mailbox = &a->box;
	event_quota_of(a->t, full ? "QuotaExceed" : "QuotaWithin", op->user, &a->user, &by);
	return OPR_OK;
}
