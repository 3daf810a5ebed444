/* copy_later.h - copies of what is in the spool without one: it came while the other host was away or full, or before there
 * was one. Beside: copier.h, which says when the other host is there, and what it holds.
 *
 * Oldest first, up to ROUND_MESSAGES or ROUND_BYTES at a time, one round every ROUND_MS: what comes in now has its copies made
 * by the same link. Which message has a copy is a mark in its row (shelf.h); of those without one the places of the next
 * NEXT_MAX are known here, and of those under way the envelope. */
#ifndef EDGE_COPY_LATER_H
#define EDGE_COPY_LATER_H

#include "edge/queue.h"
#include "edge/spool_link.h"

struct copy_later;

struct copy_later *copy_later_new(struct loop *l, struct queue *q);
/* The other host is there, and the marks say what it holds; or the settings are new. A question takes no longer than
 * deadline_ms. */
void copy_later_begin(struct copy_later *c, struct spool_link *link, uint64_t deadline_ms);
void copy_later_stop(struct copy_later *c); /* it is away; what was asked may still be answered */
/* Something has been spooled without a copy although the other host is there: it gets one in a while. */
void copy_later_again(struct copy_later *c);
/* A message has reached its end: if its copy is under way, that is given up when it is there. */
void copy_later_ended(struct copy_later *c, struct ident id);
/* The spool is about to be closed, or the link: nothing is under way any more. */
void copy_later_drop(struct copy_later *c);
void copy_later_free(struct copy_later **c);

/* Asks for a copy, as spool_put() does. A report stands in the log as the fact that its parent's sender was told, but in no other
 * log: there the parent's recipients have another fate. Nor are the chunks the other's. */
struct ticket *copy_put(
    struct spool_link *link, const struct spool_put_opts *opts, spool_put_fn *fn, void *arg);
/* Gives a copy up. Nobody hears it when the link is down: then the other host's list tells of it. */
void copy_release(struct spool_link *link, struct ident id);

#endif
