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

struct channel channel_of(const struct edge_conf *c, enum q_dest_kind kind)
{
	static const struct edge_channel_conf none;
	const struct edge_channel_conf *own = &none;
	for (size_t i = 0; i < c->channel_n; i++)
		if (strcmp(c->channel[i]->head.title, names[kind]) == 0)
			own = c->channel[i];
	return (struct channel){
		.concurrency =
		    (size_t)first_of((uint64_t)own->concurrency, (uint64_t)c->queue_concurrency),
		.deliveries =
		    (size_t)first_of((uint64_t)own->deliveries, (uint64_t)c->queue_deliveries),
		.retry_first = first_of(own->retry_first, c->queue_retry_first),
		.retry_max = first_of(own->retry_max, c->queue_retry_max),
		.lifetime = first_of(own->lifetime, c->queue_lifetime),
	};
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

void channel_check(const struct edge_conf *c, struct conf_diag *d)
{
	next_hop_check(c, d);
	for (size_t i = 0; i < c->channel_n; i++) {
		const struct conf_head *head = &c->channel[i]->head;
		if (!is_name(head->title))
			conf_error(d, head->pos, "there is no channel \"%s\": store, smtp or relay",
			    head->title);
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
