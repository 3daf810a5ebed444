/* damage_index.c - spoils rows of one mailbox in a store's index while its committer works: DIR KIND USER NAME UID. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store-backend/index_db.h"

struct spoiler {
	MDB_txn *txn;
	struct mailbox_row box;
	char old[8192]; /* the mailbox's row */
	size_t old_n;
	struct entry_row entry;
	uint64_t id;
	uint32_t uid;
};

static void must(int rc, const char *what)
{
	if (rc != 0) {
		fprintf(stderr, "%s: %s\n", what, mdb_strerror(rc));
		exit(1);
	}
}

static MDB_dbi table(struct spoiler *s, const char *name)
{
	MDB_dbi t;
	must(mdb_dbi_open(s->txn, name, 0, &t), name);
	return t;
}

static size_t big_endian(uint8_t *to, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)(v >> 8 * (n - 1 - i));
	return n;
}

static void put(struct spoiler *s, const char *name, MDB_val key, const void *p, size_t n)
{
	MDB_val value = { n, (void *)(uintptr_t)p };
	must(mdb_put(s->txn, table(s, name), &key, &value, 0), name);
}

static void drop(struct spoiler *s, const char *name, MDB_val key)
{
	must(mdb_del(s->txn, table(s, name), &key, NULL), name);
}

static void get(struct spoiler *s, const char *name, MDB_val key, void *out, size_t n)
{
	MDB_val value;
	must(mdb_get(s->txn, table(s, name), &key, &value), name);
	memcpy(out, value.mv_data, n < value.mv_size ? n : value.mv_size);
	s->old_n = value.mv_size;
}

static void find(struct spoiler *s, const char *user, const char *name)
{
	char key[600];
	uint8_t raw[12];
	int n = snprintf(key, sizeof key, "%s%c%s", user, '\0', name);
	get(s, "names", (MDB_val){ (size_t)n, key }, &s->id, sizeof s->id);
	get(s, "entries",
	    (MDB_val){ big_endian(raw, s->id, 8) + big_endian(raw + 8, s->uid, 4), raw }, &s->entry,
	    sizeof s->entry);
	get(s, "mailboxes", (MDB_val){ big_endian(raw, s->id, 8), raw }, s->old, sizeof s->old);
	memcpy(&s->box, s->old, sizeof s->box);
}

static void spoil_entry(struct spoiler *s, const char *kind)
{
	uint8_t raw[12];
	MDB_val key = { big_endian(raw, s->id, 8) + big_endian(raw + 8, s->uid, 4), raw };
	struct entry_row e = s->entry;
	if (strcmp(kind, "entry-gone") == 0) {
		drop(s, "entries", key);
	} else if (strcmp(kind, "entry-flags") == 0) {
		e.flags ^= STORE_FLAGGED;
		put(s, "entries", key, &e, sizeof e);
	} else if (strcmp(kind, "entry-blob") == 0) {
		e.blob += 8;
		put(s, "entries", key, &e, sizeof e);
	} else if (strcmp(kind, "entry-size") == 0) {
		e.size = (uint64_t)1 << 60;
		put(s, "entries", key, &e, sizeof e);
	} else if (strcmp(kind, "entry-type") == 0) {
		e.type = UINT16_MAX;
		put(s, "entries", key, &e, sizeof e);
	} else {
		put(s, "entries", key, &e, 20);
	}
}

static void spoil_mark(struct spoiler *s, const char *kind)
{
	uint8_t raw[20];
	MDB_val key = { 20, raw };
	bool stray = strcmp(kind, "mark-stray") == 0;
	(void)(big_endian(raw, s->id, 8) + big_endian(raw + 8, s->entry.modseq + stray, 8) +
	       big_endian(raw + 16, s->uid, 4));
	if (stray)
		put(s, "modseqs", key, "", 0);
	else
		drop(s, "modseqs", key);
}

static void spoil_blob(struct spoiler *s, const char *kind)
{
	uint8_t raw[8];
	MDB_val key = { big_endian(raw, s->entry.blob, 8), raw };
	struct blob_row row;
	get(s, "blobs", key, &row, sizeof row);
	row.refs += 5;
	if (strcmp(kind, "blob-gone") == 0)
		drop(s, "blobs", key);
	else
		put(s, "blobs", key, &row, sizeof row);
}

static void spoil_row(struct spoiler *s, const char *kind)
{
	uint8_t raw[20];
	MDB_val key = { big_endian(raw, s->id, 8), raw };
	s->box.messages += 3;
	s->box.bytes /= 2;
	s->box.unseen = 77;
	if (strcmp(kind, "vanished") == 0) {
		(void)(big_endian(raw + 8, 1, 8) + big_endian(raw + 16, 4000000, 4));
		put(s, "vanished", (MDB_val){ 20, raw }, "", 0);
		return;
	}
	bool whole = strcmp(kind, "counts") == 0;
	if (whole)
		memcpy(s->old, &s->box, sizeof s->box);
	put(s, "mailboxes", key, s->old, whole ? s->old_n : 30);
}

int main(int argc, char **argv)
{
	struct spoiler s = { 0 };
	MDB_env *env;
	if (argc != 6)
		return 64;
	s.uid = (uint32_t)strtoul(argv[5], NULL, 10);
	must(mdb_env_create(&env), "create");
	must(mdb_env_set_maxdbs(env, DB_COUNT), "tables");
	must(mdb_env_open(env, argv[1], MDB_NOSYNC, 0600), "open");
	must(mdb_txn_begin(env, NULL, 0, &s.txn), "begin");
	find(&s, argv[3], argv[4]);
	if (strncmp(argv[2], "entry", 5) == 0)
		spoil_entry(&s, argv[2]);
	else if (strncmp(argv[2], "mark", 4) == 0)
		spoil_mark(&s, argv[2]);
	else if (strncmp(argv[2], "blob", 4) == 0)
		spoil_blob(&s, argv[2]);
	else
		spoil_row(&s, argv[2]);
	must(mdb_txn_commit(s.txn), "commit");
	mdb_env_close(env);
	return 0;
}
