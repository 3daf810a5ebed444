/* index_adopt.c - a user moves between stores: where the user's mail is, and mailboxes and messages that keep the
 * numbers they had at another store. Before: index_apply.c picks the function; after: index_mailbox.c keeps the
 * rows and the counters. Owns nothing.
 *
 * Whatever is adopted may be adopted again: a copy that was interrupted is begun anew and finds what is there. */
#include "base/mem.h"
#include "store-backend/index_apply.h"

/* ---- where the user's mail is ---------------------------------------------------------------------------- */

static struct db_key stay_key(struct span user)
{
	struct db_key k = { .n = 0 };
	key_span(&k, user);
	return k;
}

enum store_stay stay_of(struct index_txn *t, struct span user)
{
	return db_stay(&t->writer->db, t->txn, user).stay;
}

/* 0: an order by hand, which is obeyed whatever move the user is in. */
static uint64_t move_of(const struct operation *op)
{
	return op->unchanged_since != UINT64_MAX ? op->unchanged_since : 0;
}

static bool is_of_other_move(const struct operation *op, struct stay_row now)
{
	return now.move != 0 && move_of(op) != 0 && move_of(op) != now.move;
}

static void stay_store(struct apply *a, enum store_stay stay)
{
	struct db_key k = stay_key(a->op->user);
	uint64_t move = move_of(a->op);
	uint8_t row[STAY_ROW_BYTES] = { (uint8_t)stay };
	memcpy(row + 1, &move, sizeof move);
	if (stay == STAY_HERE)
		(void)txn_del(a->t, DB_STAYS, &k);
	else
		txn_put(a->t, DB_STAYS, &k, row, sizeof row);
}

struct some_box {
	uint64_t id;
	size_t n;
};

static bool on_box(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct some_box *b = arg;
	if (b->n++ == 0 && !row_get(value, &b->id, sizeof b->id))
		b->id = 0;
	return true;
}

static struct some_box first_box(struct apply *a)
{
	struct some_box found = { 0 };
	struct db_key prefix = key_name(a->op->user, SPAN_NONE);
	db_each(&(struct db_range){ &a->t->writer->db, a->t->txn, DB_NAMES, &prefix, &prefix },
	    on_box, &found);
	return found;
}

/* One mailbox a call, so that no change is larger than a DELETE; the last one takes the user along. */
static size_t wipe_one(struct apply *a)
{
	struct some_box found = first_box(a);
	struct db_key subs = key_name(a->op->user, SPAN_NONE);
	if (found.n > 0 && box_load(a->t, found.id, &a->box))
		box_delete(a->t, &a->box);
	if (found.n <= 1) {
		txn_del_all(a->t, DB_SUBS, &subs);
		metadata_drop_user(a->t, a->op->user);
		quota_mark_drop(a->t, a->op->user);
		user_drop(a->t, a->op->user);
	}
	return found.n > 0 ? found.n - 1 : 0;
}

/* An account that was never used is in nobody's way. */
static bool is_unused(struct apply *a)
{
	return a->user.messages == 0 && a->user.mailboxes <= 1;
}

static enum operation_result arrive(struct apply *a, enum store_stay now, bool there)
{
	if (now == STAY_LEAVING || (now == STAY_HERE && there && !is_unused(a)))
		return OPR_EXISTS;
	if (now != STAY_ARRIVING)
		while (wipe_one(a) > 0)
			;
	if (!user_load(a->t, a->op->user, &a->user))
		a->user = (struct user_row){ 0 };
	a->user.quota_bytes = a->op->quota_bytes;
	a->user.quota_messages = a->op->quota_messages;
	user_store(a->t, a->op->user, &a->user);
	return OPR_OK;
}

/* Only what ends a move asks whose it is: the two stores of a user must never both be open, and a late order of a tool that
 * was killed, or of a second tool, would open one of them. */
static bool ends_other_move(const struct operation *op, struct stay_row now)
{
	enum store_stay to = op->adopted.stay;
	return (to == STAY_HERE || (to == STAY_GONE && now.stay != STAY_GONE)) &&
	       is_of_other_move(op, now);
}

static enum operation_result change_stay(struct apply *a, struct stay_row now)
{
	enum store_stay to = a->op->adopted.stay;
	bool there = user_load(a->t, a->op->user, &a->user);
	if (ends_other_move(a->op, now))
		return OPR_AWAY;
	if (to == STAY_LEAVING && (!there || now.stay == STAY_ARRIVING || now.stay == STAY_GONE))
		return OPR_NO_USER;
	if (to == STAY_GONE && now.stay == STAY_HERE && there)
		return OPR_DENIED;
	if (to == STAY_HERE && now.stay == STAY_ARRIVING && (!there || a->user.inbox == 0))
		return OPR_NO_USER;
	return to == STAY_ARRIVING ? arrive(a, now.stay, there) : OPR_OK;
}

/* answer.uid: mailboxes that are left. */
enum operation_result apply_stay(struct apply *a)
{
	enum store_stay to = a->op->adopted.stay;
	enum operation_result r =
	    change_stay(a, db_stay(&a->t->writer->db, a->t->txn, a->op->user));
	if (r != OPR_OK)
		return r;
	if (to == STAY_GONE)
		a->t->answer.uid = (uint32_t)wipe_one(a);
	stay_store(a, to);
	return OPR_OK;
}

/* ---- mailboxes ------------------------------------------------------------------------------------------- */

/* Bits mean the same here and there: a keyword stands in the same place. */
static bool keywords_agree(const struct box *b, const struct flag_set *set)
{
	if (b->row.keyword_n > set->keyword_n)
		return false;
	for (size_t i = 0; i < b->row.keyword_n; i++)
		if (!span_eq(span_of(b->keywords[i], b->keyword_len[i]), set->keywords[i]))
			return false;
	return true;
}

static void adopt_numbers(struct apply *a, struct box *b)
{
	const struct op_adopted *n = &a->op->adopted;
	for (size_t i = b->row.keyword_n; i < a->op->set.keyword_n; i++)
		(void)box_keyword(b, a->op->set.keywords[i], true);
	b->row.uidvalidity = n->uidvalidity;
	b->row.uidnext = n->uidnext > b->row.uidnext ? n->uidnext : b->row.uidnext;
	b->row.modseq = n->modseq > b->row.modseq ? n->modseq : b->row.modseq;
	b->row.recent_from = n->recent_from;
	box_forget_vanished(a->t, b, n->vanished_from);
	b->row.vanished_from = n->vanished_from;
	b->row.uses = a->op->uses;
	/* What is made here later never has a uidvalidity that was used there. */
	if (n->uidvalidity > a->t->meta.last_uidvalidity)
		a->t->meta.last_uidvalidity = n->uidvalidity;
}

/* A mailbox of that name which is another one goes; its messages are copies. */
enum operation_result apply_adopt_mailbox(struct apply *a)
{
	const struct operation *op = a->op;
	uint64_t id = db_mailbox_id(&a->t->writer->db, a->t->txn, op->user, op->name);
	bool is_inbox = span_eq_str(op->name, "INBOX");
	if (id != 0 && !box_load(a->t, id, &a->box))
		return OPR_NO_MAILBOX;
	if (id != 0 && (a->box.row.uidvalidity != op->adopted.uidvalidity ||
			   !keywords_agree(&a->box, &op->set))) {
		box_delete(a->t, &a->box);
		id = 0;
	}
	if (!user_load(a->t, op->user, &a->user))
		return OPR_NO_USER;
	if (id == 0 && a->user.mailboxes >= STORE_MAILBOXES_MAX)
		return OPR_TOO_MANY;
	if (id == 0)
		box_create(a->t, op->user, op->name, op->uses, &a->box);
	if (!user_load(a->t, op->user, &a->user))
		return OPR_NO_USER;
	if (is_inbox)
		a->user.inbox = a->box.id;
	adopt_numbers(a, &a->box);
	object_store(a->t, OBJECT_MAILBOX, a->box.id, op->adopted.object);
	apply_store_box(a, &a->box);
	return OPR_OK;
}

/* ---- messages ---------------------------------------------------------------------------------------------- */

/* Lets the mailbox write rows of an earlier modseq, and takes its own back. */
static uint64_t begin_past(struct apply *a)
{
	uint64_t own = a->box.row.modseq;
	a->box.row.modseq = a->op->adopted.modseq;
	return own;
}

static void end_past(struct apply *a, uint64_t own)
{
	if (own > a->box.row.modseq)
		a->box.row.modseq = own;
	apply_store_box(a, &a->box);
}

static bool has_uid(struct apply *a, uint32_t uid)
{
	struct db_key k = key_entry(a->op->mailbox, uid);
	MDB_val v;
	return txn_get(a->t, DB_ENTRIES, &k, &v);
}

enum operation_result apply_adopt_allowed(struct apply *a)
{
	if (stay_of(a->t, a->op->user) != STAY_ARRIVING)
		return OPR_AWAY;
	if (!apply_load_box(a, a->op->mailbox, &a->box))
		return OPR_NO_MAILBOX;
	if (has_uid(a, a->op->adopted.uid))
		return OPR_EXISTS;
	return a->box.row.messages < STORE_MESSAGES_MAX ? OPR_OK : OPR_TOO_MANY;
}

enum operation_result apply_adopt_message(struct apply *a)
{
	const struct op_adopted *n = &a->op->adopted;
	enum operation_result r = apply_adopt_allowed(a);
	if (r != OPR_OK) {
		apply_message_in_vain(a);
		return r;
	}
	blob_add(a->t, a->facts->blob, a->op->message.size, a->op->message.cache);
	object_store(a->t, OBJECT_MESSAGE, a->facts->blob, n->object);
	struct entry_row e = {
		.size = a->op->message.size,
		.blob = a->facts->blob,
		.date_s = a->op->date_s,
		.date_zone = a->op->date_zone,
		.saved_s = n->saved_s,
		.flags = a->op->set.flags,
		.keywords = n->keywords,
		.type = (uint16_t)message_type_in(a->op->message.cache),
	};
	uint32_t next = a->box.row.uidnext;
	uint64_t own = begin_past(a);
	a->box.row.uidnext = n->uid;
	a->t->answer.uid = apply_add_entry(a, &a->box, &e);
	if (next > a->box.row.uidnext)
		a->box.row.uidnext = next;
	end_past(a, own);
	return OPR_OK;
}

static bool adopt_marks(void *arg, uint32_t uid, const struct entry_row *e, struct marks *now_out)
{
	const struct operation *op = arg;
	*now_out = (struct marks){ op->set.flags, op->adopted.keywords };
	return true;
}

enum operation_result apply_adopt_marks(struct apply *a)
{
	if (!apply_load_box(a, a->op->mailbox, &a->box))
		return OPR_NO_MAILBOX;
	uint64_t own = begin_past(a);
	box_entries_mark(a->t, &a->box, &a->op->uids, adopt_marks, (void *)(uintptr_t)a->op);
	end_past(a, own);
	return OPR_OK;
}

enum operation_result apply_adopt_vanished(struct apply *a)
{
	struct pick p;
	if (!apply_load_box(a, a->op->mailbox, &a->box))
		return OPR_NO_MAILBOX;
	apply_pick(a, a->op->mailbox, &a->op->uids, &p);
	uint64_t own = begin_past(a);
	apply_remove_entries(a, &a->box, &p);
	/* What was never copied has vanished all the same. */
	for (size_t i = 0; i < a->op->uids.n; i++)
		for (uint64_t uid = a->op->uids.v[i].first; uid <= a->op->uids.v[i].last; uid++)
			box_note_vanished(a->t, &a->box, (uint32_t)uid);
	end_past(a, own);
	mem_free(p.v);
	return OPR_OK;
}

enum operation_result apply_adopt_delivery(struct apply *a)
{
	struct db_key k = key_delivery(a->op->delivery_id, a->op->user, a->op->adopted.folder_hash);
	MDB_val v;
	if (!txn_get(a->t, DB_DELIVERIES, &k, &v))
		delivery_remember(a->t, &k);
	return OPR_OK;
}

/* ---- who may change what --------------------------------------------------------------------------------------- */

enum operation_result apply_gate(struct apply *a)
{
	enum operation_kind kind = a->op->kind;
	if (kind != OP_MEND && apply_is_held(a))
		return OPR_MENDING;
	if (kind == OP_STAY || kind == OP_DELIVER)
		return OPR_OK;
	struct stay_row now = db_stay(&a->t->writer->db, a->t->txn, a->op->user);
	if (now.stay == STAY_ARRIVING && is_of_other_move(a->op, now))
		return OPR_AWAY;
	if (now.stay == STAY_ARRIVING && (kind == OP_SET_ACL || kind == OP_SUBSCRIBE ||
					     kind == OP_UNSUBSCRIBE || kind == OP_DELETE))
		return OPR_OK; /* what the mover needs of the common kinds */
	bool adopts = (kind > OP_STAY && kind <= OP_ADOPT_DELIVERY) || kind == OP_ADOPT_METADATA;
	return now.stay == (adopts ? STAY_ARRIVING : STAY_HERE) ? OPR_OK : OPR_AWAY;
}
