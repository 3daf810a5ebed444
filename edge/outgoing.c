/* outgoing.c - the channels of a recipient, as queue_route.c will take them (part of step 3; asked by ruling.c and
 * envelope.c). Owns nothing. */
#include "edge/outgoing.h"

#include <string.h>

#include "base/check.h"

static void add(struct outgoing *o, const char *name)
{
	for (size_t i = 0; i < o->n; i++)
		if (strcmp(o->v[i], name) == 0)
			return;
	if (o->n < OUTGOING_MAX)
		o->v[o->n++] = name;
}

/* Stations on the way are channels too. */
static void add_stations(struct outgoing *o, const struct edge_conf *c, struct span address)
{
	for (size_t i = 0; i < c->channel_n; i++) {
		const struct edge_channel_conf *own = c->channel[i];
		if (own->type != CHANNEL_DELIVER && !channel_is_end(own) &&
		    channel_has_address(own, address))
			add(o, own->head.title);
	}
}

void outgoing_add_elsewhere(struct outgoing *o, const struct edge_conf *c, struct span address)
{
	add_stations(o, c, address);
	add(o, channel_elsewhere(c));
}

static void add_one(struct outgoing *o, const struct edge_conf *c, const struct recipient *r)
{
	struct span place = channel_of_place(span_str(r->store));
	const struct edge_channel_conf *own = place.p != NULL ? channel_named(c, place) : NULL;
	add_stations(o, c, span_str(r->address));
	if (own != NULL)
		add(o, own->head.title);
	else
		add(o, r->user != NULL || r->store != NULL ? "store" : channel_elsewhere(c));
}

void outgoing_add(struct outgoing *o, const struct edge_conf *c, const struct recipient *r)
{
	for (size_t i = 0; i < r->member_count; i++)
		add_one(o, c, &r->members[i]);
	if (r->member_count == 0)
		add_one(o, c, r);
}

bool outgoing_has(const struct outgoing *o, const struct conf_strings *names)
{
	for (size_t i = 0; i < o->n; i++)
		for (size_t k = 0; k < names->n; k++)
			if (strcmp(o->v[i], names->v[k]) == 0)
				return true;
	return false;
}

void outgoing_text(const struct outgoing *o, struct buf *out)
{
	for (size_t i = 0; i < o->n; i++)
		buf_printf(out, "%s%s", i > 0 ? ", " : "", o->v[i]);
	if (o->n == 0)
		buf_add_str(out, "none");
}
