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

#endif
