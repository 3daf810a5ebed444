/* queue_dest.c - the places that mail goes to from here: whether mail for there moves at all, and how much at a time.
 *
 * A destination that does not take mail holds up what is for it: one or a few of its recipients are tried at growing
 * intervals, those first that were not tried yet, and the first success lets all the others go at once. One that answers
 * with a complaint about itself may mean a single message, for ever: hosts of others are not held up by that at all, our
 * own after several in a row, and what is new is tried all the same. */
#include "base/check.h"
#include "base/mem.h"
#include "edge/queue_internal.h"

enum { KEY_MAX = 1100, DOWN_FIRST_MS = 1000, PROBES = 20, WINDOW_FIRST = 2, COMPLAINTS = 3 };

static bool put_key(struct buf *out, enum q_dest_kind kind, enum q_wish wish, const char *name)
{
	buf_add_char(out, (char)('0' + (int)kind));
	buf_add_char(out, (char)('0' + (int)wish));
	buf_add_str(out, name);
	return buf_ok(out);
}

static bool is_known(const struct q_dest *d)
{
	return d->known.next != NULL;
}

static void not_known(struct q_dest *d)
{
	d->queue->known_count -= is_known(d);
	list_remove(&d->known);
}

static void dest_free(struct q_dest *d)
{
	not_known(d);
	struct buf key = BUF_INIT(KEY_MAX);
	put_key(&key, d->kind, d->wish, d->name);
	map_remove(d->queue->dests, buf_span(&key));
	buf_end(&key);
	timer_clear(&d->probe);
	list_remove(&d->stalled);
	list_remove(&d->calls);
	if (d->number != 0) {
		d->queue->numbered[d->number] = NULL;
		if (d->number < d->queue->number_hint)
			d->queue->number_hint = d->number;
	}
	mem_free(d->name);
	d->magic = 0;
	mem_free(d);
}

/* One that takes mail is remembered, or the next message for it would begin as one for a stranger. */
void dest_tidy(struct q_dest *d)
{
	struct queue *q = d->queue;
	if (d->refs > 0 || d->running > 0 || d->called > 0 || d->shelf.n > 0 || is_known(d))
		return;
	if (!d->proven) {
		dest_free(d);
		return;
	}
	list_add_tail(&q->known, &d->known);
	if (++q->known_count > KNOWN_MAX)
		dest_free(LIST_OF(struct q_dest, known, q->known.next));
}

static void on_probe(void *arg)
{
	struct q_dest *d = OBJ(q_dest, arg);
	for (size_t i = 0; i < PROBES && !list_empty(&d->held); i++)
		item_wait(LIST_OF(struct q_item, link, d->held.next), 0);
	d->down_until_ms = 0;
	timer_set(&d->probe, d->backoff_ms);
	dest_call(d);
}

struct q_dest *dest_get(struct queue *q, enum q_dest_kind kind, enum q_wish wish, const char *name)
{
	struct buf key = BUF_INIT(KEY_MAX);
	CHECK(put_key(&key, kind, wish, name)); /* names are at most SPOOL_STRING_MAX */
	struct q_dest *d = map_get(q->dests, buf_span(&key));
	if (d == NULL) {
		d = MEM_NEW(struct q_dest);
		d->magic = q_dest_MAGIC;
		d->queue = q;
		d->kind = kind;
		d->wish = wish;
		d->name = mem_str(name);
		d->window = WINDOW_FIRST;
		for (size_t i = 0; i < PRIORITY_CLASSES; i++)
			list_init(&d->ready[i]);
		list_init(&d->held);
		timer_init(&d->probe, q->loop, on_probe, d);
		CHECK(map_set(q->dests, buf_span(&key), d, NULL));
	}
	buf_end(&key);
	not_known(d);
	return d;
}

void item_set_dest(struct q_item *it, struct q_dest *d)
{
	struct q_dest *old = it->dest;
	if (d != NULL)
		d->refs++;
	it->dest = d;
	if (old != NULL && --old->refs == 0)
		dest_tidy(old);
}

void dest_unlink(struct q_item *it)
{
	if (it->link.next == NULL)
		return;
	list_remove(&it->link);
	if (it->state == Q_READY)
		it->dest->ready_count--;
	else
		it->dest->held_count--;
}

void dest_hold(struct q_item *it)
{
	CHECK(it->state == Q_WAIT && it->link.next == NULL);
	list_add_tail(&it->dest->held, &it->link);
	it->dest->held_count++;
}

static bool is_far(const struct q_dest *d)
{
	return d->kind != DEST_STORE && d->kind != DEST_RELAY;
}

/* The first time costs little, a store that stays away is asked every dead_backoff; strangers' servers get
 * the intervals of the retry schedule. */
static uint64_t next_backoff(struct q_dest *d)
{
	const struct schedule *times = &d->queue->channels[d->kind].limits.times;
	if (is_far(d))
		return schedule_wait(times, PRIORITY_NORMAL, ++d->failures);
	uint64_t next = d->backoff_ms == 0 ? DOWN_FIRST_MS : 2 * d->backoff_ms;
	return next < d->queue->edge->dead_backoff ? next : d->queue->edge->dead_backoff;
}

static struct list_node *stalled_list(const struct q_dest *d)
{
	struct q_channel *ch = &d->queue->channels[d->kind];
	return d->proven ? &ch->stalled : &ch->strange;
}

/* What it has running counts on the other side from now on. */
static void dest_prove(struct q_dest *d, bool proven)
{
	if (d->proven == proven)
		return;
	d->proven = proven;
	if (proven)
		d->queue->strange_running -= d->running;
	else
		d->queue->strange_running += d->running;
	if (d->stalled.next != NULL) {
		list_remove(&d->stalled);
		list_add_tail(stalled_list(d), &d->stalled);
	}
}

/* The oldest of the most urgent; there is one. */
static struct q_item *ready_first(struct q_dest *d)
{
	size_t i = 0;
	while (list_empty(&d->ready[i]))
		CHECK(++i < PRIORITY_CLASSES);
	return LIST_OF(struct q_item, link, d->ready[i].next);
}

static void go_down(struct q_dest *d, const char *why)
{
	bool was_up = d->backoff_ms == 0;
	dest_prove(d, false);
	d->window = WINDOW_FIRST;
	d->backoff_ms = next_backoff(d);
	d->down_until_ms = loop_now_ms(d->queue->loop) + d->backoff_ms;
	timer_set(&d->probe, d->backoff_ms);
	if (was_up)
		log_write(&queue_events[QUEUE_EV_DESTINATION_DOWN], NULL,
		    LOG_FIELDS(LOG_STR("destination", d->name), LOG_STR("why", why),
			LOG_U64("next_s", d->backoff_ms / 1000)));
	while (d->ready_count > 0) {
		struct q_item *it = ready_first(d);
		item_wait(it, item_delay_ms(it));
		dest_hold(it);
	}
}

static void come_up(struct q_dest *d)
{
	dest_prove(d, true);
	d->complaints = 0;
	if (d->window < d->queue->channels[d->kind].limits.concurrency)
		d->window++;
	if (d->backoff_ms == 0)
		return;
	log_write(&queue_events[QUEUE_EV_DESTINATION_UP], NULL,
	    LOG_FIELDS(LOG_STR("destination", d->name), LOG_U64("waiting", d->held_count)));
	d->backoff_ms = 0;
	d->failures = 0;
	d->down_until_ms = 0;
	timer_clear(&d->probe);
	while (!list_empty(&d->held))
		item_wait(LIST_OF(struct q_item, link, d->held.next), 0);
}

/* Nobody else is there to ask, or several have heard the same. */
static bool believes(struct q_dest *d)
{
	bool alone = d->ready_count + d->called + d->shelf.n == 0 && d->running <= 1;
	return ++d->complaints % COMPLAINTS == 0 || alone;
}

bool dest_hears(struct q_dest *d, enum q_word word, const char *why)
{
	d->speaks = word != Q_WORD_DOWN;
	switch (word) {
	case Q_WORD_GOOD:
		come_up(d);
		return false;
	case Q_WORD_COMPLAINT:
		if (is_far(d) || !believes(d))
			return false;
		break;
	case Q_WORD_DOWN:
		break;
	}
	go_down(d, why);
	return true;
}

bool dest_is_down(const struct q_dest *d)
{
	return d->backoff_ms > 0 && loop_now_ms(d->queue->loop) < d->down_until_ms;
}

/* The oldest recipient that is ready, and those of the same message with it. Urgent ones come first, but of eight turns
 * two are for normal ones and one is for the others, where there are any: nobody waits for ever. */
static void run_one(struct q_dest *d)
{
	static const enum priority_class turns[] = { PRIORITY_URGENT, PRIORITY_URGENT,
		PRIORITY_NORMAL, PRIORITY_URGENT, PRIORITY_URGENT, PRIORITY_NORMAL, PRIORITY_URGENT,
		PRIORITY_NONURGENT };
	const struct list_node *turn = &d->ready[turns[d->turn++ % COUNT_OF(turns)]];
	struct q_item *first =
	    list_empty(turn) ? ready_first(d) : LIST_OF(struct q_item, link, turn->next);
	struct q_entry *e = first->entry;
	struct q_item *batch[CHANNEL_RECIPIENTS_MAX];
	size_t n = 0, most = d->queue->channels[d->kind].limits.recipients;
	for (size_t i = 0; i < e->item_count && n < most; i++)
		if (e->items[i].state == Q_READY && e->items[i].dest == d)
			batch[n++] = &e->items[i];
	for (size_t i = 0; i < n; i++)
		item_set_state(batch[i], Q_RUNNING);
	deliver_start(d, batch, n);
}

/* Destinations that hang could take every delivery there is, one each. Those that have not shown that
 * they take mail share half of the deliveries, so the others always find one. */
static bool is_full(const struct queue *q, enum q_dest_kind kind, bool proven)
{
	const struct q_channel *ch = &q->channels[kind];
	size_t most = (size_t)q->edge->queue_deliveries;
	if (q->running >= most || ch->running >= ch->limits.deliveries)
		return true;
	if (!channel_is_open(&ch->limits, queue_now_us(q)))
		return true;
	return !proven && q->strange_running >= (most + 1) / 2;
}

size_t dest_window(const struct q_dest *d)
{
	size_t most = d->queue->channels[d->kind].limits.concurrency;
	if (d->backoff_ms > 0)
		return 1;
	return d->window < most ? d->window : most;
}

bool dest_is_stalled(struct q_dest *d)
{
	if (!is_full(d->queue, d->kind, d->proven))
		return false;
	if (d->stalled.next == NULL)
		list_add_tail(stalled_list(d), &d->stalled);
	return true;
}

void dest_run(struct q_dest *d)
{
	while (d->ready_count > 0 && d->running < dest_window(d) && !queue_rests(d->queue)) {
		if (dest_is_stalled(d))
			return;
		run_one(d);
	}
	dest_call(d);
}

static void run_list(struct queue *q, enum q_dest_kind kind, bool proven)
{
	struct list_node *list = proven ? &q->channels[kind].stalled : &q->channels[kind].strange;
	while (!list_empty(list) && !is_full(q, kind, proven))
		dest_run(LIST_OF(struct q_dest, stalled, list_pop(list)));
}

/* Proven ones first, and our own stores before everybody else. */
void queue_run_stalled(struct queue *q)
{
	if (queue_rests(q))
		return;
	for (size_t k = 0; k < q->kind_n; k++)
		run_list(q, (enum q_dest_kind)k, true);
	for (size_t k = 0; k < q->kind_n; k++)
		run_list(q, (enum q_dest_kind)k, false);
}

static bool stall(void *arg, struct span key, void *value)
{
	struct q_dest *d = OBJ(q_dest, value);
	if (d->stalled.next == NULL && d->ready_count + d->shelf.n > 0)
		list_add_tail(stalled_list(d), &d->stalled);
	return true;
}

void queue_run_all(struct queue *q)
{
	map_each(q->dests, stall, NULL);
	queue_run_stalled(q);
}

void dest_begin(struct q_dest *d)
{
	d->running++;
	d->queue->running++;
	d->queue->channels[d->kind].running++;
	d->queue->strange_running += !d->proven;
}

void dest_end(struct q_dest *d)
{
	d->running--;
	d->queue->running--;
	d->queue->channels[d->kind].running--;
	d->queue->strange_running -= !d->proven;
}

void dest_release(struct q_dest *d)
{
	dest_end(d);
	dest_run(d);
	dest_tidy(d);
}

/* Its message's other recipients for there may still be looked up: they go out together. */
void dest_ready(struct q_dest *d, struct q_item *it)
{
	item_set_dest(it, d);
	item_set_state(it, Q_READY);
	if (it->entry->lookups == 0)
		soon_set(d->queue->loop, &it->entry->go);
}

/* A new message for one that speaks is a question as good as any, when no other is being asked. */
static bool may_ask(const struct q_item *it)
{
	struct q_dest *d = it->dest;
	bool other = d->running > 0 || (d->ready_count > 0 && ready_first(d)->entry != it->entry);
	return d->speaks && it->attempts == 0 && !other;
}

void dest_join(struct q_item *it)
{
	struct q_dest *d = it->dest;
	if (dest_is_down(d) && !may_ask(it)) {
		item_wait(it, item_delay_ms(it));
		dest_hold(it);
	} else {
		list_add_tail(&d->ready[priority_class_of(it->entry->priority)], &it->link);
		d->ready_count++;
	}
}
static bool end_dest(void *arg, struct span key, void *value)
{
	struct q_dest *d = OBJ(q_dest, value);
	not_known(d);
	timer_clear(&d->probe);
	list_remove(&d->stalled);
	list_remove(&d->calls);
	mem_free(d->name);
	d->magic = 0;
	map_remove(((struct queue *)arg)->dests, key);
	mem_free(d);
	return true;
}

void dests_free(struct queue *q)
{
	map_each(q->dests, end_dest, q);
}
