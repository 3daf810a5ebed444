/* ticket.h - the contract of everything that answers later (DNS, dial, LDAP, Redis, commit ...).
 *
 * An asking function takes a callback and returns a ticket. The ticket answers exactly once, from
 * the loop: never inside the asking call, never after ticket_cancel(). Every ticket has a deadline of
 * its own, and failure is an answer like any other. The ticket is gone when its callback starts: the
 * owner's first line there is `s->ask = NULL;`.
 *
 * A module that hands out tickets embeds struct ticket as the first member of its request. */
#ifndef NET_TICKET_H
#define NET_TICKET_H

#include <stddef.h>

struct ticket {
	void (*cancel)(struct ticket *t); /* forget the asker; frees or orphans the request */
};

/* Cancels and nulls; fine on NULL. After it the callback will not come. */
static inline void ticket_cancel(struct ticket **t)
{
	struct ticket *gone = *t;
	*t = NULL;
	if (gone != NULL)
		gone->cancel(gone);
}

#endif
