/* index_apply.c - what each operation does to the index, one function per kind: here users and mailboxes, in
 * index_message.c the messages. Before: partition_batch.c takes it from a worker or partition_recover.c from the
 * log; after: index_mailbox.c keeps the rows and the counters.
 *
 * Every function decides first and changes afterwards, from the state, the operation and the facts alone.
 * The exception is sticky errors of LMDB: then the whole transaction is thrown away. */
#include "store-backend/index_apply.h"

#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "store-backend/acl.h"
#include "store-backend/operation_wire.h"

bool apply_load_box(struct apply *a, uint64_t id, struct box *out)
{
	return box_load(a->t, id, out) && span_eq(box_user(out), a->op->user) &&
	       user_load(a->t, a->op->user, &a->user);
}

void apply_store_box(struct apply *a, struct box *b)
{
	box_store(a->t, b);
	user_store(a->t, a->op->user, &a->user);
	a->t->answer.modseq = b->row.modseq;
	a->t->answer.mailbox = b->id;
	a->t->answer.uidvalidity = b->row.uidvalidity;
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
		event_quota(a->t, "QuotaChange", op->user, &a->user);
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

/* The nearest mailbox above the name that is there; 0: none. */
static uint64_t superior_of(struct apply *a, struct span name)
{
	uint64_t id = 0;
	for (size_t n = name.n; n-- > 0 && id == 0;)
		if (name.p[n] == '/')
			id = find_name(a, span_first(name, n));
	return id;
}

static bool is_owner(const struct apply *a)
{
	return a->op->actor.n == 0 || span_eq(a->op->actor, a->op->user);
}

static bool may_create(struct apply *a, struct span name)
{
	struct box superior;
	uint64_t id = is_owner(a) ? 0 : superior_of(a, name);
	return is_owner(a) ||
	       (id != 0 && box_load(a->t, id, &superior) && apply_may(a, &superior, ACL_CREATE));
}

/* Rights are those of the mailbox above. */
static void create_one(struct apply *a, struct span name, uint32_t uses, struct box *out)
{
	uint64_t superior = superior_of(a, name);
	box_create(a->t, a->op->user, name, uses, out);
	if (superior != 0)
		acl_inherit(a->t, superior, out->id);
	event_mailbox(a->t, "MailboxCreate", out, SPAN_NONE);
}

static void create_superiors(struct apply *a, struct span name, struct box *scratch)
{
	for (size_t i = 0; i < name.n; i++) {
		struct span superior = span_first(name, i);
		if (name.p[i] == '/' && find_name(a, superior) == 0)
			create_one(a, superior, 0, scratch);
	}
}

/* Superiors that are missing, then the mailbox itself. */
static void create_path(struct apply *a, struct span name, uint32_t uses, struct box *out)
{
	create_superiors(a, name, out);
	create_one(a, name, uses, out);
}

static enum operation_result apply_create(struct apply *a)
{
	if (!user_load(a->t, a->op->user, &a->user))
		return OPR_NO_USER;
	if (find_name(a, a->op->name) != 0)
		return OPR_EXISTS;
	if (a->user.mailboxes + STORE_MAILBOX_DEPTH_MAX > STORE_MAILBOXES_MAX)
		return OPR_TOO_MANY;
	if (!may_create(a, a->op->name))
		return OPR_DENIED;
	create_path(a, a->op->name, a->op->uses, &a->box);
	a->t->answer.mailbox = a->box.id;
	a->t->answer.uidvalidity = a->box.row.uidvalidity;
	a->t->answer.modseq = a->box.row.modseq;
	return OPR_OK;
}

static enum operation_result apply_delete(struct apply *a)
{
	if (span_eq_str(a->op->name, "INBOX") && stay_of(a->t, a->op->user) == STAY_HERE)
		return OPR_DENIED;
	if (!apply_load_box(a, find_name(a, a->op->name), &a->box))
		return OPR_NO_MAILBOX;
	if (!apply_may(a, &a->box, ACL_DELETE))
		return OPR_DENIED;
	box_delete(a->t, &a->box);
	event_mailbox(a->t, "MailboxDelete", &a->box, SPAN_NONE);
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
		char was[STORE_MAILBOX_NAME_MAX];
		struct span old = box_name(b);
		memcpy(was, old.p, old.n);
		box_rename(f->a->t, b, span_of(name, op->new_name.n + tail.n));
		event_mailbox(f->a->t, "MailboxRename", b, span_of(was, old.n));
	}
}

/* RENAME of INBOX: a new mailbox with its messages; INBOX stays, empty, with its inferiors. */
static enum operation_result rename_inbox(struct apply *a)
{
	static const struct uid_range all = { 1, UINT32_MAX };
	struct uid_set every = { &all, 1 };
	struct pick p;
	if (!apply_load_box(a, a->user.inbox, &a->box))
		return OPR_NO_MAILBOX;
	create_path(a, a->op->new_name, 0, &a->target);
	(void)user_load(a->t, a->op->user, &a->user);
	apply_pick(a, a->box.id, &every, &p);
	apply_copy_picked(a, &p);
	apply_remove_picked(a, &a->box, &p);
	mem_free(p.v);
	box_store(a->t, &a->box);
	apply_store_box(a, &a->target);
	event_messages(a->t, "MessageAppend", &a->target,
	    &(struct event_more){ .uids = uid_list_set(&a->t->target_uids), .from = &a->box });
	event_messages(a->t, "MessageExpunge", &a->box,
	    &(struct event_more){ .uids = uid_list_set(&a->t->uids) });
	return OPR_OK;
}

static enum operation_result rename_checked(struct apply *a, struct inferiors *f)
{
	struct db_key prefix = key_name(a->op->user, a->op->name);
	uint64_t id = find_name(a, a->op->name);
	key_span(&prefix, SPAN("/"));
	f->old_n = a->op->name.n;
	db_each(&(struct db_range){ &a->t->writer->db, a->t->txn, DB_NAMES, &prefix, &prefix },
	    add_inferior, f);
	if (f->bad)
		return OPR_BAD_NAME;
	if (id == 0 && f->n == 0)
		return OPR_NO_MAILBOX;
	if (id != 0 && box_load(a->t, id, &a->box)) {
		create_superiors(a, a->op->new_name, &a->target);
		box_rename(a->t, &a->box, a->op->new_name);
		event_mailbox(a->t, "MailboxRename", &a->box, a->op->name);
	}
	rename_inferiors(f);
	return OPR_OK;
}

/* RFC 4314 section 4: x on the old name, k where the new one goes. What is below goes along. */
static bool may_rename(struct apply *a)
{
	struct box b;
	uint64_t id = is_owner(a) ? 0 : find_name(a, a->op->name);
	return is_owner(a) || (id != 0 && box_load(a->t, id, &b) && apply_may(a, &b, ACL_DELETE) &&
				  may_create(a, a->op->new_name));
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
	if (!may_rename(a))
		return OPR_DENIED;
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
	user_touch(a->t, a->op->user);
	event_name(a->t, a->op->kind == OP_SUBSCRIBE ? "MailboxSubscribe" : "MailboxUnSubscribe",
	    a->op->user, a->op->name);
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
	[OP_STAY] = apply_stay,
	[OP_ADOPT_MAILBOX] = apply_adopt_mailbox,
	[OP_ADOPT_MESSAGE] = apply_adopt_message,
	[OP_ADOPT_MARKS] = apply_adopt_marks,
	[OP_ADOPT_VANISHED] = apply_adopt_vanished,
	[OP_ADOPT_DELIVERY] = apply_adopt_delivery,
	[OP_SET_ACL] = apply_set_acl,
	[OP_APPEND_MANY] = apply_append_many,
	[OP_SET_METADATA] = apply_set_metadata,
	[OP_ADOPT_METADATA] = apply_adopt_metadata,
	[OP_MEND] = apply_mend,
	[OP_DOMAIN_LIMITS] = apply_domain_limits,
	[OP_QUOTA_MARK] = apply_quota_mark,
};

static void begin(struct apply *a, struct index_txn *t, const struct operation *op,
    const struct index_facts *facts)
{
	a->t = t;
	a->op = op;
	a->facts = facts;
	t->wall_s = facts->wall_s;
	t->record = facts->at;
	t->event_n = 0;
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
	object_begin(t, facts);
	t->answer.result = apply_gate(&a);
	if (t->answer.result == OPR_OK)
		t->answer.result = handlers[op->kind](&a);
	else if (operation_has_message(op->kind))
		apply_message_in_vain(&a);
	if (facts->client != 0)
		remember_answer(t, facts);
	return &t->answer;
}

bool index_would_take(struct index_txn *t, const struct operation *op, uint64_t wall_s,
    const struct operation_answer **answer_out)
{
	struct index_facts nobody = { .wall_s = wall_s };
	struct apply a;
	bool any = false;
	begin(&a, t, op, &nobody);
	if (op->kind != OP_DELIVER) {
		t->answer.result = apply_gate(&a);
		if (t->answer.result == OPR_OK)
			t->answer.result = op->kind == OP_ADOPT_MESSAGE ? apply_adopt_allowed(&a)
									: apply_append_allowed(&a);
		any = t->answer.result == OPR_OK;
	} else {
		any = apply_deliver_allowed(&a);
	}
	*answer_out = &t->answer;
	return any;
}
