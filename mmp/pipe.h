/* pipe.h - step 5: a session after its login. */
#ifndef MMP_PIPE_H
#define MMP_PIPE_H

#include "base/buf.h"
#include "base/ip.h"
#include "base/list.h"
#include "net/pipe.h"
#include "net/stream.h"

struct session;
struct mmp;

/* The session's login is done and the client has been told: its client stream and the store's become
 * a pipe with a small record; the caller ends the session. */
void pipe_session(struct session *s, struct stream **take_store);

enum pipe_key { PIPE_BY_USER, PIPE_BY_CLIENT, PIPE_BY_STORE, PIPE_BY_ID };
struct pipe_match {
	enum pipe_key key;
	const char *value;    /* borrowed; names are compared without case */
	struct ip_prefix net; /* PIPE_BY_CLIENT */
};
size_t pipe_count(const struct mmp *m, const struct pipe_match *match);
/* Ends at most `most` of them, from the loop; an IMAP client that was idle is told so. */
void pipe_kick(struct mmp *m, const struct pipe_match *match, size_t most);

/* The same for any, because the worker will be stopped; without busy_too only for those that are idle. */
void pipe_end_some(struct mmp *m, size_t most, bool busy_too);

/* ---- to another worker: handover.h. Of the two only one lets bytes of it move. */
struct piped;
struct piped *pipe_of_node(struct list_node *n); /* of m->piped */
/* How many of m->piped cannot move now, by what keeps them. */
void pipe_count_stays(const struct mmp *m, size_t n_out[PIPE_STAYS]);
/* The old worker's: stops it and appends its record, with secrets; the descriptors stay its own. *slot is p until the
 * offer is over, and NULL when its end or an order came first. False: it cannot move, nothing has changed but out. */
bool pipe_offer(struct piped *p, struct piped **slot, struct buf *out, int fds_out[2]);
void pipe_keep(struct piped *p); /* no offer after all: it goes on here */
void pipe_give(struct piped *p); /* the other's now: forgotten without a word */
/* The new worker's: takes the descriptors and does not move yet. NULL: not understood, they stay the caller's. */
struct piped *pipe_take(struct mmp *m, struct span record, const int fds[2]);
void pipe_drop(struct piped **p); /* not ours after all; fine on NULL */
void pipe_go_on(struct piped *p); /* ours: one of m->piped */

void pipe_who(const struct mmp *m, struct buf *out); /* a JSON array */
void pipe_end_all(struct mmp *m); /* without a word to either end: the worker goes */

#endif
