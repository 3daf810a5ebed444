/* queue_spool.c - the queue and its log: opening, replay, what is remembered of what is done.
 *
 * The log is the truth; entries are made from it. When it breaks, every entry is dropped and the log is
 * opened and read anew: what the disk really holds is what counts. */
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "edge/queue_internal.h"

enum { REOPEN_MS = 3000 };

/* ---- ids that are done -------------------------------------------------------------------------- */

static void recent_free(struct queue *q, struct q_recent *r)
{
	map_remove(q->recent_by_id, span_str(r->id.s));
	list_remove(&r->link);
	q->recent_count--;
	mem_free(r);
}

static void recent_forget(struct queue *q, struct q_recent *r)
{
	if (q->spool != NULL)
		spool_forget(q->spool, r->pos);
	recent_free(q, r);
}

void recent_add(struct queue *q, const struct spool_done *d, log_pos pos)
{
	if (q->recent_count >= RECENT_MAX)
		recent_forget(q, LIST_OF(struct q_recent, link, q->recent.next));
	struct q_recent *r = MEM_NEW(struct q_recent);
	void *old = NULL;
	r->id = d->id;
	r->at_us = d->at_us;
	r->pos = pos;
	if (!map_set(q->recent_by_id, span_str(d->id.s), r, &old)) {
		mem_free(r);
		return;
	}
	list_add_tail(&q->recent, &r->link);
	q->recent_count++;
	if (old != NULL) {
		struct q_recent *twin = old;
		list_remove(&twin->link);
		q->recent_count--;
		mem_free(twin);
	}
}

void recent_prune(struct queue *q, uint64_t now_us)
{
	while (q->spool != NULL && !list_empty(&q->recent)) {
		struct q_recent *r = LIST_OF(struct q_recent, link, q->recent.next);
		if (r->at_us + 1000ull * RECENT_MS > now_us)
			return;
		recent_forget(q, r);
	}
}

/* ---- replay ------------------------------------------------------------------------------------- */

/* A notification in the log: its parent's sender has been told. */
static void parent_told(struct queue *q, const struct spool_message *m)
{
	struct q_entry *e = map_get(q->by_id, span_str(m->parent.s));
	if (e != NULL && m->report == REPORT_DELAY)
		e->notices = m->notices;
	for (size_t i = 0; e != NULL && m->report != REPORT_DELAY && i < e->item_count; i++)
		if (report_has(&e->items[i], REPORT_END))
			e->items[i].fate = SPOOL_TOLD;
}

static void on_message(void *arg, log_pos pos, const struct spool_message *m)
{
	struct queue *q = OBJ(queue, arg);
	if (m->parent.s[0] != '\0')
		parent_told(q, m);
	if (map_get(q->by_id, span_str(m->id.s)) == NULL)
		entry_add_known(q, pos, m);
}

static void apply_step(struct q_item *it, const struct spool_step *s)
{
	it->attempts = s->attempts;
	it->due_us = s->due_us;
	it->code = s->code;
	snprintf(it->enhanced, sizeof(it->enhanced), "%.*s", SPAN_ARG(s->enhanced));
	mem_free(it->reason);
	it->reason = mem_span_str(span_first(s->text, REASON_MAX));
	it->on_hold = s->on_hold;
	mem_free(it->route);
	it->route = s->route.n > 0 ? mem_span_str(s->route) : NULL;
	if (it->fate == SPOOL_TOLD)
		return;
	it->fate = s->fate;
	if (s->fate != SPOOL_WAITING)
		item_set_state(it, Q_FINAL);
}

static void on_progress(void *arg, log_pos pos, const struct spool_progress *p)
{
	struct queue *q = OBJ(queue, arg);
	struct q_entry *e = map_get(q->by_id, span_str(p->id.s));
	if (e == NULL)
		return;
	if (p->is_snapshot)
		e->progress_count = 0;
	if (p->notices > e->notices)
		e->notices = p->notices;
	for (size_t i = 0; i < p->step_count; i++)
		if (p->steps[i].recipient < e->item_count)
			apply_step(&e->items[p->steps[i].recipient], &p->steps[i]);
	if (e->progress_count < PROGRESS_MAX)
		e->progress[e->progress_count++] = pos;
}

static void on_done(void *arg, log_pos pos, const struct spool_done *d)
{
	struct queue *q = OBJ(queue, arg);
	struct q_entry *e = map_get(q->by_id, span_str(d->id.s));
	recent_add(q, d, pos);
	if (e != NULL)
		entry_free(e);
}

/* Due times in the log are wall clock; a clock that was set back must not hold up mail for ever. */
static void resume_item(struct q_item *it, uint64_t now_us)
{
	uint64_t delay = it->due_us > now_us ? (it->due_us - now_us) / 1000 : 0;
	uint64_t most = item_channel(it)->retry_max;
	if (it->state == Q_NEW)
		item_wait(it, delay < most ? delay : most);
}

static void resume(struct queue *q)
{
	uint64_t now_us = clock_wall_us();
	for (struct list_node *n = q->entries.next, *next; n != &q->entries; n = next) {
		struct q_entry *e = LIST_OF(struct q_entry, link, n);
		next = n->next;
		for (size_t i = 0; i < e->item_count; i++)
			resume_item(&e->items[i], now_us);
		timer_set(&e->again, 0); /* settles it: it may be done, or its sender not told */
	}
	recent_prune(q, now_us);
	metric_set(&queue_metrics[QUEUE_M_MESSAGES], map_count(q->by_id));
	metric_set(&queue_metrics[QUEUE_M_RECIPIENTS], q->items_open);
	log_write(&queue_events[QUEUE_EV_SPOOL_REPLAYED], NULL,
	    LOG_FIELDS(
		LOG_U64("messages", map_count(q->by_id)), LOG_U64("recipients", q->items_open)));
}

/* ---- open, close -------------------------------------------------------------------------------- */

static void on_reopen(void *arg)
{
	struct queue *q = OBJ(queue, arg);
	queue_close(q);
	queue_open(q);
}

void queue_open(struct queue *q)
{
	struct commitlog_opts opts = { .dir = q->edge->spool,
		.segment_bytes = q->edge->spool_segment,
		.unsafe_no_sync = q->unsafe_no_sync };
	struct spool_visitor v = { on_message, on_progress, on_done, q };
	struct buf why = BUF_INIT(1000);
	timer_init(&q->reopen, q->loop, on_reopen, q);
	q->spool = spool_open(q->loop, &opts, &v, &why);
	if (q->spool != NULL) {
		resume(q);
	} else {
		log_write(&queue_events[QUEUE_EV_SPOOL_FAILED], NULL,
		    LOG_FIELDS(LOG_STR("why", buf_cstr(&why))));
		timer_set(&q->reopen, REOPEN_MS);
	}
	buf_end(&why);
}

void queue_close(struct queue *q)
{
	if (q->on_close != NULL)
		q->on_close(q->on_close_arg);
	timer_clear(&q->reopen);
	deliveries_free(q);
	while (!list_empty(&q->entries))
		entry_free(LIST_OF(struct q_entry, link, q->entries.next));
	dests_free(q);
	while (!list_empty(&q->recent))
		recent_free(q, LIST_OF(struct q_recent, link, q->recent.next));
	spool_close(&q->spool);
	queue_check_drained(q);
}

void queue_spool_broke(struct queue *q, err_t err)
{
	if (timer_armed(&q->reopen))
		return;
	log_write(&queue_events[QUEUE_EV_SPOOL_FAILED], NULL, LOG_FIELDS(LOG_ERR("why", err)));
	timer_set(&q->reopen, 0);
}

void queue_on_close(struct queue *q, void (*fn)(void *arg), void *arg)
{
	q->on_close = fn;
	q->on_close_arg = arg;
}

struct spool *queue_spool(struct queue *q)
{
	return q->spool;
}

bool queue_knows(const struct queue *q, struct ident id)
{
	return map_get(q->by_id, span_str(id.s)) != NULL ||
	       map_get(q->recent_by_id, span_str(id.s)) != NULL;
}

bool queue_has_room(const struct queue *q, size_t recipients)
{
	return q->items_open + recipients <= (size_t)q->edge->queue_recipients_max;
}

size_t queue_recipients(const struct queue *q)
{
	return q->items_open;
}
