/* added.h - recipients that filters add: the same look-up as at RCPT, with nobody to tell.
 *
 * One that is not there, or whose mailbox takes no mail, is left out and logged. One that cannot be looked
 * up now makes the whole mail one for later: leaving it out would lose it. Elsewhere is allowed: whoever
 * configured the filter trusts it. */
#ifndef EDGE_ADDED_H
#define EDGE_ADDED_H

#include "net/ticket.h"

#include "edge/expand.h"

struct added_opts {
	struct expand_opts expand;
	struct transaction *t;        /* borrowed, as the addresses, until the answer */
	const char *const *addresses; /* in canonical form; at least one */
	size_t n, max;                /* max: recipients of the transaction */
};

/* known: every address was looked up. */
struct ticket *added_start(
    const struct added_opts *opts, void (*fn)(void *arg, bool known), void *arg);

#endif
