/* copies.h - copies of what other hosts have in their spools (option copy_listen): kept durably until their owner gives them
 * up, and adopted into this host's queue when the owner is gone. The owner's side: copier.h.
 *
 * States of a copy: held (its owner is to deliver it); adopted (it is in this host's queue, or has been: only its id is
 * remembered, so that an owner who comes back can be told). Both end when the owner gives the copy up. Adoption begins by
 * an operator's order, when the owner has been away for copy_adopt_after, or when it comes back with another spool, and
 * ends when the owner is back with the old one.
 *
 * Bounds: 16 spools of owners, each with a log of its own; COPIES_MAX copies and copy_bytes_max bytes of all of them
 * together. What does not fit is refused, and its owner does what its copy_loss says. */
#ifndef EDGE_COPIES_H
#define EDGE_COPIES_H

#include "base/buf.h"
#include "conf/conf.h"
#include "edge/queue.h"
#include "net/loop.h"

struct copies;

/* NULL: nobody may leave copies here. q outlives it. */
struct copies *copies_new(struct loop *l, struct queue *q, const struct conf *conf);
void copies_listen(struct copies *c, int fd);                   /* fd stays the caller's */
void copies_reload(struct copies *c, const struct conf *fresh); /* NULL is fine */
void copies_free(struct copies **c);

/* words behind "queue": "copies" lists [{"owner","state","copies","adopted","bytes","away_s"}], "adopt HOST" begins an
 * adoption. False: other words. c may be NULL. */
bool copies_control(struct copies *c, const char *const *words, size_t n, struct buf *out);

#endif
