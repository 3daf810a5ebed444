/* mend_plan.c - one mailbox compared with itself, with the log and with a shadow; see mend_plan.h. Before: tool_mend.c;
 * after: index_mend.c. Owns lists of the mailbox's rows while it runs: some 64 bytes a message. */
#include "store-backend/mend_plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store-backend/index_db.h"

struct one {
	uint32_t uid;
	bool readable; /* and with numbers that can be */
	bool marked;   /* the list of changes has it */
	struct entry_row row;
};

struct rows {
	struct one *v; /* owned; by uid */
	size_t n, cap;
};

struct looking {
	const struct mend_plan *p;
	struct rows live, shadow;
	uint32_t *vanished; /* owned: uids that the shadow knows to be gone, ascending */
	size_t vanished_n, vanished_cap;
	uint64_t modseq; /* of the mailbox's row */
	uint32_t vanished_told, vanished_found;
	bool vanished_wrong;
	bool go_on;
};

static void emit(struct looking *l, struct mend m)
{
	l->go_on = l->go_on && l->p->emit(l->p->arg, &m);
}

/* ---- rows ------------------------------------------------------------------------------------------------- */

static bool sane(const struct entry_row *e)
{
	return (e->flags & ~(uint32_t)STORE_FLAGS_ALL) == 0 && e->blob != 0 && e->modseq > 0 &&
	       e->modseq < INT64_MAX && e->type < TYPE_COUNT && e->date_zone > -1440 &&
	       e->date_zone < 1440;
}

static bool on_row(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct rows *r = arg;
	if (r->n == r->cap) {
		r->cap = r->cap == 0 ? 64 : r->cap * 2;
		r->v = mem_grow(r->v, r->cap, sizeof *r->v);
	}
	struct one *o = &r->v[r->n++];
	*o = (struct one){ .uid = key_get_u32(key, 8) };
	o->readable = value->mv_size == sizeof o->row && row_get(value, &o->row, sizeof o->row) &&
		      sane(&o->row);
	return true;
}

static void each_row(
    struct index_view *v, enum db_table table, uint64_t id, db_row_fn *fn, void *arg)
{
	struct db_key prefix = key_mailbox(id);
	const struct db *db;
	MDB_txn *txn;
	if (v == NULL)
		return;
	index_view_db(v, &db, &txn);
	db_each(&(struct db_range){ db, txn, table, &prefix, &prefix }, fn, arg);
}

static int by_uid(const void *a, const void *b)
{
	const struct one *x = a, *y = b;
	return (x->uid > y->uid) - (x->uid < y->uid);
}

static struct one *find(const struct rows *r, uint32_t uid)
{
	struct one key = { .uid = uid };
	return r->n == 0 ? NULL : bsearch(&key, r->v, r->n, sizeof *r->v, by_uid);
}

/* ---- what has vanished ---------------------------------------------------------------------------------------- */

static bool on_live_vanished(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct looking *l = arg;
	l->vanished_found++;
	if (key->mv_size != 20 || key_get_u64(key, 8) > l->modseq)
		l->vanished_wrong = true;
	return true;
}

static bool on_shadow_vanished(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct looking *l = arg;
	if (l->vanished_n == l->vanished_cap) {
		l->vanished_cap = l->vanished_cap == 0 ? 64 : l->vanished_cap * 2;
		l->vanished = mem_grow(l->vanished, l->vanished_cap, sizeof *l->vanished);
	}
	l->vanished[l->vanished_n++] = key_get_u32(key, 16);
	return true;
}

static int by_number(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

static bool has_vanished(const struct looking *l, uint32_t uid)
{
	return l->vanished_n > 0 &&
	       bsearch(&uid, l->vanished, l->vanished_n, sizeof uid, by_number) != NULL;
}

/* ---- the list of changes ----------------------------------------------------------------------------------- */

/* Its messages, when every uid of the run has one that was changed then; else NULL. */
static struct one *whole_run(struct rows *live, struct uid_range r, uint64_t modseq)
{
	struct one *first = find(live, r.first);
	size_t n = (size_t)(r.last - r.first) + 1;
	if (first == NULL || n > live->n - (size_t)(first - live->v))
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (first[i].uid != r.first + i || !first[i].readable ||
		    first[i].row.modseq != modseq)
			return NULL;
	return first;
}

/* A run that is not right goes as a whole: who belongs there is marked alone. */
static bool on_mark(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct looking *l = arg;
	uint64_t modseq = key_get_u64(key, 8);
	struct uid_range r = db_run_range(key, value);
	struct one *o = whole_run(&l->live, r, modseq);
	for (size_t i = 0; o != NULL && i <= r.last - r.first; i++)
		o[i].marked = true;
	if (o == NULL)
		emit(l, (struct mend){ .kind = MEND_UNMARK, .uid = r.first, .modseq = modseq });
	return l->go_on;
}

/* ---- messages ------------------------------------------------------------------------------------------------- */

static bool has_bytes(const struct looking *l, const struct entry_row *e)
{
	uint64_t n;
	return commitlog_reader_size(l->p->reader, e->blob, &n) == ERR_OK && n == e->size;
}

static void put(struct looking *l, uint32_t uid, const struct entry_row *e)
{
	emit(l, (struct mend){ .kind = MEND_PUT,
		    .uid = uid,
		    .flags = e->flags,
		    .keywords = e->keywords,
		    .size = e->size,
		    .date_s = e->date_s,
		    .saved_s = e->saved_s,
		    .date_zone = e->date_zone,
		    .type = e->type,
		    .blob = e->blob });
}

/* One uid that either has; live or shadow may be NULL. */
static void look_at(
    struct looking *l, uint32_t uid, const struct one *live, const struct one *shadow)
{
	const struct entry_row *right = NULL;
	if (shadow != NULL && shadow->readable)
		right = &shadow->row;
	else if (live != NULL && live->readable && !has_vanished(l, uid))
		right = &live->row;
	if (right == NULL || !has_bytes(l, right))
		emit(l, (struct mend){ .kind = MEND_LOST, .uid = uid });
	else if (live == NULL || !live->readable ||
		 memcmp(&live->row, right, sizeof live->row) != 0)
		put(l, uid, right);
	else if (!live->marked)
		emit(l, (struct mend){ .kind = MEND_MARK, .uid = uid, .modseq = live->row.modseq });
}

/* The uid at a place in the list; above all uids behind its end. */
static uint64_t uid_at(const struct rows *r, size_t i)
{
	return i < r->n ? r->v[i].uid : UINT64_MAX;
}

static void look_at_all(struct looking *l)
{
	size_t i = 0, j = 0;
	while (l->go_on && (i < l->live.n || j < l->shadow.n)) {
		uint64_t a = uid_at(&l->live, i), b = uid_at(&l->shadow, j);
		const struct one *live = a <= b ? &l->live.v[i++] : NULL;
		const struct one *shadow = b <= a ? &l->shadow.v[j++] : NULL;
		look_at(l, (uint32_t)(a < b ? a : b), live, shadow);
	}
}

static bool mailbox_row_of(const struct mend_plan *p, struct mailbox_row *out)
{
	struct db_key k = key_mailbox(p->mailbox);
	struct index_mailbox m;
	const struct db *db;
	MDB_txn *txn;
	MDB_val v;
	index_view_db(p->live, &db, &txn);
	return db_get(db, txn, DB_MAILBOXES, &k, &v) && mailbox_parse(p->mailbox, &v, &m, out);
}

bool mend_plan_entries(const struct mend_plan *p)
{
	struct looking l = { .p = p, .go_on = true };
	struct mailbox_row row = { 0 };
	(void)mailbox_row_of(p, &row);
	l.modseq = row.modseq;
	each_row(p->live, DB_ENTRIES, p->mailbox, on_row, &l.live);
	each_row(p->shadow, DB_ENTRIES, p->mailbox, on_row, &l.shadow);
	each_row(p->shadow, DB_VANISHED, p->mailbox, on_shadow_vanished, &l);
	if (l.vanished_n > 0)
		qsort(l.vanished, l.vanished_n, sizeof *l.vanished, by_number);
	each_row(p->live, DB_VANISHED, p->mailbox, on_live_vanished, &l);
	if (l.vanished_wrong || l.vanished_found != row.vanished_n)
		emit(&l, (struct mend){ .kind = MEND_VANISHED });
	if (l.go_on)
		each_row(p->live, DB_MODSEQS, p->mailbox, on_mark, &l);
	look_at_all(&l);
	mem_free(l.live.v);
	mem_free(l.shadow.v);
	mem_free(l.vanished);
	return l.go_on;
}

/* ---- the mailbox's row ------------------------------------------------------------------------------------------ */

static bool same_words(const struct index_mailbox *a, const struct index_mailbox *b)
{
	if (a->keyword_n != b->keyword_n)
		return false;
	for (size_t i = 0; i < a->keyword_n; i++)
		if (!span_eq(a->keywords[i], b->keywords[i]))
			return false;
	return true;
}

bool mend_row_is_right(const struct mend_plan *p, struct index_mailbox *out)
{
	struct index_mailbox live, named;
	if (p->shadow == NULL || !index_mailbox_get(p->shadow, p->mailbox, out))
		return index_mailbox_get(p->live, p->mailbox, &live);
	return index_mailbox_get(p->live, p->mailbox, &live) && span_eq(live.user, out->user) &&
	       span_eq(live.name, out->name) && live.uidvalidity == out->uidvalidity &&
	       live.uidnext >= out->uidnext && live.modseq >= out->modseq &&
	       live.uses == out->uses && live.vanished_from >= out->vanished_from &&
	       same_words(&live, out) &&
	       index_mailbox_find(p->live, out->user, out->name, &named) && named.id == p->mailbox;
}

/* ---- references ------------------------------------------------------------------------------------------------ */

struct counted {
	log_pos blob;
	uint64_t size, refs;
};

struct counting {
	struct counted *v; /* owned; by blob */
	size_t n;
	bool all_readable; /* every entry of the partition */
};

static int by_blob(const void *a, const void *b)
{
	const struct counted *x = a, *y = b;
	return (x->blob > y->blob) - (x->blob < y->blob);
}

static void unique(struct counting *c)
{
	size_t n = 0;
	if (c->n > 0)
		qsort(c->v, c->n, sizeof *c->v, by_blob);
	for (size_t i = 0; i < c->n; i++)
		if (n == 0 || c->v[n - 1].blob != c->v[i].blob)
			c->v[n++] = c->v[i];
	c->n = n;
}

static bool on_any_row(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct counting *c = arg;
	struct entry_row row;
	if (!row_get(value, &row, sizeof row) || !sane(&row)) {
		c->all_readable = false;
		return true;
	}
	struct counted k = { .blob = row.blob };
	struct counted *found = bsearch(&k, c->v, c->n, sizeof *c->v, by_blob);
	if (found != NULL)
		found->refs++;
	return true;
}

/* Fewer only if nothing that cannot be read may have a reference too. */
static bool blob_is_right(
    const struct counting *c, const struct counted *one, bool there, const struct blob_row *row)
{
	return there && row->size == one->size &&
	       (row->refs == one->refs || (row->refs > one->refs && !c->all_readable));
}

static bool tell_blobs(const struct mend_plan *p, const struct counting *c)
{
	const struct db *db;
	MDB_txn *txn;
	bool go_on = true;
	index_view_db(p->live, &db, &txn);
	for (size_t i = 0; go_on && i < c->n; i++) {
		struct db_key k = key_mailbox(c->v[i].blob);
		struct blob_row row = { 0 };
		MDB_val v;
		bool there = db_get(db, txn, DB_BLOBS, &k, &v) && row_get(&v, &row, sizeof row);
		if (blob_is_right(c, &c->v[i], there, &row))
			continue;
		uint64_t refs = c->v[i].refs;
		if (there && row.refs > refs && !c->all_readable)
			refs = row.refs;
		go_on = p->emit(p->arg, &(struct mend){ .kind = MEND_BLOB,
					    .blob = c->v[i].blob,
					    .size = c->v[i].size,
					    .refs = refs,
					    .seen = there ? row.refs : UINT64_MAX });
	}
	return go_on;
}

bool mend_plan_blobs(const struct mend_plan *p)
{
	struct counting c = { .all_readable = true };
	struct db_key all = { .n = 0 };
	struct rows mine = { 0 };
	const struct db *db;
	MDB_txn *txn;
	each_row(p->live, DB_ENTRIES, p->mailbox, on_row, &mine);
	c.v = mem_array(mine.n + 1, sizeof *c.v);
	for (size_t i = 0; i < mine.n; i++)
		if (mine.v[i].readable)
			c.v[c.n++] = (struct counted){ mine.v[i].row.blob, mine.v[i].row.size, 0 };
	unique(&c);
	index_view_db(p->live, &db, &txn);
	if (c.n > 0)
		db_each(&(struct db_range){ db, txn, DB_ENTRIES, &all, &all }, on_any_row, &c);
	bool go_on = tell_blobs(p, &c);
	mem_free(c.v);
	mem_free(mine.v);
	return go_on;
}

/* ---- counters -------------------------------------------------------------------------------------------------- */

struct sums {
	struct mend counts;
	struct type_uses types;
};

static bool on_counted(void *arg, const struct index_entry *e)
{
	struct sums *s = arg;
	s->counts.refs++;
	s->counts.size += e->size;
	s->counts.unseen += (e->flags & STORE_SEEN) == 0;
	s->counts.deleted += (e->flags & STORE_DELETED) != 0;
	s->counts.uid = e->uid + 1;
	type_uses_add(&s->types, e->type, e->size, 1);
	return true;
}

static bool on_counted_vanished(void *arg, uint32_t uid, uint64_t modseq)
{
	((struct sums *)arg)->counts.vanished++;
	return true;
}

static bool types_right(const struct type_uses *has, const struct type_uses *says)
{
	for (int type = TYPE_MAIL; type < TYPE_COUNT; type++)
		if (has->of[type].messages != says->of[type].messages ||
		    has->of[type].bytes != says->of[type].bytes)
			return false;
	return true;
}

static bool on_summed(void *arg, const struct index_mailbox *m)
{
	struct index_user *sum = arg;
	sum->bytes += m->bytes;
	sum->messages += m->messages;
	return true;
}

static bool user_is_right(const struct mend_plan *p, struct span user)
{
	struct index_user says, sum = { 0 };
	index_mailboxes(p->live, user, on_summed, &sum);
	return index_user(p->live, user, &says) && says.bytes == sum.bytes &&
	       says.messages == sum.messages;
}

static bool counts_right(const struct mend_plan *p, const struct sums *s)
{
	struct type_uses says, of_user;
	struct mailbox_row row;
	struct index_mailbox m;
	if (!mailbox_row_of(p, &row) || !index_mailbox_get(p->live, p->mailbox, &m))
		return false;
	index_types(p->live, &m, &says, &of_user);
	return row.messages == s->counts.refs && row.bytes == s->counts.size &&
	       row.unseen == s->counts.unseen && row.deleted == s->counts.deleted &&
	       row.vanished_n == s->counts.vanished && row.uidnext >= s->counts.uid &&
	       types_right(&s->types, &says) && user_is_right(p, m.user);
}

bool mend_plan_counts(const struct mend_plan *p, bool *right_out)
{
	struct sums s = { .counts = { .kind = MEND_COUNTS } };
	bool go_on = true;
	index_entries(p->live, p->mailbox, (struct uid_range){ 1, UINT32_MAX }, on_counted, &s);
	index_vanished(p->live, p->mailbox, 0, on_counted_vanished, &s);
	*right_out = counts_right(p, &s);
	for (int type = TYPE_MAIL + 1; go_on && type < TYPE_COUNT; type++)
		go_on = p->emit(p->arg, &(struct mend){ .kind = MEND_TYPE,
					    .type = (uint16_t)type,
					    .size = s.types.of[type].bytes,
					    .refs = s.types.of[type].messages });
	return go_on && p->emit(p->arg, &s.counts);
}
