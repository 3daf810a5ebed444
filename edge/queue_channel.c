/* queue_channel.c - named channels: which one a recipient comes to, and what is asked of the runner for it.
 *
 * Beside: queue_route.c (which asks here first), deliver.c. Stations come before ends, each kind once and in the order
 * of stations[]; what an operator sends elsewhere passes none. Owns the names of channels, which stay as long as the
 * queue: recipients and destinations know them by number. */
#include "edge/queue_internal.h"

#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "daemon/daemon.h"
#include "edge/mailbox.h"
#include "edge/outcome.h"

enum { DEST_NAME_MAX = CHANNEL_NAME_MAX + 1 + SPOOL_STRING_MAX };

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
	return ch;
}

void queue_channels_set(struct queue *q)
{
	const struct edge_conf *e = q->edge;
	for (size_t k = 0; k < DEST_KINDS; k++)
		q->channels[k].limits = channel_of(e, (enum q_dest_kind)k);
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

static bool is_past_hold(const struct q_item *it)
{
	return it->route != NULL && strcmp(it->route, ROUTE_PAST_HOLD) == 0;
}

const char *item_operator_route(const struct q_item *it)
{
	bool is_place = it->route != NULL && channel_of_place(span_str(it->route)).p != NULL;
	return is_place || is_past_hold(it) ? NULL : it->route;
}

static const enum channel_type stations[] = { CHANNEL_HOLD };

static const struct q_channel *station_of(const struct q_item *it, enum channel_type type)
{
	const struct queue *q = it->entry->queue;
	for (size_t k = DEST_KINDS; k < q->kind_n; k++) {
		const struct edge_channel_conf *own = q->channels[k].own;
		if (own != NULL && own->type == (int)type &&
		    channel_has_address(own, span_str(it->address)))
			return &q->channels[k];
	}
	return NULL;
}

static const struct q_channel *next_station(const struct q_item *it)
{
	const struct q_channel *ch = NULL;
	if (it->route != NULL && !is_past_hold(it))
		return NULL;
	for (size_t i = 0; i < COUNT_OF(stations) && ch == NULL; i++)
		if (stations[i] != CHANNEL_HOLD || !is_past_hold(it))
			ch = station_of(it, stations[i]);
	return ch;
}

bool item_has_hold_channel(const struct q_item *it)
{
	return it->route == NULL && station_of(it, CHANNEL_HOLD) != NULL;
}

/* The end that was chosen for it, by an operator or where it came in; p NULL: none. */
static struct span chosen_end(const struct q_item *it)
{
	struct span place = channel_of_place(span_str(it->route));
	return place.p != NULL ? place : span_str(it->channel);
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

/* A destination is one user: who waits for a slow program of one does not wait for that of another. */
static void go(struct q_item *it, enum q_dest_kind kind)
{
	struct queue *q = it->entry->queue;
	const struct q_channel *ch = &q->channels[kind];
	struct buf name = BUF_INIT(DEST_NAME_MAX);
	buf_printf(&name, "%s", ch->title);
	if (channel_is_end(ch->own))
		buf_printf(&name, "/%s", it->user != NULL ? it->user : it->address);
	dest_ready(dest_get(q, kind, buf_cstr(&name)), it);
	buf_end(&name);
}

static void hold(struct q_item *it, const struct q_channel *ch)
{
	struct q_entry *e = it->entry;
	struct buf why = BUF_INIT(REASON_MAX);
	buf_printf(&why, "held by channel %s", ch->title);
	mem_free(it->reason);
	it->reason = mem_str(buf_cstr(&why));
	buf_end(&why);
	it->on_hold = true;
	item_wait(it, 0);
	log_write(&queue_events[QUEUE_EV_QUEUE_HELD], e->id.s,
	    LOG_FIELDS(LOG_STR("recipient", it->address), LOG_STR("channel", ch->title)));
	entry_save(e, &it, 1);
	entry_settle(e);
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
	else if (!channel_is_end(q->channels[kind].own))
		item_conclude(it, FATE_LATER, 451, "4.3.5", "its channel delivers nothing");
	else
		go(it, kind);
	return true;
}

/* Of a user of ours the directory is asked first, unless an operator or the configuration says where it goes. */
bool item_to_channel(struct q_item *it)
{
	const struct q_channel *ch = next_station(it);
	if (ch != NULL) {
		hold(it, ch);
		return true;
	}
	bool asks_first = it->user != NULL && it->channel != NULL && it->route == NULL;
	return !asks_first && item_to_end(it);
}

/* ---- delivery ----------------------------------------------------------------------------------- */

static bool has_field(const struct edge_channel_conf *c, const char *word)
{
	for (size_t i = 0; i < c->fields.n; i++)
		if (strcmp(c->fields.v[i], word) == 0)
			return true;
	return false;
}

static struct span original_of(const struct q_item *it)
{
	struct span orcpt = span_str(it->orcpt), prefix = SPAN("rfc822;");
	return span_istarts(orcpt, prefix) ? span_from(orcpt, prefix.n) : span_str(it->address);
}

static void put_prefix(struct buf *out, const struct edge_channel_conf *c, const struct q_item *it)
{
	const struct q_entry *e = it->entry;
	if (has_field(c, "from"))
		mbox_put_from(out, span_str(e->sender), e->arrived_us / 1000000, "\r\n");
	if (has_field(c, "return-path"))
		buf_printf(out, "Return-Path: <%s>\r\n", e->sender);
	if (has_field(c, "x-original-to"))
		buf_printf(out, "X-Original-To: %.*s\r\n", SPAN_ARG(original_of(it)));
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
