/* orders.h - what an operator orders over the control socket, in one worker: to end sessions, at once or spread
 * over a time, and to hold logins of a user or at a store, for example while a mailbox is moved.
 *
 *	kick  user|client|store|id VALUE [SECONDS]     client: an address or a network
 *	hold  user|store VALUE [SECONDS]               600 seconds unless said otherwise
 *	release user|store VALUE
 *	holds
 *
 * A hold, and a kick that is spread over a time, end by themselves, so that none is forgotten; until then the master says
 * them to each worker that starts, also of a new binary. */
#ifndef MMP_ORDERS_H
#define MMP_ORDERS_H

#include <stdbool.h>

#include "base/buf.h"
#include "daemon/daemon.h"

struct mmp;
struct orders;

struct orders *orders_new(struct mmp *m);
void orders_free(struct orders **o);

/* Appends one JSON value to out; false: not a command of ours. */
bool orders_control(struct orders *o, const struct control_ask *ask, struct buf *out);

/* For daemon_role: is it an order that outlasts a worker? */
bool orders_stands(const struct control_ask *ask, struct standing_order *out);

bool orders_hold_user(const struct orders *o, const char *user);
bool orders_hold_store(const struct orders *o, const char *store);

#endif
