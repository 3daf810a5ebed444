/* queue_route.c - where a recipient goes.
 *
 * A local recipient is looked up for every attempt, so a user who was moved is found at the new store, and one who was
 * renamed under the new name. */
#include "base/check.h"
#include "base/mem.h"
#include "edge/expand.h"
#include "edge/outcome.h"
#include "edge/queue_internal.h"

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
			dest_join(&e->items[i]);
	entry_called(e);
	for (size_t i = 0; i < e->item_count; i++)
		if (e->items[i].state == Q_READY)
			dest_run(e->items[i].dest);
	if (e->active > 0 && e->lookups == 0 && e->running == 0)
		entry_rest(e); /* its destinations are busy */
	entry_settle(e);
}

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
