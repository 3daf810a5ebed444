/* outgoing.h - by which channels would mail for a recipient go out? Names of channels: store, smtp, relay, and those of
 * named ones. Pure. */
#ifndef EDGE_OUTGOING_H
#define EDGE_OUTGOING_H

#include "edge/channel.h"
#include "edge/expand.h"

enum { OUTGOING_MAX = 8 };

struct outgoing {
	const char *v[OUTGOING_MAX]; /* of the configuration, each once */
	size_t n;
};

/* Of a recipient that is taken, or of all its members. */
void outgoing_add(struct outgoing *o, const struct edge_conf *c, const struct recipient *r);
/* Of an address whose mail goes elsewhere. */
void outgoing_add_elsewhere(struct outgoing *o, const struct edge_conf *c, struct span address);
bool outgoing_has(const struct outgoing *o, const struct conf_strings *names);
void outgoing_text(const struct outgoing *o, struct buf *out); /* "store, smtp"; "none" */

#endif
