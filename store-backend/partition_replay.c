/* partition_replay.c - step 4 of 6, at start: what the log holds is carried out in an index. Before: partition_recover.c,
 * which has chosen the index; after: index_apply.c. Owns the transaction that is open. */
#include "store-backend/partition_replay.h"

#include "store-backend/partition_internal.h"

enum { REPLAY_AT_ONCE = 10000 }; /* pages of the index that neighbours change are written once */

err_t partition_replay_commit(struct partition_replay *r, log_pos covered)
{
	if (r->t == NULL)
		return ERR_OK;
	r->in_txn = 0;
	return index_txn_commit(&r->t, covered);
}

static err_t replay_operation(struct partition_replay *r, const struct log_record *rec)
{
	struct operation_arena arena = { 0 };
	struct operation op;
	struct index_facts facts;
	struct span head;
	err_t err = ERR_OK;
	if (record_get_operation(rec->payload, &facts, &head) &&
	    operation_decode(head, &op, &arena)) {
		facts.at = rec->pos;
		(void)index_apply(r->t, &op, &facts);
		r->replayed++;
	} else {
		err = ERR_CORRUPT;
	}
	operation_arena_end(&arena);
	return err;
}

static err_t replay_prune(struct partition_replay *r, struct span payload)
{
	struct prune prune;
	if (!record_get_prune(payload, &prune))
		return ERR_CORRUPT;
	index_prune_deliveries(r->t, prune.before_s, prune.keep_max, (size_t)prune.most);
	return ERR_OK;
}

static err_t replay_events(struct partition_replay *r, struct span payload)
{
	struct index_events_done done;
	if (!record_get_events(payload, &done))
		return ERR_CORRUPT;
	(void)index_events_done(r->t, &done);
	return ERR_OK;
}

static err_t replay_base(struct partition_replay *r, const struct log_record *rec)
{
	struct base_end end;
	if (!record_get_base(rec->payload, &end))
		return ERR_CORRUPT;
	index_base_store(r->t, &(struct index_base){ rec->pos, end.covered, end.bytes });
	return ERR_OK;
}

/* A message is not needed here: the index says where it is. Nor are rows; where they end is no news once there are newer
 * ones, and damage of it leaves the older ones as what counts. */
static bool may_be_passed(const struct log_record *rec)
{
	return rec->type == LOG_BLOB || rec->type == LOG_BASE_ROWS ||
	       (rec->type == LOG_BASE && (rec->dead || rec->damaged));
}

/* A change that cannot be read would shift all
 * that come after it, so it stops the start; unless somebody has decided that the rest is better than nothing. */
static err_t replay_record(struct partition_replay *r, const struct log_record *rec)
{
	err_t err = ERR_OK;
	if (rec->damaged)
		log_write(&store_events[STORE_EV_COMMITTER_DAMAGED], NULL,
		    LOG_FIELDS(LOG_STR("partition", r->name), LOG_U64("pos", rec->pos)));
	if (may_be_passed(rec))
		return ERR_OK;
	if (rec->damaged && r->skip_damaged) {
		r->skipped++;
		return ERR_OK;
	}
	if (rec->dead || rec->damaged)
		return ERR_CORRUPT;
	if (r->in_txn == REPLAY_AT_ONCE)
		err = partition_replay_commit(r, rec->pos);
	if (!err && r->t == NULL)
		r->t = index_txn_begin(r->writer, &err);
	if (err)
		return err;
	r->in_txn++;
	if (rec->type == LOG_OPERATION)
		return replay_operation(r, rec);
	if (rec->type == LOG_EVENTS)
		return replay_events(r, rec->payload);
	if (rec->type == LOG_BASE)
		return replay_base(r, rec);
	return rec->type == LOG_PRUNE ? replay_prune(r, rec->payload) : ERR_CORRUPT;
}

bool partition_replay_record(void *arg, const struct log_record *rec)
{
	struct partition_replay *r = arg;
	r->err = replay_record(r, rec);
	return r->err == ERR_OK;
}

void partition_replay_end(struct partition_replay *r)
{
	index_txn_abort(&r->t);
}
