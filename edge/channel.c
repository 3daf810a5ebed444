/* channel.c - the settings of a kind of destination; for queue_route.c (step 6 of 6). Owns nothing. */
#include "edge/channel.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/span.h"
#include "edge/pattern.h"
#include "proto/smtp_path.h"

static const char *const names[DEST_KINDS] = {
	[DEST_STORE] = "store",
	[DEST_DOMAIN] = "smtp",
	[DEST_RELAY] = "relay",
	[DEST_ROUTE] = "smtp",
	[DEST_UNPACK] = "unpack",
};

enum { RUNS = 20 }; /* programs at the same time */

static uint64_t first_of(uint64_t own, uint64_t general)
{
	return own != 0 ? own : general;
}

enum { DAY_MINUTES = 24 * 60 };
/* Words of edge_channel.mta_sts. */
enum { CHANNEL_GENERAL, CHANNEL_YES, CHANNEL_NO };

/* "06:30" up to "24:00"; what is behind it stays. */
static bool take_minutes(struct span *text, unsigned *out)
{
	uint64_t hours, minutes;
	struct span t = *text;
	if (t.n < 5 || t.p[2] != ':' || !span_u64(span_first(t, 2), 24, &hours) ||
	    !span_u64(span_first(span_from(t, 3), 2), 59, &minutes))
		return false;
	*out = (unsigned)(60 * hours + minutes);
	*text = span_from(t, 5);
	return *out <= DAY_MINUTES;
}

static bool parse_window(const char *text, unsigned *from_out, unsigned *to_out)
{
	struct span t = span_str(text);
	if (!take_minutes(&t, from_out) || t.n == 0 || t.p[0] != '-')
		return false;
	t = span_from(t, 1);
	return take_minutes(&t, to_out) && t.n == 0 && *from_out != *to_out;
}

static void put_windows(struct channel *ch, const struct conf_strings *texts)
{
	for (size_t i = 0; i < texts->n && ch->window_n < CHANNEL_WINDOWS_MAX; i++) {
		unsigned from, to;
		if (!parse_window(texts->v[i], &from, &to))
			continue; /* channel_check() has said so */
		ch->windows[ch->window_n].from = (uint16_t)from;
		ch->windows[ch->window_n++].to = (uint16_t)to;
	}
}

bool channel_is_open(const struct channel *c, uint64_t wall_us)
{
	unsigned now = (unsigned)(wall_us / 60000000 % DAY_MINUTES);
	for (size_t i = 0; i < c->window_n; i++) {
		unsigned from = c->windows[i].from, to = c->windows[i].to;
		if (from < to ? now >= from && now < to : now >= from || now < to)
			return true;
	}
	return c->window_n == 0;
}

/* Programs and mailboxes have one user at a time, and are few. */
static size_t concurrency_of(const struct edge_conf *c, const struct edge_channel_conf *own)
{
	uint64_t general = channel_is_end(own) ? 1 : (uint64_t)c->queue_concurrency;
	return (size_t)first_of((uint64_t)own->concurrency, general);
}

static bool is_one_by_one(const struct edge_channel_conf *own)
{
	return channel_is_end(own) || own->type == CHANNEL_REPROCESS ||
	       own->type == CHANNEL_DEFRAGMENT;
}

static size_t deliveries_of(const struct edge_conf *c, const struct edge_channel_conf *own)
{
	uint64_t general = channel_runs(own) ? RUNS : (uint64_t)c->queue_deliveries;
	return (size_t)first_of((uint64_t)own->deliveries, general);
}

struct channel channel_limits(const struct edge_conf *c, const struct edge_channel_conf *own)
{
	struct channel ch = {
		.concurrency = concurrency_of(c, own),
		.deliveries = deliveries_of(c, own),
		.recipients = is_one_by_one(own) ? 1
						 : (size_t)first_of((uint64_t)own->recipients,
						       CHANNEL_RECIPIENTS_MAX),
		.size_max = first_of(own->size_max, UINT64_MAX),
		.mta_sts =
		    own->mta_sts == CHANNEL_GENERAL ? c->smtp_mta_sts : own->mta_sts == CHANNEL_YES,
	};
	schedule_init(&ch.times, c, own);
	put_windows(&ch, &own->window);
	return ch;
}

const char *channel_kind_name(enum q_dest_kind kind)
{
	CHECK(kind < DEST_KINDS);
	return names[kind];
}

struct channel channel_of(const struct edge_conf *c, enum q_dest_kind kind)
{
	static const struct edge_channel_conf none;
	CHECK(kind < DEST_KINDS);
	if (kind == DEST_UNPACK) {
		struct channel ch = channel_limits(c, &none);
		ch.recipients = 1;
		return ch;
	}
	for (size_t i = 0; i < c->channel_n; i++)
		if (strcmp(c->channel[i]->head.title, names[kind]) == 0)
			return channel_limits(c, c->channel[i]);
	return channel_limits(c, &none);
}

/* ---- named channels ----------------------------------------------------------------------------- */

static bool is_name(const char *title)
{
	for (size_t k = 0; k < DEST_KINDS; k++)
		if (strcmp(title, names[k]) == 0)
			return true;
	return false;
}

bool channel_is_known(const struct edge_conf *c, const char *name)
{
	return (is_name(name) && strcmp(name, names[DEST_UNPACK]) != 0) ||
	       channel_named(c, span_str(name)) != NULL;
}

const char *channel_elsewhere(const struct edge_conf *c)
{
	return names[c->relay_host.host != NULL ? DEST_RELAY : DEST_DOMAIN];
}

const struct edge_channel_conf *channel_named(const struct edge_conf *c, struct span name)
{
	for (size_t i = 0; i < c->channel_n; i++)
		if (c->channel[i]->type != CHANNEL_DELIVER &&
		    span_eq_str(name, c->channel[i]->head.title))
			return c->channel[i];
	return NULL;
}

bool channel_runs(const struct edge_channel_conf *c)
{
	return channel_is_end(c) || c->type == CHANNEL_CONVERSION;
}

bool channel_has_address(const struct edge_channel_conf *c, struct span address)
{
	char plain[SMTP_PATH_SIZE];
	size_t plus = span_find(address, '+'), at = span_rfind(address, '@');
	struct span without = address;
	if (at != SIZE_MAX && plus != SIZE_MAX && plus > 0 && plus < at &&
	    address.n < sizeof plain) {
		struct span domain = span_from(address, at);
		memcpy(plain, address.p, plus);
		memcpy(plain + plus, domain.p, domain.n);
		without = span_of(plain, plus + domain.n);
	}
	for (size_t i = 0; i < c->addresses.n; i++)
		if (pattern_means(c->addresses.v[i], address) ||
		    pattern_means(c->addresses.v[i], without))
			return true;
	return false;
}

const struct edge_channel_conf *channel_end_of(const struct edge_conf *c, struct span address)
{
	for (size_t i = 0; i < c->channel_n; i++)
		if (channel_is_end(c->channel[i]) && channel_has_address(c->channel[i], address))
			return c->channel[i];
	return NULL;
}

bool channel_has_station(const struct edge_conf *c, struct span address)
{
	for (size_t i = 0; i < c->channel_n; i++)
		if (c->channel[i]->type != CHANNEL_DELIVER && !channel_is_end(c->channel[i]) &&
		    channel_has_address(c->channel[i], address))
			return true;
	return false;
}

struct span channel_of_place(struct span place)
{
	struct span prefix = SPAN(CHANNEL_PLACE);
	return span_starts(place, prefix) ? span_from(place, prefix.n) : SPAN_NONE;
}

const char *channel_place(const struct edge_channel_conf *c, char out[CHANNEL_PLACE_SIZE])
{
	snprintf(out, CHANNEL_PLACE_SIZE, CHANNEL_PLACE "%s", c->head.title);
	return out;
}

/* ---- mistakes ----------------------------------------------------------------------------------- */

static void next_hop_check(const struct edge_conf *c, struct conf_diag *d)
{
	for (size_t i = 0; i < c->next_hop_n; i++) {
		const struct conf_head *head = &c->next_hop[i]->head;
		if (head->title[0] == '\0')
			conf_error(
			    d, head->pos, "a next_hop needs a domain: next_hop DOMAIN { ... }");
		for (size_t k = 0; k < i; k++)
			if (span_ieq_str(span_str(head->title), c->next_hop[k]->head.title))
				conf_error(d, head->pos, "second next_hop \"%s\"", head->title);
	}
}

static void windows_check(const struct edge_channel_conf *c, struct conf_diag *d)
{
	unsigned from, to;
	if (c->window.n > CHANNEL_WINDOWS_MAX)
		conf_error(d, c->head.pos, "more than %d windows", CHANNEL_WINDOWS_MAX);
	for (size_t i = 0; i < c->window.n; i++)
		if (!parse_window(c->window.v[i], &from, &to))
			conf_error(
			    d, c->head.pos, "\"%s\" is no window: 22:00-06:00", c->window.v[i]);
}

void channel_check(const struct edge_conf *c, struct conf_diag *d)
{
	next_hop_check(c, d);
	for (size_t i = 0; i < c->channel_n; i++) {
		const struct conf_head *head = &c->channel[i]->head;
		if (strcmp(head->title, names[DEST_UNPACK]) == 0 ||
		    strcmp(head->title, EXPANDED_CHANNEL) == 0)
			conf_error(d, head->pos, "channel \"%s\" is the queue's own", head->title);
		else if (is_name(head->title) != (c->channel[i]->type == CHANNEL_DELIVER))
			conf_error(d, head->pos,
			    is_name(head->title)
				? "channel \"%s\" is always there and has no other type"
				: "channel \"%s\" is not store, smtp or relay: it needs a type",
			    head->title);
		channel_check_named(c->channel[i], d);
		windows_check(c->channel[i], d);
		schedule_check(c->channel[i], d);
		for (size_t k = 0; k < i; k++)
			if (strcmp(head->title, c->channel[k]->head.title) == 0)
				conf_error(d, head->pos, "second channel \"%s\"", head->title);
	}
	for (size_t i = 0; i < c->channel_n; i++) {
		struct channel ch = channel_limits(c, c->channel[i]);
		if (ch.times.most < ch.times.first)
			conf_error(d, c->channel[i]->head.pos,
			    "channel %s: retry_max is less than retry_first",
			    c->channel[i]->head.title);
	}
}
