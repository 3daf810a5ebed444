/* index_mend.c - one mailbox is put right: what each step of OP_MEND does (mend.h), and who is kept out meanwhile. Before:
 * index_apply.c; after: index_mailbox.c, index_type.c. Owns nothing.
 *
 * Rows are written as they are to be, whatever stood there, since nothing that is damaged can be counted on. Only what is
 * readable is undone in the usual way. */
#include <string.h>

#include "base/mem.h"
#include "store-backend/index_apply.h"
#include "store-backend/mend.h"

struct mending {
	struct apply *a;
	bool raised;         /* modseq of the mailbox, once for the change */
	bool changed;        /* the mailbox's row is to be written */
	uint32_t not_done;   /* MEND_BLOB whose row was another by now */
	uint64_t *mailboxes; /* owned: ids of the user's */
	size_t n, cap;
};

/* ---- who is kept out ---------------------------------------------------------------------------------------- */

static bool any_held(struct index_txn *t)
{
	MDB_stat st;
	int rc = mdb_stat(t->txn, t->writer->db.t[DB_MENDS], &st);
	txn_fail(t, rc);
	return rc == 0 && st.ms_entries > 0;
}

static bool is_held(struct apply *a, uint64_t mailbox)
{
	return mailbox != 0 && db_held(&a->t->writer->db, a->t->txn, mailbox, a->facts->wall_s);
}

struct held_of {
	struct apply *a;
	bool found;
};

static bool on_held(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct held_of *h = arg;
	struct span owner = span_from(val_span(value), sizeof(struct hold_row));
	h->found = span_eq(owner, h->a->op->user) && is_held(h->a, key_get_u64(key, 0));
	return !h->found;
}

/* Changes of names, and whatever is about all of the user's mailboxes. */
static bool is_about_all(enum operation_kind kind)
{
	return kind == OP_DELETE || kind == OP_RENAME || kind == OP_STAY;
}

bool apply_is_held(struct apply *a)
{
	struct held_of h = { .a = a };
	struct db_key all = { .n = 0 };
	if (!any_held(a->t))
		return false;
	if (is_held(a, a->op->mailbox) || is_held(a, a->op->target))
		return true;
	if (is_about_all(a->op->kind))
		db_each(&(struct db_range){ &a->t->writer->db, a->t->txn, DB_MENDS, &all, &all },
		    on_held, &h);
	return h.found;
}

static void hold(struct apply *a, const struct mend *m)
{
	struct db_key k = key_mailbox(a->op->mailbox);
	struct hold_row row = { a->facts->wall_s + m->size };
	struct buf value = BUF_INIT(sizeof row + STORE_USER_MAX);
	buf_add(&value, &row, sizeof row);
	buf_add_span(&value, a->op->user);
	txn_put(a->t, DB_MENDS, &k, buf_span(&value).p, buf_len(&value));
	buf_end(&value);
	/* Whoever has it open is to open it anew. */
	txn_touch(a->t, a->op->mailbox, a->box.row.modseq, true);
}

/* ---- rows ------------------------------------------------------------------------------------------------- */

static enum operation_result make_row(struct mending *g)
{
	struct apply *a = g->a;
	const struct operation *op = a->op;
	const struct op_adopted *n = &op->adopted;
	struct db_key k = key_name(op->user, op->name);
	uint64_t id = db_mailbox_id(&a->t->writer->db, a->t->txn, op->user, op->name);
	if (op->name.n == 0 || n->uidvalidity == 0 || n->uidnext == 0)
		return OPR_BAD_NAME;
	if (id != 0 && id != op->mailbox)
		return OPR_EXISTS;
	a->box = (struct box){ .id = op->mailbox };
	a->box.row = (struct mailbox_row){ .modseq = n->modseq,
		.vanished_from = n->vanished_from,
		.uidvalidity = n->uidvalidity,
		.uidnext = n->uidnext,
		.recent_from = n->recent_from,
		.uses = op->uses,
		.user_n = (uint16_t)op->user.n,
		.name_n = (uint16_t)op->name.n };
	memcpy(a->box.user, op->user.p, op->user.n);
	memcpy(a->box.name, op->name.p, op->name.n);
	for (size_t i = 0; i < op->set.keyword_n; i++)
		(void)box_keyword(&a->box, op->set.keywords[i], true);
	txn_put(a->t, DB_NAMES, &k, &op->mailbox, sizeof op->mailbox);
	g->changed = true;
	return OPR_OK;
}

static void raise_modseq(struct mending *g)
{
	g->a->box.row.modseq += !g->raised;
	g->raised = true;
}

/* The entry as it stands, when it can be read; its mark goes. */
static bool take_entry(struct mending *g, uint32_t uid, struct entry_row *out)
{
	struct apply *a = g->a;
	struct db_key k = key_entry(a->box.id, uid);
	MDB_val v;
	if (!txn_get(a->t, DB_ENTRIES, &k, &v) || !row_get(&v, out, sizeof *out))
		return false;
	run_cut(a->t, a->box.id, out->modseq, (struct uid_range){ uid, uid });
	return true;
}

static void put_entry(struct mending *g, const struct mend *m)
{
	struct apply *a = g->a;
	struct db_key k = key_entry(a->box.id, m->uid);
	struct entry_row old;
	raise_modseq(g);
	(void)take_entry(g, m->uid, &old);
	struct entry_row e = {
		.keywords = m->keywords,
		.modseq = a->box.row.modseq,
		.size = m->size,
		.blob = m->blob,
		.date_s = m->date_s,
		.saved_s = m->saved_s,
		.flags = m->flags,
		.date_zone = m->date_zone,
		.type = m->type,
	};
	struct db_key mark = key_modseq(a->box.id, e.modseq, m->uid);
	txn_put(a->t, DB_ENTRIES, &k, &e, sizeof e);
	txn_put(a->t, DB_MODSEQS, &mark, "", 0);
	/* Who comes back compares everything: a uid may be there again that was not. */
	a->box.row.vanished_from = a->box.row.modseq;
}

static bool blob_row(struct mending *g, log_pos blob, struct blob_row *out)
{
	struct db_key k = key_mailbox(blob);
	MDB_val v;
	return txn_get(g->a->t, DB_BLOBS, &k, &v) && row_get(&v, out, sizeof *out);
}

static void lose_entry(struct mending *g, const struct mend *m)
{
	struct apply *a = g->a;
	struct db_key k = key_entry(a->box.id, m->uid);
	struct blob_row row;
	struct entry_row e;
	raise_modseq(g);
	if (take_entry(g, m->uid, &e) && blob_row(g, e.blob, &row) && row.refs > 0)
		blob_unref(a->t, e.blob);
	(void)txn_del(a->t, DB_ENTRIES, &k);
	if (m->uid < a->box.row.uidnext)
		box_note_vanished(a->t, &a->box, m->uid);
}

static void mark_entry(struct mending *g, const struct mend *m)
{
	struct db_key k = key_modseq(g->a->box.id, m->modseq, m->uid);
	if (m->kind == MEND_MARK)
		txn_put(g->a->t, DB_MODSEQS, &k, "", 0);
	else
		(void)txn_del(g->a->t, DB_MODSEQS, &k);
}

static void begin_vanished(struct mending *g)
{
	struct box *b = &g->a->box;
	struct db_key prefix = key_mailbox(b->id);
	txn_del_all(g->a->t, DB_VANISHED, &prefix);
	b->row.vanished_n = 0;
	b->row.vanished_from = b->row.modseq;
}

/* ---- references ------------------------------------------------------------------------------------------- */

struct dead_row {
	log_pos blob;
	struct db_key key;
	bool found;
};

static bool on_dead(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct dead_row *d = arg;
	d->found = key_get_u64(key, 8) == d->blob && key->mv_size <= DB_KEY_MAX;
	if (d->found)
		key_span(&d->key, val_span(key));
	return !d->found;
}

/* Whoever has a reference is not dead. */
static void revive(struct index_txn *t, log_pos blob)
{
	struct dead_row d = { .blob = blob, .key = { .n = 0 } };
	struct db_key all = { .n = 0 };
	db_each(&(struct db_range){ &t->writer->db, t->txn, DB_DEAD, &all, &all }, on_dead, &d);
	if (d.found)
		(void)txn_del(t, DB_DEAD, &d.key);
}

static void mend_blob(struct mending *g, const struct mend *m)
{
	struct index_txn *t = g->a->t;
	struct blob_row row;
	bool there = blob_row(g, m->blob, &row);
	struct db_key k = key_mailbox(m->blob);
	if ((there ? row.refs : UINT64_MAX) != m->seen) {
		g->not_done++;
		return;
	}
	row = (struct blob_row){ .size = m->size, .refs = m->refs };
	txn_put(t, DB_BLOBS, &k, &row, sizeof row);
	revive(t, m->blob);
	if (m->refs == 0) {
		struct db_key dead = key_mailbox(t->wall_s);
		key_u64(&dead, m->blob);
		txn_put(t, DB_DEAD, &dead, "", 0);
	}
}

/* ---- counters --------------------------------------------------------------------------------------------- */

static bool on_name(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct mending *g = arg;
	uint64_t id;
	if (!row_get(value, &id, sizeof id))
		return true;
	if (g->n == g->cap) {
		g->cap = g->cap == 0 ? 16 : g->cap * 2;
		g->mailboxes = mem_grow(g->mailboxes, g->cap, sizeof *g->mailboxes);
	}
	g->mailboxes[g->n++] = id;
	return true;
}

/* The rows of the mailboxes say how much the user has. */
static void sum_user(struct mending *g)
{
	struct apply *a = g->a;
	struct db_key prefix = key_name(a->op->user, SPAN_NONE);
	struct db *db = &a->t->writer->db;
	struct index_mailbox m;
	box_store(a->t, &a->box);
	g->n = 0;
	db_each(&(struct db_range){ db, a->t->txn, DB_NAMES, &prefix, &prefix }, on_name, g);
	a->user.bytes = a->user.messages = a->user.mailboxes = 0;
	for (size_t i = 0; i < g->n; i++) {
		if (!db_mailbox(db, a->t->txn, g->mailboxes[i], &m))
			continue;
		a->user.bytes += m.bytes;
		a->user.messages += m.messages;
		a->user.mailboxes++;
		if (span_eq_str(m.name, "INBOX"))
			a->user.inbox = m.id;
	}
	user_store(a->t, a->op->user, &a->user);
	type_sum(a->t, a->op->user, g->mailboxes, g->n);
}

static void set_counts(struct mending *g, const struct mend *m)
{
	struct mailbox_row *row = &g->a->box.row;
	row->messages = (uint32_t)m->refs;
	row->bytes = m->size;
	row->unseen = m->unseen;
	row->deleted = m->deleted;
	row->vanished_n = m->vanished;
	if (m->uid > row->uidnext)
		row->uidnext = m->uid;
	sum_user(g);
}

static void release(struct apply *a)
{
	struct db_key k = key_mailbox(a->op->mailbox);
	(void)txn_del(a->t, DB_MENDS, &k);
	txn_touch(a->t, a->op->mailbox, a->box.row.modseq, false);
}

/* ---- the change ------------------------------------------------------------------------------------------------ */

/* With the mailbox loaded, or made. */
static void mend_one(struct mending *g, const struct mend *m)
{
	struct type_use use = { m->size, m->refs };
	if (m->kind == MEND_PUT)
		put_entry(g, m);
	else if (m->kind == MEND_LOST)
		lose_entry(g, m);
	else if (m->kind == MEND_MARK || m->kind == MEND_UNMARK)
		mark_entry(g, m);
	else if (m->kind == MEND_VANISHED)
		begin_vanished(g);
	else if (m->kind == MEND_BLOB)
		mend_blob(g, m);
	else if (m->kind == MEND_TYPE)
		type_set(g->a->t, g->a->op->mailbox, (enum message_type)m->type, use);
	else if (m->kind == MEND_COUNTS)
		set_counts(g, m);
}

static enum operation_result take_step(struct mending *g, const struct mend *m)
{
	struct apply *a = g->a;
	if (m->kind == MEND_HOLD) {
		hold(a, m);
		return OPR_OK;
	}
	if (!is_held(a, a->op->mailbox))
		return OPR_DENIED; /* its time is over: who mends begins anew */
	if (m->kind == MEND_RELEASE) {
		release(a);
		return OPR_OK;
	}
	if (m->kind == MEND_ROW)
		return make_row(g);
	if (a->box.id == 0)
		return OPR_NO_MAILBOX;
	mend_one(g, m);
	g->changed = true;
	return OPR_OK;
}

static enum operation_result mend_all(struct mending *g)
{
	struct apply *a = g->a;
	struct span rest = a->op->mends;
	enum operation_result r = OPR_OK;
	struct mend m;
	if (!apply_load_box(a, a->op->mailbox, &a->box))
		a->box = (struct box){ 0 };
	while (r == OPR_OK && mend_take(&rest, &m))
		r = take_step(g, &m);
	if (g->changed)
		box_store(a->t, &a->box);
	return r;
}

/* answer.uid: MEND_BLOB that were not done. */
enum operation_result apply_mend(struct apply *a)
{
	struct mending g = { .a = a };
	if (!user_load(a->t, a->op->user, &a->user))
		return OPR_NO_USER;
	enum operation_result r = mend_all(&g);
	mem_free(g.mailboxes);
	a->t->answer.uid = g.not_done;
	a->t->answer.mailbox = a->op->mailbox;
	return r;
}
