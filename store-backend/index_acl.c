/* index_acl.c - who may do what with a mailbox: rows, the letters of rights, and the question itself. Before: index_apply.c and
 * index_message.c for changes, imap/ for looking. Owns nothing. */
#include "store-backend/acl.h"

#include <string.h>

#include "base/check.h"
#include "store-backend/index_apply.h"

/* ---- letters ------------------------------------------------------------------------------------------------ */

const struct acl_letter acl_letters[11] = {
	{ 'l', ACL_LOOKUP },
	{ 'r', ACL_READ },
	{ 's', ACL_SEEN },
	{ 'w', ACL_WRITE },
	{ 'i', ACL_INSERT },
	{ 'p', ACL_POST },
	{ 'k', ACL_CREATE },
	{ 'x', ACL_DELETE },
	{ 't', ACL_TRASH },
	{ 'e', ACL_EXPUNGE },
	{ 'a', ACL_ADMIN },
};

static uint32_t right_of(char letter)
{
	if (letter == 'c')
		return ACL_CREATE;
	if (letter == 'd')
		return ACL_DELETE | ACL_TRASH | ACL_EXPUNGE;
	for (size_t i = 0; i < COUNT_OF(acl_letters); i++)
		if (acl_letters[i].letter == letter)
			return acl_letters[i].right;
	return 0;
}

bool acl_parse(struct span letters, uint32_t *rights_out)
{
	*rights_out = 0;
	for (size_t i = 0; i < letters.n; i++) {
		uint32_t right = right_of(letters.p[i]);
		if (right == 0)
			return false;
		*rights_out |= right;
	}
	return true;
}

bool acl_put(struct buf *out, uint32_t rights)
{
	for (size_t i = 0; i < COUNT_OF(acl_letters); i++)
		if ((rights & acl_letters[i].right) != 0)
			buf_add_char(out, acl_letters[i].letter);
	if ((rights & ACL_CREATE) != 0)
		buf_add_char(out, 'c');
	if ((rights & (ACL_DELETE | ACL_TRASH | ACL_EXPUNGE)) != 0)
		buf_add_char(out, 'd');
	return buf_ok(out);
}

bool acl_who_ok(struct span who)
{
	if (who.n > 1 && who.p[0] == '-')
		who = span_from(who, 1);
	return span_eq_str(who, "anyone") || operation_user_ok(who);
}

/* ---- rows --------------------------------------------------------------------------------------------------- */

static struct db_key acl_key(uint64_t mailbox, struct span who)
{
	struct db_key k = key_mailbox(mailbox);
	key_span(&k, who);
	return k;
}

static struct db_key grant_key(struct span who, uint64_t mailbox)
{
	struct db_key k = key_name(who, SPAN_NONE);
	key_u64(&k, mailbox);
	return k;
}

static uint32_t row_of(
    const struct db *db, MDB_txn *txn, uint64_t mailbox, const char *sign, struct span who)
{
	struct db_key k = key_mailbox(mailbox);
	uint32_t rights;
	MDB_val v;
	key_span(&k, span_str(sign));
	key_span(&k, who);
	return db_get(db, txn, DB_ACLS, &k, &v) && row_get(&v, &rights, sizeof rights) ? rights : 0;
}

uint32_t db_rights(const struct db *db, MDB_txn *txn, uint64_t mailbox, struct span who)
{
	uint32_t given = row_of(db, txn, mailbox, "", SPAN("anyone"));
	uint32_t taken = row_of(db, txn, mailbox, "-", SPAN("anyone"));
	if (who.n > 0 && who.n <= STORE_USER_MAX) {
		given |= row_of(db, txn, mailbox, "", who);
		taken |= row_of(db, txn, mailbox, "-", who);
	}
	return given & ~taken;
}

bool db_refuses_post(const struct db *db, MDB_txn *txn, uint64_t mailbox)
{
	return (row_of(db, txn, mailbox, "-", SPAN("anyone")) & ACL_POST) != 0;
}

void acl_store(struct index_txn *t, uint64_t mailbox, struct span who, uint32_t rights)
{
	struct db_key k = acl_key(mailbox, who), g = grant_key(who, mailbox);
	if (rights == 0) {
		(void)txn_del(t, DB_ACLS, &k);
		(void)txn_del(t, DB_GRANTS, &g);
		return;
	}
	txn_put(t, DB_ACLS, &k, &rights, sizeof rights);
	txn_put(t, DB_GRANTS, &g, "", 0);
}

struct acl_rows {
	size_t n;
	struct {
		char who[ACL_WHO_MAX];
		size_t who_n;
		uint32_t rights;
	} v[ACL_ROWS_MAX];
};

static bool take_row(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct acl_rows *r = arg;
	struct span who = span_from(val_span(key), 8);
	if (r->n == ACL_ROWS_MAX || who.n > ACL_WHO_MAX ||
	    !row_get(value, &r->v[r->n].rights, sizeof r->v[0].rights))
		return r->n < ACL_ROWS_MAX;
	memcpy(r->v[r->n].who, who.p, who.n);
	r->v[r->n++].who_n = who.n;
	return true;
}

static void read_rows(struct index_txn *t, uint64_t mailbox, struct acl_rows *out)
{
	struct db_key prefix = key_mailbox(mailbox);
	out->n = 0;
	db_each(
	    &(struct db_range){ &t->writer->db, t->txn, DB_ACLS, &prefix, &prefix }, take_row, out);
}

void acl_drop(struct index_txn *t, uint64_t mailbox)
{
	struct acl_rows rows; /* large: not cleared */
	read_rows(t, mailbox, &rows);
	for (size_t i = 0; i < rows.n; i++)
		acl_store(t, mailbox, span_of(rows.v[i].who, rows.v[i].who_n), 0);
}

void acl_inherit(struct index_txn *t, uint64_t from, uint64_t to)
{
	struct acl_rows rows; /* large: not cleared */
	read_rows(t, from, &rows);
	for (size_t i = 0; i < rows.n; i++)
		acl_store(t, to, span_of(rows.v[i].who, rows.v[i].who_n), rows.v[i].rights);
}

/* ---- the question --------------------------------------------------------------------------------------------- */

uint32_t apply_rights(struct apply *a, const struct box *b)
{
	struct span who = a->op->actor.n > 0 ? a->op->actor : a->op->user;
	if (span_eq(who, box_user(b)))
		return ACL_ALL;
	return db_rights(&a->t->writer->db, a->t->txn, b->id, who);
}

bool apply_may(struct apply *a, const struct box *b, uint32_t rights)
{
	return (apply_rights(a, b) & rights) == rights;
}

struct flag_set apply_flags_allowed(
    struct apply *a, const struct box *b, const struct flag_set *set)
{
	uint32_t rights = apply_rights(a, b);
	struct flag_set out = *set;
	if ((rights & ACL_SEEN) == 0)
		out.flags &= ~(uint32_t)STORE_SEEN;
	if ((rights & ACL_TRASH) == 0)
		out.flags &= ~(uint32_t)STORE_DELETED;
	if ((rights & ACL_WRITE) == 0) {
		out.flags &= STORE_SEEN | STORE_DELETED;
		out.keyword_n = 0;
	}
	return out;
}

/* ---- the change ------------------------------------------------------------------------------------------------ */

enum operation_result apply_set_acl(struct apply *a)
{
	const struct operation *op = a->op;
	struct acl_rows rows; /* large: not cleared */
	struct db_key k;
	uint32_t rights = 0;
	MDB_val v;
	if (!apply_load_box(a, op->mailbox, &a->box))
		return OPR_NO_MAILBOX;
	if (!apply_may(a, &a->box, ACL_ADMIN))
		return OPR_DENIED;
	k = acl_key(op->mailbox, op->name);
	bool there = txn_get(a->t, DB_ACLS, &k, &v) && row_get(&v, &rights, sizeof rights);
	read_rows(a->t, op->mailbox, &rows);
	if (!there && rows.n == ACL_ROWS_MAX)
		return OPR_TOO_MANY;
	if (op->how == FLAGS_SET)
		rights = op->uses;
	else
		rights = op->how == FLAGS_ADD ? rights | op->uses : rights & ~op->uses;
	acl_store(a->t, op->mailbox, op->name, rights);
	user_touch(a->t, op->user);
	user_touch(a->t, span_starts(op->name, SPAN("-")) ? span_from(op->name, 1) : op->name);
	event_mailbox(a->t, "AclChange", &a->box, SPAN_NONE);
	return OPR_OK;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

uint32_t index_rights(struct index_view *v, const struct index_mailbox *m, struct span who)
{
	const struct db *db;
	MDB_txn *txn;
	index_view_db(v, &db, &txn);
	return span_eq(m->user, who) ? ACL_ALL : db_rights(db, txn, m->id, who);
}

struct each_row {
	bool (*fn)(void *arg, struct span who, uint32_t rights);
	void *arg;
};

static bool on_row(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct each_row *e = arg;
	uint32_t rights;
	return !row_get(value, &rights, sizeof rights) ||
	       e->fn(e->arg, span_from(val_span(key), 8), rights);
}

void index_acl(struct index_view *v, uint64_t mailbox,
    bool (*fn)(void *arg, struct span who, uint32_t rights), void *arg)
{
	struct each_row e = { fn, arg };
	struct db_key prefix = key_mailbox(mailbox);
	const struct db *db;
	MDB_txn *txn;
	index_view_db(v, &db, &txn);
	db_each(&(struct db_range){ db, txn, DB_ACLS, &prefix, &prefix }, on_row, &e);
}

struct each_grant {
	struct index_view *view;
	size_t skip;
	bool (*fn)(void *arg, const struct index_mailbox *m);
	void *arg;
};

static bool on_grant(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct each_grant *e = arg;
	struct index_mailbox m;
	return !index_mailbox_get(e->view, key_get_u64(key, e->skip), &m) || e->fn(e->arg, &m);
}

void index_granted(struct index_view *v, struct span who,
    bool (*fn)(void *arg, const struct index_mailbox *m), void *arg)
{
	struct each_grant e = { v, who.n + 1, fn, arg };
	struct db_key prefix;
	const struct db *db;
	MDB_txn *txn;
	if (who.n == 0 || who.n > STORE_USER_MAX)
		return;
	prefix = key_name(who, SPAN_NONE);
	index_view_db(v, &db, &txn);
	db_each(&(struct db_range){ db, txn, DB_GRANTS, &prefix, &prefix }, on_grant, &e);
}
