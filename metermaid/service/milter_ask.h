/* milter_ask.h - the milter's way to the policy service: a question, and the wait for its answer.
 *
 * For libmilter's threads, which are made to wait: nothing here touches a loop, a log or a counter. One asker
 * belongs to one SMTP session and so to one thread at a time. */
#ifndef METERMAID_SERVICE_MILTER_ASK_H
#define METERMAID_SERVICE_MILTER_ASK_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/span.h"

struct milter_asker {
	const char *path; /* of the service's socket; borrowed */
	unsigned wait_ms; /* for each read and write */
	int fd;           /* -1: not connected */
};

/* request: as policy_attr_put() made it, with its end. True: the answer's action is in *out, cleared before. False:
 * there was none, also not over a new connection. */
bool milter_ask(struct milter_asker *a, struct span request, struct buf *out);
void milter_ask_end(struct milter_asker *a); /* fine when not connected */

#endif
