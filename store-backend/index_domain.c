/* index_domain.c - how much the users of each domain have in this partition, and what the domain is allowed. Counted with the
 * row of each user that is written. Before: index_mailbox.c, which writes it; domain_quota.c adds partitions up. Owns
 * nothing.
 *
 * An index from before domains were counted is counted once, by index_writer_mark(). */
#include "store-backend/index_apply.h"

#include <string.h>

#include "directory/name.h"

#define COUNTED "domains" /* in meta: the rows are right */

static struct db_key domain_key(struct span domain)
{
	struct db_key k = { .n = 0 };
	key_span(&k, domain);
	return k;
}

/* ---- counting ----------------------------------------------------------------------------------------------- */

static struct domain_row load(struct index_txn *t, struct span domain)
{
	struct db_key k = domain_key(domain);
	struct domain_row row = { 0 };
	MDB_val v;
	if (txn_get(t, DB_DOMAINS, &k, &v) && !row_get(&v, &row, sizeof row))
		row = (struct domain_row){ 0 };
	return row;
}

/* Limits stay while there is nobody: whoever comes next is bound by them. */
static void store(struct index_txn *t, struct span domain, const struct domain_row *row)
{
	struct db_key k = domain_key(domain);
	if (row->users > 0 || row->version > 0)
		txn_put(t, DB_DOMAINS, &k, row, sizeof *row);
	else
		(void)txn_del(t, DB_DOMAINS, &k);
}

/* There is less than goes when a program that did not count was here in between: the next start counts anew. */
static uint64_t less_of(struct index_txn *t, uint64_t there, uint64_t gone)
{
	struct db_key mark = domain_key(SPAN(COUNTED));
	if (there >= gone)
		return there - gone;
	(void)txn_del(t, DB_META, &mark);
	return 0;
}

void domain_count(
    struct index_txn *t, struct span user, const struct user_row *was, const struct user_row *now)
{
	static const struct user_row nothing = { 0 };
	const struct user_row *less = was != NULL ? was : &nothing;
	const struct user_row *more = now != NULL ? now : &nothing;
	struct span domain = name_domain(user);
	if (domain.n == 0 || (was != NULL && now != NULL && less->bytes == more->bytes &&
				 less->messages == more->messages))
		return;
	struct domain_row row = load(t, domain);
	row.bytes = less_of(t, row.bytes, less->bytes) + more->bytes;
	row.messages = less_of(t, row.messages, less->messages) + more->messages;
	row.users = less_of(t, row.users, was != NULL) + (now != NULL);
	store(t, domain, &row);
}

static bool count_user(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct user_row row;
	char user[STORE_USER_MAX];
	struct span name = val_span(key);
	if (!row_get(value, &row, sizeof row) || name.n > sizeof user)
		return true;
	memcpy(user, name.p, name.n); /* a change moves what LMDB shows */
	domain_count(arg, span_of(user, name.n), NULL, &row);
	return true;
}

/* Limits stay: they are nobody's count. */
static int forget_count(MDB_cursor *c, const MDB_val *key, const MDB_val *value)
{
	struct domain_row row;
	MDB_val k = *key, now = { sizeof row, &row };
	if (!row_get(value, &row, sizeof row) || row.version == 0)
		return mdb_cursor_del(c, 0);
	row.bytes = row.messages = row.users = 0;
	return mdb_cursor_put(c, &k, &now, MDB_CURRENT);
}

static void forget_counts(struct index_txn *t)
{
	MDB_val key, value;
	MDB_cursor *c;
	int rc = mdb_cursor_open(t->txn, t->writer->db.t[DB_DOMAINS], &c);
	if (rc != 0) {
		txn_fail(t, rc);
		return;
	}
	rc = mdb_cursor_get(c, &key, &value, MDB_FIRST);
	while (rc == 0) {
		rc = forget_count(c, &key, &value);
		if (rc == 0)
			rc = mdb_cursor_get(c, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(c);
	txn_fail(t, rc == MDB_NOTFOUND ? 0 : rc);
}

void domain_count_all(struct index_txn *t)
{
	struct db_key all = { .n = 0 }, mark = domain_key(SPAN(COUNTED));
	MDB_val v;
	if (txn_get(t, DB_META, &mark, &v))
		return;
	forget_counts(t);
	db_each(&(struct db_range){ &t->writer->db, t->txn, DB_USERS, &all, &all }, count_user, t);
	txn_put(t, DB_META, &mark, "", 0);
}

/* ---- limits -------------------------------------------------------------------------------------------------- */

/* The user only says which domain. */
enum operation_result apply_domain_limits(struct apply *a)
{
	struct span domain = name_domain(a->op->user);
	struct domain_row row = load(a->t, domain);
	row.quota_bytes = a->op->quota_bytes;
	row.quota_messages = a->op->quota_messages;
	row.version = a->op->unchanged_since;
	store(a->t, domain, &row);
	return OPR_OK;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

void index_domain(struct index_view *v, struct span domain, struct index_domain *out)
{
	struct db_key k = domain_key(domain);
	struct domain_row row = { 0 };
	const struct db *db;
	MDB_txn *txn;
	MDB_val value;
	index_view_db(v, &db, &txn);
	if (domain.n > 0 && domain.n <= STORE_USER_MAX && db_get(db, txn, DB_DOMAINS, &k, &value) &&
	    !row_get(&value, &row, sizeof row))
		row = (struct domain_row){ 0 };
	*out = (struct index_domain){ row.bytes, row.messages, row.users, row.quota_bytes,
		row.quota_messages, row.version };
}

struct each_domain {
	bool (*fn)(void *arg, struct span domain);
	void *arg;
};

static bool on_domain(void *arg, const MDB_val *key, const MDB_val *value)
{
	const struct each_domain *e = arg;
	return e->fn(e->arg, val_span(key));
}

void index_domains(struct index_view *v, bool (*fn)(void *arg, struct span domain), void *arg)
{
	struct each_domain e = { fn, arg };
	struct db_key all = { .n = 0 };
	const struct db *db;
	MDB_txn *txn;
	index_view_db(v, &db, &txn);
	db_each(&(struct db_range){ db, txn, DB_DOMAINS, &all, &all }, on_domain, &e);
}
