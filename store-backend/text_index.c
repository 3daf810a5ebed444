/* text_index.c - the file of a text index; see text_index.h. Before: imap/search_lookup.c, imap/text_fill.c.
 *
 * Tables: grams (FTS5 without the text itself: a row for each message, a word for each gram), always (uids that have to be read),
 * about (one row). Words are six hexadecimal digits. Owns the connection and its statements. */
#include "store-backend/text_index.h"

#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"

enum {
	VERSION = 1,        /* PRAGMA user_version */
	WORD_SIZE = 9,      /* of a gram in a question, with its quotes and a space */
	WORDS_MAX = 16,     /* grams that are asked for; more would say little more */
	BUSY_MS = 1000,     /* a writer waits for another one */
	GARBAGE_MIN = 1000, /* rows of messages that are gone: so many are always fine */
	ROOM_MAX = 2 * 1024 * 1024,
};

enum statement { LOOK, UPTO, ADD, ADD_ALWAYS, COMMIT_UPTO, STATEMENTS };

#define LOOK_SQL                                                                                   \
	"SELECT rowid FROM grams WHERE grams MATCH ?1 AND rowid BETWEEN ?2 AND ?3 "                \
	"UNION ALL SELECT uid FROM always WHERE uid BETWEEN ?2 AND ?3"

static const char *const sql[STATEMENTS] = {
	[LOOK] = LOOK_SQL,
	[UPTO] = "SELECT upto, known FROM about WHERE mailbox = ?1 AND uidvalidity = ?2",
	[ADD] = "INSERT INTO grams(rowid, words) VALUES(?1, ?2)",
	[ADD_ALWAYS] = "INSERT INTO always(uid) VALUES(?1)",
	[COMMIT_UPTO] = "UPDATE about SET upto = ?1, known = known + ?2",
};

struct text_index {
	sqlite3 *db;                    /* owned */
	sqlite3_stmt *made[STATEMENTS]; /* owned; NULL: not needed yet */
	uint64_t mailbox;
	uint32_t uidvalidity;
	bool within; /* a transaction */
	uint32_t added;
};

/* ---- errors ------------------------------------------------------------------------------------ */

static err_t err_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return ERR_OK;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_SCHEMA:
	case SQLITE_CONSTRAINT:
	case SQLITE_ERROR: /* tables that are not ours */
		return ERR_CORRUPT;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return ERR_BUSY;
	case SQLITE_FULL:
		return ERR_NO_SPACE;
	default:
		return ERR_IO;
	}
}

static err_t run(struct text_index *x, const char *text)
{
	return err_of(sqlite3_exec(x->db, text, NULL, NULL, NULL));
}

static err_t prepare(struct text_index *x, enum statement which)
{
	if (x->made[which] != NULL)
		return ERR_OK;
	return err_of(sqlite3_prepare_v3(
	    x->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, &x->made[which], NULL));
}

/* For a statement whose values are bound: it gives no row. */
static err_t finish(sqlite3_stmt *s)
{
	err_t err = err_of(sqlite3_step(s));
	sqlite3_reset(s);
	return err;
}

/* ---- files ------------------------------------------------------------------------------------- */

static bool put_path(
    char out[TEXT_INDEX_PATH_SIZE], const char *path, uint64_t mailbox, const char *end)
{
	int n = snprintf(out, TEXT_INDEX_PATH_SIZE, "%s/text/%016" PRIx64 "%s", path, mailbox, end);
	return n > 0 && n < TEXT_INDEX_PATH_SIZE;
}

/* Of all files of one index. The mark goes last: without it the file would be believed. */
static const char *const ends[] = { "", "-journal", "-wal", "-shm", ".bad" };

bool text_index_name(const char *name, uint64_t *mailbox_out, bool *is_mark_out)
{
	const char *const digits = "0123456789abcdef";
	if (strspn(name, digits) != 16)
		return false;
	*mailbox_out = 0;
	for (size_t i = 0; i < 16; i++)
		*mailbox_out = *mailbox_out << 4 | (uint64_t)(strchr(digits, name[i]) - digits);
	*is_mark_out = strcmp(name + 16, ".bad") == 0;
	for (size_t i = 0; i < COUNT_OF(ends); i++)
		if (strcmp(name + 16, ends[i]) == 0)
			return true;
	return false;
}

void text_index_remove(const char *path, uint64_t mailbox)
{
	char file[TEXT_INDEX_PATH_SIZE];
	for (size_t i = 0; i < COUNT_OF(ends); i++)
		if (put_path(file, path, mailbox, ends[i]))
			(void)unlink(file);
}

void text_index_mark(const struct text_index_key *key)
{
	char file[TEXT_INDEX_PATH_SIZE];
	FILE *f = put_path(file, key->path, key->mailbox, ".bad") ? fopen(file, "we") : NULL;
	if (f != NULL)
		(void)fclose(f);
}

static err_t make_folder(const char *path)
{
	char dir[TEXT_INDEX_PATH_SIZE];
	int n = snprintf(dir, sizeof dir, "%s/text", path);
	if (n <= 0 || n >= TEXT_INDEX_PATH_SIZE)
		return ERR_TOO_LONG;
	return mkdir(dir, 0700) == 0 || errno == EEXIST ? ERR_OK : err_from_errno(errno);
}

/* ---- open -------------------------------------------------------------------------------------- */

static err_t read_version(struct text_index *x, int *version_out)
{
	sqlite3_stmt *s = NULL;
	err_t err = err_of(sqlite3_prepare_v2(x->db, "PRAGMA user_version", -1, &s, NULL));
	if (!err && sqlite3_step(s) == SQLITE_ROW)
		*version_out = sqlite3_column_int(s, 0);
	else if (!err)
		err = err_of(sqlite3_errcode(x->db));
	sqlite3_finalize(s);
	return err;
}

/* Two writers may come at the same moment: who is second finds what the first has made. */
static err_t make_tables(struct text_index *x)
{
	char text[600];
	int version = 0;
	err_t err = run(x, "PRAGMA journal_mode = WAL; BEGIN IMMEDIATE");
	if (!err)
		err = read_version(x, &version);
	(void)snprintf(text, sizeof text,
	    "CREATE VIRTUAL TABLE grams USING fts5(words, content='', detail=none, columnsize=0, "
	    "tokenize='ascii');"
	    "CREATE TABLE always(uid INTEGER PRIMARY KEY);"
	    "CREATE TABLE about(mailbox INTEGER, uidvalidity INTEGER, upto INTEGER, known INTEGER);"
	    "INSERT INTO about VALUES(%" PRId64 ", %u, 0, 0); PRAGMA user_version = %d;",
	    (int64_t)x->mailbox, x->uidvalidity, VERSION);
	if (!err && version == 0)
		err = run(x, text);
	if (!err)
		err = run(x, "COMMIT");
	if (err && !sqlite3_get_autocommit(x->db))
		(void)run(x, "ROLLBACK");
	return err;
}

static err_t look_at(struct text_index *x, bool writing)
{
	int version = 0;
	sqlite3_busy_timeout(x->db, writing ? BUSY_MS : 0);
	(void)sqlite3_db_config(x->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_db_config(x->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	if (!writing) /* or who closes last would write and wait for the disk */
		(void)sqlite3_db_config(x->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	err_t err = run(x, "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -1024");
	if (!err)
		err = read_version(x, &version);
	if (!err && version == 0)
		err = writing ? make_tables(x) : ERR_NOT_FOUND;
	if (!err && version != 0 && version != VERSION)
		err = ERR_CORRUPT;
	return err;
}

static err_t open_file(struct text_index *x, const struct text_index_key *key, bool writing)
{
	char file[TEXT_INDEX_PATH_SIZE];
	if (!put_path(file, key->path, key->mailbox, ".bad"))
		return ERR_TOO_LONG;
	if (access(file, F_OK) == 0)
		return ERR_NOT_FOUND;
	(void)put_path(file, key->path, key->mailbox, "");
	if (!writing && access(file, F_OK) != 0)
		return ERR_NOT_FOUND;
	err_t err = writing ? make_folder(key->path) : ERR_OK;
	if (err)
		return err;
	int flags =
	    SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (writing ? SQLITE_OPEN_CREATE : 0);
	err = err_of(sqlite3_open_v2(file, &x->db, flags, NULL));
	return err ? err : look_at(x, writing);
}

struct text_index *text_index_open(const struct text_index_key *key, bool writing, err_t *err_out)
{
	struct text_index *x = MEM_NEW(struct text_index);
	x->mailbox = key->mailbox;
	x->uidvalidity = key->uidvalidity;
	*err_out = open_file(x, key, writing);
	if (*err_out)
		text_index_close(&x);
	return x;
}

void text_index_close(struct text_index **xp)
{
	struct text_index *x = *xp;
	if (x == NULL)
		return;
	for (size_t i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(x->made[i]);
	if (x->within)
		(void)run(x, "ROLLBACK");
	CHECK(sqlite3_close(x->db) == SQLITE_OK);
	MEM_FREE(xp);
}

/* A file with another mailbox's row is none of ours. */
static err_t read_about(struct text_index *x, uint32_t *upto_out, uint32_t *known_out)
{
	err_t err = prepare(x, UPTO);
	sqlite3_stmt *s = x->made[UPTO];
	if (err)
		return err;
	sqlite3_bind_int64(s, 1, (int64_t)x->mailbox);
	sqlite3_bind_int64(s, 2, x->uidvalidity);
	int rc = sqlite3_step(s);
	if (rc == SQLITE_ROW) {
		*upto_out = (uint32_t)sqlite3_column_int64(s, 0);
		*known_out = (uint32_t)sqlite3_column_int64(s, 1);
	}
	sqlite3_reset(s);
	return rc == SQLITE_DONE ? ERR_CORRUPT : err_of(rc);
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* Grams of all of it, when it has more than are asked for. */
static void put_question(struct buf *out, struct span text)
{
	size_t n = text.n - TEXT_GRAM + 1, step = (n + WORDS_MAX - 1) / WORDS_MAX;
	for (size_t i = 0; i < n; i += step) {
		const unsigned char *p = (const unsigned char *)text.p + i;
		buf_printf(out, "\"%02x%02x%02x\" ", p[0], p[1], p[2]);
	}
}

static err_t read_hits(sqlite3_stmt *s, struct text_window *out)
{
	int rc;
	while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
		int64_t at = sqlite3_column_int64(s, 0) - out->first;
		if (at >= 0 && at < TEXT_WINDOW)
			out->may[at / 8] |= (uint8_t)(1u << at % 8);
	}
	sqlite3_reset(s);
	return err_of(rc);
}

/* Both in one state of the file: what was known a moment ago may be forgotten. */
err_t text_index_look(
    struct text_index *x, struct span text, uint32_t first, struct text_window *out)
{
	struct buf question = BUF_INIT(WORDS_MAX * WORD_SIZE + 1);
	uint32_t known;
	CHECK(text.n >= TEXT_GRAM);
	*out = (struct text_window){ .first = first };
	put_question(&question, text);
	err_t err = run(x, "BEGIN");
	if (!err)
		err = read_about(x, &out->upto, &known);
	if (!err)
		err = prepare(x, LOOK);
	if (!err) {
		sqlite3_stmt *s = x->made[LOOK];
		sqlite3_bind_text(s, 1, buf_cstr(&question), -1, SQLITE_STATIC);
		sqlite3_bind_int64(s, 2, first);
		sqlite3_bind_int64(s, 3, (int64_t)first + TEXT_WINDOW - 1);
		err = read_hits(s, out);
		sqlite3_clear_bindings(s);
	}
	if (!sqlite3_get_autocommit(x->db))
		(void)run(x, "ROLLBACK");
	buf_end(&question);
	return err;
}

bool text_window_may(const struct text_window *w, uint32_t uid)
{
	uint32_t at = uid - w->first;
	return uid > w->upto || at >= TEXT_WINDOW || (w->may[at / 8] >> at % 8 & 1) != 0;
}

/* ---- writing ----------------------------------------------------------------------------------- */

err_t text_index_begin(struct text_index *x, uint32_t live, uint32_t *upto_out)
{
	uint32_t known = 0;
	err_t err = run(x, "BEGIN IMMEDIATE");
	x->within = !err;
	x->added = 0;
	if (!err)
		err = read_about(x, upto_out, &known);
	if (!err && known > 2 * (uint64_t)live + GARBAGE_MIN) {
		err = run(x, "INSERT INTO grams(grams) VALUES('delete-all'); DELETE FROM always; "
			     "UPDATE about SET upto = 0, known = 0");
		*upto_out = 0;
	}
	return err;
}

static err_t add_words(struct text_index *x, uint32_t uid, const struct text_grams *grams)
{
	struct buf words = BUF_INIT(ROOM_MAX);
	err_t err = prepare(x, ADD);
	for (size_t i = 0; i < grams->n; i++)
		buf_printf(&words, "%06x ", grams->v[i]);
	CHECK(buf_ok(&words));
	if (!err) {
		sqlite3_bind_int64(x->made[ADD], 1, uid);
		sqlite3_bind_text(
		    x->made[ADD], 2, buf_cstr(&words), (int)buf_len(&words), SQLITE_STATIC);
		err = finish(x->made[ADD]);
		sqlite3_clear_bindings(x->made[ADD]);
	}
	buf_end(&words);
	return err;
}

err_t text_index_add(struct text_index *x, uint32_t uid, const struct text_grams *grams)
{
	x->added++;
	if (grams != NULL && !grams->too_many)
		return add_words(x, uid, grams);
	err_t err = prepare(x, ADD_ALWAYS);
	if (err)
		return err;
	sqlite3_bind_int64(x->made[ADD_ALWAYS], 1, uid);
	return finish(x->made[ADD_ALWAYS]);
}

err_t text_index_commit(struct text_index *x, uint32_t upto)
{
	err_t err = prepare(x, COMMIT_UPTO);
	if (err)
		return err;
	sqlite3_bind_int64(x->made[COMMIT_UPTO], 1, upto);
	sqlite3_bind_int64(x->made[COMMIT_UPTO], 2, x->added);
	err = finish(x->made[COMMIT_UPTO]);
	if (!err)
		err = run(x, "COMMIT");
	x->within = err != ERR_OK;
	return err;
}
