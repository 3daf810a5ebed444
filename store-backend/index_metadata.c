/* index_metadata.c - annotations (RFC 5464): rows, and who may change them. Before: index_apply.c for changes, imap/ for
 * looking. Owns nothing. */
#include "base/check.h"
#include "store-backend/acl.h"
#include "store-backend/index_apply.h"

/* ---- rows --------------------------------------------------------------------------------------------------- */

static struct db_key whose_key(uint64_t mailbox, struct span whose)
{
	struct db_key k = key_mailbox(mailbox);
	key_span(&k, whose);
	key_span(&k, SPAN("\0"));
	return k;
}

static struct db_key row_key(uint64_t mailbox, struct span whose, struct span name)
{
	struct db_key k = whose_key(mailbox, whose);
	key_span(&k, name);
	return k;
}

static bool count_row(void *arg, const MDB_val *key, const MDB_val *value)
{
	++*(uint64_t *)arg;
	return true;
}

static uint64_t count_rows(struct apply *a, struct span whose)
{
	struct db_key prefix = row_key(a->op->mailbox, whose, SPAN("/"));
	uint64_t n = 0;
	db_each(&(struct db_range){ &a->t->writer->db, a->t->txn, DB_METADATA, &prefix, &prefix },
	    count_row, &n);
	return n;
}

void metadata_drop(struct index_txn *t, uint64_t mailbox)
{
	struct db_key prefix = key_mailbox(mailbox);
	txn_del_all(t, DB_METADATA, &prefix);
}

void metadata_drop_user(struct index_txn *t, struct span user)
{
	struct db_key prefix = whose_key(0, user);
	txn_del_all(t, DB_METADATA, &prefix);
}

static void store_entry(struct apply *a, struct span whose, const struct op_entry *e)
{
	struct db_key k = row_key(a->op->mailbox, whose, e->name);
	MDB_val v;
	if (a->op->how == FLAGS_ADD && txn_get(a->t, DB_METADATA, &k, &v))
		return;
	if (e->nil)
		(void)txn_del(a->t, DB_METADATA, &k);
	else
		txn_put(a->t, DB_METADATA, &k, e->value.n > 0 ? e->value.p : "", e->value.n);
}

/* ---- changes -------------------------------------------------------------------------------------------------- */

static bool is_shared(const struct op_entry *e)
{
	return span_starts(e->name, SPAN("/shared/"));
}

static struct span whose_of(const struct apply *a, const struct op_entry *e)
{
	if (is_shared(e))
		return SPAN("");
	return a->op->actor.n > 0 ? a->op->actor : a->op->user;
}

/* RFC 5464 section 3.3: whoever sees the mailbox and may do anything with its messages has annotations of their own. */
static bool may_set(struct apply *a, const struct op_entry *e)
{
	uint32_t rights;
	if (a->op->mailbox == 0)
		return !is_shared(e); /* the server's own are in its configuration */
	rights = apply_rights(a, &a->box);
	if ((rights & ACL_LOOKUP) == 0)
		return false;
	return is_shared(e) ? (rights & ACL_WRITE) != 0 : (rights & ACL_METADATA) != 0;
}

/* Would there be too many? Those that the change takes away make room for those that it brings. */
static bool fits(struct apply *a, bool shared)
{
	const struct operation *op = a->op;
	uint64_t more = 0, less = 0, n = 0;
	for (size_t i = 0; i < op->entry_n; i++) {
		const struct op_entry *e = &op->entries[i];
		struct db_key k = row_key(op->mailbox, whose_of(a, e), e->name);
		MDB_val v;
		if (is_shared(e) != shared || e->name.p[0] != '/')
			continue; /* the store's own have no limit: there is one */
		bool there = txn_get(a->t, DB_METADATA, &k, &v);
		n = n > 0 ? n : count_rows(a, whose_of(a, e));
		more += !there && !e->nil;
		less += there && e->nil;
	}
	return more == 0 || n + more - less <= op->quota_messages;
}

enum operation_result apply_set_metadata(struct apply *a)
{
	const struct operation *op = a->op;
	bool there = op->mailbox == 0 ? user_load(a->t, op->user, &a->user)
				      : apply_load_box(a, op->mailbox, &a->box);
	if (!there)
		return op->mailbox == 0 ? OPR_NO_USER : OPR_NO_MAILBOX;
	for (size_t i = 0; i < op->entry_n; i++)
		if (!may_set(a, &op->entries[i]))
			return OPR_DENIED;
	if (!fits(a, true) || !fits(a, false))
		return OPR_TOO_MANY;
	for (size_t i = 0; i < op->entry_n; i++)
		store_entry(a, whose_of(a, &op->entries[i]), &op->entries[i]);
	user_touch(a->t, op->user);
	return OPR_OK;
}

enum operation_result apply_adopt_metadata(struct apply *a)
{
	if (a->op->mailbox != 0 && !apply_load_box(a, a->op->mailbox, &a->box))
		return OPR_NO_MAILBOX;
	if (a->op->mailbox == 0 && !span_eq(a->op->name, a->op->user))
		return OPR_DENIED;
	for (size_t i = 0; i < a->op->entry_n; i++)
		store_entry(a, a->op->name, &a->op->entries[i]);
	return OPR_OK;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

struct each_entry {
	size_t skip;
	bool (*fn)(void *arg, struct span name, struct span value);
	bool (*all)(void *arg, struct span whose, struct span name, struct span value);
	void *arg;
};

static bool on_row(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct each_entry *e = arg;
	return e->fn(e->arg, span_from(val_span(key), e->skip), val_span(value));
}

static bool on_any_row(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct each_entry *e = arg;
	struct span name = span_from(val_span(key), e->skip), whose = span_cut(&name, '\0');
	return e->all(e->arg, whose, name, val_span(value));
}

void index_metadata(struct index_view *v, uint64_t mailbox, struct span whose,
    bool (*fn)(void *arg, struct span name, struct span value), void *arg)
{
	struct db_key prefix;
	struct each_entry e = { .fn = fn, .arg = arg };
	const struct db *db;
	MDB_txn *txn;
	if (whose.n > STORE_USER_MAX)
		return;
	prefix = whose_key(mailbox, whose);
	e.skip = prefix.n;
	index_view_db(v, &db, &txn);
	db_each(&(struct db_range){ db, txn, DB_METADATA, &prefix, &prefix }, on_row, &e);
}

bool index_metadata_get(struct index_view *v, uint64_t mailbox, struct span whose, struct span name,
    struct span *value_out)
{
	struct db_key k;
	const struct db *db;
	MDB_txn *txn;
	MDB_val value;
	if (whose.n > STORE_USER_MAX || name.n > STORE_ENTRY_NAME_MAX)
		return false;
	k = row_key(mailbox, whose, name);
	index_view_db(v, &db, &txn);
	if (!db_get(db, txn, DB_METADATA, &k, &value))
		return false;
	*value_out = val_span(&value);
	return true;
}

void index_metadata_all(struct index_view *v, uint64_t mailbox,
    bool (*fn)(void *arg, struct span whose, struct span name, struct span value), void *arg)
{
	struct db_key prefix = key_mailbox(mailbox);
	struct each_entry e = { .skip = prefix.n, .all = fn, .arg = arg };
	const struct db *db;
	MDB_txn *txn;
	index_view_db(v, &db, &txn);
	db_each(&(struct db_range){ db, txn, DB_METADATA, &prefix, &prefix }, on_any_row, &e);
}
