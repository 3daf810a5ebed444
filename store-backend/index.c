/* index.c - step 5 of 6: the read side of the index. Before: committer.c writes it (index_write.c,
 * index_apply.c); after: watch.c tells who looks. Owns the LMDB environment and one idle transaction. */
#include "store-backend/index.h"

#include "base/hash.h"
#include "base/mem.h"
#include "store-backend/index_db.h"

struct index_view {
	struct index *index; /* borrowed */
	MDB_txn *txn;
};

struct index {
	struct db db;
	MDB_txn *idle; /* reset, to be renewed: cheaper than a new one; NULL while in use */
	bool borrowed; /* db is the writer's: a process may open a file once only */
};

struct index *index_open(const char *dir, err_t *err_out)
{
	struct index *x = MEM_NEW(struct index);
	*err_out = db_open(&x->db, dir, DB_READ, 0);
	if (*err_out)
		MEM_FREE(&x);
	return x;
}

struct index *index_of_db(const struct db *db)
{
	struct index *x = MEM_NEW(struct index);
	x->db = *db;
	x->borrowed = true;
	return x;
}

void index_close(struct index **xp)
{
	struct index *x = *xp;
	if (x == NULL)
		return;
	if (x->idle != NULL)
		mdb_txn_abort(x->idle);
	if (!x->borrowed)
		db_close(&x->db);
	MEM_FREE(xp);
}

struct index_view *index_view_begin(struct index *x)
{
	MDB_txn *txn = NULL;
	if (x == NULL)
		return NULL;
	if (x->idle != NULL) {
		txn = x->idle;
		x->idle = NULL;
		if (mdb_txn_renew(txn) != 0) {
			mdb_txn_abort(txn);
			txn = NULL;
		}
	}
	if (txn == NULL && mdb_txn_begin(x->db.env, NULL, MDB_RDONLY, &txn) != 0)
		return NULL;
	struct index_view *v = MEM_NEW(struct index_view);
	v->index = x;
	v->txn = txn;
	return v;
}

void index_view_end(struct index_view **vp)
{
	struct index_view *v = *vp;
	if (v == NULL)
		return;
	if (v->index->idle == NULL) {
		mdb_txn_reset(v->txn);
		v->index->idle = v->txn;
	} else {
		mdb_txn_abort(v->txn);
	}
	MEM_FREE(vp);
}

log_pos index_covered(struct index_view *v)
{
	struct db_key k = { .n = 0 };
	struct meta_row m = { 0 };
	MDB_val value;
	key_span(&k, SPAN("meta"));
	if (!db_get(&v->index->db, v->txn, DB_META, &k, &value) || !row_get(&value, &m, sizeof m))
		return 0;
	return m.covered;
}

bool index_mending(struct index_view *v, uint64_t mailbox, uint64_t wall_s)
{
	return db_held(&v->index->db, v->txn, mailbox, wall_s);
}

void index_view_db(struct index_view *v, const struct db **db_out, MDB_txn **txn_out)
{
	*db_out = &v->index->db;
	*txn_out = v->txn;
}

bool index_user(struct index_view *v, struct span user, struct index_user *out)
{
	struct user_row row;
	if (!db_user(&v->index->db, v->txn, user, &row))
		return false;
	*out = (struct index_user){ row.bytes, row.messages, row.quota_bytes, row.quota_messages,
		row.inbox };
	return true;
}

void index_types(struct index_view *v, const struct index_mailbox *m, struct type_uses *mailbox_out,
    struct type_uses *user_out)
{
	db_types(&v->index->db, v->txn, m, mailbox_out, user_out);
}

bool index_mailbox_get(struct index_view *v, uint64_t id, struct index_mailbox *out)
{
	return db_mailbox(&v->index->db, v->txn, id, out);
}

struct next_mailbox {
	bool there;
	struct index_mailbox *out;
};

static bool take_mailbox(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct next_mailbox *n = arg;
	struct mailbox_row row;
	uint64_t id = key_get_u64(key, 0);
	/* A key that is damaged is passed over: whoever goes on behind its id would not come to an end. */
	n->there =
	    key->mv_size == sizeof id && id >> 63 == 0 && mailbox_parse(id, value, n->out, &row);
	return !n->there;
}

bool index_mailbox_from(struct index_view *v, uint64_t id, struct index_mailbox *out)
{
	struct next_mailbox n = { false, out };
	struct db_key all = { .n = 0 }, from = key_mailbox(id);
	db_each(&(struct db_range){ &v->index->db, v->txn, DB_MAILBOXES, &all, &from },
	    take_mailbox, &n);
	return n.there;
}

bool index_mailbox_find(
    struct index_view *v, struct span user, struct span name, struct index_mailbox *out)
{
	uint64_t id = db_mailbox_id(&v->index->db, v->txn, user, name);
	return id != 0 && index_mailbox_get(v, id, out);
}

struct each_mailbox {
	struct index_view *view;
	bool (*fn)(void *arg, const struct index_mailbox *m);
	void *arg;
};

static bool on_mailbox_name(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct each_mailbox *e = arg;
	struct index_mailbox m;
	uint64_t id;
	if (!row_get(value, &id, sizeof id) || !index_mailbox_get(e->view, id, &m))
		return true;
	return e->fn(e->arg, &m);
}

void index_mailboxes(struct index_view *v, struct span user,
    bool (*fn)(void *arg, const struct index_mailbox *m), void *arg)
{
	struct each_mailbox e = { v, fn, arg };
	if (user.n == 0 || user.n > STORE_USER_MAX)
		return;
	struct db_key prefix = key_name(user, SPAN_NONE);
	db_each(&(struct db_range){ &v->index->db, v->txn, DB_NAMES, &prefix, &prefix },
	    on_mailbox_name, &e);
}

struct each_name {
	size_t skip;
	bool (*fn)(void *arg, struct span name);
	void *arg;
};

static bool on_subscription(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct each_name *e = arg;
	return e->fn(e->arg, span_from(val_span(key), e->skip));
}

void index_subscriptions(
    struct index_view *v, struct span user, bool (*fn)(void *arg, struct span name), void *arg)
{
	struct each_name e = { user.n + 1, fn, arg };
	if (user.n == 0 || user.n > STORE_USER_MAX)
		return;
	struct db_key prefix = key_name(user, SPAN_NONE);
	db_each(&(struct db_range){ &v->index->db, v->txn, DB_SUBS, &prefix, &prefix },
	    on_subscription, &e);
}

uint64_t index_user_watch(struct span user)
{
	static const struct hash_key fixed = { 0x75736572u, 0x7761746368u };
	return hash_sip(&fixed, user) | (uint64_t)1 << 63;
}

/* ---- entries ---------------------------------------------------------------------------------------------- */

static bool entry_parse(uint32_t uid, const MDB_val *v, struct index_entry *out)
{
	struct entry_row row;
	if (!row_get(v, &row, sizeof row))
		return false;
	*out = (struct index_entry){
		.uid = uid,
		.flags = row.flags,
		.keywords = row.keywords,
		.modseq = row.modseq,
		.size = row.size,
		.date_s = row.date_s,
		.saved_s = row.saved_s,
		.date_zone = row.date_zone,
		.type = message_type_from(row.type),
		.blob = row.blob,
	};
	return true;
}

bool index_entry(struct index_view *v, uint64_t mailbox, uint32_t uid, struct index_entry *out)
{
	struct db_key k = key_entry(mailbox, uid);
	MDB_val value;
	return db_get(&v->index->db, v->txn, DB_ENTRIES, &k, &value) &&
	       entry_parse(uid, &value, out);
}

struct each_entry {
	uint32_t last;
	bool (*fn)(void *arg, const struct index_entry *e);
	void *arg;
};

static bool on_entry(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct each_entry *e = arg;
	struct index_entry entry;
	uint32_t uid = key_get_u32(key, 8);
	if (uid > e->last)
		return false;
	return !entry_parse(uid, value, &entry) || e->fn(e->arg, &entry);
}

void index_entries(struct index_view *v, uint64_t mailbox, struct uid_range uids,
    bool (*fn)(void *arg, const struct index_entry *e), void *arg)
{
	struct each_entry e = { .last = uids.last, .fn = fn, .arg = arg };
	struct db_key prefix = key_mailbox(mailbox), from = key_entry(mailbox, uids.first);
	db_each(
	    &(struct db_range){ &v->index->db, v->txn, DB_ENTRIES, &prefix, &from }, on_entry, &e);
}

struct each_change {
	bool (*fn)(void *arg, const struct index_entry *e);
	void *arg;
};

static bool on_change(void *arg, uint32_t uid, const MDB_val *row)
{
	const struct each_change *e = arg;
	struct index_entry entry;
	return !entry_parse(uid, row, &entry) || e->fn(e->arg, &entry);
}

void index_changes(struct index_view *v, uint64_t mailbox, uint64_t since,
    bool (*fn)(void *arg, const struct index_entry *e), void *arg)
{
	struct each_change e = { fn, arg };
	if (since == UINT64_MAX)
		return;
	struct db_key prefix = key_mailbox(mailbox), from = key_modseq(mailbox, since + 1, 0);
	db_runs(
	    &(struct db_range){ &v->index->db, v->txn, DB_MODSEQS, &prefix, &from }, on_change, &e);
}

struct each_vanished {
	bool (*fn)(void *arg, uint32_t uid, uint64_t modseq);
	void *arg;
};

static bool on_vanished(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct each_vanished *e = arg;
	return e->fn(e->arg, key_get_u32(key, 16), key_get_u64(key, 8));
}

void index_vanished(struct index_view *v, uint64_t mailbox, uint64_t since,
    bool (*fn)(void *arg, uint32_t uid, uint64_t modseq), void *arg)
{
	struct each_vanished e = { fn, arg };
	if (since == UINT64_MAX)
		return;
	struct db_key prefix = key_mailbox(mailbox), from = key_modseq(mailbox, since + 1, 0);
	db_each(&(struct db_range){ &v->index->db, v->txn, DB_VANISHED, &prefix, &from },
	    on_vanished, &e);
}

struct span index_cache(struct index_view *v, log_pos blob)
{
	struct db_key k = key_mailbox(blob);
	MDB_val value;
	if (!db_get(&v->index->db, v->txn, DB_CACHES, &k, &value))
		return SPAN_NONE;
	return val_span(&value);
}

/* ---- for the move to another store --------------------------------------------------------------------------- */

enum store_stay index_stay(struct index_view *v, struct span user)
{
	return db_stay(&v->index->db, v->txn, user).stay;
}

struct each_delivery {
	struct span user;
	bool (*fn)(void *arg, struct span id, uint64_t folder_hash);
	void *arg;
};

static bool on_delivery(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct each_delivery *e = arg;
	struct span rest = val_span(key);
	struct span id = span_cut(&rest, '\0');
	if (rest.n != e->user.n + 1 + sizeof(uint64_t) || !span_starts(rest, e->user) ||
	    rest.p[e->user.n] != '\0')
		return true;
	return e->fn(e->arg, id, key_get_u64(key, id.n + 1 + e->user.n + 1));
}

void index_deliveries(struct index_view *v, struct span user,
    bool (*fn)(void *arg, struct span id, uint64_t folder_hash), void *arg)
{
	struct each_delivery e = { user, fn, arg };
	struct db_key all = { .n = 0 };
	db_each(&(struct db_range){ &v->index->db, v->txn, DB_DELIVERIES, &all, &all }, on_delivery,
	    &e);
}

static const struct hash_key digest_key = { 0x6469676573746d62u, 0x6f78 };

static bool digest_entry(void *arg, const struct index_entry *e)
{
	uint64_t *sum = arg;
	uint64_t parts[8] = { *sum, e->uid, e->flags, e->keywords, e->modseq, e->size,
		(uint64_t)e->date_s * 4096 + (uint64_t)(e->date_zone + 2048),
		(uint64_t)e->saved_s };
	*sum = hash_sip(&digest_key, span_of(parts, sizeof parts));
	return true;
}

static bool digest_vanished(void *arg, uint32_t uid, uint64_t modseq)
{
	uint64_t *sum = arg;
	uint64_t parts[3] = { *sum, uid, modseq };
	*sum = hash_sip(&digest_key, span_of(parts, sizeof parts));
	return true;
}

static bool digest_right(void *arg, struct span who, uint32_t rights)
{
	uint64_t *sum = arg;
	uint64_t parts[3] = { *sum, hash_sip(&digest_key, who), rights };
	*sum = hash_sip(&digest_key, span_of(parts, sizeof parts));
	return true;
}

static bool digest_metadata(void *arg, struct span whose, struct span name, struct span value)
{
	uint64_t *sum = arg;
	uint64_t parts[4] = { *sum, hash_sip(&digest_key, whose), hash_sip(&digest_key, name),
		hash_sip(&digest_key, value) };
	*sum = hash_sip(&digest_key, span_of(parts, sizeof parts));
	return true;
}

uint64_t index_mailbox_digest(struct index_view *v, uint64_t mailbox)
{
	struct index_mailbox m;
	if (!index_mailbox_get(v, mailbox, &m))
		return 0;
	uint64_t parts[8] = { hash_sip(&digest_key, m.name), m.uidvalidity, m.uidnext, m.modseq,
		m.recent_from, m.uses, m.vanished_from, index_mailbox_object(v, mailbox) };
	uint64_t sum = hash_sip(&digest_key, span_of(parts, sizeof parts));
	for (size_t i = 0; i < m.keyword_n; i++)
		sum ^= hash_sip(&digest_key, m.keywords[i]) + i;
	index_entries(v, mailbox, (struct uid_range){ 1, UINT32_MAX }, digest_entry, &sum);
	/* What is older is not told to anybody, and may be gone from one of two stores. */
	index_vanished(v, mailbox, m.vanished_from, digest_vanished, &sum);
	index_acl(v, mailbox, digest_right, &sum);
	index_metadata_all(v, mailbox, digest_metadata, &sum);
	return sum == 0 ? 1 : sum;
}
