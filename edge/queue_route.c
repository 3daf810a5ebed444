/* queue_route.c - where a recipient goes, and whether mail for there moves at all.
 *
 * A local recipient is looked up for every attempt, so a user who was moved is found at the new store, and one who was
 * renamed under the new name. A destination that does not take mail holds up what is for it: one or a few of its
 * recipients are tried at growing intervals, and the first success lets all the others go at once. */
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "edge/expand.h"
#include "edge/outcome.h"
#include "edge/queue_internal.h"

enum { KEY_MAX = 1100, DOWN_FIRST_MS = 1000, PROBES = 20, WINDOW_FIRST = 2 };

/* ---- destinations ------------------------------------------------------------------------------- */

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

/* The first time costs little, a store that stays away is asked every dead_backoff; strangers' servers get
 * the intervals of the retry schedule. */
static uint64_t next_backoff(struct q_dest *d)
{
	bool far = d->kind != DEST_STORE && d->kind != DEST_RELAY;
	const struct schedule *times = &d->queue->channels[d->kind].limits.times;
	if (far)
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

void dest_is_down(struct q_dest *d, const char *why)
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

void dest_is_up(struct q_dest *d)
{
	dest_prove(d, true);
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

static void join(struct q_item *it)
{
	struct q_dest *d = it->dest;
	if (d->backoff_ms > 0 && loop_now_ms(d->queue->loop) < d->down_until_ms) {
		item_wait(it, item_delay_ms(it));
		dest_hold(it);
	} else {
		list_add_tail(&d->ready[priority_class_of(it->entry->priority)], &it->link);
		d->ready_count++;
	}
}

static void end_without_delivery(
    struct q_item *it, enum fate fate, unsigned code, const char *enhanced, const char *text)
{
	struct outcome o;
	outcome_set(&o, fate, code, enhanced, span_str(text));
	item_outcome(it, &o, NULL);
	log_write(&queue_events[fate == FATE_REFUSED ? QUEUE_EV_REFUSED : QUEUE_EV_DEFERRED],
	    it->entry->id.s,
	    LOG_FIELDS(LOG_STR("recipient", it->address), LOG_U64("attempts", it->attempts),
		LOG_U64("code", code), LOG_STR("text", text)));
}

static bool is_new_here(const struct q_item *it)
{
	return it->state == Q_READY && it->link.next == NULL;
}

/* Larger than its channel takes: that is the end. */
static void refuse_large(struct q_entry *e)
{
	struct q_item **large = mem_array(e->item_count, sizeof(struct q_item *));
	size_t n = 0;
	for (size_t i = 0; i < e->item_count; i++) {
		struct q_item *it = &e->items[i];
		if (is_new_here(it) && e->body.bytes > item_channel(it)->size_max) {
			end_without_delivery(
			    it, FATE_REFUSED, 552, "5.3.4", "message is too big for this way");
			large[n++] = it;
		}
	}
	if (n > 0)
		entry_save(e, large, n);
	mem_free(large);
}

void entry_on_go(void *arg)
{
	struct q_entry *e = OBJ(q_entry, arg);
	refuse_large(e);
	for (size_t i = 0; i < e->item_count; i++)
		if (is_new_here(&e->items[i]))
			join(&e->items[i]);
	entry_called(e);
	for (size_t i = 0; i < e->item_count; i++)
		if (e->items[i].state == Q_READY)
			dest_run(e->items[i].dest);
	if (e->active > 0 && e->lookups == 0 && e->running == 0)
		entry_rest(e); /* its destinations are busy */
	entry_settle(e);
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

/* ---- routing ------------------------------------------------------------------------------------ */

void item_conclude(
    struct q_item *it, enum fate fate, unsigned code, const char *enhanced, const char *text)
{
	struct q_entry *e = it->entry;
	end_without_delivery(it, fate, code, enhanced, text);
	entry_save(e, &it, 1);
	entry_settle(e);
}

const struct channel *item_channel(const struct q_item *it)
{
	const struct queue *q = it->entry->queue;
	enum q_dest_kind kind = DEST_DOMAIN;
	if (it->dest != NULL)
		kind = it->dest->kind;
	else if (it->user != NULL)
		kind = DEST_STORE;
	else if (q->edge->relay_host.host != NULL)
		kind = DEST_RELAY;
	return &q->channels[kind].limits;
}

uint64_t item_lifetime_ms(const struct q_item *it)
{
	return schedule_lifetime(&item_channel(it)->times, priority_class_of(it->entry->priority));
}

static bool is_expired(const struct q_item *it)
{
	uint64_t now = queue_now_us(it->entry->queue), arrived = it->entry->arrived_us;
	return now > arrived && (now - arrived) / 1000 >= item_lifetime_ms(it) && it->attempts > 0;
}

static void give_up(struct q_item *it)
{
	struct buf text = BUF_INIT(REPLY_TEXT_SIZE);
	buf_printf(&text, "could not be delivered in time; last attempt: %s",
	    it->reason != NULL ? it->reason : "none");
	char *words = mem_str(buf_cstr(&text));
	buf_end(&text);
	item_conclude(it, FATE_REFUSED, 554, "5.4.7", words);
	mem_free(words);
}

/* What an account's status means for its mail. Text NULL: deliver. */
static const struct {
	enum fate fate;
	uint16_t code;
	const char *enhanced, *text;
} by_status[] = {
	[ACCOUNT_ACTIVE] = { FATE_OPEN, 0, "", NULL },
	[ACCOUNT_INACTIVE] = { FATE_LATER, 450, "4.2.1", "mailbox is inactive" },
	[ACCOUNT_DISABLED] = { FATE_REFUSED, 550, "5.2.1", "mailbox is disabled" },
	[ACCOUNT_DELETED] = { FATE_REFUSED, 550, "5.1.1", "no such user" },
	[ACCOUNT_HOLD] = { FATE_LATER, 450, "4.2.1", "mailbox is on hold" },
	[ACCOUNT_OVERQUOTA] = { FATE_LATER, 452, "4.2.2", "mailbox is full" },
	[ACCOUNT_DEFER] = { FATE_LATER, 450, "4.2.1", "mailbox does not take mail now" },
};

static void conclude_by_status(struct q_item *it, enum account_status s)
{
	item_conclude(
	    it, by_status[s].fate, by_status[s].code, by_status[s].enhanced, by_status[s].text);
}

/* A user of ours with a mailbox, and nobody else: who the address stands for by now. */
static bool is_one_user(const struct expansion *e)
{
	const struct recipient *r = e->members;
	return e->end == EXPAND_TAKEN && e->n == 1 && !e->held && r->user != NULL &&
	       r->sender == NULL && r->members == NULL && r->outcome.fate == FATE_OPEN &&
	       !channel_is_place(r->store) && strlen(r->store) <= SPOOL_STRING_MAX;
}

static void on_expanded(void *arg, struct expansion *e)
{
	struct q_item *it = OBJ(q_item, arg);
	struct queue *q = it->entry->queue;
	it->ask = NULL;
	if (is_one_user(e)) {
		const struct recipient *r = e->members;
		mem_free(it->user);
		it->user = mem_str(r->user);
		if (it->detail == NULL)
			it->detail = mem_str(r->detail);
		dest_ready(dest_of(it->entry, DEST_STORE, r->store), it);
	} else if (e->end == EXPAND_TAKEN && e->held) {
		item_conclude(it, FATE_LATER, 450, "4.2.1", "mailbox is on hold");
	} else if (e->end == EXPAND_TAKEN) {
		item_conclude(it, FATE_REFUSED, 550, "5.1.6",
		    "the address stands for others by now: send it again");
	} else if (e->end == EXPAND_REFUSED) {
		item_conclude(
		    it, e->code < 500 ? FATE_LATER : FATE_REFUSED, e->code, e->enhanced, e->text);
	} else {
		item_conclude(it, FATE_REFUSED, 550, "5.1.1", "no such user");
	}
	queue_pump(q);
}

/* It was a user when the message came. Its address may be an alias, or a group's, by now: renamed users have their
 * former address so. */
static void ask_alias(struct q_item *it)
{
	const struct q_entry *e = it->entry;
	struct expand_opts opts = { .loop = e->queue->loop,
		.directory = e->queue->directory,
		.conf = e->queue->edge,
		.sender = { .address = span_str(e->sender),
		    .trusted = e->trusted,
		    .size = e->body.bytes } };
	it->ask = expand_start(&opts, span_str(it->address), on_expanded, it);
}

static void on_found(void *arg, enum directory_status status, const struct account *a)
{
	struct q_item *it = OBJ(q_item, arg);
	struct queue *q = it->entry->queue;
	it->ask = NULL;
	if (status == DIRECTORY_UNKNOWN)
		item_conclude(it, FATE_LATER, 451, "4.3.0", "the directory cannot be asked");
	else if (status == DIRECTORY_ABSENT)
		ask_alias(it);
	else if (by_status[account_mail_status(a)].text != NULL)
		conclude_by_status(it, account_mail_status(a));
	else if (item_to_end(it))
		;
	else if (a->host_count == 0 || strlen(a->hosts[0]) > SPOOL_STRING_MAX)
		item_conclude(
		    it, FATE_LATER, 451, "4.3.5", "the directory names no store for this user");
	else {
		mem_free(it->user);
		it->user = mem_str(a->user);
		dest_ready(dest_of(it->entry, DEST_STORE, a->hosts[0]), it);
	}
	queue_pump(q); /* a place for a question is free */
}

bool way_out(const struct queue *q, const char *address, const char *route,
    enum q_dest_kind *kind_out, const char **name_out)
{
	const char *at = strrchr(address, '@');
	*name_out = NULL;
	if (route != NULL) {
		*kind_out = DEST_ROUTE;
		*name_out = route;
	} else if (q->edge->relay_host.host != NULL) {
		*kind_out = DEST_RELAY;
		*name_out = q->edge->relay_host.host;
	} else if (at != NULL && at[1] != '\0') {
		*kind_out = DEST_DOMAIN;
		*name_out = at + 1;
	}
	return *name_out != NULL;
}

static void route_away(struct q_item *it)
{
	enum q_dest_kind kind;
	const char *name;
	if (way_out(it->entry->queue, it->address, item_operator_route(it), &kind, &name))
		dest_ready(dest_of(it->entry, kind, name), it);
	else
		item_conclude(it, FATE_REFUSED, 553, "5.1.3", "address without domain");
}

void item_route(struct q_item *it)
{
	struct queue *q = it->entry->queue;
	if (is_expired(it)) {
		give_up(it);
	} else if (item_to_channel(it)) {
		return;
	} else if (it->user == NULL || item_operator_route(it) != NULL) {
		route_away(it);
	} else {
		item_set_state(it, Q_LOOKUP);
		it->ask = directory_find(q->directory, span_str(it->address), on_found, it);
	}
}
