/* accept.h - step 1 of 6: the access worker, from the listening socket to a session of its protocol. */
#ifndef STORE_ACCEPT_H
#define STORE_ACCEPT_H

#include "daemon/daemon.h"

void store_worker_start(struct worker *w);
void store_worker_reload(struct worker *w, const struct conf *fresh);
void store_worker_drain(struct worker *w);
void store_worker_retire(struct worker *w);
bool store_worker_control(struct worker *w, const struct control_ask *ask, struct buf *out);
void store_worker_stop(struct worker *w);

#endif
