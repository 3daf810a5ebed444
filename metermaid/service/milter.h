/* milter.h - the milter: libmilter's threads follow SMTP sessions and ask the policy service.
 *
 * It is a process of its own. The daemon's loop and everything that logs and counts is in its first
 * thread; libmilter's threads run the callbacks of milter.c, each for one session, and share with it only
 * the atomics of struct milter_shared. libmilter knows one milter for a process. */
#ifndef METERMAID_SERVICE_MILTER_H
#define METERMAID_SERVICE_MILTER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/buf.h"

/* Written by the loop's thread: settings. By libmilter's: the rest. */
struct milter_shared {
	const char *path;         /* of the policy service; set before milter_begin() */
	atomic_uint wait_ms;      /* for an answer */
	atomic_bool open_on_loss; /* else 4xx */
	atomic_bool wants_bytes;  /* a rule counts them: bodies are to be sent to us */
	atomic_uint sessions_max; /* more are treated as a loss */
	atomic_uint sessions;     /* now */
	atomic_ullong unasked;    /* questions without an answer */
	atomic_bool losing;       /* the last question had none */
	atomic_bool ended;        /* libmilter has */
};

/* address: as libmilter spells it. Listens there and begins; false: a reason is in why. */
bool milter_begin(struct milter_shared *shared, const char *address, struct buf *why);
/* No new sessions within seconds; those that are there go on. Does not wait. */
void milter_stop(void);

#endif
