/* index_run.c - which uids of a mailbox were last changed together: one row for a run of neighbours, so that a change of
 * ten thousand flags is not ten thousand rows. Before: index_mailbox.c and index_apply.c change entries; after: the
 * readers of index_changes(). Owns nothing.
 *
 * A uid is in one run only, that of its entry's modseq. A row without a value, as all were once, is a run of one. */
#include "store-backend/index_txn.h"

/* ---- rows -------------------------------------------------------------------------------------------------- */

void run_put(struct index_txn *t, uint64_t id, uint64_t modseq, struct uid_range r)
{
	struct db_key k = key_modseq(id, modseq, r.first), last = { .n = 0 };
	if (r.last > r.first)
		key_u32(&last, r.last);
	txn_put(t, DB_MODSEQS, &k, last.b, last.n);
}

struct uid_range db_run_range(const MDB_val *key, const MDB_val *value)
{
	uint32_t first = key_get_u32(key, 16), last = key_get_u32(value, 0);
	return (struct uid_range){ first, last > first ? last : first };
}

static bool is_of(const MDB_val *key, uint64_t id, uint64_t modseq)
{
	return key_get_u64(key, 0) == id && key_get_u64(key, 8) == modseq;
}

/* Puts the cursor on the run that holds the uid; else on the first behind it, of whatever mailbox. */
static int seek(MDB_cursor *c, const struct db_key *at, MDB_val *key, MDB_val *value)
{
	struct db_key k = *at;
	MDB_val wanted = key_val(&k);
	uint32_t uid = key_get_u32(&wanted, 16);
	*key = wanted;
	int rc = mdb_cursor_get(c, key, value, MDB_SET_RANGE);
	if (rc == 0 && span_eq(val_span(key), val_span(&wanted)))
		return 0;
	rc = mdb_cursor_get(c, key, value, rc == 0 ? MDB_PREV : MDB_LAST);
	if (rc == 0 && is_of(key, key_get_u64(&wanted, 0), key_get_u64(&wanted, 8)) &&
	    db_run_range(key, value).last >= uid)
		return 0;
	*key = wanted;
	return mdb_cursor_get(c, key, value, MDB_SET_RANGE);
}

bool db_run_holds(const struct db *db, MDB_txn *txn, uint64_t id, const struct index_entry *e)
{
	struct db_key k = key_modseq(id, e->modseq, e->uid);
	MDB_val key, value;
	MDB_cursor *c;
	if (mdb_cursor_open(txn, db->t[DB_MODSEQS], &c) != 0)
		return false;
	bool holds = seek(c, &k, &key, &value) == 0 && is_of(&key, id, e->modseq) &&
		     db_run_range(&key, &value).first <= e->uid;
	mdb_cursor_close(c);
	return holds;
}

/* What is left of a run on both sides of what is cut out; the cursor is on its row. */
static int cut_row(struct index_txn *t, MDB_cursor *c, MDB_val *key, struct uid_range cut)
{
	MDB_val value;
	int rc = mdb_cursor_get(c, key, &value, MDB_GET_CURRENT);
	if (rc != 0)
		return rc;
	struct uid_range row = db_run_range(key, &value);
	uint64_t id = key_get_u64(key, 0), modseq = key_get_u64(key, 8);
	if (row.first < cut.first) {
		struct db_key last = { .n = 0 };
		key_u32(&last, cut.first - 1);
		value = key_val(&last);
		rc = mdb_cursor_put(c, key, &value, MDB_CURRENT);
	} else {
		rc = mdb_cursor_del(c, 0);
	}
	if (rc == 0 && row.last > cut.last)
		run_put(t, id, modseq, (struct uid_range){ cut.last + 1, row.last });
	return rc;
}

void run_cut(struct index_txn *t, uint64_t id, uint64_t modseq, struct uid_range r)
{
	struct db_key k = key_modseq(id, modseq, r.first);
	MDB_val key, value;
	MDB_cursor *c = txn_going(t, DB_MODSEQS);
	if (c == NULL)
		return;
	int rc = seek(c, &k, &key, &value);
	while (rc == 0 && is_of(&key, id, modseq) && db_run_range(&key, &value).first <= r.last) {
		rc = cut_row(t, c, &key, r);
		if (rc == 0)
			rc = mdb_cursor_get(c, &key, &value, MDB_NEXT);
	}
	txn_fail(t, rc == MDB_NOTFOUND ? 0 : rc);
}

/* ---- many entries, put together as long as they are neighbours ------------------------------------------------- */

static bool follows(const struct uid_range *r, uint32_t uid)
{
	return r->first != 0 && r->last + 1 == uid;
}

static void flush_cut(struct run_change *r)
{
	if (r->cut.first != 0)
		run_cut(r->t, r->id, r->cut_modseq, r->cut);
	r->cut.first = 0;
}

static void flush_put(struct run_change *r)
{
	if (r->put.first != 0)
		run_put(r->t, r->id, r->put_modseq, r->put);
	r->put.first = 0;
}

void run_leave(struct run_change *r, uint32_t uid, uint64_t modseq)
{
	if (!follows(&r->cut, uid) || r->cut_modseq != modseq) {
		flush_cut(r);
		r->cut = (struct uid_range){ uid, uid };
		r->cut_modseq = modseq;
	}
	r->cut.last = uid;
}

void run_join(struct run_change *r, uint32_t uid, uint64_t modseq)
{
	if (!follows(&r->put, uid) || r->put_modseq != modseq) {
		/* What is cut may be what was there before of the same modseq. */
		flush_cut(r);
		flush_put(r);
		r->put = (struct uid_range){ uid, uid };
		r->put_modseq = modseq;
	}
	r->put.last = uid;
}

void run_end(struct run_change *r)
{
	flush_cut(r);
	flush_put(r);
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

struct each_run {
	MDB_cursor *entries;
	uint64_t mailbox;
	run_entry_fn *fn;
	void *arg;
};

static bool on_run(void *arg, const MDB_val *key, const MDB_val *value)
{
	const struct each_run *e = arg;
	struct uid_range r = db_run_range(key, value);
	struct db_key from = key_entry(e->mailbox, r.first);
	MDB_val at = key_val(&from), row;
	int rc = mdb_cursor_get(e->entries, &at, &row, MDB_SET_RANGE);
	while (rc == 0 && key_get_u64(&at, 0) == e->mailbox && key_get_u32(&at, 8) <= r.last) {
		if (!e->fn(e->arg, key_get_u32(&at, 8), &row))
			return false;
		rc = mdb_cursor_get(e->entries, &at, &row, MDB_NEXT);
	}
	return true;
}

void db_runs(const struct db_range *runs, run_entry_fn *fn, void *arg)
{
	struct each_run e = { .fn = fn, .arg = arg };
	MDB_val prefix = { runs->prefix->n, (void *)(uintptr_t)runs->prefix->b };
	e.mailbox = key_get_u64(&prefix, 0);
	if (mdb_cursor_open(runs->txn, runs->db->t[DB_ENTRIES], &e.entries) != 0)
		return;
	db_each(runs, on_run, &e);
	mdb_cursor_close(e.entries);
}
