/* index_cost.c - what a change may add to the index, said before it is logged: what is in the log must be
 * possible to apply, now and at every start. Before: partition_batch.c; nothing is owned. */
#include "store-backend/index_txn.h"

enum {
	COST_BYTES = 16 * 1024, /* pages that one change may touch, not counting its size */
	COST_RECIPIENTS = 16,   /* of whom as many share one */
	COST_EVENT_BYTES = 512,
	COST_COPY_BYTES = 512, /* entry, modseq and its part of half-filled pages */
	COST_RUN_BYTES = 64    /* where a run of changes falls into single messages */
};

static uint64_t named(struct index_txn *t, uint64_t mailbox, const struct uid_set *set)
{
	struct index_mailbox m;
	uint64_t n = 0;
	if (!db_mailbox(&t->writer->db, t->txn, mailbox, &m))
		return 0;
	for (size_t i = 0; i < set->n && n < m.messages; i++)
		n += (uint64_t)set->v[i].last - set->v[i].first + 1;
	return n < m.messages ? n : m.messages;
}

uint64_t index_cost(struct index_txn *t, const struct operation *op, size_t encoded)
{
	uint64_t told =
	    t->events ? COST_EVENT_BYTES * (1 + op->recipient_n + op->message_n) + encoded : 0;
	uint64_t fixed =
	    told + encoded + COST_BYTES * (1 + op->recipient_n / COST_RECIPIENTS + op->message_n);
	switch (op->kind) {
	case OP_COPY:
		return fixed + COST_COPY_BYTES * named(t, op->mailbox, &op->uids);
	case OP_FLAGS:
		return fixed + COST_RUN_BYTES * named(t, op->mailbox, &op->uids);
	default:
		return fixed;
	}
}

/* ---- what is there, for those who decide before a change is logged ------------------------------------------ */

bool index_txn_mailbox(struct index_txn *t, uint64_t id, struct index_mailbox *out)
{
	return db_mailbox(&t->writer->db, t->txn, id, out);
}

bool index_txn_user(struct index_txn *t, struct span user, struct index_user *out)
{
	struct user_row row;
	if (!user_load(t, user, &row))
		return false;
	*out = (struct index_user){ row.bytes, row.messages, row.quota_bytes, row.quota_messages,
		row.inbox };
	return true;
}

void index_txn_types(struct index_txn *t, const struct index_mailbox *m,
    struct type_uses *mailbox_out, struct type_uses *user_out)
{
	db_types(&t->writer->db, t->txn, m, mailbox_out, user_out);
}

static bool weigh_one(void *arg, uint32_t uid, const struct entry_row *e)
{
	type_uses_add(arg, message_type_from(e->type), e->size, 1);
	return true;
}

void index_txn_weigh(
    struct index_txn *t, uint64_t mailbox, const struct uid_set *set, struct type_uses *out)
{
	*out = (struct type_uses){ 0 };
	box_entries_in(t, mailbox, set, weigh_one, out);
}
