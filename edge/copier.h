/* copier.h - the owner's side of copies at another host (option copy_to): a message that must be spooled here goes there
 * first, and is given up there when it has reached its end here. The other side: copies.h.
 *
 * After a start nothing is delivered until the other host has said what it has adopted meanwhile, or copy_wait is over. */
#ifndef EDGE_COPIER_H
#define EDGE_COPIER_H

#include "conf/conf.h"
#include "edge/queue.h"
#include "edge/spool_serve.h"
#include "net/dns.h"
#include "net/loop.h"

struct copier;

/* NULL: no copies are wanted. Referred to: the queue and s, which must outlive it; what serves messages for the queue asks
 * it from now on. */
struct copier *copier_new(struct loop *l, struct dns *dns, struct queue *q, struct spool_serve *s,
    const struct conf *conf);
void copier_reload(
    struct copier *c, const struct conf *fresh); /* of copy_timeout and copy_loss; NULL is fine */
void copier_free(struct copier **c);

#endif
