/* accept.h - step 1: the listeners of a worker. */
#ifndef EDGE_ACCEPT_H
#define EDGE_ACCEPT_H

#include "conf/conf.h"
#include "daemon/daemon.h"
#include "daemon/doors.h"

#include "edge/worker.h"

/* Master: the sockets to open. */
void accept_listeners(const struct conf *c, struct daemon_listeners *out);
/* Worker: where clients come in, with the settings of e->setup. The caller frees it. */
struct doors *accept_doors_new(struct edge *e);

/* A session has begun or ended, or the settings are new. A worker with connections_max sessions, or near memory_max,
 * leaves connections to the others. When all of this host are full, the one that was last to be so goes on accepting, to answer 421. */
void accept_settle(struct edge *e);
/* This worker accepts no more, for good: the others do not count on it. */
void accept_stop(struct edge *e);

#endif
