/* index_mailbox.c - users, mailboxes, entries and blobs in a write transaction: every counter is kept here.
 * Before: index_apply.c, which decides; after: index_write.c. Owns nothing. */
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "store-backend/index_txn.h"

enum { MAILBOX_VALUE_MAX = 8192, VANISHED_MAX = 100000, VANISHED_DROPPED = 1000 };

/* ---- users ---------------------------------------------------------------------------------------------------- */

static struct db_key user_key(struct span user)
{
	struct db_key k;
	k.n = 0;
	key_span(&k, user);
	return k;
}

bool user_load(struct index_txn *t, struct span user, struct user_row *out)
{
	struct db_key k = user_key(user);
	MDB_val v;
	return txn_get(t, DB_USERS, &k, &v) && row_get(&v, out, sizeof *out);
}

void user_store(struct index_txn *t, struct span user, const struct user_row *row)
{
	struct db_key k = user_key(user);
	struct user_row was;
	domain_count(t, user, user_load(t, user, &was) ? &was : NULL, row);
	txn_put(t, DB_USERS, &k, row, sizeof *row);
}

void user_drop(struct index_txn *t, struct span user)
{
	struct db_key k = user_key(user);
	struct user_row was;
	if (user_load(t, user, &was))
		domain_count(t, user, &was, NULL);
	(void)txn_del(t, DB_USERS, &k);
}

void user_ensure(struct index_txn *t, struct span user, uint64_t quota_bytes,
    uint64_t quota_messages, struct user_row *out)
{
	struct box inbox;
	if (user_load(t, user, out))
		return;
	*out = (struct user_row){ .quota_bytes = quota_bytes, .quota_messages = quota_messages };
	user_store(t, user, out);
	box_create(t, user, SPAN("INBOX"), 0, &inbox);
	if (!user_load(t, user, out))
		return; /* t->err says why */
	out->inbox = inbox.id;
	user_store(t, user, out);
	struct db_key k = key_name(user, SPAN("INBOX"));
	txn_put(t, DB_SUBS, &k, "", 0);
}

void user_touch(struct index_txn *t, struct span user)
{
	txn_touch(t, index_user_watch(user), 1, false);
}

bool user_has_room(const struct user_row *u, uint64_t bytes, uint64_t messages)
{
	return (u->quota_bytes == 0 ||
		   (u->bytes <= u->quota_bytes && bytes <= u->quota_bytes - u->bytes)) &&
	       (u->quota_messages == 0 || (u->messages <= u->quota_messages &&
					      messages <= u->quota_messages - u->messages));
}

/* ---- mailboxes ------------------------------------------------------------------------------------------------- */

static void box_from(const struct index_mailbox *m, const struct mailbox_row *row, struct box *out)
{
	out->id = m->id;
	out->row = *row;
	CHECK(m->user.n <= sizeof out->user && m->name.n <= sizeof out->name);
	memcpy(out->user, m->user.p, m->user.n);
	memcpy(out->name, m->name.p, m->name.n);
	out->row.keyword_n = (uint16_t)m->keyword_n;
	for (size_t i = 0; i < m->keyword_n; i++) {
		size_t n = m->keywords[i].n < STORE_KEYWORD_LEN_MAX ? m->keywords[i].n
								    : STORE_KEYWORD_LEN_MAX;
		out->keyword_len[i] = (uint8_t)n;
		memcpy(out->keywords[i], m->keywords[i].p, n);
	}
}

bool box_load(struct index_txn *t, uint64_t id, struct box *out)
{
	struct db_key k = key_mailbox(id);
	struct index_mailbox m;
	struct mailbox_row row;
	MDB_val v;
	if (!txn_get(t, DB_MAILBOXES, &k, &v) || !mailbox_parse(id, &v, &m, &row))
		return false;
	box_from(&m, &row, out);
	return true;
}

void box_store(struct index_txn *t, const struct box *b)
{
	struct db_key k = key_mailbox(b->id);
	struct buf value = BUF_INIT(MAILBOX_VALUE_MAX);
	buf_add(&value, &b->row, sizeof b->row);
	buf_add_span(&value, box_user(b));
	buf_add_span(&value, box_name(b));
	for (size_t i = 0; i < b->row.keyword_n; i++) {
		buf_add_char(&value, (char)b->keyword_len[i]);
		buf_add(&value, b->keywords[i], b->keyword_len[i]);
	}
	CHECK(buf_ok(&value));
	txn_put(t, DB_MAILBOXES, &k, buf_span(&value).p, buf_len(&value));
	buf_end(&value);
	txn_touch(t, b->id, b->row.modseq, false);
}

/* Strictly growing over the whole partition, and not less than the time: a mailbox that is deleted and
 * made again never has the same. */
static uint32_t next_uidvalidity(struct index_txn *t)
{
	uint32_t now = t->wall_s < UINT32_MAX ? (uint32_t)t->wall_s : UINT32_MAX;
	uint32_t last = t->meta.last_uidvalidity;
	t->meta.last_uidvalidity = now > last ? now : last + 1;
	return t->meta.last_uidvalidity;
}

static void name_store(struct index_txn *t, const struct box *b)
{
	struct db_key k = key_name(box_user(b), box_name(b));
	txn_put(t, DB_NAMES, &k, &b->id, sizeof b->id);
}

void box_create(
    struct index_txn *t, struct span user, struct span name, uint32_t uses, struct box *out)
{
	struct user_row u;
	memset(out, 0, sizeof *out);
	out->id = t->meta.next_mailbox++;
	out->row = (struct mailbox_row){
		.modseq = 1,
		.vanished_from = 1,
		.uidvalidity = next_uidvalidity(t),
		.uidnext = 1,
		.recent_from = 1,
		.uses = uses,
		.user_n = (uint16_t)user.n,
		.name_n = (uint16_t)name.n,
	};
	memcpy(out->user, user.p, user.n);
	memcpy(out->name, name.p, name.n);
	box_store(t, out);
	name_store(t, out);
	user_touch(t, user);
	if (user_load(t, user, &u)) {
		u.mailboxes++;
		user_store(t, user, &u);
	}
}

struct emptied {
	struct index_txn *t;
	const struct box *box;
};

static bool unref_entry(void *arg, uint32_t uid, const struct entry_row *e)
{
	const struct emptied *x = arg;
	type_count(x->t, x->box, e, false);
	blob_unref(x->t, e->blob);
	return true;
}

void box_delete(struct index_txn *t, struct box *b)
{
	static const struct uid_range all = { 1, UINT32_MAX };
	struct uid_set every = { &all, 1 };
	struct db_key prefix = key_mailbox(b->id), name = key_name(box_user(b), box_name(b));
	struct emptied x = { t, b };
	struct user_row u;
	box_entries_in(t, b->id, &every, unref_entry, &x);
	txn_del_all(t, DB_ENTRIES, &prefix);
	txn_del_all(t, DB_MODSEQS, &prefix);
	txn_del_all(t, DB_VANISHED, &prefix);
	acl_drop(t, b->id);
	metadata_drop(t, b->id);
	object_drop(t, OBJECT_MAILBOX, b->id);
	(void)txn_del(t, DB_MENDS, &prefix);
	(void)txn_del(t, DB_NAMES, &name);
	(void)txn_del(t, DB_MAILBOXES, &prefix);
	if (user_load(t, box_user(b), &u)) {
		u.mailboxes--;
		u.bytes -= b->row.bytes;
		u.messages -= b->row.messages;
		user_store(t, box_user(b), &u);
	}
	txn_touch(t, b->id, b->row.modseq, true);
	user_touch(t, box_user(b));
}

void box_rename(struct index_txn *t, struct box *b, struct span name)
{
	struct db_key old = key_name(box_user(b), box_name(b));
	(void)txn_del(t, DB_NAMES, &old);
	memcpy(b->name, name.p, name.n);
	b->row.name_n = (uint16_t)name.n;
	b->row.uidvalidity = next_uidvalidity(t);
	box_store(t, b);
	name_store(t, b);
	user_touch(t, box_user(b));
}

unsigned box_keyword(struct box *b, struct span word, bool add)
{
	for (unsigned i = 0; i < b->row.keyword_n; i++) {
		if (span_ieq(span_of(b->keywords[i], b->keyword_len[i]), word))
			return i;
	}
	if (!add || b->row.keyword_n == STORE_KEYWORDS_MAX)
		return STORE_KEYWORDS_MAX;
	unsigned i = b->row.keyword_n++;
	b->keyword_len[i] = (uint8_t)word.n;
	memcpy(b->keywords[i], word.p, word.n);
	return i;
}

uint64_t box_keyword_bits(struct box *b, const struct flag_set *set, bool add, bool *full_out)
{
	uint64_t bits = 0;
	for (size_t i = 0; i < set->keyword_n; i++) {
		unsigned bit = box_keyword(b, set->keywords[i], add);
		if (bit < STORE_KEYWORDS_MAX)
			bits |= (uint64_t)1 << bit;
		else if (add)
			*full_out = true;
	}
	return bits;
}

/* ---- entries ------------------------------------------------------------------------------------------------------ */

/* Counters that depend on flags: what the mailbox would lose with this entry. */
static void count_flags(struct box *b, uint32_t flags, int by)
{
	if ((flags & STORE_SEEN) == 0)
		b->row.unseen += (uint32_t)by;
	if ((flags & STORE_DELETED) != 0)
		b->row.deleted += (uint32_t)by;
}

uint32_t box_entry_add(
    struct run_change *runs, struct box *b, struct user_row *u, struct entry_row *e)
{
	struct index_txn *t = runs->t;
	uint32_t uid = b->row.uidnext++;
	struct db_key k = key_entry(b->id, uid);
	e->modseq = b->row.modseq;
	txn_put(t, DB_ENTRIES, &k, e, sizeof *e);
	run_join(runs, uid, e->modseq);
	blob_ref(t, e->blob);
	type_count(t, b, e, true);
	b->row.messages++;
	b->row.bytes += e->size;
	u->messages++;
	u->bytes += e->size;
	count_flags(b, e->flags, 1);
	return uid;
}

/* The oldest go, at most `most`, of a modseq up to `upto`: vanished_from says how far the list is not whole. */
static void drop_vanished(struct index_txn *t, struct box *b, uint64_t upto, uint32_t most)
{
	struct db_key prefix = key_mailbox(b->id);
	MDB_val key = key_val(&prefix), value;
	MDB_cursor *c;
	int rc = mdb_cursor_open(t->txn, t->writer->db.t[DB_VANISHED], &c);
	if (rc != 0) {
		txn_fail(t, rc);
		return;
	}
	rc = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE);
	for (; rc == 0 && most > 0 && key_get_u64(&key, 0) == b->id; most--) {
		if (key_get_u64(&key, 8) > upto)
			break;
		b->row.vanished_from = key_get_u64(&key, 8);
		b->row.vanished_n--;
		rc = mdb_cursor_del(c, 0);
		if (rc == 0)
			rc = mdb_cursor_get(c, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(c);
	txn_fail(t, rc == MDB_NOTFOUND ? 0 : rc);
}

/* The list has a bound: a client that was away for longer is told everything anew. */
static void prune_vanished(struct index_txn *t, struct box *b)
{
	drop_vanished(t, b, UINT64_MAX, VANISHED_DROPPED);
}

void box_forget_vanished(struct index_txn *t, struct box *b, uint64_t modseq)
{
	drop_vanished(t, b, modseq, UINT32_MAX);
}

void box_entry_remove(
    struct index_txn *t, struct box *b, struct user_row *u, uint32_t uid, const struct entry_row *e)
{
	struct db_key k = key_entry(b->id, uid);
	(void)txn_del(t, DB_ENTRIES, &k);
	box_note_vanished(t, b, uid);
	blob_unref(t, e->blob);
	type_count(t, b, e, false);
	b->row.messages--;
	b->row.bytes -= e->size;
	u->messages--;
	u->bytes -= e->size;
	count_flags(b, e->flags, -1);
}

static int go_over_range(MDB_cursor *c, uint64_t id, struct uid_range r,
    bool (*fn)(void *arg, uint32_t uid, const struct entry_row *e), void *arg)
{
	struct db_key from = key_entry(id, r.first);
	MDB_val key = key_val(&from), value;
	int rc = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE);
	while (rc == 0 && key_get_u64(&key, 0) == id && key_get_u32(&key, 8) <= r.last) {
		struct entry_row e;
		if (row_get(&value, &e, sizeof e) && !fn(arg, key_get_u32(&key, 8), &e))
			return 1;
		rc = mdb_cursor_get(c, &key, &value, MDB_NEXT);
	}
	return rc;
}

void box_entries_in(struct index_txn *t, uint64_t id, const struct uid_set *set,
    bool (*fn)(void *arg, uint32_t uid, const struct entry_row *e), void *arg)
{
	MDB_cursor *c;
	int rc = mdb_cursor_open(t->txn, t->writer->db.t[DB_ENTRIES], &c);
	if (rc != 0) {
		txn_fail(t, rc);
		return;
	}
	rc = 0;
	for (size_t i = 0; i < set->n && (rc == 0 || rc == MDB_NOTFOUND); i++)
		rc = go_over_range(c, id, set->v[i], fn, arg);
	mdb_cursor_close(c);
	txn_fail(t, rc == MDB_NOTFOUND || rc == 1 ? 0 : rc);
}

struct marking {
	struct index_txn *t;
	struct box *b;
	struct run_change runs;
	marks_fn *fn;
	void *arg;
};

/* False: it stays as it is. */
static bool mark_one(struct marking *m, uint32_t uid, struct entry_row *e)
{
	struct marks now;
	if (!m->fn(m->arg, uid, e, &now))
		return false;
	count_flags(m->b, e->flags, -1);
	count_flags(m->b, now.flags, 1);
	run_leave(&m->runs, uid, e->modseq);
	run_join(&m->runs, uid, m->b->row.modseq);
	e->flags = now.flags;
	e->keywords = now.keywords;
	e->modseq = m->b->row.modseq;
	return true;
}

/* Rows keep their size and are written where they are, a page at a time. */
static int mark_range(struct marking *m, MDB_cursor *c, struct uid_range r)
{
	struct db_key from = key_entry(m->b->id, r.first);
	MDB_val key = key_val(&from), value;
	int rc = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE);
	while (rc == 0 && key_get_u64(&key, 0) == m->b->id && key_get_u32(&key, 8) <= r.last) {
		struct entry_row e;
		MDB_val now = { sizeof e, &e };
		if (row_get(&value, &e, sizeof e) && mark_one(m, key_get_u32(&key, 8), &e))
			rc = mdb_cursor_put(c, &key, &now, MDB_CURRENT);
		if (rc == 0)
			rc = mdb_cursor_get(c, &key, &value, MDB_NEXT);
	}
	return rc;
}

void box_entries_mark(
    struct index_txn *t, struct box *b, const struct uid_set *set, marks_fn *fn, void *arg)
{
	struct marking m = { t, b, { .t = t, .id = b->id }, fn, arg };
	MDB_cursor *c = txn_going(t, DB_ENTRIES);
	int rc = 0;
	for (size_t i = 0; c != NULL && i < set->n && (rc == 0 || rc == MDB_NOTFOUND); i++)
		rc = mark_range(&m, c, set->v[i]);
	run_end(&m.runs);
	txn_fail(t, rc == MDB_NOTFOUND ? 0 : rc);
}

void box_note_vanished(struct index_txn *t, struct box *b, uint32_t uid)
{
	struct db_key gone = key_modseq(b->id, b->row.modseq, uid);
	MDB_val v;
	if (txn_get(t, DB_VANISHED, &gone, &v))
		return;
	txn_put(t, DB_VANISHED, &gone, "", 0);
	if (++b->row.vanished_n > VANISHED_MAX)
		prune_vanished(t, b);
}

void delivery_remember(struct index_txn *t, struct db_key *k)
{
	struct db_key age = key_mailbox(t->wall_s);
	key_u64(&age, ++t->meta.delivery_number);
	txn_put(t, DB_DELIVERIES, k, age.b, age.n);
	txn_put(t, DB_DELIVERY_AGE, &age, k->b, k->n);
	t->meta.delivery_n++;
}

/* ---- blobs -------------------------------------------------------------------------------------------------------- */

static struct db_key dead_key(const struct index_txn *t, log_pos blob)
{
	struct db_key k = key_mailbox(t->wall_s);
	key_u64(&k, blob);
	return k;
}

void blob_add(struct index_txn *t, log_pos blob, uint64_t size, struct span cache)
{
	struct db_key k = key_mailbox(blob);
	struct blob_row row = { .size = size };
	txn_put(t, DB_BLOBS, &k, &row, sizeof row);
	if (cache.n > 0)
		txn_put(t, DB_CACHES, &k, cache.p, cache.n);
}

static void blob_count(struct index_txn *t, log_pos blob, bool up)
{
	struct db_key k = key_mailbox(blob);
	struct blob_row row;
	MDB_val v;
	if (!txn_get(t, DB_BLOBS, &k, &v) || !row_get(&v, &row, sizeof row) ||
	    (!up && row.refs == 0)) {
		txn_fail(t, MDB_CORRUPTED);
		return;
	}
	row.refs += up ? 1 : (uint64_t)-1;
	txn_put(t, DB_BLOBS, &k, &row, sizeof row);
	if (row.refs == 0) {
		struct db_key dead = dead_key(t, blob);
		txn_put(t, DB_DEAD, &dead, "", 0);
	}
}

void blob_ref(struct index_txn *t, log_pos blob)
{
	blob_count(t, blob, true);
}

void blob_unref(struct index_txn *t, log_pos blob)
{
	blob_count(t, blob, false);
}
