/* partition_mark.c - who has no room is told of (RFC 5423 QuotaExceed), and who has room again (QuotaWithin). Before:
 * partition_batch.c, which has refused a change or carried it out; after: index_quota.c.
 *
 * A refusal leaves nothing in the log, so there is a change that says nothing but this: it is logged and made durable in the
 * round of the refusal, before that is answered. The mark it leaves keeps the next refusals quiet for
 * quota_exceed_every; whatever makes room takes it away. What the settings say is decided here, so that replaying needs none.
 * Owns nothing. */
#include "base/check.h"
#include "store-backend/partition_internal.h"
#include "store-backend/quota.h"

static bool wants_marks(const struct partition *p)
{
	const struct store_conf *rules = p->settings.rules;
	return p->tells || (rules != NULL && quota_wants_marks(rules));
}

static bool is_due(const struct partition *p, const struct index_quota_mark *mark)
{
	return quota_mark_is_due(p->settings.rules, mark, p->wall_s);
}

/* One that cannot be logged is told of with the next refusal. */
static void log_mark(struct partition *p, const struct operation *op)
{
	struct index_facts facts = { .wall_s = p->wall_s };
	struct buf head = BUF_INIT(OPERATION_HEAD_MAX);
	CHECK(operation_encode(op, &head));
	uint64_t cost = index_cost(p->txn, op, buf_len(&head));
	err_t err = ERR_NO_SPACE;
	if (cost <= p->index_room)
		err = record_operation(p, &facts, buf_span(&head));
	buf_end(&head);
	if (!err) {
		(void)index_apply(p->txn, op, &facts);
		p->index_room -= cost;
		p->batch_logged++;
	} else if (err != ERR_NO_SPACE && err != ERR_BUSY) {
		partition_fail(p, "log", err);
	}
}

static void tell_full(struct partition *p, struct span user, struct span root, uint64_t mailbox)
{
	struct index_quota_mark mark;
	struct index_user u;
	struct operation op;
	(void)index_txn_quota_mark(p->txn, user, &mark);
	if (!is_due(p, &mark) || !index_txn_user(p->txn, user, &u))
		return;
	quota_mark_op(&op, user, FLAGS_ADD, &mark);
	op.name = root;
	op.mailbox = mailbox;
	log_mark(p, &op);
}

/* ---- no room ------------------------------------------------------------------------------------------------- */

/* Whose limits, and of which mailbox if they are of one. */
static void tell_refused(
    struct partition *p, const struct operation *op, const struct store_quota_conf *rule)
{
	struct index_mailbox m;
	uint64_t id = operation_into(op);
	if (!index_txn_mailbox(p->txn, id, &m))
		return;
	char user[STORE_USER_MAX]; /* what the index shows goes with the change */
	CHECK(m.user.n <= sizeof user);
	memcpy(user, m.user.p, m.user.n);
	tell_full(p, span_of(user, m.user.n), rule != NULL ? span_str(rule->head.title) : SPAN_NONE,
	    rule != NULL && rule->folders.n > 0 ? id : 0);
}

void mark_refused(struct partition *p, const struct operation *op,
    const struct operation_answer *ans, const struct store_quota_conf *rule)
{
	/* The next change has another answer in its place; the outcomes stay. */
	const struct op_outcome *outcomes = ans->outcomes;
	size_t n = ans->outcome_n;
	if (!wants_marks(p))
		return;
	if (op->kind != OP_DELIVER) {
		if (ans->result == OPR_OVER_QUOTA)
			tell_refused(p, op, rule);
		return;
	}
	for (size_t i = 0; i < n && i < op->recipient_n; i++)
		if (outcomes[i].result == OPR_OVER_QUOTA)
			tell_full(p, op->recipients[i].user, SPAN_NONE, 0);
}

/* Mail that comes in spite of the limits, or limits that are less than there is. */
static void tell_exceeded(struct partition *p, struct span user)
{
	struct index_user u;
	if (index_txn_user(p->txn, user, &u) && quota_is_exceeded(&u))
		tell_full(p, user, SPAN_NONE, 0);
}

/* ---- room again ----------------------------------------------------------------------------------------------- */

/* Of the limits of a domain no one partition knows: the workers say so. */
static bool is_within(struct partition *p, struct span user, const struct index_quota_mark *mark)
{
	struct index_user u;
	struct index_mailbox m = { .user = user };
	struct quota_ask ask = { .mailbox = &m };
	if (!index_txn_user(p->txn, user, &u) || quota_is_reached(&u) ||
	    span_starts(mark->root, SPAN("@")))
		return false;
	if (mark->root.n == 0 || p->settings.rules == NULL)
		return true;
	if (mark->mailbox != 0 && !index_txn_mailbox(p->txn, mark->mailbox, &m))
		return true;
	index_txn_types(p->txn, &m, &ask.in_mailbox, &ask.of_owner);
	return quota_rule_within(p->settings.rules, mark->root, &ask);
}

static void tell_within(struct partition *p, struct span user)
{
	char root[STORE_MAILBOX_NAME_MAX];
	struct index_quota_mark mark;
	struct operation op;
	if (!index_txn_quota_mark(p->txn, user, &mark) || mark.root.n > sizeof root ||
	    !is_within(p, user, &mark))
		return;
	memcpy(root, mark.root.p, mark.root.n);
	mark.root.p = root; /* what the index shows goes with the change */
	quota_mark_op(&op, user, FLAGS_REMOVE, &mark);
	log_mark(p, &op);
}

static bool makes_room(const struct operation *op)
{
	return op->kind == OP_EXPUNGE || op->kind == OP_MOVE || op->kind == OP_DELETE ||
	       op->kind == OP_ENSURE_USER || (op->kind == OP_APPEND && op->uids.n > 0);
}

void mark_after(struct partition *p, const struct operation *op)
{
	if (!wants_marks(p))
		return;
	if (makes_room(op))
		tell_within(p, op->user);
	if (op->kind == OP_ENSURE_USER)
		tell_exceeded(p, op->user);
	bool anyway = op->kind == OP_DELIVER && (op->uses & DELIVER_ANYWAY) != 0;
	for (size_t i = 0; anyway && i < op->recipient_n; i++)
		tell_exceeded(p, op->recipients[i].user);
}

/* ---- of a worker ------------------------------------------------------------------------------------------------ */

bool mark_is_news(struct partition *p, const struct operation *op)
{
	struct index_quota_mark mark;
	struct index_user u;
	bool there = index_txn_quota_mark(p->txn, op->user, &mark);
	if (!wants_marks(p) || mark.since_s != op->unchanged_since ||
	    !index_txn_user(p->txn, op->user, &u))
		return false;
	return op->how == FLAGS_ADD ? is_due(p, &mark) : there;
}
