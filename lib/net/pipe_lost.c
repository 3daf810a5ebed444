/* pipe_lost.c - what ended a pipe, and when its client hears of it (beside pipe.c).
 *
 * A store that goes away from many sessions at once would have all their clients back in one moment: an idle
 * client may be told later, of a store that breaks as of one that says goodbye first. Owns nothing. */
#include <string.h>

#include "base/mem.h"

#include "net/pipe_internal.h"

enum {
	FAREWELL_MAX = 512, /* longer words are no goodbye */
	FAREWELL_MS = 1000  /* for the store to close behind it */
};

/* ---- a goodbye -------------------------------------------------------------------------------- */

/* Has the client everything, and may it be sent more? */
static bool client_is_even(const struct side *client)
{
	return !side_is_behind(client) && client->sending == SEND_OPEN &&
	       !wire_has_pending(&client->wire);
}

bool side_keeps_farewell(struct side *store, struct span bytes)
{
	struct pipe *p = side_pipe(store);
	if (!store->is_store || p->lost == NULL || p->farewell != NULL || p->cause_known ||
	    bytes.n > FAREWELL_MAX || !client_is_even(side_other(store)) ||
	    !p->lost->is_goodbye(p->arg, bytes))
		return false;
	p->farewell = mem_alloc(sizeof *p->farewell + bytes.n);
	p->farewell->at = 0;
	p->farewell->n = bytes.n;
	memcpy(p->farewell->bytes, bytes.p, bytes.n);
	timer_set(&p->idle, FAREWELL_MS);
	return true;
}

void pipe_release_farewell(struct pipe *p)
{
	if (p->farewell == NULL)
		return;
	if (p->sides[CLIENT].sending == SEND_OPEN)
		side_hold(&p->sides[CLIENT], span_of(p->farewell->bytes, p->farewell->n));
	MEM_FREE(&p->farewell);
	if (!p->waits)
		pipe_arm(p, 0); /* it looks for itself when that is too late */
}

bool side_parts(struct side *client, struct span bytes)
{
	struct pipe *p = side_pipe(client);
	return !client->is_store && p->lost != NULL && p->lost->is_parting != NULL &&
	       p->lost->is_parting(p->arg, bytes);
}

/* ---- the end of a side ------------------------------------------------------------------------ */

void pipe_set_cause(struct pipe *p, enum pipe_end cause)
{
	if (p->cause_known)
		return;
	p->cause_known = true;
	p->cause = cause;
	if (p->idle_ms == 0 || p->idle_ms > HALF_CLOSED_MS)
		timer_set(&p->idle, HALF_CLOSED_MS);
}

/* This side ends first. True: it is the store, and its client is to hear of it later. */
static bool may_wait(struct side *s)
{
	struct pipe *p = side_pipe(s);
	struct side *client = side_other(s);
	if (!s->is_store || p->lost == NULL || p->cause_known || !client_is_even(client))
		return false;
	uint64_t ms = p->lost->ms(p->arg);
	if (ms == 0)
		return false;
	p->waits = true;
	timer_set(&p->idle, ms);
	return true;
}

void side_failed(struct side *s)
{
	bool later = may_wait(s);
	if (later) {
		side_pipe(s)->cause_known = true;
		side_pipe(s)->cause = PIPE_STORE_FAILED;
	} else {
		pipe_release_farewell(side_pipe(s));
		pipe_set_cause(side_pipe(s), s->is_store ? PIPE_STORE_FAILED : PIPE_CLIENT_FAILED);
	}
	s->sending = SEND_DEAD;
	s->eof = true;
	side_pipe(s)->over = side_pipe(s)->over || !later;
}

void side_closed(struct side *s)
{
	struct side *to = side_other(s);
	if (may_wait(s)) {
		side_pipe(s)->cause_known = true;
		side_pipe(s)->cause = PIPE_STORE_CLOSED;
		s->sending = SEND_DEAD;
	} else {
		pipe_release_farewell(side_pipe(s));
		pipe_set_cause(side_pipe(s), s->is_store ? PIPE_STORE_CLOSED : PIPE_CLIENT_CLOSED);
	}
	s->eof = true;
	if (to->sending == SEND_OPEN && !side_pipe(s)->waits)
		to->sending = SEND_ENDING;
	/* It has got what it left for, and there is nobody for anything more: its own end would only be waited for. */
	if (to->parted && to->sending == SEND_ENDING && !wire_has_pending(&to->wire)) {
		to->eof = true;
		s->sending = s->sending == SEND_OPEN ? SEND_ENDING : s->sending;
	}
}
