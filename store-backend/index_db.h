/* index_db.h - tables, keys and rows of the index (inside store-backend/index*.c and snapshot.c only).
 *
 * Numbers in keys are big-endian, so that their order is that of the numbers; rows are our own structs,
 * for this host alone: the index is derived and never travels.
 *
 *	meta         "meta"                       meta_row
 *	             "events"                     position number   sent last
 *	             "objects"                    salt_row of index_object.c
 *	             "base"                       index_base: which rows the log holds
 *	             "caches"                     two positions: messages between them may be without a cache
 *	users        user                         user_row
 *	names        user NUL name                mailbox id
 *	subs         user NUL name                -
 *	mailboxes    id                           mailbox_row user name { u8 length, keyword }
 *	entries      id uid                       entry_row
 *	modseqs      id modseq uid                u32 last uid of a run; nothing: a run of one
 *	vanished     id modseq uid                -            of what is not there any more
 *	blobs        position                     blob_row     (0 references: its row in dead says until when)
 *	caches       position                     parse cache
 *	dead         seconds position             -
 *	deliveries   id NUL user NUL hash         seconds number     hash: of the folder that was asked for
 *	delivery_age seconds number               key in deliveries
 *	stays        user                         stay_row: u8 u64, unless it is STAY_HERE; older rows end with the u8
 *	acls         id who                       u32: enum acl_right
 *	grants       who NUL id                   -
 *	metadata     id whose NUL name            value        id 0: of a user at the server; whose empty: shared
 *	objects      "b" position, "f" id         number       object ids that were brought along
 *	answers      client sequence              seconds answer
 *	events       position number              seconds JSON          not sent yet, or not long ago
 *	types        "m" id type, "u" user NUL type   type_use     of voice, fax and video, when there is some
 *	mends        id                           hold_row user         mailboxes that nobody may change (mend.h)
 *	domains      domain                       domain_row   (in meta: "domains", once they are counted) */
#ifndef STORE_INDEX_DB_H
#define STORE_INDEX_DB_H

#include <lmdb.h>

#include "base/buf.h"
#include "store-backend/index.h"

/* The log holds rows of all but the caches by these numbers (index_dump.c): new tables come last. */
enum db_table {
	DB_META,
	DB_USERS,
	DB_NAMES,
	DB_SUBS,
	DB_MAILBOXES,
	DB_ENTRIES,
	DB_MODSEQS,
	DB_VANISHED,
	DB_BLOBS,
	DB_CACHES,
	DB_DEAD,
	DB_DELIVERIES,
	DB_DELIVERY_AGE,
	DB_STAYS,
	DB_ACLS,
	DB_GRANTS,
	DB_METADATA,
	DB_OBJECTS,
	DB_ANSWERS,
	DB_EVENTS,
	DB_TYPES,
	DB_MENDS,
	DB_DOMAINS,
	DB_QUOTA_MARKS,
	DB_COUNT
};

/* Rows in the log say of which version they are. Who raises it makes index_load() read the older ones. */
enum { INDEX_VERSION = 1, BOOT_ID_SIZE = 40, DB_KEY_MAX = 511 };

struct meta_row {
	uint32_t version;
	uint32_t last_uidvalidity;
	uint64_t epoch;   /* random, made with the file */
	uint64_t covered; /* log position: every operation before it is in the index */
	uint64_t next_mailbox;
	uint64_t delivery_number, delivery_n;
	/* Of the kernel that wrote last; "" = synced and closed in order. */
	char boot[BOOT_ID_SIZE];
};
struct user_row {
	uint64_t inbox, bytes, messages, quota_bytes, quota_messages;
	uint64_t mailboxes;
};
struct domain_row {
	uint64_t bytes, messages, users;
	uint64_t quota_bytes, quota_messages, version; /* as struct index_domain */
};
struct mailbox_row {
	uint64_t modseq, bytes, vanished_from;
	uint32_t uidvalidity, uidnext, messages, unseen, deleted, recent_from, uses, vanished_n;
	uint16_t user_n, name_n, keyword_n, zero;
};
struct entry_row {
	uint64_t keywords, modseq, size, blob;
	int64_t date_s, saved_s;
	uint32_t flags;
	int16_t date_zone;
	uint16_t type; /* enum message_type */
};
/* Behind it: by which limit. */
struct quota_mark_row {
	uint64_t since_s, first_s, mailbox;
};
struct hold_row {
	uint64_t until_s;
};
struct blob_row {
	uint64_t size;
	uint64_t refs;
};

struct index_base;

struct db {
	MDB_env *env;
	MDB_dbi t[DB_COUNT];
};
enum db_mode {
	DB_READ,
	DB_WRITE,
	DB_READ_FILE
}; /* DB_READ_FILE: a snapshot, alone and without locks */
err_t db_open(struct db *db, const char *path, enum db_mode mode, uint64_t size_max);
void db_close(struct db *db);
bool db_has_table(
    const struct db *db, enum db_table t); /* false: a copy from before there was one */
err_t db_err(int rc);                      /* of LMDB or errno */

/* A key under construction. */
struct db_key {
	uint8_t b[DB_KEY_MAX];
	size_t n;
};
void key_u64(struct db_key *k, uint64_t v);
void key_u32(struct db_key *k, uint32_t v);
void key_span(struct db_key *k, struct span s);
struct db_key key_mailbox(uint64_t id);
struct db_key key_entry(uint64_t id, uint32_t uid);
struct db_key key_modseq(uint64_t id, uint64_t modseq, uint32_t uid);
struct db_key key_delivery(struct span id, struct span user, uint64_t folder_hash);
struct db_key key_name(struct span user, struct span name);
uint64_t key_get_u64(const MDB_val *k, size_t at); /* 0 when the key is too short */
uint32_t key_get_u32(const MDB_val *k, size_t at);

static inline MDB_val key_val(struct db_key *k)
{
	return (MDB_val){ k->n, k->b };
}
static inline struct span val_span(const MDB_val *v)
{
	return span_of(v->mv_data, v->mv_size);
}

/* Copies a fixed row out; false when the value is shorter. */
bool row_get(const MDB_val *v, void *row, size_t n);

/* Reads that the writing side uses as well, in its own transaction. False: absent (or unreadable). */
bool db_get(const struct db *db, MDB_txn *txn, enum db_table t, struct db_key *k, MDB_val *out);
bool db_mailbox(const struct db *db, MDB_txn *txn, uint64_t id, struct index_mailbox *out);
bool db_user(const struct db *db, MDB_txn *txn, struct span user, struct user_row *out);
uint64_t db_mailbox_id(const struct db *db, MDB_txn *txn, struct span user, struct span name);
bool mailbox_parse(
    uint64_t id, const MDB_val *v, struct index_mailbox *out, struct mailbox_row *row);

/* How much of each kind, of a mailbox and of its owner. */
void db_types(const struct db *db, MDB_txn *txn, const struct index_mailbox *m,
    struct type_uses *mailbox_out, struct type_uses *user_out);

struct index_base db_base(const struct db *db, MDB_txn *txn); /* index_write.h */

/* Is the mailbox held by a repair at that time? */
bool db_held(const struct db *db, MDB_txn *txn, uint64_t mailbox, uint64_t wall_s);

/* Where a user's mail is, and which move said so last; 0: none did. */
struct stay_row {
	enum store_stay stay;
	uint64_t move;
};
enum { STAY_ROW_BYTES = 1 + sizeof(uint64_t) };
struct stay_row db_stay(const struct db *db, MDB_txn *txn, struct span user);

/* The writer's own tables, to be read like those of any worker; index_close() before the writer. */
struct index *index_of_db(const struct db *db);
/* Of one who does not own the mailbox; who empty: of anyone. */
uint32_t db_rights(const struct db *db, MDB_txn *txn, uint64_t mailbox, struct span who);
/* Mail to a sub-address goes to INBOX instead. */
bool db_refuses_post(const struct db *db, MDB_txn *txn, uint64_t mailbox);

/* Of a view, for those who look at all tables. */
void index_view_db(struct index_view *v, const struct db **db_out, MDB_txn **txn_out);

/* Goes over the keys that begin with `prefix`, from `from` on. fn false stops. */
struct db_range {
	const struct db *db;
	MDB_txn *txn;
	enum db_table table;
	const struct db_key *prefix, *from;
};
typedef bool db_row_fn(void *arg, const MDB_val *key, const MDB_val *value);
void db_each(const struct db_range *r, db_row_fn *fn, void *arg);

/* ---- index_run.c: entries by when they were changed ------------------------------------------------------- */
/* Entries of the runs in a range of DB_MODSEQS of one mailbox, by modseq and uid. fn false stops. */
typedef bool run_entry_fn(void *arg, uint32_t uid, const MDB_val *entry);
void db_runs(const struct db_range *runs, run_entry_fn *fn, void *arg);
struct uid_range db_run_range(const MDB_val *key, const MDB_val *value); /* of one row */
/* The entry is where its modseq says. */
bool db_run_holds(const struct db *db, MDB_txn *txn, uint64_t id, const struct index_entry *e);

#endif
