/* index_dump.c - the index as rows in a few bytes, for the log: what a copy of it holds, and such rows put into an index
 * again. Before: partition_base.c, which keeps them in the log. After: index_db.c. Owns a copy that is being read.
 *
 * All tables but the caches, which are made of the messages again. Rows come in the order of their keys, so neighbours
 * are alike; each is told by how it differs from the one before in the same piece:
 *
 *	piece: { u8 table { row } 0 }
 *	row:   1 + bytes of the key's end, bytes that it has in common with the key before, the key's end,
 *	       bytes of the value, value
 *
 * Numbers are 7 bits a byte, the lowest first, the high bit: more follow. A value as long as the one before it, of up to
 * 16 words of 8 bytes, is the differences of these words (zigzag: the sign is the lowest bit); any other stands as it is. */
#include <string.h>

#include "base/mem.h"
#include "store-backend/index_txn.h"

enum { WORD = 8, WORDS_MAX = 16, NUMBER_BYTES_MAX = 10, VALUE_MAX = 1024 * 1024 };

/* The row before, on both sides. */
struct near {
	struct db_key key;
	size_t value_n; /* what is no such value has SIZE_MAX */
	uint64_t words[WORDS_MAX];
};

static void near_begin(struct near *near)
{
	near->key.n = 0;
	near->value_n = SIZE_MAX;
}

static void near_key(struct near *near, struct span key)
{
	near->key.n = 0;
	key_span(&near->key, key);
}

static void near_value(struct near *near, struct span value)
{
	near->value_n = SIZE_MAX;
	if (value.n == 0 || value.n % WORD != 0 || value.n > WORD * WORDS_MAX)
		return;
	near->value_n = value.n;
	memcpy(near->words, value.p, value.n);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static void put_number(struct buf *out, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		buf_add_char(out, (char)(v | 0x80));
	buf_add_char(out, (char)v);
}

static void put_value(struct buf *out, const struct near *near, struct span value)
{
	put_number(out, value.n);
	if (value.n != near->value_n) {
		buf_add_span(out, value);
		return;
	}
	for (size_t i = 0; i < value.n / WORD; i++) {
		uint64_t now;
		memcpy(&now, value.p + i * WORD, WORD);
		uint64_t more = now - near->words[i];
		put_number(out, more << 1 ^ (more >> 63 ? UINT64_MAX : 0));
	}
}

static void put_row(struct buf *out, struct near *near, struct span key, struct span value)
{
	size_t same = 0;
	while (same < key.n && same < near->key.n && (uint8_t)key.p[same] == near->key.b[same])
		same++;
	put_number(out, 1 + key.n - same);
	put_number(out, same);
	buf_add_span(out, span_from(key, same));
	put_value(out, near, value);
	near_key(near, key);
	near_value(near, value);
}

struct index_dump {
	struct db db;    /* owned: of the copy */
	MDB_txn *txn;    /* owned */
	MDB_cursor *row; /* owned; NULL: the table is to be begun */
	enum db_table table;
};

struct index_dump *index_dump_open(const char *path, err_t *err_out)
{
	struct index_dump *d = MEM_NEW(struct index_dump);
	*err_out = db_open(&d->db, path, DB_READ_FILE, 0);
	if (!*err_out)
		*err_out = db_err(mdb_txn_begin(d->db.env, NULL, MDB_RDONLY, &d->txn));
	if (*err_out)
		index_dump_close(&d);
	return d;
}

void index_dump_close(struct index_dump **dp)
{
	struct index_dump *d = *dp;
	if (d == NULL)
		return;
	if (d->row != NULL)
		mdb_cursor_close(d->row);
	if (d->txn != NULL)
		mdb_txn_abort(d->txn);
	db_close(&d->db);
	MEM_FREE(dp);
}

/* To the first row of the table; MDB_NOTFOUND: it has none, or the copy is older than the table. */
static int first_row(struct index_dump *d, MDB_val *key, MDB_val *value)
{
	if (d->table == DB_CACHES || !db_has_table(&d->db, d->table))
		return MDB_NOTFOUND;
	int rc = mdb_cursor_open(d->txn, d->db.t[d->table], &d->row);
	if (rc != 0) {
		d->row = NULL;
		return rc;
	}
	return mdb_cursor_get(d->row, key, value, MDB_FIRST);
}

/* Rows of one table until out has `most` bytes; MDB_NOTFOUND: that was all of it. */
static int dump_table(struct index_dump *d, size_t most, struct buf *out)
{
	MDB_val key, value;
	struct near near;
	int rc = d->row == NULL ? first_row(d, &key, &value)
				: mdb_cursor_get(d->row, &key, &value, MDB_GET_CURRENT);
	if (rc != 0)
		return rc;
	near_begin(&near);
	buf_add_char(out, (char)d->table);
	do { /* one at least, or it would not come to an end */
		if (key.mv_size > DB_KEY_MAX || value.mv_size > VALUE_MAX)
			return MDB_CORRUPTED;
		put_row(out, &near, val_span(&key), val_span(&value));
		rc = mdb_cursor_get(d->row, &key, &value, MDB_NEXT);
	} while (rc == 0 && buf_len(out) < most);
	put_number(out, 0);
	return rc;
}

err_t index_dump_next(struct index_dump *d, size_t most, struct buf *out, bool *end_out)
{
	int rc = 0;
	while (d->table < DB_COUNT && buf_len(out) < most) {
		rc = dump_table(d, most, out);
		if (rc != 0 && rc != MDB_NOTFOUND)
			break;
		if (rc == 0)
			continue;
		rc = 0;
		if (d->row != NULL)
			mdb_cursor_close(d->row);
		d->row = NULL;
		d->table++;
	}
	*end_out = d->table == DB_COUNT;
	return !buf_ok(out) ? ERR_TOO_LONG : db_err(rc);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

struct reading {
	struct span rest;
	bool bad;
	struct near near;
	uint8_t words[WORD * WORDS_MAX]; /* a value that was put together */
};

static uint64_t get_number(struct reading *r)
{
	uint64_t v = 0;
	for (unsigned i = 0; i < NUMBER_BYTES_MAX && r->rest.n > 0; i++) {
		uint8_t c = (uint8_t)r->rest.p[0];
		r->rest = span_from(r->rest, 1);
		v |= (uint64_t)(c & 0x7f) << 7 * i;
		if (c < 0x80)
			return v;
	}
	r->bad = true;
	return 0;
}

static struct span get_bytes(struct reading *r, uint64_t n)
{
	if (r->bad || n > r->rest.n) {
		r->bad = true;
		return SPAN_NONE;
	}
	struct span s = span_first(r->rest, (size_t)n);
	r->rest = span_from(r->rest, (size_t)n);
	return s;
}

static struct span get_value(struct reading *r)
{
	uint64_t n = get_number(r);
	if (n > VALUE_MAX)
		r->bad = true;
	if (r->bad || n != r->near.value_n)
		return get_bytes(r, n);
	for (size_t i = 0; i < n / WORD; i++) {
		uint64_t more = get_number(r);
		uint64_t now = r->near.words[i] + (more >> 1 ^ (more & 1 ? UINT64_MAX : 0));
		memcpy(r->words + i * WORD, &now, WORD);
	}
	return span_of((const char *)r->words, (size_t)n);
}

/* The key goes into r->near. */
static void get_key(struct reading *r, uint64_t end_n)
{
	uint64_t same = get_number(r);
	struct span end = get_bytes(r, end_n);
	if (same > r->near.key.n || same + end.n > DB_KEY_MAX || same + end.n == 0)
		r->bad = true;
	if (r->bad)
		return;
	r->near.key.n = (size_t)same;
	key_span(&r->near.key, end);
}

static bool is_meta(const struct db_key *k)
{
	return span_eq_str(span_of((const char *)k->b, k->n), "meta");
}

/* Who writes the index, and up to where, is its own affair; the rest of that row is not. */
static void load_meta_row(struct index_txn *t, struct reading *r, struct span value)
{
	struct meta_row m;
	if (value.n != sizeof m) {
		r->bad = true;
		return;
	}
	memcpy(&m, value.p, sizeof m);
	r->bad = m.version != INDEX_VERSION;
	t->meta.last_uidvalidity = m.last_uidvalidity;
	t->meta.next_mailbox = m.next_mailbox;
	t->meta.delivery_number = m.delivery_number;
	t->meta.delivery_n = m.delivery_n;
}

static void load_table(struct index_txn *t, struct reading *r, enum db_table table)
{
	uint64_t n;
	near_begin(&r->near);
	while ((n = get_number(r)) > 0 && !r->bad) {
		get_key(r, n - 1);
		struct span value = get_value(r);
		if (r->bad)
			return;
		if (table == DB_META && is_meta(&r->near.key))
			load_meta_row(t, r, value);
		else
			txn_put(t, table, &r->near.key, value.p, value.n);
		near_value(&r->near, value);
	}
}

err_t index_load(struct index_txn *t, struct span piece)
{
	struct reading r = { .rest = piece };
	while (r.rest.n > 0 && !r.bad && !t->err) {
		uint8_t table = (uint8_t)r.rest.p[0];
		r.rest = span_from(r.rest, 1);
		if (table >= DB_COUNT || table == DB_CACHES)
			r.bad = true;
		else
			load_table(t, &r, (enum db_table)table);
	}
	return r.bad ? ERR_CORRUPT : t->err;
}

/* ---- which rows the log holds ---------------------------------------------------------------------------------- */

static struct db_key base_key(void)
{
	struct db_key k = { .n = 0 };
	key_span(&k, SPAN("base"));
	return k;
}

void index_base_store(struct index_txn *t, const struct index_base *b)
{
	struct db_key k = base_key();
	txn_put(t, DB_META, &k, b, sizeof *b);
}

struct index_base db_base(const struct db *db, MDB_txn *txn)
{
	struct index_base b;
	struct db_key k = base_key();
	MDB_val v;
	if (!db_get(db, txn, DB_META, &k, &v) || !row_get(&v, &b, sizeof b))
		b = (struct index_base){ 0 };
	return b;
}

/* A row of meta in committed state. */
static bool meta_row(struct index_writer *w, struct db_key k, void *row, size_t n)
{
	MDB_txn *txn;
	MDB_val v;
	if (mdb_txn_begin(w->db.env, NULL, MDB_RDONLY, &txn) != 0)
		return false;
	bool there = db_get(&w->db, txn, DB_META, &k, &v) && row_get(&v, row, n);
	mdb_txn_abort(txn);
	return there;
}

struct index_base index_writer_base(struct index_writer *w)
{
	struct index_base b, none = { 0 };
	return meta_row(w, base_key(), &b, sizeof b) ? b : none;
}

struct index_base index_copy_base(const char *path)
{
	struct index_writer file = { 0 };
	struct index_base b = { 0 };
	if (db_open(&file.db, path, DB_READ_FILE, 0) == ERR_OK)
		b = index_writer_base(&file);
	db_close(&file.db);
	return b;
}

struct index_base index_view_base(struct index_view *v)
{
	const struct db *db;
	MDB_txn *txn;
	index_view_db(v, &db, &txn);
	return db_base(db, txn);
}

/* ---- caches that are not there ------------------------------------------------------------------------------------ */

struct caches_row {
	log_pos from, to;
};

static struct db_key caches_key(void)
{
	struct db_key k = { .n = 0 };
	key_span(&k, SPAN("caches"));
	return k;
}

static void store_caches(struct index_txn *t, struct caches_row row)
{
	struct db_key k = caches_key();
	if (row.from < row.to)
		txn_put(t, DB_META, &k, &row, sizeof row);
	else
		(void)txn_del(t, DB_META, &k);
}

bool index_writer_caches_due(struct index_writer *w)
{
	struct caches_row row;
	return meta_row(w, caches_key(), &row, sizeof row);
}

void index_caches_gone(struct index_txn *t, log_pos before)
{
	store_caches(t, (struct caches_row){ 0, before });
}

/* The first message at or behind row->from; 0: none before row->to. */
static log_pos next_blob(struct index_txn *t, const struct caches_row *row)
{
	struct db_key k = key_mailbox(row->from);
	MDB_val key = key_val(&k), value;
	MDB_cursor *c;
	int rc = mdb_cursor_open(t->txn, t->writer->db.t[DB_BLOBS], &c);
	if (rc == 0) {
		rc = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE);
		mdb_cursor_close(c);
	}
	if (rc != MDB_NOTFOUND)
		txn_fail(t, rc);
	log_pos blob = rc == 0 ? key_get_u64(&key, 0) : 0;
	return blob < row->to ? blob : 0;
}

bool index_cache_next(struct index_txn *t, log_pos *blob_out)
{
	struct caches_row row;
	struct db_key k = caches_key();
	MDB_val v;
	if (t->err || !txn_get(t, DB_META, &k, &v) || !row_get(&v, &row, sizeof row))
		return false;
	log_pos blob = next_blob(t, &row);
	row.from = blob != 0 ? blob + 1 : row.to;
	store_caches(t, row);
	*blob_out = blob;
	return true;
}

void index_cache_store(struct index_txn *t, log_pos blob, struct span cache)
{
	struct db_key k = key_mailbox(blob);
	if (cache.n > 0)
		txn_put(t, DB_CACHES, &k, cache.p, cache.n);
}
