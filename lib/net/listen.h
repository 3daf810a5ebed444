/* listen.h - accepting on a socket that the master keeps; PROXY protocol from listed networks.
 *
 * Workers share the listening descriptor (non-blocking, opened and kept by the master), so a dying
 * worker loses nothing of the accept queue. A peer inside proxy_from must begin with a PROXY v1 or
 * v2 header, which may arrive in pieces; it is read and nothing more, so the session sees the first
 * byte behind it. LOCAL and UNKNOWN are health probes: probe is set and the socket's own addresses
 * are reported. A bad or late header closes the connection and logs. A peer outside proxy_from
 * is never parsed for a header. */
#ifndef NET_LISTEN_H
#define NET_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/ip.h"
#include "net/loop.h"

struct listener;

struct accepted {
	int fd;                /* owned by the callback now; non-blocking, close-on-exec.
	                        * For stream_accepted() or accepted_close(). */
	struct ip_port client; /* the real client: from the header when proxied */
	struct ip_port local;  /* where the client connected to: from the header when proxied */
	struct ip_port peer;   /* the socket's peer: the balancer when proxied */
	bool proxied;
	bool probe; /* a balancer's health check: do not log, do not throttle */
};
typedef void accept_fn(void *arg, const struct accepted *a);

/* Instead of close(): the loop may still watch the descriptor, and must not when its number is used again. */
void accepted_close(const struct accepted *a);

struct listener_opts {
	const struct ip_prefixes *proxy_from; /* borrowed for the listener's life; NULL: none */
	uint64_t proxy_ms;                    /* whole-header deadline, e.g. 5000 */
	size_t proxy_waiting_max;             /* connections whose header is awaited, e.g. 4096 */
	void (*before)(
	    void *arg); /* before each accept(), which does not come if it pauses; may be NULL */
};

/* fd is borrowed: the listener never closes it. */
struct listener *listener_new(
    struct loop *l, int fd, const struct listener_opts *opts, accept_fn *fn, void *arg);
void listener_pause(struct listener *l, bool pause); /* leave connections in the queue */
size_t listener_waiting(const struct listener *l);   /* connections whose header is awaited */
void listener_free(struct listener **l);

/* Master side: opens a TCP listener (SO_REUSEADDR, dual-stack off) or a unix socket with a mode.
 * Returns the descriptor or -1 with errno. backlog: as the system's maximum. */
int listen_open_tcp(struct ip_port at);
int listen_open_unix(const char *path, unsigned mode); /* an old socket file is replaced */

#endif
