/* accept.h - step 1: the listeners of a worker. */
#ifndef EDGE_ACCEPT_H
#define EDGE_ACCEPT_H

#include "conf/conf.h"
#include "daemon/daemon.h"

#include "edge/worker.h"

/* Master: the sockets to open. */
void accept_listeners(const struct conf *c, struct daemon_listeners *out);
/* Worker: accepts on fd (borrowed) with the settings of listener `name`. */
void accept_add(struct edge *e, const char *name, int fd);
/* The setup has changed: listeners follow it. */
void accept_reload(struct edge *e);
void accept_stop(struct edge *e); /* all of them, for good */

#endif
