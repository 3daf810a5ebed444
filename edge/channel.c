/* channel.c - the settings of a kind of destination; for queue_route.c (step 6 of 6). Owns nothing. */
#include "edge/channel.h"

#include <string.h>

#include "base/check.h"
#include "base/span.h"

static const char *const names[DEST_KINDS] = {
	[DEST_STORE] = "store",
	[DEST_DOMAIN] = "smtp",
	[DEST_RELAY] = "relay",
	[DEST_ROUTE] = "smtp",
};

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

struct channel channel_of(const struct edge_conf *c, enum q_dest_kind kind)
{
	static const struct edge_channel_conf none;
	const struct edge_channel_conf *own = &none;
	for (size_t i = 0; i < c->channel_n; i++)
		if (strcmp(c->channel[i]->head.title, names[kind]) == 0)
			own = c->channel[i];
	struct channel ch = {
		.concurrency =
		    (size_t)first_of((uint64_t)own->concurrency, (uint64_t)c->queue_concurrency),
		.deliveries =
		    (size_t)first_of((uint64_t)own->deliveries, (uint64_t)c->queue_deliveries),
		.retry_first = first_of(own->retry_first, c->queue_retry_first),
		.retry_max = first_of(own->retry_max, c->queue_retry_max),
		.lifetime = first_of(own->lifetime, c->queue_lifetime),
		.recipients = (size_t)first_of((uint64_t)own->recipients, CHANNEL_RECIPIENTS_MAX),
		.size_max = first_of(own->size_max, UINT64_MAX),
		.mta_sts =
		    own->mta_sts == CHANNEL_GENERAL ? c->smtp_mta_sts : own->mta_sts == CHANNEL_YES,
	};
	put_windows(&ch, &own->window);
	return ch;
}

static bool is_name(const char *title)
{
	for (size_t k = 0; k < DEST_KINDS; k++)
		if (strcmp(title, names[k]) == 0)
			return true;
	return false;
}

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
		if (!is_name(head->title))
			conf_error(d, head->pos, "there is no channel \"%s\": store, smtp or relay",
			    head->title);
		windows_check(c->channel[i], d);
		for (size_t k = 0; k < i; k++)
			if (strcmp(head->title, c->channel[k]->head.title) == 0)
				conf_error(d, head->pos, "second channel \"%s\"", head->title);
	}
	for (size_t k = 0; k < DEST_KINDS - 1; k++) {
		struct channel ch = channel_of(c, (enum q_dest_kind)k);
		if (ch.retry_max < ch.retry_first)
			conf_error(d, c->head.pos, "channel %s: retry_max is less than retry_first",
			    names[k]);
	}
}
