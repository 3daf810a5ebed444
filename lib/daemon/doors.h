/* doors.h - the listening sockets of one worker, each under the name of its configuration block.
 *
 * A door accepts with the settings its program finds for the name, and follows a reload: while those of PROXY
 * headers are the same the listener goes on, with the connections whose header is under way; else it is
 * made anew. A name that is not configured (any more) accepts nothing; its socket stays the daemon's. */
#ifndef DAEMON_DOORS_H
#define DAEMON_DOORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "net/listen.h"
#include "net/loop.h"

struct doors;

struct door_settings {
	struct ip_prefixes proxy_from; /* networks that begin with a PROXY header: copied */
	uint64_t proxy_ms;             /* for the whole header */
	size_t sessions_max;           /* on all doors of the name together; 0: any number */
};

struct doors_opts {
	struct loop *loop;
	/* The settings of the listener of this name as they are now. False: there is none. */
	bool (*settings)(void *arg, const char *name, struct door_settings *out);
	/* As accept_fn. It must not close doors. */
	void (*accepted)(void *arg, const char *name, const struct accepted *a);
	/* A connection waits: the last moment to leave it to another worker, by doors_pause(). NULL: never. */
	void (*before)(void *arg);
	void *arg;
};

struct doors *doors_new(const struct doors_opts *opts);
void doors_add(struct doors *d, const char *name, int fd); /* fd is borrowed, name is copied */
void doors_reload(struct doors *d);                        /* settings() may answer otherwise now */
/* Connections wait in the kernel; headers that are under way come to their end. Also of doors to come. */
void doors_pause(struct doors *d, bool pause);
/* A session of the name begins, ends; counted over reloads. With sessions_max of them the doors of this name wait like
 * paused ones, until there is room and no pause. From accepted(), too. Who has no sessions_max need not tell. */
void doors_enter(struct doors *d, const char *name);
void doors_leave(struct doors *d, const char *name);
/* For good: no pause and no sessions_max makes anybody wait, so that accepted() may say goodbye. Who comes while
 * there are sessions_max (clients slow to hear it, say) is closed without it. */
void doors_drain(struct doors *d);
/* For good, and fn once no header is under way: from here or from the loop, never after doors_close(). */
void doors_retire(struct doors *d, void (*fn)(void *arg), void *arg);
void doors_close(struct doors *d); /* all that are there, for good; more may be added */
void doors_free(struct doors **d); /* fine on NULL */

#endif
