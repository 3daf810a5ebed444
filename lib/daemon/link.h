/* link.h - messages between master and worker, and between an old and a new master, over a SOCK_SEQPACKET pair.
 *
 * A message has a type, an id, a payload and at most one descriptor. Payloads past LINK_INLINE_MAX
 * travel in a memfd. Both sides trust each other's format: they are one program. */
#ifndef DAEMON_LINK_H
#define DAEMON_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

enum link_type {
	LINK_READY,    /* worker: set up, serving */
	LINK_CONTROL,  /* master: words, NUL-separated */
	LINK_ANSWER,   /* worker: JSON; empty: not a command of the role */
	LINK_LISTENER, /* master: a new listener (index in the master's table) and its descriptor */
	LINK_RELOAD,   /* master: packed configuration source */
	LINK_TICKETS,  /* master: its own keys of session tickets */
	LINK_DRAIN, /* master: no new work; id: milliseconds until LINK_STOP, 0: none is planned */
	LINK_DRAINED,  /* worker: nothing left */
	LINK_STOP,     /* master: free everything and end */
	LINK_RETIRE,   /* master: a newer one accepts in your place; finish what you have */
	LINK_OPEN,     /* master: accept from now on */
	LINK_SESSIONS, /* master: with a socket to the worker of the other binary that gives or takes
	                  sessions: role->give() after LINK_RETIRE, role->take() else */

	/* between masters: upgrade.h. READY, CONTROL, ANSWER, TICKETS, DRAIN and STOP as well. */
	LINK_SOCKET,  /* old: kind, role, name and place, NUL-separated, and a listening socket */
	LINK_YIELDED, /* old: its exclusive roles have ended */
	LINK_UP,      /* new: everything runs */
	LINK_TAKE,    /* old: it is yours */
	LINK_METRICS, /* old: its totals, for slots_take_totals() */
	LINK_SESSIONS_OF, /* old: a role, its worker's index, and the socket for one of the new one's */

	LINK_ORDERS, /* master to a worker, old to new: standing_pack()'s; nobody waits for an answer */
};

enum { LINK_INLINE_MAX = 16 * 1024, LINK_PAYLOAD_MAX = 64 * 1024 * 1024 };

struct link_msg {
	enum link_type type;
	uint32_t id;
	struct buf payload; /* owned; buf_end() it */
	int fd;             /* owned, -1: none */
};

bool link_pair(int fds[2]);
/* False: the other side is gone or its queue is full. fd (-1: none) stays the caller's. */
bool link_send(int link, enum link_type type, uint32_t id, struct span payload, int fd);

enum link_got { LINK_MSG, LINK_NOTHING, LINK_CLOSED };
enum link_got link_recv(int link, struct link_msg *out);

#endif
