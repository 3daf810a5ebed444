/* partition_warn.c - limits that are looked at before a change is logged, and warnings of users who come near their own:
 * a message from the committer itself, once for each level in quota_warn_every. Before: partition_batch.c.
 *
 * Once: the warning has a delivery id made of the level and the period, and a delivery id is taken once. Owns nothing. */
#include "base/check.h"
#include "base/mem.h"
#include "store-backend/parse.h"
#include "store-backend/partition_internal.h"
#include "store-backend/quota.h"

/* ---- before ------------------------------------------------------------------------------------------- */

static bool copies(const struct operation *op)
{
	return op->kind == OP_COPY || op->kind == OP_MOVE;
}

/* What the change would bring. */
static void weigh(struct partition *p, const struct operation *op, struct type_uses *out)
{
	*out = (struct type_uses){ 0 };
	if (copies(op))
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
	if (rules == NULL || rules->quota_n == 0 || (!copies(op) && !appends) ||
	    (copies(op) && op->mailbox == op->target) ||
	    !index_txn_mailbox(p->txn, copies(op) ? op->target : op->mailbox, &m))
		return NULL;
	ask.moves = op->kind == OP_MOVE && span_eq(m.user, op->user);
	index_txn_types(p->txn, &m, &ask.in_mailbox, &ask.of_owner);
	weigh(p, op, &ask.more);
	return quota_in_the_way(rules, &ask);
}

/* ---- warnings --------------------------------------------------------------------------------------------- */

static void send_warning(
    struct partition *p, struct span user, const struct index_user *u, const struct quota_level *l)
{
	const struct store_conf *rules = p->settings.rules;
	struct op_recipient to = { user, SPAN_NONE };
	struct buf text = BUF_INIT(QUOTA_WARNING_MAX), cache = BUF_INIT(STORE_CACHE_MAX);
	struct quota_warning warning = { user, SPAN_NONE, *u, p->settings.hostname };
	char room[QUOTA_WARNING_ID_SIZE];
	struct span id = quota_warning_id(rules, "quota", l->percent, p->wall_s, room);
	struct operation op;
	if (index_txn_delivered(p->txn, id, user) || !quota_put_warning(rules, &warning, &text)) {
		buf_end(&text);
		return;
	}
	parse_message(buf_span(&text), &cache);
	operation_init(&op, OP_DELIVER);
	op.uses = DELIVER_ANYWAY | DELIVER_WARNING;
	op.delivery_id = id;
	op.recipients = &to;
	op.recipient_n = 1;
	op.date_s = (int64_t)p->wall_s;
	op.message.size = buf_len(&text);
	op.message.cache = buf_span(&cache);
	batch_add_own(p, &op, buf_span(&text));
	buf_end(&text);
	buf_end(&cache);
}

static void warn_user(struct partition *p, struct span user)
{
	struct index_user u;
	if (!index_txn_user(p->txn, user, &u) || (u.quota_bytes == 0 && u.quota_messages == 0))
		return;
	struct quota_level l = quota_level_of(p->settings.rules, &u);
	if (l.percent > 0)
		send_warning(p, user, &u, &l);
}

void warn_after(struct partition *p, const struct operation *op)
{
	const struct store_conf *rules = p->settings.rules;
	if (rules == NULL || rules->quota_warn.n == 0 || (op->uses & DELIVER_WARNING) != 0)
		return;
	if (op->kind == OP_APPEND || op->kind == OP_APPEND_MANY || op->kind == OP_COPY)
		warn_user(p, op->user);
	for (size_t i = 0; op->kind == OP_DELIVER && i < op->recipient_n; i++)
		warn_user(p, op->recipients[i].user);
}
