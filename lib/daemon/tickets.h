/* tickets.h - the keys of TLS session tickets of one daemon: those of the file, else its own, which the master
 * makes and rotates. One ring per process: the master's, and each worker's copy of it. */
#ifndef DAEMON_TICKETS_H
#define DAEMON_TICKETS_H

#include "base/span.h"
#include "conf/conf.h"
#include "net/tls_tickets.h"

struct tls_tickets *daemon_tickets(
    void); /* for a context; NULL before the start: keys of its own */

/* In the master before its first fork: makes the first key; tickets_use() follows from here. */
void tickets_start(const struct conf *c);
void tickets_end(void);

/* The file's keys when the configuration has one, else our own: after each load. */
void tickets_use(const struct conf *c);

/* A new key of our own before the others, of which the newest stay; a span over all, for tickets_take() of
 * another process. */
struct span tickets_rotate(const struct conf *c);
struct span tickets_own(void);
/* Our own keys as another process has them; what is not keys is ignored. */
void tickets_take(struct span own, const struct conf *c);

#endif
