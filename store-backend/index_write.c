/* index_write.c - the index as the committer holds it: transactions, remembered answers, housekeeping and
 * copies. What operations do is in index_apply.c. Owns the LMDB environment. */
#include "store-backend/index_write.h"

#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store-backend/index_txn.h"

enum { TOUCHED_MAX = 1 << 20, ANSWERS_PRUNED_AT_ONCE = 64, MAP_TIMES = 3 };

static struct db_key meta_key(void)
{
	struct db_key k;
	k.n = 0;
	key_span(&k, SPAN("meta"));
	return k;
}

/* ---- rows ------------------------------------------------------------------------------------------------- */

void txn_fail(struct index_txn *t, int rc)
{
	if (rc != 0 && !t->err)
		t->err = db_err(rc);
}

/* NULL: t->err says why. */
static MDB_cursor *cursor(struct index_txn *t, enum db_table table, MDB_cursor **c)
{
	if (*c == NULL) {
		int rc = mdb_cursor_open(t->txn, t->writer->db.t[table], c);
		if (rc != 0) {
			*c = NULL;
			txn_fail(t, rc);
		}
	}
	return *c;
}

MDB_cursor *txn_going(struct index_txn *t, enum db_table table)
{
	return cursor(t, table, &t->going[table]);
}

static void close_cursors(struct index_txn *t)
{
	for (int i = 0; i < DB_COUNT; i++) {
		if (t->at[i] != NULL)
			mdb_cursor_close(t->at[i]);
		if (t->going[i] != NULL)
			mdb_cursor_close(t->going[i]);
		t->at[i] = t->going[i] = NULL;
	}
}

bool txn_get(struct index_txn *t, enum db_table table, struct db_key *k, MDB_val *out)
{
	MDB_val key = key_val(k);
	MDB_cursor *c = cursor(t, table, &t->at[table]);
	if (c == NULL)
		return false;
	int rc = mdb_cursor_get(c, &key, out, MDB_SET_KEY);
	if (rc != 0 && rc != MDB_NOTFOUND)
		txn_fail(t, rc);
	return rc == 0;
}

void txn_put(struct index_txn *t, enum db_table table, struct db_key *k, const void *p, size_t n)
{
	MDB_val key = key_val(k), value = { n, (void *)(uintptr_t)p };
	MDB_cursor *c = cursor(t, table, &t->at[table]);
	if (c != NULL)
		txn_fail(t, mdb_cursor_put(c, &key, &value, 0));
}

bool txn_del(struct index_txn *t, enum db_table table, struct db_key *k)
{
	MDB_val key = key_val(k), value;
	MDB_cursor *c = txn_going(t, table);
	if (c == NULL)
		return false;
	int rc = mdb_cursor_get(c, &key, &value, MDB_SET);
	if (rc == 0)
		rc = mdb_cursor_del(c, 0);
	if (rc != 0 && rc != MDB_NOTFOUND)
		txn_fail(t, rc);
	return rc == 0;
}

void txn_del_all(struct index_txn *t, enum db_table table, const struct db_key *prefix)
{
	struct db_key start = *prefix;
	MDB_val key = key_val(&start), value;
	MDB_cursor *c;
	int rc = mdb_cursor_open(t->txn, t->writer->db.t[table], &c);
	if (rc != 0) {
		txn_fail(t, rc);
		return;
	}
	rc = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE);
	while (
	    rc == 0 && key.mv_size >= prefix->n && memcmp(key.mv_data, prefix->b, prefix->n) == 0) {
		rc = mdb_cursor_del(c, 0);
		if (rc == 0)
			rc = mdb_cursor_get(c, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(c);
	txn_fail(t, rc == MDB_NOTFOUND ? 0 : rc);
}

void txn_touch(struct index_txn *t, uint64_t mailbox, uint64_t modseq, bool gone)
{
	struct span key = span_of(&mailbox, sizeof mailbox);
	uintptr_t at = (uintptr_t)map_get(t->touched_at, key);
	if (at == 0) {
		if (t->touched_n == t->touched_cap) {
			t->touched_cap = t->touched_cap == 0 ? 16 : t->touched_cap * 2;
			t->touched = mem_grow(t->touched, t->touched_cap, sizeof *t->touched);
		}
		at = ++t->touched_n;
		if (!map_set(t->touched_at, key, (void *)at, NULL)) {
			t->touched_n--;
			return;
		}
	}
	t->touched[at - 1] = (struct touched){ mailbox, modseq, gone };
}

void uid_list_add(struct uid_list *l, uint32_t uid)
{
	if (l->n > 0 && l->v[l->n - 1].last + 1 == uid) {
		l->v[l->n - 1].last = uid;
		return;
	}
	if (l->n == l->cap) {
		l->cap = l->cap == 0 ? 16 : l->cap * 2;
		l->v = mem_grow(l->v, l->cap, sizeof *l->v);
	}
	l->v[l->n++] = (struct uid_range){ uid, uid };
}

/* ---- opening and closing ----------------------------------------------------------------------------------- */

static bool load_meta(struct index_writer *w, MDB_txn *txn, struct meta_row *out)
{
	struct db_key k = meta_key();
	MDB_val v;
	return db_get(&w->db, txn, DB_META, &k, &v) && row_get(&v, out, sizeof *out) &&
	       out->version == INDEX_VERSION;
}

static int store_meta(struct index_writer *w, MDB_txn *txn, const struct meta_row *m)
{
	struct db_key k = meta_key();
	MDB_val key = key_val(&k), value = { sizeof *m, (void *)(uintptr_t)m };
	return mdb_put(txn, w->db.t[DB_META], &key, &value, 0);
}

/* Changes the meta row in a transaction of its own. */
static err_t update_meta(
    struct index_writer *w, void (*change)(struct meta_row *m, const void *arg), const void *arg)
{
	struct meta_row m;
	MDB_txn *txn;
	int rc = mdb_txn_begin(w->db.env, NULL, 0, &txn);
	if (rc != 0)
		return db_err(rc);
	if (!load_meta(w, txn, &m)) {
		struct db_key k = meta_key();
		MDB_val key = key_val(&k), v;
		if (mdb_get(txn, w->db.t[DB_META], &key, &v) == 0) {
			mdb_txn_abort(txn);
			return ERR_CORRUPT; /* of another version: made anew from the log */
		}
		m = (struct meta_row){
			.version = INDEX_VERSION, .epoch = rand_u64(), .next_mailbox = 1
		};
	}
	change(&m, arg);
	rc = store_meta(w, txn, &m);
	if (rc != 0) {
		mdb_txn_abort(txn);
		return db_err(rc);
	}
	return db_err(mdb_txn_commit(txn));
}

static void keep_meta(struct meta_row *m, const void *arg)
{
}

static err_t count_domains(struct index_writer *w)
{
	err_t err;
	struct index_txn *t = index_txn_begin(w, &err);
	if (t == NULL)
		return err;
	domain_count_all(t);
	return index_txn_commit(&t, 0);
}

struct index_writer *index_writer_open(const char *dir, uint64_t size_max, err_t *err_out)
{
	struct index_writer *w = MEM_NEW(struct index_writer);
	(void)mkdir(dir, 0700);
	w->size_max = size_max;
	*err_out = db_open(&w->db, dir, DB_WRITE, size_max * MAP_TIMES);
	if (!*err_out) {
		index_writer_drop_dead_readers(w);
		*err_out = update_meta(w, keep_meta, NULL);
	}
	if (*err_out)
		index_writer_close(&w, false);
	return w;
}

struct index *index_writer_reader(struct index_writer *w)
{
	return index_of_db(&w->db);
}

static void set_boot(struct meta_row *m, const void *arg)
{
	const char *boot = arg;
	memset(m->boot, 0, sizeof m->boot);
	memcpy(m->boot, boot, strnlen(boot, INDEX_BOOT_ID_MAX));
}

static void set_epoch(struct meta_row *m, const void *arg)
{
	m->epoch = rand_u64();
	set_boot(m, arg);
}

err_t index_writer_mark(struct index_writer *w, const char *boot, bool new_epoch)
{
	err_t err = update_meta(w, new_epoch ? set_epoch : set_boot, boot);
	/* A file made anew, or of a snapshot, was never closed in order: another boot distrusts it as it is. */
	if (!err && !new_epoch)
		err = db_err(mdb_env_sync(w->db.env, 1));
	return err ? err : count_domains(w);
}

void index_writer_close(struct index_writer **wp, bool clean)
{
	struct index_writer *w = *wp;
	if (w == NULL)
		return;
	index_txn_abort(&w->open);
	/* Everything is on the disk before the mark that says so, and then the mark. */
	if (clean && mdb_env_sync(w->db.env, 1) == 0 && update_meta(w, set_boot, "") == ERR_OK)
		(void)mdb_env_sync(w->db.env, 1);
	db_close(&w->db);
	MEM_FREE(wp);
}

static void state_from(const struct meta_row *m, struct index_state *out)
{
	*out = (struct index_state){ .epoch = m->epoch, .covered = m->covered };
	memcpy(out->boot, m->boot, INDEX_BOOT_ID_MAX);
}

bool index_writer_state(struct index_writer *w, struct index_state *out)
{
	struct meta_row m;
	MDB_txn *txn;
	if (mdb_txn_begin(w->db.env, NULL, MDB_RDONLY, &txn) != 0)
		return false;
	bool ok = load_meta(w, txn, &m);
	mdb_txn_abort(txn);
	if (ok)
		state_from(&m, out);
	return ok;
}

/* ---- transactions --------------------------------------------------------------------------------------------- */

struct index_txn *index_txn_begin(struct index_writer *w, err_t *err_out)
{
	struct index_txn *t = MEM_NEW(struct index_txn);
	CHECK(w->open == NULL);
	int rc = mdb_txn_begin(w->db.env, NULL, 0, &t->txn);
	if (rc == 0 && !load_meta(w, t->txn, &t->meta)) {
		mdb_txn_abort(t->txn);
		rc = MDB_CORRUPTED;
	}
	*err_out = db_err(rc);
	if (rc != 0) {
		MEM_FREE(&t);
		return NULL;
	}
	t->writer = w;
	t->touched_at = map_new(TOUCHED_MAX);
	t->events = w->events;
	w->open = t;
	return t;
}

static void txn_free(struct index_txn **tp)
{
	struct index_txn *t = *tp;
	t->writer->open = NULL;
	map_free(&t->touched_at);
	mem_free(t->touched);
	mem_free(t->uids.v);
	mem_free(t->target_uids.v);
	mem_free(t->outcomes);
	mem_free(t);
	*tp = NULL;
}

err_t index_txn_commit(struct index_txn **tp, log_pos covered)
{
	struct index_txn *t = *tp;
	if (covered != 0)
		t->meta.covered = covered;
	close_cursors(t);
	txn_fail(t, store_meta(t->writer, t->txn, &t->meta));
	err_t err = t->err;
	if (err)
		mdb_txn_abort(t->txn);
	else
		err = db_err(mdb_txn_commit(t->txn));
	txn_free(tp);
	return err;
}

void index_txn_abort(struct index_txn **tp)
{
	if (*tp == NULL)
		return;
	close_cursors(*tp);
	mdb_txn_abort((*tp)->txn);
	txn_free(tp);
}

err_t index_txn_err(const struct index_txn *t)
{
	return t->err;
}

void index_txn_touched(struct index_txn *t,
    void (*fn)(void *arg, uint64_t mailbox, uint64_t modseq, bool gone), void *arg)
{
	for (size_t i = 0; i < t->touched_n; i++)
		fn(arg, t->touched[i].mailbox, t->touched[i].modseq, t->touched[i].gone);
}

uint64_t index_writer_modseq(struct index_writer *w, uint64_t mailbox)
{
	struct index_mailbox m;
	MDB_txn *txn;
	if (mdb_txn_begin(w->db.env, NULL, MDB_RDONLY, &txn) != 0)
		return 0;
	uint64_t modseq = db_mailbox(&w->db, txn, mailbox, &m) ? m.modseq : 0;
	mdb_txn_abort(txn);
	return modseq;
}

/* ---- remembered answers ------------------------------------------------------------------------------------------ */

static struct db_key answer_key(uint64_t client, uint64_t sequence)
{
	struct db_key k = key_mailbox(client);
	key_u64(&k, sequence);
	return k;
}

struct old_answers {
	struct index_txn *t;
	uint64_t below; /* sequence */
	uint64_t before_s;
	size_t n;
	struct db_key keys[ANSWERS_PRUNED_AT_ONCE];
};

static bool on_old_answer(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct old_answers *o = arg;
	uint64_t when = 0;
	if (o->n == ANSWERS_PRUNED_AT_ONCE || key_get_u64(key, 8) >= o->below)
		return false;
	if (!row_get(value, &when, sizeof when) || when < o->before_s) {
		o->keys[o->n].n = 0;
		key_span(&o->keys[o->n++], val_span(key));
	}
	return true;
}

static size_t drop_answers(struct old_answers *o, const struct db_key *prefix)
{
	o->n = 0;
	db_each(&(struct db_range){ &o->t->writer->db, o->t->txn, DB_ANSWERS, prefix, prefix },
	    on_old_answer, o);
	for (size_t i = 0; i < o->n; i++)
		(void)txn_del(o->t, DB_ANSWERS, &o->keys[i]);
	return o->n;
}

struct span index_txn_answered(
    struct index_txn *t, uint64_t client, uint64_t sequence, uint64_t answered_below)
{
	struct old_answers o; /* large: not cleared */
	struct db_key prefix = key_mailbox(client), k = answer_key(client, sequence);
	MDB_val v;
	o.t = t;
	o.below = answered_below;
	o.before_s = UINT64_MAX;
	(void)drop_answers(&o, &prefix);
	if (!txn_get(t, DB_ANSWERS, &k, &v) || v.mv_size < sizeof(uint64_t))
		return SPAN_NONE;
	return span_from(val_span(&v), sizeof(uint64_t));
}

size_t index_prune_answers(struct index_txn *t, uint64_t before_s, size_t most)
{
	struct old_answers o = { .t = t, .below = UINT64_MAX, .before_s = before_s };
	struct db_key all = { .n = 0 };
	size_t done = 0, n = ANSWERS_PRUNED_AT_ONCE;
	for (; done < most && n == ANSWERS_PRUNED_AT_ONCE; done += n)
		n = drop_answers(&o, &all);
	return done;
}

/* ---- housekeeping --------------------------------------------------------------------------------------------------- */

/* First key of a table that is ordered by seconds. */
static bool first_row(
    struct index_txn *t, enum db_table table, struct db_key *key_out, MDB_val *value)
{
	MDB_cursor *c;
	MDB_val key;
	int rc = mdb_cursor_open(t->txn, t->writer->db.t[table], &c);
	if (rc != 0) {
		txn_fail(t, rc);
		return false;
	}
	rc = mdb_cursor_get(c, &key, value, MDB_FIRST);
	mdb_cursor_close(c);
	if (rc != 0 || key.mv_size > DB_KEY_MAX) {
		txn_fail(t, rc == MDB_NOTFOUND ? 0 : rc);
		return false;
	}
	key_out->n = 0;
	key_span(key_out, val_span(&key));
	return true;
}

bool index_deliveries_due(struct index_txn *t, uint64_t before_s, uint64_t keep_max)
{
	struct db_key age;
	MDB_val v;
	if (t->err || !first_row(t, DB_DELIVERY_AGE, &age, &v))
		return false;
	MDB_val key = key_val(&age);
	return key_get_u64(&key, 0) < before_s || t->meta.delivery_n > keep_max;
}

void index_prune_deliveries(struct index_txn *t, uint64_t before_s, uint64_t keep_max, size_t most)
{
	struct db_key age, id;
	MDB_val v;
	while (most-- > 0 && index_deliveries_due(t, before_s, keep_max)) {
		if (!first_row(t, DB_DELIVERY_AGE, &age, &v))
			return;
		id.n = 0;
		key_span(&id, span_first(val_span(&v), DB_KEY_MAX));
		(void)txn_del(t, DB_DELIVERIES, &id);
		(void)txn_del(t, DB_DELIVERY_AGE, &age);
		if (t->meta.delivery_n > 0)
			t->meta.delivery_n--;
	}
}

void index_take_dead(struct index_txn *t, uint64_t before_s, size_t most,
    void (*fn)(void *arg, log_pos blob), void *arg)
{
	struct db_key k;
	MDB_val v;
	while (most-- > 0 && !t->err && first_row(t, DB_DEAD, &k, &v)) {
		MDB_val key = key_val(&k);
		if (key_get_u64(&key, 0) >= before_s)
			return;
		log_pos blob = key_get_u64(&key, 8);
		struct db_key at = key_mailbox(blob);
		(void)txn_del(t, DB_DEAD, &k);
		(void)txn_del(t, DB_BLOBS, &at);
		(void)txn_del(t, DB_CACHES, &at);
		object_drop(t, OBJECT_MESSAGE, blob);
		fn(arg, blob);
	}
}

bool index_writer_has_blob(struct index_writer *w, log_pos blob)
{
	struct db_key k = key_mailbox(blob);
	MDB_txn *txn;
	MDB_val v;
	if (mdb_txn_begin(w->db.env, NULL, MDB_RDONLY, &txn) != 0)
		return true; /* not sure: kept */
	MDB_val key = key_val(&k);
	int rc = mdb_get(txn, w->db.t[DB_BLOBS], &key, &v);
	mdb_txn_abort(txn);
	return rc != MDB_NOTFOUND;
}

/* LMDB's own table of free pages: each value begins with how many it lists. */
static uint64_t free_pages(struct index_writer *w)
{
	enum { FREE_PAGES = 0 };
	MDB_val key, value;
	MDB_cursor *c;
	MDB_txn *txn;
	uint64_t sum = 0;
	size_t n;
	if (mdb_txn_begin(w->db.env, NULL, MDB_RDONLY, &txn) != 0)
		return 0;
	if (mdb_cursor_open(txn, FREE_PAGES, &c) == 0) {
		while (mdb_cursor_get(c, &key, &value, MDB_NEXT) == 0)
			sum += row_get(&value, &n, sizeof n) ? n : 0;
		mdb_cursor_close(c);
	}
	mdb_txn_abort(txn);
	return sum;
}

uint64_t index_writer_room(struct index_writer *w)
{
	MDB_envinfo info;
	MDB_stat st;
	if (mdb_env_info(w->db.env, &info) != 0 || mdb_env_stat(w->db.env, &st) != 0)
		return 0;
	uint64_t used = ((uint64_t)info.me_last_pgno + 1) * st.ms_psize;
	uint64_t room = used < w->size_max ? w->size_max - used : 0;
	/* Only who is near the end looks closer: the table may be long. */
	if (room > w->size_max / 2)
		return room;
	used -= free_pages(w) * st.ms_psize;
	return used < w->size_max ? w->size_max - used : 0;
}

void index_writer_drop_dead_readers(struct index_writer *w)
{
	int dead;
	(void)mdb_reader_check(w->db.env, &dead);
}

/* ---- copies ------------------------------------------------------------------------------------------------------------ */

err_t index_writer_copy(struct index_writer *w, int fd)
{
	return db_err(mdb_env_copyfd2(w->db.env, fd, MDB_CP_COMPACT));
}

err_t index_copy_state(const char *path, struct index_state *out)
{
	struct index_writer file = { 0 };
	err_t err = db_open(&file.db, path, DB_READ_FILE, 0);
	if (err)
		return err;
	if (!index_writer_state(&file, out))
		err = ERR_CORRUPT;
	db_close(&file.db);
	return err;
}

static bool add_digest(void *arg, const MDB_val *key, const MDB_val *value)
{
	static const struct hash_key fixed = { 1, 2 };
	uint64_t *sum = arg;
	uint64_t parts[3] = { *sum, hash_sip(&fixed, val_span(key)),
		hash_sip(&fixed, val_span(value)) };
	*sum = hash_sip(&fixed, span_of(parts, sizeof parts));
	return true;
}

uint64_t index_writer_digest(struct index_writer *w)
{
	struct db_key all = { .n = 0 };
	uint64_t sum = 0;
	MDB_txn *txn;
	if (mdb_txn_begin(w->db.env, NULL, MDB_RDONLY, &txn) != 0)
		return 0;
	for (int i = DB_META + 1; i < DB_ANSWERS; i++)
		db_each(&(struct db_range){ &w->db, txn, (enum db_table)i, &all, &all }, add_digest,
		    &sum);
	mdb_txn_abort(txn);
	return sum;
}
