/* queue_spool.c - the queue and its log: opening, replay, what is remembered of what is done.
 *
 * The log is the truth; entries are made from it. When it breaks, every entry is dropped and the log is
 * opened and read anew: what the disk really holds is what counts. */
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "edge/queue_scan.h"
#include "edge/station.h"

enum { REOPEN_MS = 3000, ARRIVAL_OFF_S = 6 * 3600 };

/* ---- ids that are done -------------------------------------------------------------------------- */

static void ended_forget(struct queue *q, uint32_t row)
{
	if (q->spool != NULL)
		spool_forget(q->spool, shelf_row(q->shelf, row)->message);
	row_idle(q, row);
	shelf_remove(q->shelf, row);
}

void ended_add(struct queue *q, const struct spool_done *d, log_pos pos)
{
	uint32_t row = shelf_find(q->shelf, d->id);
	while (q->ended.n >= ENDED_MAX && q->ended.first != row)
		ended_forget(q, q->ended.first);
	if (row != 0)
		row_idle(q, row);
	else
		row = shelf_add(q->shelf, &d->id);
	struct shelf_row *r = shelf_row(q->shelf, row);
	r->done = 1;
	r->open = 0;
	r->message = pos;
	r->progress = 0;
	r->deadline = (1 + shelf_minutes(d->at_us) + ENDED_MINUTES) & SHELF_DEADLINE_MAX;
	shelf_append(q->shelf, row, &q->ended);
}

void ended_prune(struct queue *q, uint64_t now_us)
{
	while (q->spool != NULL && q->ended.n > 0 &&
	       shelf_row(q->shelf, q->ended.first)->deadline <= shelf_minutes(now_us))
		ended_forget(q, q->ended.first);
}

/* ---- replay ------------------------------------------------------------------------------------- */

/* The log's record there is of no use any more: what made it so stands behind it. It is not marked before the
 * loop runs again, which is after the replay. */
static void drop(struct queue *q, log_pos pos)
{
	if (pos != 0)
		spool_forget(q->spool, pos);
}

static void drop_progress(struct queue *q, uint32_t row)
{
	struct shelf_row *r = shelf_row(q->shelf, row);
	const struct q_more *more = r->more ? row_more(q, row, false) : NULL;
	drop(q, r->progress);
	r->progress = 0;
	for (size_t i = 0; more != NULL && i < more->n; i++)
		drop(q, more->v[i]);
	row_more_free(q, row);
}

/* A message that goes on; 0: unknown, or it has ended. */
static uint32_t find_open(const struct queue *q, struct ident id)
{
	uint32_t row = shelf_find(q->shelf, id);
	return row != 0 && !shelf_row(q->shelf, row)->done ? row : 0;
}

static void replay_due(struct queue *q, uint32_t row, uint64_t delay_ms)
{
	row_idle(q, row);
	shelf_due(q->shelf, row, loop_now_ms(q->loop) + delay_ms);
}

static void set_open(struct queue *q, uint32_t row, size_t open)
{
	struct shelf_row *r = shelf_row(q->shelf, row);
	q->items_open -= r->open;
	r->open = open & SHELF_OPEN_MAX; /* there are at most RECIPIENTS_MAX */
	q->items_open += r->open;
}

/* A notification in the log: its parent's sender has been told. */
static void parent_told(struct queue *q, const struct spool_message *m)
{
	uint32_t row = find_open(q, m->parent);
	if (row == 0)
		return;
	struct q_more *more = row_more(q, row, true);
	if (m->report == REPORT_DELAY) {
		more->notices = m->notices;
	} else {
		more->told = true;
		more->told_after = more->n + (shelf_row(q->shelf, row)->progress != 0);
	}
	replay_due(q, row, 0);
}

/* Where one goes that is not local needs no question: it waits there at once. */
static bool list_for_its_way(struct queue *q, uint32_t row, const struct spool_message *m)
{
	enum q_dest_kind kind;
	const char *name;
	if (m->recipients[0].user.n > 0 ||
	    queue_needs_channel(q, m->recipients[0].address, m->recipients[0].store))
		return false;
	char *address = mem_span_str(m->recipients[0].address);
	bool listed = false;
	if (way_out(q, address, NULL, &kind, &name)) {
		struct q_dest *d = dest_get(q, kind, wish_away(m), name);
		const struct schedule *times = &q->channels[kind].limits.times;
		enum priority_class class = priority_class_of(m->priority);
		struct row_facts f = { m->arrived_us, schedule_lifetime(times, class) };
		uint64_t notice = schedule_notice(times, class, 0);
		if (m->sender.n > 0 && notice < f.deadline_ms)
			f.deadline_ms = notice;
		listed = row_list(q, row, d, &f);
		dest_tidy(d);
	}
	mem_free(address);
	return listed;
}

static void on_message(void *arg, log_pos pos, const struct spool_message *m)
{
	struct queue *q = OBJ(queue, arg);
	uint32_t row = shelf_find(q->shelf, m->id);
	size_t open = 0;
	if (m->parent.s[0] != '\0')
		parent_told(q, m);
	if (row != 0 && !shelf_row(q->shelf, row)->done) {
		drop(q, pos);
		return;
	}
	if (row != 0) { /* its end was so long ago that it came again */
		drop(q, shelf_row(q->shelf, row)->message);
		row_idle(q, row);
		shelf_remove(q->shelf, row);
	}
	row = shelf_add(q->shelf, &m->id);
	shelf_row(q->shelf, row)->message = pos;
	shelf_row(q->shelf, row)->size = shelf_size_code(m->body_bytes) & 0xff;
	for (size_t i = 0; i < m->recipient_count; i++)
		open += m->recipients[i].fate == SPOOL_WAITING;
	set_open(q, row, open);
	if (m->recipient_count > 1 || open == 0 || m->hold || !list_for_its_way(q, row, m))
		replay_due(q, row, 0);
}

/* Where the state of every recipient stands, the row knows when it is due. */
static void apply_snapshot(struct queue *q, uint32_t row, const struct spool_progress *p)
{
	uint64_t now_us = queue_now_us(q), due_us = UINT64_MAX;
	size_t open = 0;
	for (size_t i = 0; i < p->step_count; i++) {
		const struct spool_step *s = &p->steps[i];
		bool waits = s->fate == SPOOL_WAITING;
		open += waits;
		if (s->fate == SPOOL_REFUSED || s->fate == SPOOL_SENT)
			due_us = 0; /* its sender is to be told */
		if (waits && !s->on_hold && s->due_us < due_us)
			due_us = s->due_us;
	}
	set_open(q, row, open);
	if (open == 0)
		due_us = 0;
	uint64_t delay = due_us > now_us ? (due_us - now_us) / 1000 : 0;
	uint64_t most = 0;
	for (size_t k = 0; k < q->kind_n; k++)
		if (schedule_wait_max(&q->channels[k].limits.times) > most)
			most = schedule_wait_max(&q->channels[k].limits.times);
	if (due_us != UINT64_MAX)
		replay_due(q, row, delay < most ? delay : most);
	else
		row_idle(q, row);
}

static void on_progress(void *arg, log_pos pos, const struct spool_progress *p)
{
	struct queue *q = OBJ(queue, arg);
	uint32_t row = find_open(q, p->id);
	if (row == 0) {
		drop(q, pos);
		return;
	}
	struct shelf_row *r = shelf_row(q->shelf, row);
	if (p->is_snapshot) {
		drop_progress(q, row);
		r->progress = pos;
		apply_snapshot(q, row, p);
		return;
	}
	replay_due(q, row, 0);
	if (r->progress == 0 && !r->more) {
		r->progress = pos;
		return;
	}
	struct q_more *more = row_more(q, row, true);
	more->v = mem_grow(more->v, more->n + 1, sizeof(*more->v));
	more->v[more->n++] = pos;
}

/* A crash came before the message's records were marked: they are dropped now, for this one is one day, and
 * then nothing would say that the message has ended. */
static void on_done(void *arg, log_pos pos, const struct spool_done *d)
{
	struct queue *q = OBJ(queue, arg);
	uint32_t row = find_open(q, d->id);
	if (row != 0) {
		drop(q, shelf_row(q->shelf, row)->message);
		drop_progress(q, row);
		set_open(q, row, 0);
	}
	if (d->withdrawn)
		withdrawn_add(q->withdrawn, d->id);
	ended_add(q, d, pos);
}

static bool on_lives(void *arg, log_pos pos, const struct spool_message *m)
{
	const struct queue *q = OBJ(queue, arg);
	uint32_t row = find_open(q, m->id);
	return row != 0 && shelf_row(q->shelf, row)->message == pos;
}

void item_apply(struct q_item *it, const struct spool_step *s)
{
	it->attempts = s->attempts;
	it->due_us = s->due_us;
	it->code = s->code;
	snprintf(it->enhanced, sizeof(it->enhanced), "%.*s", SPAN_ARG(s->enhanced));
	item_set_reason(it, s->text, s->remote);
	it->on_hold = s->on_hold;
	mem_free(it->route);
	it->route = s->route.n > 0 ? mem_span_str(s->route) : NULL;
	if (it->fate == SPOOL_TOLD)
		return;
	it->fate = s->fate;
	if (s->fate != SPOOL_WAITING)
		item_set_state(it, Q_FINAL);
}

static void replayed(struct queue *q)
{
	queue_end_withdrawn(q);
	entry_count(q);
	timer_set(&q->due_timer, 0);
	for (uint32_t i = 1; i < q->numbered_n; i++)
		if (q->numbered[i] != NULL)
			dest_run(q->numbered[i]);
	log_write(&queue_events[QUEUE_EV_SPOOL_REPLAYED], NULL,
	    LOG_FIELDS(
		LOG_U64("messages", queue_messages(q)), LOG_U64("recipients", q->items_open)));
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
	struct spool_visitor v = { on_message, on_progress, on_done, on_lives, q };
	struct buf why = BUF_INIT(1000);
	timer_init(&q->reopen, q->loop, on_reopen, q);
	queue_load_init(q);
	if (q->withdrawn == NULL)
		q->withdrawn = withdrawn_new();
	q->spool = spool_open(q->loop, &opts, &why);
	if (q->spool != NULL && spool_replay(q->spool, &v, &why) != ERR_OK)
		spool_close(&q->spool);
	if (q->spool != NULL) {
		replayed(q);
	} else {
		log_write(&queue_events[QUEUE_EV_SPOOL_FAILED], NULL,
		    LOG_FIELDS(LOG_STR("why", buf_cstr(&why))));
		timer_set(&q->reopen, REOPEN_MS);
	}
	buf_end(&why);
}

void queue_close(struct queue *q)
{
	queue_scans_end(q);
	for (size_t i = 0; i < COUNT_OF(q->on_close); i++)
		if (q->on_close[i].fn != NULL)
			q->on_close[i].fn(q->on_close[i].arg);
	timer_clear(&q->reopen);
	tls_mail_stop(q);
	deliveries_free(q);
	while (!list_empty(&q->entries))
		entry_free(LIST_OF(struct q_entry, link, q->entries.next));
	dests_free(q);
	defragment_end(q);
	queue_load_end(q);
	spool_close(&q->spool);
	queue_check_drained(q);
}

void queue_spool_broke(struct queue *q, err_t err)
{
	if (timer_armed(&q->reopen))
		return;
	const char *why = q->spool != NULL ? spool_why(q->spool) : "";
	log_write(&queue_events[QUEUE_EV_SPOOL_FAILED], NULL,
	    LOG_FIELDS(LOG_STR("why", why[0] != '\0' ? why : err_text(err))));
	timer_set(&q->reopen, 0);
}

void queue_on_close(struct queue *q, enum queue_friend who, void (*fn)(void *arg), void *arg)
{
	q->on_close[who].fn = fn;
	q->on_close[who].arg = arg;
}

struct spool *queue_spool(struct queue *q)
{
	return q->spool;
}

bool queue_knows(const struct queue *q, struct ident id)
{
	return shelf_find(q->shelf, id) != 0;
}

uint64_t queue_arrival_us(const struct queue *q, uint64_t said_us)
{
	uint64_t now = queue_now_us(q), off = said_us > now ? said_us - now : now - said_us;
	return off < 1000000ull * ARRIVAL_OFF_S ? said_us : now;
}

bool queue_has_room(const struct queue *q, size_t recipients)
{
	return q->items_open + recipients <= (size_t)q->edge->queue_recipients_max;
}

size_t queue_recipients(const struct queue *q)
{
	return q->items_open;
}
