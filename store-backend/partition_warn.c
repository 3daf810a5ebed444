/* partition_warn.c - limits that are looked at before a change is logged, and warnings of users who come near their own, or those
 * of a rule with `warn`: a message from the committer itself, once for each level in quota_warn_every. Before: partition_batch.c.
 *
 * Once: the warning has a delivery id made of the level and the period, and a delivery id is taken once. Owns nothing. */
#include <stdio.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "store-backend/partition_internal.h"
#include "store-backend/quota.h"

/* ---- before ------------------------------------------------------------------------------------------- */

/* What the change would bring. */
static void weigh(struct partition *p, const struct operation *op, struct type_uses *out)
{
	*out = (struct type_uses){ 0 };
	if (operation_copies(op))
		index_txn_weigh(p->txn, op->mailbox, &op->uids, out);
	else if (op->kind == OP_APPEND)
		type_uses_add(out, message_type_in(op->message.cache), op->message.size, 1);
	for (size_t i = 0; op->kind == OP_APPEND_MANY && i < op->message_n; i++)
		type_uses_add(out, message_type_in(op->messages[i].cache), op->messages[i].size, 1);
}

/* MOVE out of one mailbox into another, too: it is the target that has the limit. */
const struct store_quota_conf *warn_in_the_way(struct partition *p, const struct operation *op)
{
	const struct store_conf *rules = p->settings.rules;
	bool appends = op->kind == OP_APPEND || op->kind == OP_APPEND_MANY;
	struct index_mailbox m;
	struct quota_ask ask = { .mailbox = &m };
	if (rules == NULL || rules->quota_n == 0 || (!operation_copies(op) && !appends) ||
	    (operation_copies(op) && op->mailbox == op->target) ||
	    !index_txn_mailbox(p->txn, operation_into(op), &m))
		return NULL;
	ask.moves = op->kind == OP_MOVE && span_eq(m.user, op->user);
	index_txn_types(p->txn, &m, &ask.in_mailbox, &ask.of_owner);
	weigh(p, op, &ask.more);
	return quota_in_the_way(rules, &ask);
}

/* ---- warnings --------------------------------------------------------------------------------------------- */

static void send_warning(struct partition *p, const struct quota_warning *w, struct span id)
{
	struct quota_letter l;
	if (index_txn_delivered(p->txn, id, w->user))
		return;
	if (quota_letter_write(&l, w, id, p->wall_s))
		batch_add_own(p, &l.op, buf_span(&l.text));
	quota_letter_end(&l);
}

static void warn_user(struct partition *p, struct span user)
{
	const struct store_conf *rules = p->settings.rules;
	struct quota_warning w = { .user = user, .hostname = p->settings.hostname };
	char room[QUOTA_WARNING_ID_SIZE];
	if (!index_txn_user(p->txn, user, &w.is) ||
	    (w.is.quota_bytes == 0 && w.is.quota_messages == 0))
		return;
	struct quota_level l = quota_level_of(&rules->quota_warn, &w.is);
	if (l.percent > 0)
		send_warning(p, &w, quota_warning_id(rules, "quota", l.percent, p->wall_s, room));
}

static void warn_by_rule(
    struct partition *p, const struct store_quota_conf *q, const struct quota_ask *ask)
{
	static const struct hash_key fixed = { 0x71756f7461u, 0x7761726eu };
	const struct index_mailbox *m = ask->mailbox;
	bool narrow = q->folders.n > 0;
	struct quota_warning w = { .user = m->user,
		.rule = q,
		.mailbox = narrow ? m->name : SPAN_NONE,
		.hostname = p->settings.hostname };
	char room[QUOTA_WARNING_ID_SIZE], what[QUOTA_WARNING_ID_SIZE / 2];
	struct quota_level l;
	if (!quota_rule_level(q, ask, &w.is, &l))
		return;
	(void)snprintf(what, sizeof what, "r%llx-%llx",
	    (unsigned long long)(hash_sip(&fixed, span_str(q->head.title)) >> 16),
	    narrow ? (unsigned long long)m->id : 0);
	send_warning(p, &w, quota_warning_id(p->settings.rules, what, l.percent, p->wall_s, room));
}

/* Of the mailbox that something came into. */
static void warn_by_rules(struct partition *p, const struct index_mailbox *m)
{
	const struct store_conf *rules = p->settings.rules;
	struct quota_ask ask = { .mailbox = m };
	bool looked = false;
	for (size_t i = 0; i < rules->quota_n; i++) {
		if (rules->quota[i]->warn.n == 0)
			continue;
		if (!looked)
			index_txn_types(p->txn, m, &ask.in_mailbox, &ask.of_owner);
		looked = true;
		warn_by_rule(p, rules->quota[i], &ask);
	}
}

/* And of its owner. */
static void warn_of(struct partition *p, uint64_t mailbox)
{
	struct index_mailbox m;
	if (!index_txn_mailbox(p->txn, mailbox, &m))
		return;
	warn_user(p, m.user);
	warn_by_rules(p, &m);
}

static void warn_delivered(
    struct partition *p, const struct operation *op, const struct operation_answer *done)
{
	struct index_mailbox m;
	for (size_t i = 0; i < op->recipient_n && i < done->outcome_n; i++) {
		const struct op_outcome *o = &done->outcomes[i];
		if (o->result != OPR_OK)
			continue;
		warn_user(p, op->recipients[i].user);
		if (p->settings.rules->quota_n > 0 && index_txn_mailbox(p->txn, o->mailbox, &m))
			warn_by_rules(p, &m);
	}
}

void warn_after(
    struct partition *p, const struct operation *op, const struct operation_answer *done)
{
	if (p->settings.rules == NULL || (op->uses & DELIVER_WARNING) != 0)
		return;
	if (op->kind == OP_APPEND || op->kind == OP_APPEND_MANY || operation_copies(op))
		warn_of(p, operation_into(op));
	if (op->kind == OP_DELIVER)
		warn_delivered(p, op, done);
}
