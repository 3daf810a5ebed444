/* queue_kick.h - ETRN (RFC 1985): what waits for a node is tried now, before its time.
 *
 * A node is "example.org", or "@example.org" for it and all below it. One question at a time goes over the queue,
 * for 8 s at most, and the same node is started once in etrn_interval: others are told to come later, so
 * that asking costs them more than us. */
#ifndef EDGE_QUEUE_KICK_H
#define EDGE_QUEUE_KICK_H

#include "edge/queue.h"
#include "net/ticket.h"

struct queue_kicks;

struct queue_kicks *queue_kicks_new(struct queue *q);
void queue_kicks_free(struct queue_kicks **k);

enum { QUEUE_KICK_NODE_MAX = 256 };

struct queue_kicked {
	bool later; /* not now: another question is under way, or this node was just started */
	size_t recipients; /* that go out now */
	bool more;         /* there are others that were not reached */
};
typedef void queue_kick_fn(void *arg, const struct queue_kicked *r);
struct ticket *queue_kick(struct queue_kicks *k, struct span node, queue_kick_fn *fn, void *arg);

#endif
