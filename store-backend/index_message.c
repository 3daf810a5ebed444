/* index_message.c - what operations do to messages: deliver, append, flags, copy, move, expunge. Before:
 * index_apply.c picks the function; after: index_mailbox.c keeps the rows and the counters. Owns nothing. */
#include "base/hash.h"
#include "base/mem.h"
#include "store-backend/acl.h"
#include "store-backend/index_apply.h"

/* ---- messages in --------------------------------------------------------------------------------------------- */

static struct entry_row new_entry(const struct apply *a)
{
	return (struct entry_row){
		.size = a->op->message.size,
		.blob = a->facts->blob,
		.date_s = a->op->date_s,
		.date_zone = a->op->date_zone,
		.saved_s = (int64_t)a->facts->wall_s,
		.type = (uint16_t)message_type_in(a->op->message.cache),
	};
}

static bool box_full(const struct box *b, uint64_t more)
{
	return b->row.messages + more > STORE_MESSAGES_MAX ||
	       b->row.uidnext > UINT32_MAX - more - 1;
}

uint32_t apply_add_entry(struct apply *a, struct box *b, struct entry_row *e)
{
	struct run_change runs = { .t = a->t, .id = b->id };
	uint32_t uid = box_entry_add(&runs, b, &a->user, e);
	run_end(&runs);
	return uid;
}

/* The mailbox that APPEND takes messages out of, when it replaces some. */
static struct box *replaced_box(struct apply *a)
{
	return a->op->target == a->op->mailbox ? &a->box : &a->target;
}

/* What is replaced makes room. Of the mailboxes the one appended to is loaded. */
static enum operation_result append_allowed(struct apply *a, const struct pick *replaced)
{
	bool full = false;
	uint64_t n = a->op->kind == OP_APPEND_MANY ? a->op->message_n : 1;
	struct user_row u = a->user;
	u.bytes -= replaced->bytes;
	u.messages -= replaced->n;
	if (!user_has_room(&u, a->op->message.size, n))
		return OPR_OVER_QUOTA;
	(void)box_keyword_bits(&a->box, &a->op->set, true, &full);
	for (size_t i = 0; i < a->op->message_n; i++)
		(void)box_keyword_bits(&a->box, &a->op->messages[i].set, true, &full);
	return full || box_full(&a->box, n) ? OPR_TOO_MANY : OPR_OK;
}

/* out->v: the caller frees it. */
static enum operation_result prepare_append(struct apply *a, struct pick *out)
{
	*out = (struct pick){ .a = a };
	if (a->op->uids.n > 0 && !apply_load_box(a, a->op->target, &a->target))
		return OPR_NO_MAILBOX;
	if (!apply_load_box(a, a->op->mailbox, &a->box))
		return OPR_NO_MAILBOX;
	if (!apply_may(a, &a->box, ACL_INSERT) ||
	    (a->op->uids.n > 0 && !apply_may(a, replaced_box(a), ACL_TRASH | ACL_EXPUNGE)))
		return OPR_DENIED;
	if (a->op->uids.n > 0)
		apply_pick(a, a->op->target, &a->op->uids, out);
	return append_allowed(a, out);
}

enum operation_result apply_append_allowed(struct apply *a)
{
	struct pick replaced;
	enum operation_result r = prepare_append(a, &replaced);
	mem_free(replaced.v);
	return r;
}

static void remove_replaced(struct apply *a, const struct pick *replaced)
{
	struct box *from = replaced_box(a);
	apply_remove_picked(a, from, replaced);
	for (size_t i = 0; i < replaced->n; i++)
		uid_list_add(&a->t->uids, replaced->v[i].uid);
	if (from != &a->box && replaced->n > 0)
		box_store(a->t, from);
	a->t->answer.uids = uid_list_set(&a->t->uids);
}

/* One reference that comes and goes. */
static void blob_in_vain(struct apply *a, log_pos blob, uint64_t size, struct span cache)
{
	blob_add(a->t, blob, size, cache);
	blob_ref(a->t, blob);
	blob_unref(a->t, blob);
}

void apply_message_in_vain(struct apply *a)
{
	if (a->op->kind != OP_APPEND_MANY)
		blob_in_vain(a, a->facts->blob, a->op->message.size, a->op->message.cache);
	for (size_t i = 0; i < a->op->message_n; i++) {
		const struct op_message *m = &a->op->messages[i];
		blob_in_vain(a, m->blob, m->size, m->cache);
	}
}

enum operation_result apply_append(struct apply *a)
{
	struct entry_row e = new_entry(a);
	bool full = false;
	struct pick replaced;
	enum operation_result r = prepare_append(a, &replaced);
	if (r != OPR_OK) {
		apply_message_in_vain(a);
		mem_free(replaced.v);
		return r;
	}
	blob_add(a->t, a->facts->blob, a->op->message.size, a->op->message.cache);
	struct flag_set set = apply_flags_allowed(a, &a->box, &a->op->set);
	e.flags = set.flags;
	e.keywords = box_keyword_bits(&a->box, &set, true, &full);
	a->box.row.modseq++;
	a->t->answer.uid = apply_add_entry(a, &a->box, &e);
	remove_replaced(a, &replaced);
	mem_free(replaced.v);
	apply_store_box(a, &a->box);
	event_message(a->t, "MessageAppend", &a->box, a->t->answer.uid, e.size);
	event_messages(a->t, "MessageExpunge", replaced_box(a),
	    &(struct event_more){ .uids = uid_list_set(&a->t->uids) });
	return OPR_OK;
}

static uint32_t append_one(struct apply *a, const struct op_message *m, struct run_change *runs)
{
	bool full = false;
	struct flag_set set = apply_flags_allowed(a, &a->box, &m->set);
	struct entry_row e = {
		.size = m->size,
		.blob = m->blob,
		.date_s = m->date_s,
		.saved_s = (int64_t)a->facts->wall_s,
		.flags = set.flags,
		.keywords = box_keyword_bits(&a->box, &set, true, &full),
		.type = (uint16_t)message_type_in(m->cache),
	};
	blob_add(a->t, m->blob, m->size, m->cache);
	return box_entry_add(runs, &a->box, &a->user, &e);
}

enum operation_result apply_append_many(struct apply *a)
{
	const struct operation *op = a->op;
	enum operation_result r = apply_append_allowed(a);
	if (r != OPR_OK) {
		apply_message_in_vain(a);
		return r;
	}
	struct run_change runs = { .t = a->t, .id = a->box.id };
	a->box.row.modseq++;
	for (size_t i = 0; i < op->message_n; i++)
		uid_list_add(&a->t->target_uids, append_one(a, &op->messages[i], &runs));
	run_end(&runs);
	apply_store_box(a, &a->box);
	a->t->answer.target_uids = uid_list_set(&a->t->target_uids);
	a->t->answer.uid = a->t->answer.target_uids.v[0].first;
	for (size_t i = 0; i < op->message_n; i++)
		event_message(a->t, "MessageAppend", &a->box, a->t->answer.uid + (uint32_t)i,
		    op->messages[i].size);
	return OPR_OK;
}

/* Id, user and the folder that was asked for: mail to u+a and to u+b is two deliveries, a repeated
 * transaction is none. */
static bool delivery_key(struct span id, const struct op_recipient *to, struct db_key *k)
{
	static const struct hash_key fixed = { 0x64656c6976657279u, 0x666f6c646572u };
	if (id.n > 0)
		*k = key_delivery(id, to->user, hash_sip(&fixed, to->folder));
	return id.n > 0;
}

bool index_txn_delivered(struct index_txn *t, struct span id, struct span user)
{
	struct op_recipient to = { user, SPAN_NONE };
	struct db_key k;
	MDB_val v;
	return delivery_key(id, &to, &k) && txn_get(t, DB_DELIVERIES, &k, &v);
}

bool index_delivered(struct index_view *v, struct span id, struct span user)
{
	struct op_recipient to = { user, SPAN_NONE };
	const struct db *db;
	struct db_key k;
	MDB_txn *txn;
	MDB_val there;
	index_view_db(v, &db, &txn);
	return delivery_key(id, &to, &k) && db_get(db, txn, DB_DELIVERIES, &k, &there);
}

static bool delivered_before(struct apply *a, const struct op_recipient *to)
{
	struct db_key k;
	MDB_val v;
	return delivery_key(a->op->delivery_id, to, &k) && txn_get(a->t, DB_DELIVERIES, &k, &v);
}

static void remember_delivery(struct apply *a, const struct op_recipient *to)
{
	struct db_key k;
	if (delivery_key(a->op->delivery_id, to, &k))
		delivery_remember(a->t, &k);
}

/* Where a recipient's copy would go. A user that is not there yet has room: the limits are the
 * operation's, and the mailbox is empty. */
static enum operation_result find_place(
    struct apply *a, const struct op_recipient *to, uint64_t *id_out)
{
	struct db *db = &a->t->writer->db;
	struct user_row u = { .quota_bytes = a->op->quota_bytes,
		.quota_messages = a->op->quota_messages };
	*id_out = 0;
	if (stay_of(a->t, to->user) != STAY_HERE)
		return OPR_AWAY;
	if (delivered_before(a, to))
		return OPR_SEEN;
	if (user_load(a->t, to->user, &u)) {
		if (to->folder.n > 0)
			*id_out = db_mailbox_id(db, a->t->txn, to->user, to->folder);
		if (*id_out != 0 && db_refuses_post(db, a->t->txn, *id_out))
			*id_out = 0;
		if (*id_out == 0)
			*id_out = u.inbox;
	}
	if (db_held(db, a->t->txn, *id_out, a->facts->wall_s))
		return OPR_MENDING;
	bool room =
	    (a->op->uses & DELIVER_ANYWAY) != 0 || user_has_room(&u, a->op->message.size, 1);
	return room ? OPR_OK : OPR_OVER_QUOTA;
}

static void deliver_one(struct apply *a, const struct op_recipient *to, struct op_outcome *out)
{
	struct entry_row e = new_entry(a);
	uint64_t id;
	out->result = find_place(a, to, &id);
	if (out->result != OPR_OK)
		return;
	user_ensure(a->t, to->user, a->op->quota_bytes, a->op->quota_messages, &a->user);
	if (id == 0)
		id = a->user.inbox;
	if (!box_load(a->t, id, &a->box) || box_full(&a->box, 1)) {
		out->result = a->t->err ? OPR_NO_MAILBOX : OPR_TOO_MANY;
		return;
	}
	a->box.row.modseq++;
	out->uid = apply_add_entry(a, &a->box, &e);
	out->mailbox = id;
	box_store(a->t, &a->box);
	user_store(a->t, to->user, &a->user);
	remember_delivery(a, to);
	event_message(a->t, "MessageNew", &a->box, out->uid, e.size);
	if ((a->op->uses & DELIVER_WARNING) != 0)
		event_quota_of(a->t, "vnd.postern.QuotaWarning", to->user, &a->user,
		    &(struct event_limit){ a->op->name, NULL });
}

static struct op_outcome *make_outcomes(struct apply *a)
{
	mem_free(a->t->outcomes);
	a->t->outcomes = mem_array(a->op->recipient_n, sizeof *a->t->outcomes);
	a->t->answer.outcomes = a->t->outcomes;
	a->t->answer.outcome_n = a->op->recipient_n;
	return a->t->outcomes;
}

enum operation_result apply_deliver(struct apply *a)
{
	struct op_outcome *out = make_outcomes(a);
	blob_add(a->t, a->facts->blob, a->op->message.size, a->op->message.cache);
	/* Held while it is handed out, so that a message nobody takes ends up dead and not lost. */
	blob_ref(a->t, a->facts->blob);
	for (size_t i = 0; i < a->op->recipient_n; i++)
		deliver_one(a, &a->op->recipients[i], &out[i]);
	blob_unref(a->t, a->facts->blob);
	return OPR_OK;
}

bool apply_deliver_allowed(struct apply *a)
{
	struct op_outcome *out = make_outcomes(a);
	bool any = false;
	for (size_t i = 0; i < a->op->recipient_n; i++) {
		out[i].result = find_place(a, &a->op->recipients[i], &out[i].mailbox);
		any = any || out[i].result == OPR_OK;
	}
	return any;
}

/* ---- messages changed, copied, removed ------------------------------------------------------------------------- */

static bool pick_entry(void *arg, uint32_t uid, const struct entry_row *e)
{
	struct pick *p = arg;
	if (p->a->op->only_deleted && (e->flags & STORE_DELETED) == 0)
		return true;
	if (p->n == p->cap) {
		p->cap = p->cap == 0 ? 64 : p->cap * 2;
		p->v = mem_grow(p->v, p->cap, sizeof *p->v);
	}
	p->v[p->n++] = (struct picked){ uid, *e };
	p->bytes += e->size;
	return true;
}

void apply_pick(struct apply *a, uint64_t id, const struct uid_set *set, struct pick *out)
{
	*out = (struct pick){ .a = a };
	box_entries_in(a->t, id, set, pick_entry, out);
}

static struct marks flags_of_rights(uint32_t rights)
{
	struct marks m = { 0, 0 };
	if ((rights & ACL_SEEN) != 0)
		m.flags |= STORE_SEEN;
	if ((rights & ACL_TRASH) != 0)
		m.flags |= STORE_DELETED;
	if ((rights & ACL_WRITE) != 0)
		m = (struct marks){ m.flags | (STORE_FLAGS_ALL & ~(STORE_SEEN | STORE_DELETED)),
			UINT64_MAX };
	return m;
}

struct flagging {
	struct apply *a;
	struct flag_set set;
	uint64_t bits;     /* of its keywords */
	struct marks mine; /* those that may be changed */
	bool changed;
	struct event_flags told;
};

static struct marks marks_wanted(const struct flagging *f, const struct entry_row *e)
{
	uint32_t flags = f->set.flags;
	switch (f->a->op->how) {
	case FLAGS_ADD:
		return (struct marks){ e->flags | flags, e->keywords | f->bits };
	case FLAGS_REMOVE:
		return (struct marks){ e->flags & ~flags, e->keywords & ~f->bits };
	default:
		/* A flag that may not be changed stays as it is. */
		return (struct marks){ flags | (e->flags & ~f->mine.flags),
			f->bits | (e->keywords & ~f->mine.keywords) };
	}
}

static bool flag_one(void *arg, uint32_t uid, const struct entry_row *e, struct marks *now_out)
{
	struct flagging *f = arg;
	struct marks was = { e->flags, e->keywords };
	if (e->modseq > f->a->op->unchanged_since) {
		uid_list_add(&f->a->t->uids, uid);
		return false;
	}
	*now_out = marks_wanted(f, e);
	if (now_out->flags == was.flags && now_out->keywords == was.keywords)
		return false;
	f->a->box.row.modseq += !f->changed;
	f->changed = true;
	event_flags_add(&f->told, uid, &was, now_out);
	return true;
}

enum operation_result apply_flags(struct apply *a)
{
	const struct operation *op = a->op;
	struct flagging f = { .a = a, .told = { .t = a->t, .box = &a->box } };
	bool full = false;
	if (!apply_load_box(a, op->mailbox, &a->box))
		return OPR_NO_MAILBOX;
	uint32_t rights = apply_rights(a, &a->box);
	if ((rights & (ACL_SEEN | ACL_WRITE | ACL_TRASH)) == 0)
		return OPR_DENIED;
	f.set = apply_flags_allowed(a, &a->box, &op->set);
	f.mine = flags_of_rights(rights);
	f.bits = box_keyword_bits(&a->box, &f.set, op->how != FLAGS_REMOVE, &full);
	if (full)
		return OPR_TOO_MANY;
	box_entries_mark(a->t, &a->box, &op->uids, flag_one, &f);
	event_flags_end(&f.told);
	mem_free(f.told.uids.v);
	if (f.changed)
		apply_store_box(a, &a->box);
	a->t->answer.uids = uid_list_set(&a->t->uids);
	return OPR_OK;
}

/* Keywords by name: the same word has another bit in another mailbox. */
static uint64_t translate(const struct box *from, struct box *to, uint64_t bits, bool *full_out)
{
	uint64_t out = 0;
	for (unsigned i = 0; i < from->row.keyword_n; i++) {
		if ((bits >> i & 1) == 0)
			continue;
		unsigned bit =
		    box_keyword(to, span_of(from->keywords[i], from->keyword_len[i]), true);
		if (bit < STORE_KEYWORDS_MAX)
			out |= (uint64_t)1 << bit;
		else
			*full_out = true;
	}
	return out;
}

static bool keywords_fit(struct apply *a, const struct pick *p)
{
	uint64_t used = 0;
	bool full = false;
	for (size_t i = 0; i < p->n; i++)
		used |= p->v[i].e.keywords;
	(void)translate(&a->box, &a->target, used, &full);
	return !full;
}

/* The target may be another user's, who has limits of their own. */
static bool is_foreign(const struct apply *a)
{
	return !span_eq(box_user(&a->target), a->op->user);
}

static struct user_row *target_user(struct apply *a)
{
	return is_foreign(a) ? &a->target_user : &a->user;
}

static bool load_target(struct apply *a)
{
	if (!box_load(a->t, a->op->target, &a->target))
		return false;
	return !is_foreign(a) || (stay_of(a->t, box_user(&a->target)) == STAY_HERE &&
				     user_load(a->t, box_user(&a->target), &a->target_user));
}

void apply_copy_picked(struct apply *a, const struct pick *p)
{
	struct marks mine = flags_of_rights(apply_rights(a, &a->target));
	struct run_change runs = { .t = a->t, .id = a->target.id };
	bool full = false;
	a->target.row.modseq += p->n > 0;
	for (size_t i = 0; i < p->n; i++) {
		struct entry_row e = p->v[i].e;
		e.keywords = translate(&a->box, &a->target, e.keywords, &full);
		e.saved_s = (int64_t)a->facts->wall_s;
		uid_list_add(&a->t->uids, p->v[i].uid);
		e.flags &= mine.flags;
		e.keywords &= mine.keywords;
		uid_list_add(
		    &a->t->target_uids, box_entry_add(&runs, &a->target, target_user(a), &e));
	}
	run_end(&runs);
}

void apply_remove_entries(struct apply *a, struct box *from, const struct pick *p)
{
	struct run_change runs = { .t = a->t, .id = from->id };
	for (size_t i = 0; i < p->n; i++) {
		box_entry_remove(a->t, from, &a->user, p->v[i].uid, &p->v[i].e);
		run_leave(&runs, p->v[i].uid, p->v[i].e.modseq);
	}
	run_end(&runs);
}

void apply_remove_picked(struct apply *a, struct box *from, const struct pick *p)
{
	from->row.modseq += p->n > 0;
	apply_remove_entries(a, from, p);
}

static enum operation_result copy_allowed(struct apply *a, const struct pick *p)
{
	if (!apply_may(a, &a->target, ACL_INSERT) || !apply_may(a, &a->box, ACL_READ) ||
	    (a->op->kind == OP_MOVE && !apply_may(a, &a->box, ACL_TRASH | ACL_EXPUNGE)))
		return OPR_DENIED;
	if ((a->op->kind == OP_COPY || is_foreign(a)) &&
	    !user_has_room(target_user(a), p->bytes, p->n))
		return OPR_OVER_QUOTA;
	return box_full(&a->target, p->n) || !keywords_fit(a, p) ? OPR_TOO_MANY : OPR_OK;
}

enum operation_result apply_copy(struct apply *a)
{
	const struct operation *op = a->op;
	struct box *target = &a->target;
	struct pick p;
	if (!apply_load_box(a, op->mailbox, &a->box))
		return OPR_NO_MAILBOX;
	if (!load_target(a))
		return OPR_NO_TARGET;
	apply_pick(a, op->mailbox, &op->uids, &p);
	enum operation_result r = copy_allowed(a, &p);
	if (r == OPR_OK && p.n > 0) {
		apply_copy_picked(a, &p);
		/* Into itself there is one mailbox, and its row must be written once. */
		bool same = op->mailbox == op->target;
		if (op->kind == OP_MOVE)
			apply_remove_picked(a, same ? target : &a->box, &p);
		if (op->kind == OP_MOVE && !same)
			box_store(a->t, &a->box);
		if (is_foreign(a))
			user_store(a->t, box_user(target), &a->target_user);
	}
	mem_free(p.v);
	if (r != OPR_OK)
		return r;
	apply_store_box(a, target);
	a->t->answer.modseq = op->kind == OP_MOVE ? a->box.row.modseq : target->row.modseq;
	a->t->answer.uids = uid_list_set(&a->t->uids);
	a->t->answer.target_uids = uid_list_set(&a->t->target_uids);
	event_messages(a->t, "MessageAppend", target,
	    &(struct event_more){ .uids = a->t->answer.target_uids, .from = &a->box });
	if (op->kind == OP_MOVE)
		event_messages(a->t, "MessageExpunge", &a->box,
		    &(struct event_more){ .uids = a->t->answer.uids });
	return OPR_OK;
}

enum operation_result apply_expunge(struct apply *a)
{
	struct pick p;
	if (!apply_load_box(a, a->op->mailbox, &a->box))
		return OPR_NO_MAILBOX;
	if (!apply_may(a, &a->box, ACL_EXPUNGE))
		return OPR_DENIED;
	apply_pick(a, a->op->mailbox, &a->op->uids, &p);
	apply_remove_picked(a, &a->box, &p);
	for (size_t i = 0; i < p.n; i++)
		uid_list_add(&a->t->uids, p.v[i].uid);
	if (p.n > 0)
		apply_store_box(a, &a->box);
	mem_free(p.v);
	a->t->answer.uids = uid_list_set(&a->t->uids);
	event_messages(a->t, a->op->uses == EXPUNGE_BY_RULE ? "MessageExpire" : "MessageExpunge",
	    &a->box, &(struct event_more){ .uids = a->t->answer.uids });
	return OPR_OK;
}

enum operation_result apply_take_recent(struct apply *a)
{
	if (!apply_load_box(a, a->op->mailbox, &a->box))
		return OPR_NO_MAILBOX;
	if (!apply_may(a, &a->box, ACL_READ))
		return OPR_DENIED;
	a->t->answer.recent_from = a->box.row.recent_from;
	if (a->box.row.recent_from != a->box.row.uidnext) {
		a->box.row.recent_from = a->box.row.uidnext;
		box_store(a->t, &a->box);
	}
	return OPR_OK;
}
