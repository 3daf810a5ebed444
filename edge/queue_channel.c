/* queue_channel.c - named channels: which one a recipient comes to, and what is asked of the runner for it.
 *
 * Beside: queue_route.c (which asks here first), deliver.c. Stations come before ends, each kind once and in the order
 * of stations[]; what an operator sends elsewhere passes none. Owns the names of channels, which stay as long as the
 * queue: recipients and destinations know them by number. */
#include "edge/queue_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/fmt.h"
#include "base/mem.h"
#include "daemon/daemon.h"
#include "edge/mailbox.h"
#include "edge/outcome.h"
#include "edge/queue_gauge.h"
#include "edge/station.h"
#include "edge/unit.h"

enum { DEST_NAME_MAX = CHANNEL_NAME_MAX + 1 + SPOOL_STRING_MAX, ROUTE_MAX = 100 };

/* ---- numbers ------------------------------------------------------------------------------------ */

static struct q_channel *slot_of(struct queue *q, const char *title)
{
	for (size_t k = DEST_KINDS; k < q->kind_n; k++)
		if (strcmp(q->channels[k].title, title) == 0)
			return &q->channels[k];
	if (q->kind_n == DEST_KINDS_MAX)
		return NULL; /* after many reloads with ever new names: known after a restart */
	struct q_channel *ch = &q->channels[q->kind_n++];
	ch->title = mem_str(title);
	ch->gauge = queue_gauge_slot(span_str(title));
	return ch;
}

struct span queue_kind_name(const struct queue *q, enum q_dest_kind kind)
{
	const char *own = q->channels[kind].title;
	return span_str(own != NULL ? own : channel_kind_name(kind));
}

void queue_channels_set(struct queue *q)
{
	const struct edge_conf *e = q->edge;
	for (size_t k = 0; k < DEST_KINDS; k++)
		q->channels[k].limits = channel_of(e, (enum q_dest_kind)k);
	for (size_t k = 0; k < DEST_KINDS; k++)
		q->channels[k].gauge = queue_gauge_slot(queue_kind_name(q, (enum q_dest_kind)k));
	for (size_t k = DEST_KINDS; k < q->kind_n; k++)
		q->channels[k].own = NULL;
	for (size_t i = 0; i < e->channel_n; i++) {
		const struct edge_channel_conf *own = e->channel[i];
		struct q_channel *ch =
		    own->type != CHANNEL_DELIVER ? slot_of(q, own->head.title) : NULL;
		if (ch == NULL)
			continue;
		ch->own = own;
		ch->limits = channel_limits(e, own);
	}
}

void queue_channels_end(struct queue *q)
{
	for (size_t k = DEST_KINDS; k < q->kind_n; k++)
		mem_free(q->channels[k].title);
}

/* DEST_KINDS_MAX: it is not configured. */
static enum q_dest_kind kind_of(const struct queue *q, struct span name)
{
	size_t k = DEST_KINDS;
	while (k < q->kind_n &&
	       !(q->channels[k].own != NULL && span_eq_str(name, q->channels[k].title)))
		k++;
	return k < q->kind_n ? (enum q_dest_kind)k : DEST_KINDS_MAX;
}

/* ---- which one ---------------------------------------------------------------------------------- */

/* In the order in which mail passes them. */
static const struct {
	enum channel_type type;
	unsigned stage;
	const char *past;
} stations[] = {
	{ CHANNEL_REPROCESS, STAGE_REPROCESS, ROUTE_PAST "reprocess" },
	{ CHANNEL_DEFRAGMENT, STAGE_DEFRAGMENT, ROUTE_PAST "defragment" },
	{ CHANNEL_CONVERSION, STAGE_CONVERSION, ROUTE_PAST "conversion" },
	{ CHANNEL_HOLD, STAGE_HOLD, ROUTE_PAST "hold" },
};

static bool is_past(const struct q_item *it)
{
	return span_starts(span_str(it->route), SPAN(ROUTE_PAST));
}

/* Its route up to the space. */
static struct span past_text(const struct q_item *it)
{
	struct span route = span_str(it->route);
	return is_past(it) ? span_cut(&route, ' ') : SPAN(ROUTE_PAST);
}

static unsigned past_of(const struct q_item *it)
{
	for (size_t i = 0; i < COUNT_OF(stations); i++)
		if (span_eq_str(past_text(it), stations[i].past))
			return stations[i].stage;
	return STAGE_NONE;
}

void item_set_past(struct q_item *it, enum channel_type type)
{
	for (size_t i = 0; i < COUNT_OF(stations); i++)
		if (stations[i].type == type) {
			mem_free(it->route);
			it->route = mem_str(stations[i].past);
		}
}

void item_set_part(struct q_item *it, const struct ident *whole)
{
	struct buf route = BUF_INIT(ROUTE_MAX);
	buf_printf(&route, "%.*s %s", SPAN_ARG(past_text(it)), whole->s);
	mem_free(it->route);
	it->route = mem_str(buf_cstr(&route));
	buf_end(&route);
}

bool item_is_part(const struct q_item *it)
{
	struct ident whole;
	struct span route = span_str(it->route);
	if (!is_past(it))
		return false;
	span_cut(&route, ' ');
	return ident_parse(route, &whole) && queue_knows(it->entry->queue, whole);
}

static unsigned stage_of(const struct q_item *it)
{
	unsigned past = past_of(it);
	return past > it->entry->stage ? past : it->entry->stage;
}

const char *item_operator_route(const struct q_item *it)
{
	bool is_place = it->route != NULL && channel_of_place(span_str(it->route)).p != NULL;
	return is_place || is_past(it) ? NULL : it->route;
}

/* DEST_KINDS_MAX: no channel of this type has its address. */
static enum q_dest_kind station_of(const struct q_item *it, enum channel_type type)
{
	const struct queue *q = it->entry->queue;
	size_t k = DEST_KINDS;
	while (k < q->kind_n &&
	       !(q->channels[k].own != NULL && q->channels[k].own->type == (int)type &&
		   channel_has_address(q->channels[k].own, span_str(it->address))))
		k++;
	return k < q->kind_n ? (enum q_dest_kind)k : DEST_KINDS_MAX;
}

static enum q_dest_kind next_station(const struct q_item *it)
{
	enum q_dest_kind kind = DEST_KINDS_MAX;
	unsigned stage = stage_of(it);
	if (it->route != NULL && !is_past(it))
		return kind;
	for (size_t i = 0; i < COUNT_OF(stations) && kind == DEST_KINDS_MAX; i++)
		if (stations[i].stage > stage)
			kind = station_of(it, stations[i].type);
	return kind;
}

bool item_has_hold_channel(const struct q_item *it)
{
	return item_operator_route(it) == NULL && stage_of(it) < STAGE_HOLD &&
	       station_of(it, CHANNEL_HOLD) != DEST_KINDS_MAX;
}

/* The end that was chosen for it, by an operator or where it came in; p NULL: none. */
static struct span chosen_end(const struct q_item *it)
{
	struct span place = channel_of_place(span_str(it->route));
	return place.p != NULL ? place : channel_of_place(span_str(it->place));
}

static struct span end_of(const struct q_item *it)
{
	const struct queue *q = it->entry->queue;
	struct span name = chosen_end(it);
	if (name.p != NULL || item_operator_route(it) != NULL)
		return name;
	const struct edge_channel_conf *own = channel_end_of(q->edge, span_str(it->address));
	return own != NULL ? span_str(own->head.title) : SPAN_NONE;
}

bool queue_needs_channel(const struct queue *q, struct span address, struct span place)
{
	return channel_of_place(place).p != NULL || channel_end_of(q->edge, address) != NULL ||
	       channel_has_station(q->edge, address);
}

bool item_needs_channel(const struct q_item *it)
{
	return chosen_end(it).p != NULL ||
	       queue_needs_channel(it->entry->queue, span_str(it->address), SPAN_NONE);
}

/* ---- going there -------------------------------------------------------------------------------- */

struct span item_out_channel(const struct q_item *it)
{
	const struct queue *q = it->entry->queue;
	struct span end = end_of(it);
	if (end.p != NULL)
		return end;
	if (it->user != NULL && item_operator_route(it) == NULL)
		return SPAN("store");
	bool relay = item_operator_route(it) == NULL && q->edge->relay_host.host != NULL;
	return relay ? SPAN("relay") : SPAN("smtp");
}

struct span item_channel_name(const struct q_item *it)
{
	const struct queue *q = it->entry->queue;
	return it->dest != NULL ? queue_kind_name(q, it->dest->kind) : item_out_channel(it);
}

size_t item_gauge(const struct q_item *it)
{
	const struct queue *q = it->entry->queue;
	return it->dest != NULL ? q->channels[it->dest->kind].gauge
				: queue_gauge_slot(item_out_channel(it));
}

/* A destination is one user: who waits for a slow program of one does not wait for that of another. */
static void go(struct q_item *it, enum q_dest_kind kind)
{
	struct queue *q = it->entry->queue;
	const struct q_channel *ch = &q->channels[kind];
	struct buf name = BUF_INIT(DEST_NAME_MAX);
	buf_printf(&name, "%s", ch->title);
	if (channel_is_end(ch->own))
		buf_printf(&name, "/%s", it->user != NULL ? it->user : it->address);
	else if (ch->own->type == CHANNEL_CONVERSION) /* rules may ask for it */
		buf_printf(&name, ">%.*s", SPAN_ARG(item_out_channel(it)));
	dest_ready(dest_of(it->entry, kind, buf_cstr(&name)), it);
	buf_end(&name);
}

void item_hold(struct q_item *it, const char *channel, const char *why)
{
	struct q_entry *e = it->entry;
	item_set_reason(it, span_str(why), SPAN_NONE);
	it->on_hold = true;
	item_wait(it, 0);
	log_write(&queue_events[QUEUE_EV_QUEUE_HELD], e->id.s,
	    LOG_FIELDS(LOG_STR("recipient", it->address), LOG_STR("channel", channel),
		LOG_STR("why", it->reason)));
}

static void hold(struct q_item *it, const char *channel)
{
	struct q_entry *e = it->entry;
	struct buf why = BUF_INIT(REASON_MAX);
	buf_printf(&why, "held by channel %s", channel);
	item_hold(it, channel, buf_cstr(&why));
	buf_end(&why);
	entry_save(e, &it, 1);
	entry_settle(e);
}

/* An operator may send mail to any channel, and a recipient be one of reprocess since it came in. */
static void to_chosen(struct q_item *it, enum q_dest_kind kind)
{
	const struct q_channel *ch = &it->entry->queue->channels[kind];
	if (ch->own->type == CHANNEL_HOLD)
		hold(it, ch->title);
	else
		go(it, kind);
}

bool item_to_end(struct q_item *it)
{
	struct queue *q = it->entry->queue;
	struct span name = end_of(it);
	if (name.p == NULL)
		return false;
	enum q_dest_kind kind = kind_of(q, name);
	if (kind == DEST_KINDS_MAX)
		item_conclude(
		    it, FATE_LATER, 451, "4.3.5", "its channel is not configured any more");
	else
		to_chosen(it, kind);
	return true;
}

/* It was there to tell its sender what has become of the address. */
static void conclude_expanded(struct q_item *it)
{
	struct q_entry *e = it->entry;
	bool is_list = span_eq_str(span_str(it->detail), EXPANDED_LIST);
	it->code = 250;
	snprintf(it->enhanced, sizeof it->enhanced, "2.1.5");
	item_set_reason(it,
	    is_list ? SPAN("the list has it for its members")
		    : SPAN("it goes to those behind the address"),
	    SPAN_NONE);
	it->fate = entry_may_tell(e) ? SPOOL_SENT : SPOOL_TOLD;
	item_set_state(it, Q_FINAL);
	log_write(&queue_events[QUEUE_EV_QUEUE_MOVED], e->id.s,
	    LOG_FIELDS(LOG_STR("recipient", it->address), LOG_STR("channel", EXPANDED_CHANNEL),
		LOG_STR("end", is_list ? "list" : "expanded")));
	entry_save(e, &it, 1);
	entry_settle(e);
}

/* Of a user of ours the directory is asked first, unless an operator or the configuration says where it goes. */
bool item_to_channel(struct q_item *it)
{
	if (span_eq_str(span_str(it->place), UNIT_PLACE)) { /* whatever an operator says of it */
		dest_ready(dest_get(it->entry->queue, DEST_UNPACK, WISH_USUAL, UNIT_CHANNEL), it);
		return true;
	}
	if (span_eq_str(span_str(it->place), EXPANDED_PLACE)) {
		conclude_expanded(it);
		return true;
	}
	enum q_dest_kind station = next_station(it);
	if (station != DEST_KINDS_MAX) {
		to_chosen(it, station);
		return true;
	}
	bool asks_first = it->user != NULL && it->place != NULL && it->route == NULL;
	return !asks_first && item_to_end(it);
}

void item_leave_station(struct q_item *it, const struct q_dest *d, const struct station_result *r)
{
	static const char *const words[] = { [STATION_MOVED] = "moved",
		[STATION_PAST] = "past",
		[STATION_HELD] = "held",
		[STATION_DROPPED] = "dropped" };
	const struct q_channel *ch = &d->queue->channels[d->kind];
	const char *name = ch->title != NULL ? ch->title : channel_kind_name(d->kind);
	CHECK(r->end != STATION_OUTCOME);
	if (r->end == STATION_WAIT) {
		item_wait(it, r->wait_ms);
		return;
	}
	log_write(&queue_events[QUEUE_EV_QUEUE_MOVED], it->entry->id.s,
	    LOG_FIELDS(LOG_STR("recipient", it->address), LOG_STR("channel", name),
		LOG_STR("end", words[r->end])));
	if (r->end == STATION_MOVED || r->end == STATION_DROPPED) {
		it->fate = SPOOL_TOLD;
		item_set_state(it, Q_FINAL);
		return;
	}
	if (ch->own != NULL)
		item_set_past(it, (enum channel_type)ch->own->type);
	if (r->end == STATION_HELD)
		item_hold(it, name, r->outcome.text);
	else
		item_wait(it, 0);
}

/* ---- delivery ----------------------------------------------------------------------------------- */

static bool has_field(const struct edge_channel_conf *c, const char *word)
{
	for (size_t i = 0; i < c->fields.n; i++)
		if (strcmp(c->fields.v[i], word) == 0)
			return true;
	return false;
}

/* Whom the mail was sent to at first, on one line. */
static void put_original_to(struct buf *out, const struct q_item *it)
{
	struct buf address = BUF_INIT(SMTP_ORCPT_MAX);
	bool known = it->orcpt != NULL && smtp_orcpt_get(span_str(it->orcpt), &address);
	struct span v = known ? buf_span(&address) : span_str(it->address);
	buf_add_str(out, "X-Original-To: ");
	fmt_line_text(out, v, v.n);
	buf_add_str(out, "\r\n");
	buf_end(&address);
}

static void put_prefix(struct buf *out, const struct edge_channel_conf *c, const struct q_item *it)
{
	const struct q_entry *e = it->entry;
	if (has_field(c, "from"))
		mbox_put_from(out, span_str(e->sender), e->arrived_us / 1000000, "\r\n");
	if (has_field(c, "return-path"))
		buf_printf(out, "Return-Path: <%s>\r\n", e->sender);
	if (has_field(c, "x-original-to"))
		put_original_to(out, it);
	if (has_field(c, "delivered-to"))
		buf_printf(out, "Delivered-To: %s\r\n", it->address);
}

struct ticket *channel_deliver(
    struct q_dest *d, struct q_item *it, struct mail_source body, run_fn *fn, void *arg)
{
	struct queue *q = d->queue;
	const struct q_entry *e = it->entry;
	const struct edge_channel_conf *c = q->channels[d->kind].own;
	if (c == NULL)
		return NULL;
	struct buf prefix = BUF_INIT(RUN_PREFIX_MAX);
	struct run_ask ask = { .kind = RUN_DELIVER,
		.channel = span_str(c->head.title),
		.id = e->id,
		.recipient = (unsigned)item_index(it),
		.address = span_str(it->address),
		.user = span_str(it->user),
		.detail = span_str(it->detail),
		.sender = span_str(e->sender),
		.arrived_us = e->arrived_us,
		.again = !e->fresh || it->tried };
	put_prefix(&prefix, c, it);
	it->tried = true;
	struct run_opts opts = { .loop = q->loop,
		.run_dir = daemon_run_dir(q->conf),
		.temp_dir = q->edge->temp_dir,
		.ask = &ask,
		.prefix = buf_span(&prefix),
		.body = body,
		.lf = c->type == CHANNEL_LOCAL || c->line_end == CHANNEL_LF,
		.marked = has_field(c, "delivered-to") ? it->address : NULL,
		.time_ms = c->time };
	struct ticket *t = run_start(&opts, fn, arg);
	buf_end(&prefix);
	return t;
}
