/* partition_keep.c - step 4 of 6: what a partition does from time to time: forgets delivery ids and answers, gives
 * back the space of removed messages, copies the index, cuts old changes off the log. Owns the timers and the
 * copying thread.
 *
 * What may be forgotten when? A removed message's bytes: when the change that removed it is durable, so after
 * any commit of the index. A change: when two snapshots have it, so that one of them may turn out to be
 * unreadable, and rows in the log have it as well (partition_base.c). Before the first change is forgotten a mark is
 * made that the log does not have all changes any more. */
#include "base/check.h"
#include "base/clock.h"
#include "store-backend/partition_internal.h"

enum {
	KEEP_MS = 2000,
	KEEP_FULL_MS = 20, /* the last step found as much as it may take */
	PRUNE_AT_ONCE = 256,
	ANSWERS_FOR_S = 3600, /* far longer than a worker waits for one (store.commit_timeout) */
	SWEEP_MS = 20,
	SWEEP_BUSY_MS = 5 /* so long at once */
};

/* ---- in a transaction ------------------------------------------------------------------------------------------ */

static void on_keep(void *arg)
{
	struct partition *p = OBJ(partition, arg);
	p->keep_due = true;
	soon_set(p->loop, &p->turn);
	timer_set(&p->keep_timer, KEEP_MS);
}

static uint64_t ago(const struct partition *p, uint64_t seconds)
{
	return p->wall_s > seconds ? p->wall_s - seconds : 0;
}

static bool prune_deliveries(struct partition *p)
{
	struct prune what = { .before_s = ago(p, p->settings.delivery_ids_for_s),
		.keep_max = p->settings.delivery_ids_max,
		.most = PRUNE_AT_ONCE };
	if (!index_deliveries_due(p->txn, what.before_s, what.keep_max))
		return false;
	err_t err = record_prune(p, &what);
	if (err == ERR_NO_SPACE || err == ERR_BUSY)
		return false; /* another time */
	if (err) {
		partition_fail(p, "log", err);
		return false;
	}
	index_prune_deliveries(p->txn, what.before_s, what.keep_max, (size_t)what.most);
	p->keep_full = p->keep_full || index_deliveries_due(p->txn, what.before_s, what.keep_max);
	return true;
}

static void on_dead(void *arg, log_pos blob)
{
	struct partition *p = arg;
	p->dead[p->dead_n++] = blob;
}

bool keep_in_batch(struct partition *p)
{
	p->keep_due = false;
	p->keep_full = false;
	index_writer_drop_dead_readers(p->writer);
	p->dead_n = 0;
	bool pruned = prune_deliveries(p);
	bool told = feeder_in_batch(p);
	bool folded = base_in_batch(p);
	bool cached = base_caches_in_batch(p);
	size_t answers = index_prune_answers(p->txn, ago(p, ANSWERS_FOR_S), PRUNE_AT_ONCE);
	index_take_dead(p->txn, ago(p, p->settings.reclaim_after_s), DEAD_AT_ONCE, on_dead, p);
	p->keep_full = p->keep_full || answers >= PRUNE_AT_ONCE || p->dead_n == DEAD_AT_ONCE;
	if (p->keep_full)
		timer_set(&p->keep_timer, KEEP_FULL_MS);
	metric_set(&store_metrics[STORE_M_LOG_BYTES], commitlog_stats(p->log).disk_bytes);
	return pruned || told || folded || cached || answers > 0 || p->dead_n > 0;
}

void keep_after_batch(struct partition *p)
{
	for (size_t i = 0; i < p->dead_n; i++)
		commitlog_forget(p->log, p->dead[i]);
	p->dead_n = 0;
	base_after_batch(p);
	if (p->changes - p->copied_changes >= p->settings.snapshot_ops)
		partition_snapshot(p);
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

void partition_snapshot(struct partition *p)
{
	if (p->failed || flusher_busy(p->copier))
		return;
	p->copied_changes = p->changes;
	p->copy_failed = false;
	p->copy = (struct snapshot_job){ .writer = p->writer, .dir = p->snapshot_dir };
	flusher_run(p->copier, snapshot_make, &p->copy);
}

static void on_snapshot_timer(void *arg)
{
	struct partition *p = OBJ(partition, arg);
	if (p->changes != p->copied_changes || p->copy_failed)
		partition_snapshot(p);
	timer_set(&p->snapshot_timer, p->settings.snapshot_every_ms);
}

static void on_copied(void *arg)
{
	struct partition *p = OBJ(partition, arg);
	const struct snapshot_job *j = &p->copy;
	if (j->err) {
		p->copy_failed = true; /* the timer tries again */
		log_write(&store_events[STORE_EV_SNAPSHOT_FAILED], NULL,
		    LOG_FIELDS(LOG_STR("partition", p->name), LOG_STR("what", j->what),
			LOG_ERR("err", j->err)));
		return;
	}
	metric_add(&store_metrics[STORE_M_SNAPSHOTS], 1);
	log_write(&store_events[STORE_EV_SNAPSHOT], NULL,
	    LOG_FIELDS(LOG_STR("partition", p->name), LOG_U64("covered", j->made.covered),
		LOG_U64("bytes", j->bytes), LOG_U64("ms", j->ms)));
	p->snapshots_cover = snapshot_trim(p->snapshot_dir).covered;
	keep_sweep(p);
	base_copied(p, &j->made);
}

/* ---- old changes ---------------------------------------------------------------------------------------------------- */

/* Messages that the index knows; those it does not know were never delivered or are dead already. Rows of the index
 * that are not older than the newest whole ones. Changes only if all that ever was is to be kept. */
static bool is_needed(void *arg, log_pos pos, uint32_t type)
{
	struct partition *p = arg;
	if (type == LOG_BLOB)
		return index_writer_has_blob(p->writer, pos);
	if (type == LOG_BASE_ROWS || type == LOG_BASE)
		return pos >= p->base.covered;
	return p->settings.keep_changes;
}

/* A change goes when two snapshots have it, and rows in the log as well. */
void keep_sweep(struct partition *p)
{
	log_pos to = p->snapshots_cover;
	if (!p->settings.keep_changes && to > p->base.covered)
		to = p->base.covered;
	if (to > p->sweep_to)
		p->sweep_to = to;
	if (p->sweep_to > p->sweep_at)
		timer_set(&p->sweep_timer, 0);
}

static void on_sweep(void *arg)
{
	struct partition *p = OBJ(partition, arg);
	uint64_t began = clock_mono_ms();
	if (p->failed)
		return;
	if (!p->settings.keep_changes) {
		if (!p->trimmed && partition_mark_trimmed(p) != ERR_OK)
			return; /* the next snapshot tries again */
		p->trimmed = true;
	}
	while (p->sweep_at < p->sweep_to && clock_mono_ms() - began < SWEEP_BUSY_MS) {
		log_pos next = ((p->sweep_at >> SEGMENT_BITS) + 1) << SEGMENT_BITS;
		p->sweep_at = next < p->sweep_to ? next : p->sweep_to;
		commitlog_forget_before(p->log, p->sweep_at, is_needed, p);
	}
	if (p->sweep_at < p->sweep_to)
		timer_set(&p->sweep_timer, SWEEP_MS);
}

/* ---- for partition.c ------------------------------------------------------------------------------------------------- */

err_t keep_init(struct partition *p)
{
	timer_init(&p->keep_timer, p->loop, on_keep, p);
	timer_init(&p->snapshot_timer, p->loop, on_snapshot_timer, p);
	timer_init(&p->sweep_timer, p->loop, on_sweep, p);
	timer_set(&p->keep_timer, KEEP_MS);
	timer_set(&p->snapshot_timer, p->settings.snapshot_every_ms);
	p->copier = flusher_new(p->loop, on_copied, p);
	p->base_writer = base_writer_new(p);
	return p->copier == NULL || p->base_writer == NULL ? ERR_NO_DESCRIPTORS : ERR_OK;
}

void keep_end(struct partition *p)
{
	timer_clear(&p->keep_timer);
	timer_clear(&p->snapshot_timer);
	timer_clear(&p->sweep_timer);
	flusher_free(&p->copier);
	base_writer_free(&p->base_writer);
}
