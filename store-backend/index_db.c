/* index_db.c - opening LMDB, keys and rows: what the reading and the writing side of the index share. */
#include "store-backend/index_db.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

enum { READERS_MAX = 1024 };
#define NO_TABLE ((MDB_dbi)-1) /* LMDB refuses it */

static const char *const table_names[DB_COUNT] = {
	[DB_META] = "meta",
	[DB_USERS] = "users",
	[DB_NAMES] = "names",
	[DB_SUBS] = "subs",
	[DB_MAILBOXES] = "mailboxes",
	[DB_ENTRIES] = "entries",
	[DB_MODSEQS] = "modseqs",
	[DB_VANISHED] = "vanished",
	[DB_BLOBS] = "blobs",
	[DB_CACHES] = "caches",
	[DB_DEAD] = "dead",
	[DB_DELIVERIES] = "deliveries",
	[DB_DELIVERY_AGE] = "delivery_age",
	[DB_STAYS] = "stays",
	[DB_ACLS] = "acls",
	[DB_GRANTS] = "grants",
	[DB_METADATA] = "metadata",
	[DB_OBJECTS] = "objects",
	[DB_ANSWERS] = "answers",
	[DB_EVENTS] = "events",
	[DB_TYPES] = "types",
	[DB_MENDS] = "mends",
	[DB_DOMAINS] = "domains",
	[DB_QUOTA_MARKS] = "quota_marks",
};

err_t db_err(int rc)
{
	switch (rc) {
	case MDB_SUCCESS:
		return ERR_OK;
	case MDB_NOTFOUND:
	case ENOENT:
		return ERR_NOT_FOUND;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_PANIC:
	case MDB_VERSION_MISMATCH:
	case MDB_INVALID:
	case MDB_INCOMPATIBLE:
		return ERR_CORRUPT;
	case MDB_MAP_FULL:
		return ERR_NO_SPACE;
	default:
		return rc > 0 ? err_from_errno(rc) : ERR_IO;
	}
}

static int open_tables(struct db *db, bool write)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(db->env, NULL, write ? 0 : MDB_RDONLY, &txn);
	for (int i = 0; rc == 0 && i < DB_COUNT; i++) {
		rc = mdb_dbi_open(txn, table_names[i], write ? MDB_CREATE : 0, &db->t[i]);
		/* A copy from before the table was invented: it has no rows. */
		if (rc == MDB_NOTFOUND && i != DB_META) {
			db->t[i] = NO_TABLE;
			rc = 0;
		}
		if (rc != 0)
			mdb_txn_abort(txn);
	}
	return rc != 0 ? rc : mdb_txn_commit(txn);
}

err_t db_open(struct db *db, const char *path, enum db_mode mode, uint64_t size_max)
{
	static const unsigned flags[] = {
		[DB_READ] = MDB_RDONLY | MDB_NOTLS,
		[DB_WRITE] = MDB_NOSYNC | MDB_NOTLS,
		[DB_READ_FILE] = MDB_RDONLY | MDB_NOSUBDIR | MDB_NOLOCK,
	};
	int rc = mdb_env_create(&db->env);
	if (rc != 0)
		return db_err(rc);
	rc = mdb_env_set_maxdbs(db->env, DB_COUNT);
	if (rc == 0)
		rc = mdb_env_set_maxreaders(db->env, READERS_MAX);
	if (rc == 0 && mode == DB_WRITE)
		rc = mdb_env_set_mapsize(db->env, size_max);
	if (rc == 0)
		rc = mdb_env_open(db->env, path, flags[mode], 0600);
	if (rc == 0)
		rc = open_tables(db, mode == DB_WRITE);
	if (rc != 0)
		db_close(db);
	return db_err(rc);
}

bool db_has_table(const struct db *db, enum db_table t)
{
	return db->t[t] != NO_TABLE;
}

void db_close(struct db *db)
{
	if (db->env != NULL)
		mdb_env_close(db->env);
	db->env = NULL;
}

/* ---- keys --------------------------------------------------------------------------------------------------- */

void key_span(struct db_key *k, struct span s)
{
	CHECK(k->n + s.n <= sizeof k->b);
	if (s.n > 0)
		memcpy(k->b + k->n, s.p, s.n);
	k->n += s.n;
}

static void put_u32(uint8_t *to, uint32_t v)
{
	v = htobe32(v);
	memcpy(to, &v, sizeof v);
}

static void put_u64(uint8_t *to, uint64_t v)
{
	v = htobe64(v);
	memcpy(to, &v, sizeof v);
}

void key_u64(struct db_key *k, uint64_t v)
{
	CHECK(k->n + sizeof v <= sizeof k->b);
	put_u64(k->b + k->n, v);
	k->n += sizeof v;
}

void key_u32(struct db_key *k, uint32_t v)
{
	CHECK(k->n + sizeof v <= sizeof k->b);
	put_u32(k->b + k->n, v);
	k->n += sizeof v;
}

struct db_key key_mailbox(uint64_t id)
{
	struct db_key k;
	put_u64(k.b, id);
	k.n = 8;
	return k;
}

struct db_key key_entry(uint64_t id, uint32_t uid)
{
	struct db_key k;
	put_u64(k.b, id);
	put_u32(k.b + 8, uid);
	k.n = 12;
	return k;
}

struct db_key key_modseq(uint64_t id, uint64_t modseq, uint32_t uid)
{
	struct db_key k;
	put_u64(k.b, id);
	put_u64(k.b + 8, modseq);
	put_u32(k.b + 16, uid);
	k.n = 20;
	return k;
}

struct db_key key_name(struct span user, struct span name)
{
	struct db_key k;
	k.n = 0;
	key_span(&k, user);
	key_span(&k, span_of("", 1));
	key_span(&k, name);
	return k;
}

struct db_key key_delivery(struct span id, struct span user, uint64_t folder_hash)
{
	struct db_key k = key_name(id, user);
	key_span(&k, span_of("", 1));
	key_u64(&k, folder_hash);
	return k;
}

uint32_t key_get_u32(const MDB_val *k, size_t at)
{
	uint32_t v;
	if (k->mv_size < at + sizeof v)
		return 0;
	memcpy(&v, (const char *)k->mv_data + at, sizeof v);
	return be32toh(v);
}

uint64_t key_get_u64(const MDB_val *k, size_t at)
{
	uint64_t v;
	if (k->mv_size < at + sizeof v)
		return 0;
	memcpy(&v, (const char *)k->mv_data + at, sizeof v);
	return be64toh(v);
}

/* ---- rows --------------------------------------------------------------------------------------------------- */

bool row_get(const MDB_val *v, void *row, size_t n)
{
	if (v->mv_size < n)
		return false;
	memcpy(row, v->mv_data, n);
	return true;
}

bool db_get(const struct db *db, MDB_txn *txn, enum db_table t, struct db_key *k, MDB_val *out)
{
	MDB_val key = key_val(k);
	return mdb_get(txn, db->t[t], &key, out) == 0;
}

bool mailbox_parse(
    uint64_t id, const MDB_val *v, struct index_mailbox *out, struct mailbox_row *row)
{
	struct span rest = val_span(v);
	if (!row_get(v, row, sizeof *row))
		return false;
	rest = span_from(rest, sizeof *row);
	/* Of what is damaged nothing is believed. */
	if (row->user_n > STORE_USER_MAX || row->name_n > STORE_MAILBOX_NAME_MAX ||
	    row->keyword_n > STORE_KEYWORDS_MAX || (size_t)row->user_n + row->name_n > rest.n)
		return false;
	*out = (struct index_mailbox){
		.id = id,
		.user = span_first(rest, row->user_n),
		.name = span_first(span_from(rest, row->user_n), row->name_n),
		.uidvalidity = row->uidvalidity,
		.uidnext = row->uidnext,
		.modseq = row->modseq,
		.messages = row->messages,
		.unseen = row->unseen,
		.deleted = row->deleted,
		.recent_from = row->recent_from,
		.bytes = row->bytes,
		.uses = row->uses,
		.vanished_from = row->vanished_from,
	};
	rest = span_from(rest, (size_t)row->user_n + row->name_n);
	for (size_t i = 0; i < row->keyword_n && i < STORE_KEYWORDS_MAX && rest.n > 0; i++) {
		size_t n = (uint8_t)rest.p[0];
		out->keywords[out->keyword_n++] = span_first(span_from(rest, 1), n);
		rest = span_from(rest, 1 + n);
	}
	return true;
}

bool db_mailbox(const struct db *db, MDB_txn *txn, uint64_t id, struct index_mailbox *out)
{
	struct db_key k = key_mailbox(id);
	struct mailbox_row row;
	MDB_val v;
	return db_get(db, txn, DB_MAILBOXES, &k, &v) && mailbox_parse(id, &v, out, &row);
}

bool db_user(const struct db *db, MDB_txn *txn, struct span user, struct user_row *out)
{
	struct db_key k;
	MDB_val v;
	if (user.n == 0 || user.n > STORE_USER_MAX)
		return false;
	k.n = 0;
	key_span(&k, user);
	return db_get(db, txn, DB_USERS, &k, &v) && row_get(&v, out, sizeof *out);
}

bool db_held(const struct db *db, MDB_txn *txn, uint64_t mailbox, uint64_t wall_s)
{
	struct db_key k = key_mailbox(mailbox);
	struct hold_row row;
	MDB_val v;
	return db_get(db, txn, DB_MENDS, &k, &v) && row_get(&v, &row, sizeof row) &&
	       wall_s < row.until_s;
}

struct stay_row db_stay(const struct db *db, MDB_txn *txn, struct span user)
{
	struct stay_row row = { .stay = STAY_HERE };
	struct db_key k = { .n = 0 };
	MDB_val v;
	uint8_t bytes[STAY_ROW_BYTES];
	if (user.n == 0 || user.n > STORE_USER_MAX)
		return row;
	key_span(&k, user);
	if (!db_get(db, txn, DB_STAYS, &k, &v) || !row_get(&v, bytes, 1) || bytes[0] >= STAY_COUNT)
		return row;
	row.stay = (enum store_stay)bytes[0];
	if (row_get(&v, bytes, sizeof bytes))
		memcpy(&row.move, bytes + 1, sizeof row.move);
	return row;
}

uint64_t db_mailbox_id(const struct db *db, MDB_txn *txn, struct span user, struct span name)
{
	uint64_t id = 0;
	MDB_val v;
	if (user.n > STORE_USER_MAX || name.n > STORE_MAILBOX_NAME_MAX)
		return 0;
	struct db_key k = key_name(user, name);
	if (!db_get(db, txn, DB_NAMES, &k, &v) || !row_get(&v, &id, sizeof id))
		return 0;
	return id;
}

void db_each(const struct db_range *r, db_row_fn *fn, void *arg)
{
	struct db_key start = *r->from;
	MDB_val key = key_val(&start), value;
	MDB_cursor *c;
	if (mdb_cursor_open(r->txn, r->db->t[r->table], &c) != 0)
		return;
	/* An empty key is none for LMDB. */
	int rc = mdb_cursor_get(c, &key, &value, r->from->n == 0 ? MDB_FIRST : MDB_SET_RANGE);
	while (rc == 0 && key.mv_size >= r->prefix->n &&
	       memcmp(key.mv_data, r->prefix->b, r->prefix->n) == 0 && fn(arg, &key, &value))
		rc = mdb_cursor_get(c, &key, &value, MDB_NEXT);
	mdb_cursor_close(c);
}
