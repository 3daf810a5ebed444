/* queue_load.c - which messages of a long queue are in memory: those something is done for, and a few more.
 *
 * Beside: queue.c. When what rests in memory passes loaded_max, the entries that have rested longest leave:
 * their rows on the shelf say where the log has them. A message that waits for one destination stands
 * in that destination's list and is called when there is room for it; any other comes back when it is
 * due. Owns the shelf, and what of the log does not fit into a row. */
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "edge/queue_internal.h"

enum {
	LOADS_MAX = 100, /* in one round */
	BUSY_MS =
	    1000, /* until a message with several destinations asks again whether they have room */
	UNTOLD_MS = 5 * 1000,
	UNREADABLE_MS = 10 * 60 * 1000,
	SWEEP_MS = 1000,
	SWEEP_ROUNDS = 60,
	PAYLOAD_MAX = SPOOL_RECORD_MAX + SPOOL_INLINE_MAX,
};
static struct span key_of(const uint32_t *row)
{
	return span_of((const char *)row, sizeof(*row));
}

struct q_more *row_more(struct queue *q, uint32_t row, bool make)
{
	struct q_more *m = map_get(q->more, key_of(&row));
	if (m == NULL && make) {
		m = MEM_NEW(struct q_more);
		CHECK(map_set(q->more, key_of(&row), m, NULL));
		shelf_row(q->shelf, row)->more = 1;
	}
	return m;
}

void row_more_free(struct queue *q, uint32_t row)
{
	struct q_more *m = map_remove(q->more, key_of(&row));
	if (m == NULL)
		return;
	shelf_row(q->shelf, row)->more = 0;
	mem_free(m->v);
	mem_free(m);
}

size_t queue_messages(const struct queue *q)
{
	return shelf_count(q->shelf) - q->ended.n;
}

void row_idle(struct queue *q, uint32_t row)
{
	const struct shelf_row *r = shelf_row(q->shelf, row);
	struct q_dest *d = r->owner != 0 ? q->numbered[r->owner] : NULL;
	shelf_idle(q->shelf, row, d != NULL ? &d->shelf : &q->ended);
	if (d != NULL)
		dest_tidy(d);
}

/* ---- out of memory ------------------------------------------------------------------------------ */

static bool is_listed(const struct q_item *it)
{
	return it->link.next != NULL;
}

/* Nothing under way knows of it. */
static bool may_leave(const struct q_entry *e)
{
	if (e->sync != NULL || e->ask != NULL || e->unsaved || e->lookups > 0 || e->running > 0)
		return false;
	for (size_t i = 0; i < e->item_count; i++)
		if (e->items[i].state == Q_NEW ||
		    (e->items[i].state == Q_READY && !is_listed(&e->items[i])))
			return false;
	return true;
}

static bool is_waiting(const struct q_item *it)
{
	return it->state == Q_WAIT || it->state == Q_READY;
}

/* The one destination that everything waits for that waits; NULL: there is none. */
static struct q_dest *only_dest(const struct q_entry *e)
{
	struct q_dest *d = NULL;
	for (size_t i = 0; i < e->item_count; i++) {
		const struct q_item *it = &e->items[i];
		if (!is_waiting(it))
			continue;
		if (!is_listed(it) || (d != NULL && d != it->dest))
			return NULL;
		d = it->dest;
	}
	return d;
}

/* Its sender is to be told, which could not be done. */
static bool is_again(const struct q_entry *e)
{
	return timer_armed(&e->again);
}

/* UINT64_MAX: it waits for no time. */
static uint64_t due_of(const struct q_entry *e)
{
	uint64_t due = is_again(e) ? loop_now_ms(e->queue->loop) + UNTOLD_MS : UINT64_MAX;
	for (size_t i = 0; i < e->item_count; i++) {
		const struct q_item *it = &e->items[i];
		uint64_t at =
		    it->state == Q_WAIT ? it->due.due : loop_now_ms(e->queue->loop) + BUSY_MS;
		if (is_waiting(it) && at < due)
			due = at;
	}
	return due;
}

/* False: there are more destinations than a row can name. */
static bool dest_number(struct q_dest *d)
{
	struct queue *q = d->queue;
	uint32_t n = q->number_hint;
	if (d->number != 0)
		return true;
	while (n < q->numbered_n && q->numbered[n] != NULL)
		n++;
	if (n > SHELF_OWNER_MAX)
		return false;
	if (n == q->numbered_n) {
		q->numbered_n = n < 64 ? 64 : 2 * n;
		q->numbered = mem_grow(q->numbered, q->numbered_n, sizeof(*q->numbered));
		for (uint32_t i = n; i < q->numbered_n; i++)
			q->numbered[i] = NULL;
		n += n == 0; /* 0 is nobody */
	}
	q->numbered[n] = d;
	q->number_hint = n + 1;
	d->number = n;
	return true;
}

/* When it has to be looked at, though its destination takes no mail: to be given up, or its sender told. */
static uint64_t deadline_of(const struct row_facts *f)
{
	return 1 + shelf_minutes(f->arrived_us + 1000 * f->deadline_ms);
}

bool row_list(struct queue *q, uint32_t row, struct q_dest *d, const struct row_facts *facts)
{
	struct shelf_row *r = shelf_row(q->shelf, row);
	bool many = d->shelf.n == 0 && map_count(q->dests) > DESTS_MAX;
	if (many || !dest_number(d))
		return false;
	r->deadline = deadline_of(facts) & SHELF_DEADLINE_MAX;
	shelf_append(q->shelf, row, &d->shelf);
	r->owner = d->number & SHELF_OWNER_MAX;
	return true;
}

static struct row_facts facts_of(const struct q_entry *e)
{
	struct row_facts f = { e->arrived_us, bounce_delay_age_ms(e) };
	for (size_t i = 0; i < e->item_count; i++)
		if (is_waiting(&e->items[i]) && item_lifetime_ms(&e->items[i]) < f.deadline_ms)
			f.deadline_ms = item_lifetime_ms(&e->items[i]);
	return f;
}

/* The destination of a message that is due and was not sent on its way yet, when it needs no question. */
static struct q_dest *way_of_due(const struct q_entry *e)
{
	const struct q_item *it = &e->items[0];
	struct queue *q = e->queue;
	enum q_dest_kind kind;
	const char *name;
	if (e->item_count > 1 || it->state != Q_WAIT || is_listed(it) || it->user != NULL ||
	    it->due.due > loop_now_ms(q->loop) || item_needs_channel(it) ||
	    !way_out(q, it->address, item_operator_route(it), &kind, &name))
		return NULL;
	return dest_of(e, kind, name);
}

/* Where its row waits for it from now on. The destination that may call it at once; NULL: none. */
static struct q_dest *put_row(struct q_entry *e, uint32_t row)
{
	struct queue *q = e->queue;
	struct shelf_row *r = shelf_row(q->shelf, row);
	struct q_dest *fresh = way_of_due(e), *d = fresh != NULL ? fresh : only_dest(e);
	struct row_facts facts = facts_of(e);
	uint64_t due = due_of(e);
	shelf_idle(q->shelf, row, NULL);
	r->progress = e->progress_count > 0 ? e->progress[0] : 0;
	r->open = e->open & SHELF_OPEN_MAX; /* there are at most RECIPIENTS_MAX */
	if (d != NULL && !is_again(e) && row_list(q, row, d, &facts))
		return fresh;
	if (fresh != NULL)
		dest_tidy(fresh);
	if (due != UINT64_MAX)
		shelf_due(q->shelf, row, due);
	return NULL;
}

static void leave(struct q_entry *e)
{
	struct queue *q = e->queue;
	uint32_t row = e->row;
	if (e->progress_count > 1)
		entry_snapshot(e);
	if (e->unsaved)
		return;
	struct q_dest *fresh = put_row(e, row);
	q->items_open += shelf_row(q->shelf, row)->open;
	entry_free(e);
	if (fresh != NULL)
		dest_run(fresh);
}

void queue_make_room(struct queue *q)
{
	while (q->loaded_bytes > q->loaded_max && !list_empty(&q->resting)) {
		struct q_entry *e = LIST_OF(struct q_entry, rest, list_pop(&q->resting));
		if (may_leave(e))
			leave(e);
	}
}

static void on_room(void *arg)
{
	queue_make_room(OBJ(queue, arg));
}

void entry_rest(struct q_entry *e)
{
	struct queue *q = e->queue;
	if (e->rest.next == NULL)
		list_add_tail(&q->resting, &e->rest);
	if (q->loaded_bytes > q->loaded_max)
		soon_set(q->loop, &q->room);
}

/* ---- back into memory --------------------------------------------------------------------------- */

static void log_unreadable(log_pos pos, const char *what)
{
	metric_add(&queue_metrics[QUEUE_M_SPOOL_DAMAGED], 1);
	log_write(&queue_events[QUEUE_EV_SPOOL_DAMAGED], NULL,
	    LOG_FIELDS(LOG_U64("position", pos), LOG_STR("record", what), LOG_U64("bytes", 0)));
}

static void apply_told(struct q_entry *e)
{
	for (size_t i = 0; i < e->item_count; i++)
		if (report_has(&e->items[i], REPORT_END))
			e->items[i].fate = SPOOL_TOLD;
	e->unsaved = true; /* the report's own record will be gone one day */
}

static err_t apply_progress(struct q_entry *e, log_pos pos, struct buf *payload)
{
	struct spool_progress p;
	err_t err = spool_load_progress(e->queue->spool, pos, payload, &p);
	if (err == ERR_CORRUPT)
		log_unreadable(pos, "other");
	if (p.notices > e->notices)
		e->notices = p.notices;
	for (size_t i = 0; err == ERR_OK && i < p.step_count; i++)
		if (p.steps[i].recipient < e->item_count)
			item_apply(&e->items[p.steps[i].recipient], &p.steps[i]);
	spool_progress_end(&p);
	if (e->progress_count < PROGRESS_MAX)
		e->progress[e->progress_count++] = pos;
	return err == ERR_CORRUPT ? ERR_OK : err;
}

/* In the order in which the log has it. */
static err_t apply_all(struct q_entry *e, const struct shelf_row *r, struct buf *payload)
{
	const struct q_more *more = r->more ? row_more(e->queue, e->row, false) : NULL;
	size_t n = 0, more_n = more != NULL ? more->n : 0;
	err_t err = ERR_OK;
	for (size_t i = 0; err == ERR_OK && i < 1 + more_n; i++) {
		if (more != NULL && more->told && n == more->told_after)
			apply_told(e);
		log_pos pos = i == 0 ? r->progress : more->v[i - 1];
		if (pos == 0)
			continue;
		err = apply_progress(e, pos, payload);
		n++;
	}
	if (more != NULL && more->told && n == more->told_after)
		apply_told(e);
	if (more != NULL && more->notices > e->notices)
		e->notices = more->notices;
	return err;
}

/* Due times in the log are wall clock; a clock that was set back must not hold up mail for ever. What waited for a
 * destination that is down still does. */
static void resume(struct q_entry *e, struct q_dest *waits_for, bool now)
{
	uint64_t now_us = queue_now_us(e->queue);
	for (size_t i = 0; i < e->item_count; i++) {
		struct q_item *it = &e->items[i];
		if (it->state != Q_NEW)
			continue;
		if (waits_for != NULL)
			item_set_dest(it, waits_for);
		uint64_t delay = it->due_us > now_us ? (it->due_us - now_us) / 1000 : 0;
		uint64_t most = schedule_wait_max(&item_channel(it)->times);
		delay = delay < most ? delay : most;
		item_wait(it, now ? 0 : delay);
		if (waits_for != NULL && waits_for->backoff_ms > 0 && it->state == Q_WAIT)
			dest_hold(it);
	}
	timer_set(&e->again, 0); /* settles it: it may be done, or its sender not told */
}

/* Its row is SHELF_IDLE. */
static struct q_entry *load(struct queue *q, uint32_t row, struct q_dest *waits_for)
{
	struct shelf_row *r = shelf_row(q->shelf, row);
	struct buf payload = BUF_INIT(PAYLOAD_MAX);
	struct spool_message m;
	struct q_entry *e = NULL;
	err_t err = spool_load_message(q->spool, r->message, &payload, &m);
	if (err == ERR_OK) {
		q->items_open -= r->open;
		e = entry_new(q, row, r->message, &m);
		err = apply_all(e, r, &payload);
	}
	spool_message_end(&m);
	buf_end(&payload);
	if (err == ERR_OK) {
		row_more_free(q, row);
		resume(e, waits_for, r->urgent);
		r->urgent = 0;
		return e;
	}
	log_unreadable(r->message, "message");
	if (e != NULL) {
		entry_free(e);
		q->items_open += r->open;
	}
	shelf_due(q->shelf, row, loop_now_ms(q->loop) + UNREADABLE_MS);
	return NULL;
}

struct q_entry *row_load(struct queue *q, uint32_t row)
{
	const struct shelf_row *r = shelf_row(q->shelf, row);
	struct q_dest *d = r->owner != 0 ? q->numbered[r->owner] : NULL;
	if (r->place == SHELF_LOADED)
		return r->entry;
	shelf_idle(q->shelf, row, d != NULL ? &d->shelf : NULL);
	struct q_entry *e = load(q, row, d);
	if (d != NULL)
		dest_tidy(d);
	return e;
}

bool queue_load_due(struct queue *q, uint64_t *wait_ms_out)
{
	uint32_t row;
	*wait_ms_out = UINT64_MAX;
	for (size_t i = 0; i < LOADS_MAX; i++) {
		uint64_t wait;
		row = shelf_first(q->shelf, loop_now_ms(q->loop), &wait);
		if (row == 0)
			return true;
		if (wait > 0) {
			*wait_ms_out = wait;
			return true;
		}
		(void)row_load(q, row);
	}
	return false;
}

/* ---- called by a destination -------------------------------------------------------------------- */

static void call(struct q_dest *d, uint32_t row)
{
	struct queue *q = d->queue;
	shelf_idle(q->shelf, row, &d->shelf);
	struct q_entry *e = load(q, row, NULL);
	if (e == NULL)
		return;
	if (!e->unsaved)
		timer_clear(&e->again); /* settled when it has arrived */
	e->called_by = d;
	d->called++;
	q->called++;
	for (size_t i = 0; i < e->item_count; i++)
		if (e->items[i].state == Q_WAIT)
			item_wait(&e->items[i], 0);
}

void dest_call(struct q_dest *d)
{
	struct queue *q = d->queue;
	bool down = dest_is_down(d);
	while (!down && d->shelf.n > 0 && !queue_rests(q) && q->spool != NULL &&
	       d->running + d->ready_count + d->called < dest_window(d)) {
		if (dest_is_stalled(d))
			return;
		if (q->called >= CALLED_MAX) {
			if (d->calls.next == NULL)
				list_add_tail(&q->callers, &d->calls);
			return;
		}
		call(d, d->shelf.first);
	}
}

void entry_called(struct q_entry *e)
{
	struct queue *q = e->queue;
	struct q_dest *d = e->called_by;
	if (d == NULL)
		return;
	e->called_by = NULL;
	d->called--;
	q->called--;
	struct list_node *n = list_pop(&q->callers);
	if (n != NULL)
		dest_call(LIST_OF(struct q_dest, calls, n));
	dest_run(d);
	dest_tidy(d);
}

/* ---- deadlines ---------------------------------------------------------------------------------- */

/* What waits for a destination that is down is not looked at until it is up: here is whether it has to be. */
static void sweep_row(struct queue *q, uint32_t row, uint64_t now_minutes)
{
	const struct shelf_row *r = shelf_row(q->shelf, row);
	if (r->place != SHELF_LISTED || r->done || r->deadline > now_minutes)
		return;
	row_idle(q, row);
	shelf_row(q->shelf, row)->urgent = 1;
	shelf_due(q->shelf, row, loop_now_ms(q->loop));
}

static void on_sweep(void *arg)
{
	struct queue *q = OBJ(queue, arg);
	uint64_t now = shelf_minutes(queue_now_us(q));
	size_t n = 1 + shelf_count(q->shelf) / SWEEP_ROUNDS;
	for (size_t i = 0; i < n && (i == 0 || q->swept != 0); i++) {
		q->swept = shelf_next(q->shelf, q->swept);
		if (q->swept != 0)
			sweep_row(q, q->swept, now);
	}
	timer_set(&q->sweep_timer, SWEEP_MS);
	queue_pump(q);
}

/* ---- life --------------------------------------------------------------------------------------- */

void queue_load_init(struct queue *q)
{
	q->shelf = shelf_new();
	q->more = map_new((size_t)INT32_MAX);
	q->ended = (struct shelf_list){ 0 };
	list_init(&q->entries);
	list_init(&q->resting);
	list_init(&q->callers);
	soon_init(&q->room, on_room, q);
	timer_init(&q->sweep_timer, q->loop, on_sweep, q);
	timer_set(&q->sweep_timer, SWEEP_MS);
}

static bool free_more(void *arg, struct span key, void *value)
{
	struct q_more *m = value;
	mem_free(m->v);
	mem_free(m);
	return true;
}

/* Entries and destinations are gone. */
void queue_load_end(struct queue *q)
{
	map_each(q->more, free_more, NULL);
	map_free(&q->more);
	shelf_free(&q->shelf);
	MEM_FREE(&q->numbered);
	q->numbered_n = q->number_hint = q->swept = 0;
	q->items_open = 0;
	soon_clear(&q->room);
	timer_clear(&q->sweep_timer);
}
