/* queue.c - recipients and messages of the queue: their states, their fates, and how those are saved.
 *
 * before: commit.c, spool_serve.c; beside: queue_spool.c (the log), queue_route.c (destinations);
 * after: deliver.c, bounce.c. Owns the entries. Everything here is small: bytes stay in the log. */
#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/rand.h"
#include "daemon/daemon.h"
#include "edge/out_conf.h"
#include "edge/queue_census.h"
#include "edge/queue_internal.h"

enum { BUSY_PAUSE_MS = 10, PATH_SIZE = 1100 };

/* ---- recipients ------------------------------------------------------------------------------- */

size_t item_index(const struct q_item *it)
{
	return (size_t)(it - it->entry->items);
}

static bool is_active(enum q_state s)
{
	return s == Q_LOOKUP || s == Q_READY || s == Q_RUNNING;
}

/* Leaves whatever the old state held. */
void item_set_state(struct q_item *it, enum q_state to)
{
	struct q_entry *e = it->entry;
	struct queue *q = e->queue;
	heap_remove(&q->due, &it->due);
	dest_unlink(it);
	if (it->state == Q_LOOKUP) {
		ticket_cancel(&it->ask);
		q->lookups--;
		if (--e->lookups == 0)
			soon_set(q->loop, &e->go);
	}
	if (to == Q_LOOKUP) {
		q->lookups++;
		e->lookups++;
	}
	if (to == Q_FINAL && it->state != Q_FINAL) {
		e->open--;
		q->items_open--;
	}
	if (to == Q_RUNNING && e->running++ == 0)
		q->loaded_bytes -= e->bytes;
	if (it->state == Q_RUNNING && --e->running == 0)
		q->loaded_bytes += e->bytes;
	if (is_active(to))
		list_remove(&e->rest);
	e->active += (size_t)is_active(to);
	e->active -= (size_t)is_active(it->state);
	it->state = to;
	if (to == Q_FINAL)
		item_set_dest(it, NULL);
}

void item_wait(struct q_item *it, uint64_t delay_ms)
{
	struct queue *q = it->entry->queue;
	item_set_state(it, it->on_hold ? Q_HELD : Q_WAIT);
	if (it->on_hold)
		return;
	heap_put(&q->due, &it->due, loop_now_ms(q->loop) + delay_ms);
	if (heap_first(&q->due) == &it->due && !queue_rests(q))
		timer_set(&q->due_timer, delay_ms);
}

/* A tenth more or less, so that what failed together does not return together. */
uint64_t item_delay_ms(const struct q_item *it)
{
	uint64_t delay = schedule_wait(
	    &item_channel(it)->times, priority_class_of(it->entry->priority), it->attempts);
	return delay - delay / 10 + rand_below(delay / 5 + 1);
}

void item_set_reason(struct q_item *it, struct span text, struct span remote)
{
	mem_free(it->reason);
	mem_free(it->remote);
	it->reason = mem_span_str(span_first(text, REASON_MAX));
	it->remote = remote.n > 0 ? mem_span_str(span_first(remote, SPOOL_STRING_MAX)) : NULL;
}

static enum spool_fate final_fate(const struct q_item *it, enum fate fate)
{
	const struct q_entry *e = it->entry;
	if (fate == FATE_REFUSED)
		return recipient_wants(it->notify, SMTP_NOTIFY_FAILURE) ? SPOOL_REFUSED
									: SPOOL_TOLD;
	bool told = recipient_wants(it->notify, SMTP_NOTIFY_SUCCESS) && entry_may_tell(e);
	return told ? SPOOL_SENT : SPOOL_DELIVERED;
}

void item_outcome(struct q_item *it, const struct outcome *o, const char *host)
{
	it->attempts++;
	it->code = o->code;
	snprintf(it->enhanced, sizeof(it->enhanced), "%s", o->enhanced);
	item_set_reason(it, span_str(o->text), span_str(o->remote ? host : NULL));
	item_count_outcome(it, o->fate);
	if (o->fate == FATE_DELIVERED || o->fate == FATE_REFUSED) {
		bool ok = o->fate == FATE_DELIVERED;
		it->fate = final_fate(it, o->fate);
		metric_add(&queue_metrics[ok ? QUEUE_M_DELIVERED : QUEUE_M_REFUSED], 1);
		item_set_state(it, Q_FINAL);
		return;
	}
	uint64_t delay = item_delay_ms(it);
	metric_add(&queue_metrics[QUEUE_M_DEFERRED], 1);
	it->due_us = queue_now_us(it->entry->queue) + 1000 * delay;
	item_wait(it, delay);
}

static void item_end(struct q_item *it)
{
	item_set_state(it, Q_FINAL);
	mem_free(it->address);
	mem_free(it->user);
	mem_free(it->detail);
	mem_free(it->orcpt);
	mem_free(it->route);
	mem_free(it->place);
	mem_free(it->reason);
	mem_free(it->remote);
	it->magic = 0;
}

/* ---- messages --------------------------------------------------------------------------------- */

/* Has its sender to be told of a recipient's end? */
static bool has_untold(const struct q_entry *e)
{
	for (size_t i = 0; i < e->item_count; i++)
		if (report_has(&e->items[i], REPORT_END))
			return true;
	return false;
}

void entry_count(struct queue *q)
{
	metric_set(&queue_metrics[QUEUE_M_MESSAGES], queue_messages(q));
	metric_set(&queue_metrics[QUEUE_M_RECIPIENTS], q->items_open);
	metric_set(&queue_metrics[QUEUE_M_LOADED], q->loaded);
}

void entry_free(struct q_entry *e)
{
	struct queue *q = e->queue;
	for (size_t i = 0; i < e->item_count; i++)
		item_end(&e->items[i]);
	if (e->called_by != NULL) {
		e->called_by->called--;
		q->called--;
	}
	if (shelf_row(q->shelf, e->row)->place == SHELF_LOADED)
		shelf_idle(q->shelf, e->row, NULL);
	q->loaded--;
	q->loaded_bytes -= e->bytes;
	list_remove(&e->rest);
	ticket_cancel(&e->sync);
	ticket_cancel(&e->ask);
	timer_clear(&e->again);
	soon_clear(&e->go);
	list_remove(&e->link);
	mem_free(e->items);
	mem_free(e->sender);
	mem_free(e->envid);
	mem_free(e->auth_user);
	mem_free(e->body.chunks);
	e->magic = 0;
	mem_free(e);
	entry_count(q);
}

/* The log did not take it: the disk is full, or the log must be opened anew. */
static void save_later(struct q_entry *e, err_t err)
{
	struct queue *q = e->queue;
	e->unsaved = true;
	timer_set(&e->again, AGAIN_MS);
	if (err != ERR_NO_SPACE && err != ERR_BUSY)
		queue_spool_broke(q, err);
}

static void put_step(struct spool_step *s, const struct q_item *it)
{
	*s = (struct spool_step){
		.recipient = (uint16_t)item_index(it),
		.fate = it->fate,
		.attempts = it->attempts,
		.due_us = it->due_us,
		.code = it->code,
		.enhanced = span_str(it->enhanced),
		.text = span_str(it->reason),
		.on_hold = it->on_hold,
		.route = span_str(it->route),
		.remote = span_str(it->remote),
	};
}

static err_t append_progress(struct q_entry *e, struct spool_progress *p, log_pos *pos_out)
{
	if (e->queue->spool == NULL)
		return ERR_BUSY;
	return spool_append_progress(e->queue->spool, p, pos_out);
}

static void forget_progress(struct q_entry *e)
{
	for (size_t i = 0; i < e->progress_count; i++)
		spool_forget(e->queue->spool, e->progress[i]);
	e->progress_count = 0;
}

void entry_snapshot(struct q_entry *e)
{
	struct spool_progress p = {
		.id = e->id, .is_snapshot = true, .notices = e->notices, .step_count = e->item_count
	};
	log_pos pos;
	p.steps = mem_array(e->item_count, sizeof(*p.steps));
	for (size_t i = 0; i < e->item_count; i++)
		put_step(&p.steps[i], &e->items[i]);
	err_t err = append_progress(e, &p, &pos);
	mem_free(p.steps);
	if (err) {
		save_later(e, err);
		return;
	}
	forget_progress(e);
	e->progress[e->progress_count++] = pos;
	e->unsaved = false;
}

/* DONE will say it all. */
static bool is_ending(const struct q_entry *e)
{
	return e->open == 0 && !has_untold(e);
}

void entry_save(struct q_entry *e, struct q_item *const *items, size_t n)
{
	struct spool_progress p = { .id = e->id, .notices = e->notices, .step_count = n };
	log_pos pos;
	if (is_ending(e))
		return;
	if (e->unsaved || e->progress_count == PROGRESS_MAX || n == e->item_count) {
		entry_snapshot(e);
		return;
	}
	p.steps = n > 0 ? mem_array(n, sizeof(*p.steps)) : NULL;
	for (size_t i = 0; i < n; i++)
		put_step(&p.steps[i], items[i]);
	err_t err = append_progress(e, &p, &pos);
	mem_free(p.steps);
	if (err)
		save_later(e, err);
	else
		e->progress[e->progress_count++] = pos;
}

/* Every recipient has its end. The record of that comes first, then everything else may be forgotten. */
static void entry_done(struct q_entry *e)
{
	struct queue *q = e->queue;
	struct spool_done d = { e->id, queue_now_us(q), e->withdrawn };
	log_pos pos;
	err_t err = q->spool == NULL ? ERR_BUSY : spool_append_done(q->spool, &d, &pos);
	if (err) {
		save_later(e, err);
		return;
	}
	spool_forget(q->spool, e->body.pos);
	for (size_t i = 0; i < e->body.chunk_count; i++)
		spool_forget(q->spool, e->body.chunks[i]);
	forget_progress(e);
	log_write(&queue_events[QUEUE_EV_QUEUE_DONE], e->id.s,
	    LOG_FIELDS(LOG_U64("age_s", (d.at_us - e->arrived_us) / 1000000)));
	entry_free(e);
	ended_add(q, &d, pos);
	entry_count(q);
	if (q->on_done != NULL)
		q->on_done(q->on_done_arg, d.id);
}

void entry_settle(struct q_entry *e)
{
	if (e->active > 0 || e->sync != NULL || e->ask != NULL)
		return;
	entry_called(e);
	if (e->open == 0 && !has_untold(e))
		entry_done(e);
	else if (e->unsaved)
		return;
	else if (has_untold(e))
		bounce_start(e);
	else if (bounce_delay_is_due(e))
		bounce_delay(e);
	else
		entry_rest(e);
}

static void on_again(void *arg)
{
	struct q_entry *e = OBJ(q_entry, arg);
	if (e->unsaved && !is_ending(e))
		entry_snapshot(e);
	if (!e->unsaved || is_ending(e))
		entry_settle(e);
}

static void item_init(
    struct q_item *it, struct q_entry *e, const struct spool_recipient *r, bool hold)
{
	*it =
	    (struct q_item){ .magic = q_item_MAGIC, .entry = e, .fate = r->fate, .on_hold = hold };
	it->address = mem_span_str(r->address);
	it->user = r->user.n > 0 ? mem_span_str(r->user) : NULL;
	it->detail = r->detail.n > 0 ? mem_span_str(r->detail) : NULL;
	it->orcpt = r->orcpt.n > 0 ? mem_span_str(r->orcpt) : NULL;
	it->place = channel_of_place(r->store).p != NULL ? mem_span_str(r->store) : NULL;
	it->notify = r->notify;
	e->open++;
	e->queue->items_open++;
	it->code = r->code;
	snprintf(it->enhanced, sizeof(it->enhanced), "%.*s", SPAN_ARG(r->enhanced));
	if (r->text.n > 0 || r->remote.n > 0)
		item_set_reason(it, r->text, r->remote);
	if (r->fate == SPOOL_WAITING)
		return;
	it->attempts = 1;
	if (r->fate == SPOOL_REFUSED)
		it->fate = final_fate(it, FATE_REFUSED);
	item_set_state(it, Q_FINAL);
}

/* A little more than it is, for what malloc adds. */
static size_t bytes_of(const struct spool_message *m)
{
	enum { EACH = 160 };
	return sizeof(struct q_entry) + EACH + m->chunk_count * sizeof(log_pos) +
	       m->recipient_count * (sizeof(struct q_item) + EACH);
}

struct q_entry *entry_new(struct queue *q, uint32_t row, log_pos pos, const struct spool_message *m)
{
	struct q_entry *e = MEM_NEW(struct q_entry);
	e->magic = q_entry_MAGIC;
	e->queue = q;
	e->row = row;
	e->bytes = bytes_of(m);
	q->loaded++;
	q->loaded_bytes += e->bytes;
	shelf_load(q->shelf, row, e);
	e->id = m->id;
	e->session = m->session;
	e->arrived_us = m->arrived_us;
	e->sender = mem_span_str(m->sender);
	e->envid = m->envid.n > 0 ? mem_span_str(m->envid) : NULL;
	e->auth_user = m->auth_user.n > 0 ? mem_span_str(m->auth_user) : NULL;
	e->stage = m->stage;
	e->trusted = m->trusted || m->auth_user.n > 0;
	e->aligned = m->aligned;
	e->disowned = m->disowned;
	e->ret = m->ret;
	e->report = m->report;
	e->body_8bit = m->body_8bit;
	e->smtputf8 = m->smtputf8;
	e->priority = m->priority;
	e->require_tls = m->require_tls;
	e->tls_optional = m->tls_optional;
	e->body = (struct spool_body){ m->body_bytes, pos, m->body_at, NULL, m->chunk_count };
	if (m->chunk_count > 0)
		e->body.chunks = mem_copy(m->chunks, m->chunk_count * sizeof(*m->chunks));
	timer_init(&e->again, q->loop, on_again, e);
	soon_init(&e->go, entry_on_go, e);
	e->item_count = m->recipient_count;
	e->items = mem_array(e->item_count, sizeof(*e->items));
	for (size_t i = 0; i < e->item_count; i++)
		item_init(&e->items[i], e, &m->recipients[i], m->hold);
	list_add_tail(&q->entries, &e->link);
	return e;
}

static void on_durable(void *arg, err_t err)
{
	struct q_entry *e = OBJ(q_entry, arg);
	struct queue *q = e->queue;
	e->sync = NULL;
	if (err) { /* opening the log anew shows whether the message is there */
		queue_spool_broke(q, err);
		return;
	}
	for (size_t i = 0; i < e->item_count; i++)
		if (e->items[i].state == Q_NEW)
			item_wait(&e->items[i], 0);
	entry_settle(e);
}

void queue_add(struct queue *q, log_pos pos, const struct spool_message *m)
{
	uint32_t row = shelf_add(q->shelf, &m->id);
	struct q_entry *e = entry_new(q, row, pos, m);
	shelf_row(q->shelf, row)->message = pos;
	shelf_row(q->shelf, row)->size = shelf_size_code(m->body_bytes) & 0xff;
	e->fresh = true;
	entry_count_arrival(e);
	e->added_us = queue_now_us(q);
	e->sync = spool_sync(q->spool, on_durable, e);
	metric_add(&queue_metrics[QUEUE_M_ADDED], 1);
	entry_count(q);
	log_write(&queue_events[QUEUE_EV_QUEUE_ADDED], m->id.s,
	    LOG_FIELDS(LOG_STR("session", m->session.s), LOG_SPAN("sender", m->sender),
		LOG_U64("recipients", m->recipient_count), LOG_U64("bytes", m->body_bytes)));
}

/* ---- the schedule ----------------------------------------------------------------------------- */

static void route_due(struct queue *q, uint64_t now)
{
	struct heap_node *n;
	while ((n = heap_first(&q->due)) != NULL && n->due <= now && q->lookups < LOOKUPS_MAX)
		item_route(LIST_OF(struct q_item, due, n));
}

/* First what is in memory. Looking through the shelf takes its time: when there is enough to do, the
 * deliveries get most of it. */
void queue_pump(struct queue *q)
{
	uint64_t now = loop_now_ms(q->loop), wait;
	bool busy = q->running >= (size_t)q->edge->queue_deliveries / 2;
	timer_clear(&q->due_timer);
	if (queue_rests(q) || q->spool == NULL)
		return;
	route_due(q, now);
	if (q->lookups >= LOOKUPS_MAX)
		return; /* the next answer goes on */
	if (!queue_load_due(q, &wait))
		wait = busy ? BUSY_PAUSE_MS : 0;
	const struct heap_node *n = heap_first(&q->due);
	if (n != NULL && (n->due <= now || n->due - now < wait))
		wait = n->due <= now ? 0 : n->due - now;
	if (wait != UINT64_MAX)
		timer_set(&q->due_timer, wait);
}

static void on_due(void *arg)
{
	queue_pump(OBJ(queue, arg));
}

void queue_check_drained(struct queue *q)
{
	if (q->draining && q->running == 0 && q->on_drained != NULL)
		soon_set(q->loop, &q->drained);
}

static void on_drained(void *arg)
{
	struct queue *q = OBJ(queue, arg);
	void (*fn)(void *arg) = q->on_drained;
	q->on_drained = NULL;
	if (fn != NULL)
		fn(q->on_drained_arg);
}

void queue_drain(struct queue *q, void (*fn)(void *arg), void *arg)
{
	q->draining = true;
	q->on_drained = fn;
	q->on_drained_arg = arg;
	timer_clear(&q->due_timer);
	queue_check_drained(q);
}

static void on_prune(void *arg)
{
	struct queue *q = OBJ(queue, arg);
	queue_follow_clock(q);
	ended_prune(q, queue_now_us(q));
	if (q->spool != NULL)
		metric_set(&queue_metrics[QUEUE_M_SPOOL_BYTES], spool_stats(q->spool).disk_bytes);
	queue_run_stalled(q); /* a channel's window may have opened */
	timer_set(&q->prune_timer, 60 * 1000);
}

/* ---- life ------------------------------------------------------------------------------------- */

static void set_conf(struct queue *q, const struct conf *conf)
{
	struct conf *old = (struct conf *)(uintptr_t)q->conf;
	q->conf = conf_ref(conf);
	q->edge = conf_section(conf, &edge_block);
	q->hostname = daemon_hostname(conf);
	queue_channels_set(q);
	conf_unref(&old);
}

/* Files that are worth keeping stand in the spool's folder, whose log has names of its own. */
static const char *beside_spool(const struct queue *q, const char *name, char path[PATH_SIZE])
{
	int n = snprintf(path, PATH_SIZE, "%s/%s", q->edge->spool, name);
	return n < PATH_SIZE ? path : NULL;
}

struct queue *queue_new(const struct queue_opts *opts)
{
	char path[PATH_SIZE];
	struct queue *q = MEM_NEW(struct queue);
	q->magic = queue_MAGIC;
	q->loop = opts->loop;
	q->dns = opts->dns;
	q->directory = opts->directory;
	q->unsafe_no_sync = opts->unsafe_no_sync;
	q->kind_n = DEST_KINDS;
	set_conf(q, opts->conf);
	q->pool = out_conf_new(q->loop, q->dns, opts->conf, OUT_FOR_QUEUE);
	q->sts = sts_new(q->loop, q->dns, q->edge, beside_spool(q, "mta-sts", path));
	q->tlsrpt = tlsrpt_new(&(struct tlsrpt_opts){ .loop = q->loop,
				   .dns = q->dns,
				   .directory = q->directory,
				   .kept = beside_spool(q, "tls-reports", path),
				   .mail = tls_mail_start,
				   .arg = q },
	    q->edge, q->hostname);
	q->dests = map_new((size_t)INT32_MAX);
	q->loaded_max = opts->loaded_max != 0 ? opts->loaded_max : LOADED_BYTES;
	list_init(&q->scans);
	list_init(&q->known);
	list_init(&q->tellings);
	for (size_t k = 0; k < DEST_KINDS_MAX; k++) {
		list_init(&q->channels[k].stalled);
		list_init(&q->channels[k].strange);
	}
	list_init(&q->deliveries);
	timer_init(&q->due_timer, q->loop, on_due, q);
	timer_init(&q->prune_timer, q->loop, on_prune, q);
	soon_init(&q->drained, on_drained, q);
	on_prune(q);
	queue_open(q);
	q->census = queue_census_new(q);
	return q;
}

void queue_reload(struct queue *q, const struct conf *fresh)
{
	set_conf(q, fresh);
	out_conf_set(q->pool, fresh, OUT_FOR_QUEUE);
	sts_set(q->sts, q->edge);
	tlsrpt_set(q->tlsrpt, q->edge, q->hostname);
	queue_run_all(q);
}

void queue_free(struct queue **pq)
{
	struct queue *q = *pq;
	if (q == NULL)
		return;
	queue_census_free(&q->census);
	queue_close(q);
	queue_channels_end(q);
	out_pool_free(&q->pool);
	tlsrpt_free(&q->tlsrpt);
	sts_free(&q->sts);
	map_free(&q->dests);
	withdrawn_free(&q->withdrawn);
	mem_free(q->left_words);
	heap_end(&q->due);
	timer_clear(&q->due_timer);
	timer_clear(&q->prune_timer);
	timer_clear(&q->reopen);
	soon_clear(&q->drained);
	conf_unref((struct conf **)(uintptr_t)&q->conf);
	q->magic = 0;
	MEM_FREE(pq);
}
