/* index_apply.h - what an operation that is being carried out has loaded; shared by index_apply.c and
 * index_message.c (nobody else). */
#ifndef STORE_INDEX_APPLY_H
#define STORE_INDEX_APPLY_H

#include "store-backend/index_txn.h"

struct apply {
	struct index_txn *t;
	const struct operation *op;
	const struct index_facts *facts;
	struct box box, target; /* of op->mailbox, op->target when loaded */
	struct user_row user;
	struct user_row target_user; /* whose box `target` is, when that is another */
};

typedef enum operation_result apply_fn(struct apply *a);

struct picked {
	uint32_t uid;
	struct entry_row e;
};
/* Entries are collected before any is added or removed: a cursor and such changes of the same table do not mix. */
struct pick {
	struct apply *a;
	struct picked *v; /* owned */
	size_t n, cap;
	uint64_t bytes;
};

/* box_entry_add() for one of a->user's. */
uint32_t apply_add_entry(struct apply *a, struct box *b, struct entry_row *e);

/* False: no such mailbox, or not the user's own: ids come from sessions. Loads the user too. */
bool apply_load_box(struct apply *a, uint64_t id, struct box *out);
/* Stores mailbox and user, and tells of the mailbox in the answer. */
void apply_store_box(struct apply *a, struct box *b);

/* The message (or messages) was logged though nobody takes it: dead from the start. */
void apply_message_in_vain(struct apply *a);

/* ---- index_message.c ----------------------------------------------------------------------------------- */
apply_fn apply_append, apply_append_many, apply_deliver, apply_flags, apply_copy, apply_expunge,
    apply_take_recent;

/* ---- index_acl.c ------------------------------------------------------------------------------------------ */
apply_fn apply_set_acl;
/* Of whoever acts. */
uint32_t apply_rights(struct apply *a, const struct box *b);
bool apply_may(struct apply *a, const struct box *b, uint32_t rights); /* all of them */
/* Those that may be changed. */
struct flag_set apply_flags_allowed(
    struct apply *a, const struct box *b, const struct flag_set *set);

/* ---- index_metadata.c ------------------------------------------------------------------------------------- */
apply_fn apply_set_metadata, apply_adopt_metadata;

/* ---- index_quota.c ------------------------------------------------------------------------------------------ */
apply_fn apply_quota_mark;

/* ---- index_domain.c ---------------------------------------------------------------------------------------- */
apply_fn apply_domain_limits;

/* ---- index_adopt.c ------------------------------------------------------------------------------------- */
apply_fn apply_stay, apply_adopt_mailbox, apply_adopt_message, apply_adopt_marks,
    apply_adopt_vanished, apply_adopt_delivery;
apply_fn apply_adopt_allowed; /* would the message be taken? */
/* OPR_AWAY: the user is moving, and this kind of change is not for now. OPR_MENDING. */
apply_fn apply_gate;
enum store_stay stay_of(struct index_txn *t, struct span user);

/* ---- index_mend.c --------------------------------------------------------------------------------------- */
apply_fn apply_mend;
/* Is the change about a mailbox that is held? */
bool apply_is_held(struct apply *a);

enum operation_result apply_append_allowed(struct apply *a); /* APPEND_MANY too */
/* Fills in what would become of each recipient now; false: nobody would get anything. */
bool apply_deliver_allowed(struct apply *a);

/* out->v: the caller frees it. */
void apply_pick(struct apply *a, uint64_t id, const struct uid_set *set, struct pick *out);
/* Picked entries into a->target; their sources are told in uids, the new ones in target_uids. */
void apply_copy_picked(struct apply *a, const struct pick *p);
void apply_remove_picked(struct apply *a, struct box *from, const struct pick *p);
/* The same, and the mailbox's modseq stays as it is. */
void apply_remove_entries(struct apply *a, struct box *from, const struct pick *p);

#endif
