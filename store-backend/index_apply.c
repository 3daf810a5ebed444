/* index_apply.c - what each operation does to the index, one function per kind. Before: committer.c takes it
 * from a worker or the recovery from the log; after: index_mailbox.c keeps the rows and the counters.
 *
 * Every function decides first and changes afterwards, from the state, the operation and the facts alone.
 * The exception is sticky errors of LMDB: then the whole transaction is thrown away. */
#include <string.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "store-backend/index_txn.h"
#include "store-backend/operation_wire.h"

struct apply {
	struct index_txn *t;
	const struct operation *op;
	const struct index_facts *facts;
	struct box box, target; /* of op->mailbox, op->target when loaded */
	struct user_row user;
};

typedef enum operation_result apply_fn(struct apply *a);

/* The mailbox must be the user's own: ids come from sessions. */
static bool load_box(struct apply *a, uint64_t id, struct box *out)
{
	return box_load(a->t, id, out) && span_eq(box_user(out), a->op->user) &&
	       user_load(a->t, a->op->user, &a->user);
}

static void done_with_box(struct apply *a, struct box *b)
{
	box_store(a->t, b);
	user_store(a->t, a->op->user, &a->user);
	a->t->answer.modseq = b->row.modseq;
	a->t->answer.mailbox = b->id;
	a->t->answer.uidvalidity = b->row.uidvalidity;
}

/* ---- messages in --------------------------------------------------------------------------------------------- */

static struct entry_row new_entry(const struct apply *a)
{
	return (struct entry_row){
		.size = a->op->message.size,
		.blob = a->facts->blob,
		.date_s = a->op->date_s,
		.date_zone = a->op->date_zone,
		.saved_s = (int64_t)a->facts->wall_s,
	};
}

static bool box_full(const struct box *b, uint64_t more)
{
	return b->row.messages + more > STORE_MESSAGES_MAX ||
	       b->row.uidnext > UINT32_MAX - more - 1;
}

static enum operation_result append_allowed(struct apply *a)
{
	bool full = false;
	if (!load_box(a, a->op->mailbox, &a->box))
		return OPR_NO_MAILBOX;
	if (!user_has_room(&a->user, a->op->message.size, 1))
		return OPR_OVER_QUOTA;
	(void)box_keyword_bits(&a->box, &a->op->set, true, &full);
	return full || box_full(&a->box, 1) ? OPR_TOO_MANY : OPR_OK;
}

static enum operation_result apply_append(struct apply *a)
{
	struct entry_row e = new_entry(a);
	bool full = false;
	enum operation_result r = append_allowed(a);
	blob_add(a->t, a->facts->blob, a->op->message.size, a->op->message.cache);
	if (r != OPR_OK) {
		/* Appended in vain: one reference that comes and goes makes it dead. */
		blob_ref(a->t, a->facts->blob);
		blob_unref(a->t, a->facts->blob);
		return r;
	}
	e.flags = a->op->set.flags;
	e.keywords = box_keyword_bits(&a->box, &a->op->set, true, &full);
	a->box.row.modseq++;
	a->t->answer.uid = entry_append(a->t, &a->box, &a->user, &e);
	done_with_box(a, &a->box);
	return OPR_OK;
}

/* Id, user and the folder that was asked for: mail to u+a and to u+b is two deliveries, a repeated
 * transaction is none. */
static bool delivery_key(
    const struct operation *op, const struct op_recipient *to, struct db_key *k)
{
	static const struct hash_key fixed = { 0x64656c6976657279u, 0x666f6c646572u };
	if (op->delivery_id.n == 0)
		return false;
	*k = key_name(op->delivery_id, to->user);
	key_span(k, span_of("", 1));
	key_u64(k, hash_sip(&fixed, to->folder));
	return true;
}

static bool delivered_before(struct apply *a, const struct op_recipient *to)
{
	struct db_key k;
	MDB_val v;
	return delivery_key(a->op, to, &k) && txn_get(a->t, DB_DELIVERIES, &k, &v);
}

static void remember_delivery(struct apply *a, const struct op_recipient *to)
{
	struct db_key k, age;
	if (!delivery_key(a->op, to, &k))
		return;
	age = key_mailbox(a->facts->wall_s);
	key_u64(&age, ++a->t->meta.delivery_number);
	txn_put(a->t, DB_DELIVERIES, &k, age.b, age.n);
	txn_put(a->t, DB_DELIVERY_AGE, &age, k.b, k.n);
	a->t->meta.delivery_n++;
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
	if (delivered_before(a, to))
		return OPR_SEEN;
	if (user_load(a->t, to->user, &u)) {
		if (to->folder.n > 0)
			*id_out = db_mailbox_id(db, a->t->txn, to->user, to->folder);
		if (*id_out == 0)
			*id_out = u.inbox;
	}
	return user_has_room(&u, a->op->message.size, 1) ? OPR_OK : OPR_OVER_QUOTA;
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
	out->uid = entry_append(a->t, &a->box, &a->user, &e);
	out->mailbox = id;
	box_store(a->t, &a->box);
	user_store(a->t, to->user, &a->user);
	remember_delivery(a, to);
}

static struct op_outcome *make_outcomes(struct apply *a)
{
	mem_free(a->t->outcomes);
	a->t->outcomes = mem_array(a->op->recipient_n, sizeof *a->t->outcomes);
	a->t->answer.outcomes = a->t->outcomes;
	a->t->answer.outcome_n = a->op->recipient_n;
	return a->t->outcomes;
}

static enum operation_result apply_deliver(struct apply *a)
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

/* ---- messages changed, copied, removed ------------------------------------------------------------------------- */

struct picked {
	uint32_t uid;
	struct entry_row e;
};
/* Entries are collected before anything is changed: a cursor and changes of the same table do not mix. */
struct pick {
	struct apply *a;
	struct picked *v; /* owned */
	size_t n, cap;
	uint64_t bytes;
};

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

static void pick_all(struct apply *a, uint64_t id, const struct uid_set *set, struct pick *out)
{
	*out = (struct pick){ .a = a };
	entries_in(a->t, id, set, pick_entry, out);
}

static enum operation_result apply_flags(struct apply *a)
{
	const struct operation *op = a->op;
	struct pick p;
	bool full = false, changed = false;
	if (!load_box(a, op->mailbox, &a->box))
		return OPR_NO_MAILBOX;
	uint64_t bits = box_keyword_bits(&a->box, &op->set, op->how != FLAGS_REMOVE, &full);
	if (full)
		return OPR_TOO_MANY;
	pick_all(a, op->mailbox, &op->uids, &p);
	for (size_t i = 0; i < p.n; i++) {
		struct entry_row *e = &p.v[i].e;
		uint32_t flags = op->set.flags;
		uint64_t words = bits;
		if (op->how != FLAGS_SET) {
			bool add = op->how == FLAGS_ADD;
			flags = add ? e->flags | flags : e->flags & ~flags;
			words = add ? e->keywords | bits : e->keywords & ~bits;
		}
		if (e->modseq > op->unchanged_since) {
			uid_list_add(&a->t->uids, p.v[i].uid);
		} else if (flags != e->flags || words != e->keywords) {
			a->box.row.modseq += !changed;
			changed = true;
			entry_change(a->t, &a->box, p.v[i].uid, e, flags, words);
		}
	}
	mem_free(p.v);
	if (changed)
		done_with_box(a, &a->box);
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

/* Picked entries into a->target; their sources are told in uids, the new ones in target_uids. */
static void copy_picked(struct apply *a, const struct pick *p)
{
	bool full = false;
	a->target.row.modseq += p->n > 0;
	for (size_t i = 0; i < p->n; i++) {
		struct entry_row e = p->v[i].e;
		e.keywords = translate(&a->box, &a->target, e.keywords, &full);
		e.saved_s = (int64_t)a->facts->wall_s;
		uid_list_add(&a->t->uids, p->v[i].uid);
		uid_list_add(&a->t->target_uids, entry_append(a->t, &a->target, &a->user, &e));
	}
}

static void remove_picked(struct apply *a, struct box *from, const struct pick *p)
{
	from->row.modseq += p->n > 0;
	for (size_t i = 0; i < p->n; i++)
		entry_remove(a->t, from, &a->user, p->v[i].uid, &p->v[i].e);
}

static enum operation_result copy_allowed(struct apply *a, const struct pick *p)
{
	if (a->op->kind == OP_COPY && !user_has_room(&a->user, p->bytes, p->n))
		return OPR_OVER_QUOTA;
	return box_full(&a->target, p->n) || !keywords_fit(a, p) ? OPR_TOO_MANY : OPR_OK;
}

static enum operation_result apply_copy(struct apply *a)
{
	const struct operation *op = a->op;
	struct box *target = &a->target;
	struct pick p;
	if (!load_box(a, op->mailbox, &a->box))
		return OPR_NO_MAILBOX;
	if (!load_box(a, op->target, target))
		return OPR_NO_TARGET;
	pick_all(a, op->mailbox, &op->uids, &p);
	enum operation_result r = copy_allowed(a, &p);
	if (r == OPR_OK && p.n > 0) {
		copy_picked(a, &p);
		/* Into itself there is one mailbox, and its row must be written once. */
		bool same = op->mailbox == op->target;
		if (op->kind == OP_MOVE)
			remove_picked(a, same ? target : &a->box, &p);
		if (op->kind == OP_MOVE && !same)
			box_store(a->t, &a->box);
	}
	mem_free(p.v);
	if (r != OPR_OK)
		return r;
	done_with_box(a, target);
	a->t->answer.modseq = op->kind == OP_MOVE ? a->box.row.modseq : target->row.modseq;
	a->t->answer.uids = uid_list_set(&a->t->uids);
	a->t->answer.target_uids = uid_list_set(&a->t->target_uids);
	return OPR_OK;
}

static enum operation_result apply_expunge(struct apply *a)
{
	struct pick p;
	if (!load_box(a, a->op->mailbox, &a->box))
		return OPR_NO_MAILBOX;
	pick_all(a, a->op->mailbox, &a->op->uids, &p);
	remove_picked(a, &a->box, &p);
	for (size_t i = 0; i < p.n; i++)
		uid_list_add(&a->t->uids, p.v[i].uid);
	if (p.n > 0)
		done_with_box(a, &a->box);
	mem_free(p.v);
	a->t->answer.uids = uid_list_set(&a->t->uids);
	return OPR_OK;
}

static enum operation_result apply_take_recent(struct apply *a)
{
	if (!load_box(a, a->op->mailbox, &a->box))
		return OPR_NO_MAILBOX;
	a->t->answer.recent_from = a->box.row.recent_from;
	if (a->box.row.recent_from != a->box.row.uidnext) {
		a->box.row.recent_from = a->box.row.uidnext;
		box_store(a->t, &a->box);
	}
	return OPR_OK;
}

/* ---- users and mailboxes ------------------------------------------------------------------------------------------ */

static enum operation_result apply_ensure_user(struct apply *a)
{
	const struct operation *op = a->op;
	struct box inbox;
	user_ensure(a->t, op->user, op->quota_bytes, op->quota_messages, &a->user);
	if (a->user.quota_bytes != op->quota_bytes ||
	    a->user.quota_messages != op->quota_messages) {
		a->user.quota_bytes = op->quota_bytes;
		a->user.quota_messages = op->quota_messages;
		user_store(a->t, op->user, &a->user);
	}
	a->t->answer.mailbox = a->user.inbox;
	if (box_load(a->t, a->user.inbox, &inbox))
		a->t->answer.uidvalidity = inbox.row.uidvalidity;
	return OPR_OK;
}

static uint64_t find_name(struct apply *a, struct span name)
{
	return db_mailbox_id(&a->t->writer->db, a->t->txn, a->op->user, name);
}

/* Superiors that are missing, then the mailbox itself. */
static void create_path(struct apply *a, struct span name, uint32_t uses, struct box *out)
{
	for (size_t i = 0; i < name.n; i++) {
		struct span superior = span_first(name, i);
		if (name.p[i] == '/' && find_name(a, superior) == 0)
			box_create(a->t, a->op->user, superior, 0, out);
	}
	box_create(a->t, a->op->user, name, uses, out);
}

static enum operation_result apply_create(struct apply *a)
{
	if (!user_load(a->t, a->op->user, &a->user))
		return OPR_NO_USER;
	if (find_name(a, a->op->name) != 0)
		return OPR_EXISTS;
	if (a->user.mailboxes + STORE_MAILBOX_DEPTH_MAX > STORE_MAILBOXES_MAX)
		return OPR_TOO_MANY;
	create_path(a, a->op->name, a->op->uses, &a->box);
	a->t->answer.mailbox = a->box.id;
	a->t->answer.uidvalidity = a->box.row.uidvalidity;
	a->t->answer.modseq = a->box.row.modseq;
	return OPR_OK;
}

static enum operation_result apply_delete(struct apply *a)
{
	if (span_eq_str(a->op->name, "INBOX"))
		return OPR_DENIED;
	if (!load_box(a, find_name(a, a->op->name), &a->box))
		return OPR_NO_MAILBOX;
	box_delete(a->t, &a->box);
	return OPR_OK;
}

struct inferiors {
	struct apply *a;
	uint64_t *ids; /* owned */
	size_t n, cap;
	size_t old_n; /* bytes of the old name */
	bool bad;     /* a new name would be too long or is taken */
};

static bool add_inferior(void *arg, const MDB_val *key, const MDB_val *value)
{
	struct inferiors *f = arg;
	const struct operation *op = f->a->op;
	struct span tail = span_from(val_span(key), op->user.n + 1 + f->old_n);
	char name[STORE_MAILBOX_NAME_MAX];
	uint64_t id;
	if (!row_get(value, &id, sizeof id))
		return true;
	if (op->new_name.n + tail.n > sizeof name) {
		f->bad = true;
		return false;
	}
	memcpy(name, op->new_name.p, op->new_name.n);
	memcpy(name + op->new_name.n, tail.p, tail.n);
	struct span full = span_of(name, op->new_name.n + tail.n);
	if (!operation_name_ok(full) || find_name(f->a, full) != 0)
		f->bad = true;
	if (f->n == f->cap) {
		f->cap = f->cap == 0 ? 16 : f->cap * 2;
		f->ids = mem_grow(f->ids, f->cap, sizeof *f->ids);
	}
	f->ids[f->n++] = id;
	return !f->bad;
}

static void rename_inferiors(struct inferiors *f)
{
	const struct operation *op = f->a->op;
	char name[STORE_MAILBOX_NAME_MAX];
	for (size_t i = 0; i < f->n; i++) {
		struct box *b = &f->a->target;
		if (!box_load(f->a->t, f->ids[i], b))
			continue;
		struct span tail = span_from(box_name(b), f->old_n);
		memcpy(name, op->new_name.p, op->new_name.n);
		memcpy(name + op->new_name.n, tail.p, tail.n);
		box_rename(f->a->t, b, span_of(name, op->new_name.n + tail.n));
	}
}

/* RENAME of INBOX: a new mailbox with its messages; INBOX stays, empty, with its inferiors. */
static enum operation_result rename_inbox(struct apply *a)
{
	static const struct uid_range all = { 1, UINT32_MAX };
	struct uid_set every = { &all, 1 };
	struct pick p;
	if (!load_box(a, a->user.inbox, &a->box))
		return OPR_NO_MAILBOX;
	create_path(a, a->op->new_name, 0, &a->target);
	(void)user_load(a->t, a->op->user, &a->user);
	pick_all(a, a->box.id, &every, &p);
	copy_picked(a, &p);
	remove_picked(a, &a->box, &p);
	mem_free(p.v);
	box_store(a->t, &a->box);
	done_with_box(a, &a->target);
	return OPR_OK;
}

static enum operation_result rename_checked(struct apply *a, struct inferiors *f)
{
	struct db_key prefix = key_name(a->op->user, a->op->name);
	uint64_t id = find_name(a, a->op->name);
	key_span(&prefix, SPAN("/"));
	f->old_n = a->op->name.n;
	db_each(&a->t->writer->db, a->t->txn, DB_NAMES, &prefix, &prefix, add_inferior, f);
	if (f->bad)
		return OPR_BAD_NAME;
	if (id == 0 && f->n == 0)
		return OPR_NO_MAILBOX;
	if (id != 0 && box_load(a->t, id, &a->box)) {
		for (size_t i = 0; i < a->op->new_name.n; i++) {
			struct span superior = span_first(a->op->new_name, i);
			if (a->op->new_name.p[i] == '/' && find_name(a, superior) == 0)
				box_create(a->t, a->op->user, superior, 0, &a->target);
		}
		box_rename(a->t, &a->box, a->op->new_name);
	}
	rename_inferiors(f);
	return OPR_OK;
}

static enum operation_result apply_rename(struct apply *a)
{
	const struct operation *op = a->op;
	struct inferiors f = { .a = a };
	if (!user_load(a->t, op->user, &a->user))
		return OPR_NO_USER;
	if (find_name(a, op->new_name) != 0)
		return OPR_EXISTS;
	if (a->user.mailboxes + STORE_MAILBOX_DEPTH_MAX > STORE_MAILBOXES_MAX)
		return OPR_TOO_MANY;
	if (span_eq_str(op->name, "INBOX"))
		return rename_inbox(a);
	if (span_starts(op->new_name, op->name) && op->new_name.n > op->name.n &&
	    op->new_name.p[op->name.n] == '/')
		return OPR_DENIED;
	enum operation_result r = rename_checked(a, &f);
	mem_free(f.ids);
	return r;
}

static enum operation_result apply_subscribe(struct apply *a)
{
	struct db_key k = key_name(a->op->user, a->op->name);
	if (!user_load(a->t, a->op->user, &a->user))
		return OPR_NO_USER;
	if (a->op->kind == OP_SUBSCRIBE)
		txn_put(a->t, DB_SUBS, &k, "", 0);
	else
		(void)txn_del(a->t, DB_SUBS, &k);
	return OPR_OK;
}

/* ---- public ---------------------------------------------------------------------------------------------------------- */

static apply_fn *const handlers[OP_KIND_COUNT] = {
	[OP_ENSURE_USER] = apply_ensure_user,
	[OP_DELIVER] = apply_deliver,
	[OP_APPEND] = apply_append,
	[OP_FLAGS] = apply_flags,
	[OP_COPY] = apply_copy,
	[OP_MOVE] = apply_copy,
	[OP_EXPUNGE] = apply_expunge,
	[OP_CREATE] = apply_create,
	[OP_DELETE] = apply_delete,
	[OP_RENAME] = apply_rename,
	[OP_SUBSCRIBE] = apply_subscribe,
	[OP_UNSUBSCRIBE] = apply_subscribe,
	[OP_TAKE_RECENT] = apply_take_recent,
};

static void begin(struct apply *a, struct index_txn *t, const struct operation *op,
    const struct index_facts *facts)
{
	a->t = t;
	a->op = op;
	a->facts = facts;
	t->wall_s = facts->wall_s;
	t->answer = (struct operation_answer){ .result = OPR_OK };
	t->uids.n = t->target_uids.n = 0;
}

static void remember_answer(struct index_txn *t, const struct index_facts *facts)
{
	struct db_key k = key_mailbox(facts->client);
	struct buf b = BUF_INIT(ANSWER_MAX);
	key_u64(&k, facts->sequence);
	buf_add(&b, &facts->wall_s, sizeof facts->wall_s);
	if (answer_encode(&t->answer, &b))
		txn_put(t, DB_ANSWERS, &k, buf_span(&b).p, buf_len(&b));
	buf_end(&b);
}

const struct operation_answer *index_apply(
    struct index_txn *t, const struct operation *op, const struct index_facts *facts)
{
	struct apply a;
	CHECK(op->kind < OP_KIND_COUNT && handlers[op->kind] != NULL);
	begin(&a, t, op, facts);
	t->answer.result = handlers[op->kind](&a);
	if (facts->client != 0)
		remember_answer(t, facts);
	return &t->answer;
}

bool index_would_take(
    struct index_txn *t, const struct operation *op, const struct operation_answer **answer_out)
{
	static const struct index_facts nobody = { 0 };
	struct apply a;
	bool any = false;
	begin(&a, t, op, &nobody);
	if (op->kind == OP_APPEND) {
		t->answer.result = append_allowed(&a);
		any = t->answer.result == OPR_OK;
	} else {
		struct op_outcome *out = make_outcomes(&a);
		for (size_t i = 0; i < op->recipient_n; i++) {
			out[i].result = find_place(&a, &op->recipients[i], &out[i].mailbox);
			any = any || out[i].result == OPR_OK;
		}
	}
	*answer_out = &t->answer;
	return any;
}
