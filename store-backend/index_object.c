/* index_object.c - object ids (RFC 8474): numbers of mailboxes and messages that are the same for ever, at whatever store the
 * user's mail is. Before: index_apply.c, index_adopt.c; after: imap/, tool_serve.c. Owns nothing.
 *
 * Each partition makes them of a number of its own, the salt, so that no two partitions make the same: it comes from the
 * first change that is carried out, and thus is the same when the log is read again. What is older than the salt keeps the
 * plain numbers it always had. A row in the table of objects says another: it came from another store. */
#include "base/hash.h"
#include "store-backend/index_txn.h"

struct salt_row {
	uint64_t salt;
	uint64_t mailboxes_from; /* ids */
	uint64_t blobs_from;
};

static struct db_key salt_key(void)
{
	struct db_key k = { .n = 0 };
	key_span(&k, SPAN("objects"));
	return k;
}

static struct db_key row_key(char kind, uint64_t number)
{
	struct db_key k = { .n = 0 };
	key_span(&k, span_of(&kind, 1));
	key_u64(&k, number);
	return k;
}

void object_begin(struct index_txn *t, const struct index_facts *facts)
{
	static const struct hash_key fixed = { 0x6f626a656374u, 0x73616c74u };
	struct salt_row row;
	struct db_key k = salt_key();
	MDB_val v;
	if (t->salted || txn_get(t, DB_META, &k, &v)) {
		t->salted = true;
		return;
	}
	uint64_t parts[4] = { facts->client, facts->sequence, facts->wall_s, facts->blob };
	row.salt = hash_sip(&fixed, span_of(parts, sizeof parts));
	row.mailboxes_from = t->meta.next_mailbox;
	row.blobs_from = t->meta.covered; /* of this change and later ones */
	txn_put(t, DB_META, &k, &row, sizeof row);
	t->salted = true;
}

void object_store(struct index_txn *t, char kind, uint64_t number, uint64_t object)
{
	struct db_key k = row_key(kind, number);
	if (object != 0)
		txn_put(t, DB_OBJECTS, &k, &object, sizeof object);
}

void object_drop(struct index_txn *t, char kind, uint64_t number)
{
	struct db_key k = row_key(kind, number);
	(void)txn_del(t, DB_OBJECTS, &k);
}

static uint64_t object_of(struct index_view *v, char kind, uint64_t number)
{
	struct db_key k = row_key(kind, number), s = salt_key();
	struct salt_row salt = { .mailboxes_from = UINT64_MAX, .blobs_from = UINT64_MAX };
	const struct db *db;
	uint64_t object;
	MDB_txn *txn;
	MDB_val value;
	index_view_db(v, &db, &txn);
	if (db_get(db, txn, DB_OBJECTS, &k, &value) && row_get(&value, &object, sizeof object))
		return object;
	if (db_get(db, txn, DB_META, &s, &value) && !row_get(&value, &salt, sizeof salt))
		return number;
	if (number < (kind == OBJECT_MAILBOX ? salt.mailboxes_from : salt.blobs_from))
		return number;
	struct hash_key own = { salt.salt, (uint64_t)kind };
	return hash_sip(&own, span_of(&number, sizeof number));
}

uint64_t index_mailbox_object(struct index_view *v, uint64_t mailbox)
{
	return object_of(v, OBJECT_MAILBOX, mailbox);
}

uint64_t index_object(struct index_view *v, log_pos blob)
{
	return object_of(v, OBJECT_MESSAGE, blob);
}
