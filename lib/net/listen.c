/* listen.c - accepting connections, and the PROXY header in front of those from balancers.
 *
 * Before: the master's listening descriptor (listen_open_*). After: the program's accept function.
 * Owns accepted descriptors only until they are handed over or their header has turned out bad. */
#include "net/listen.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "proto/proxy_hdr.h"

#include "net/loop_internal.h"
#include "net/net_facts.h"
#include "net/wire.h"

#define listener_MAGIC 0x11573e01u
#define waiting_MAGIC 0x11573e02u

enum {
	ACCEPTS_A_WAKE = 64, /* then the sessions have their turn */
	PEEK_MAX = PROXY_V2_MAX
};

struct listener {
	uint32_t magic;
	struct loop *loop;
	int fd; /* borrowed */
	struct listener_opts opts;
	accept_fn *fn;
	void *arg;
	struct ip_port at; /* an address of its own, or "any": then each connection is asked */
	struct watch watch;
	struct timer resume;
	bool paused;           /* by the owner */
	bool failing, crowded; /* logged already */
	struct list_node waiting;
	size_t waiting_n;
};

/* The listener whose accept loop runs, NULL once it is gone: the accept function may free it. */
static const struct listener *accepting;

/* The watch of a connection that is being handed over, until the new owner has one of its own; else NULL. */
static struct watch *handing;

/* A connection whose PROXY header is not complete. Its bytes so far are all of the header, so they
 * are taken from the kernel: nothing behind the header ever is. */
struct waiting {
	uint32_t magic;
	struct list_node link;
	struct listener *listener;
	struct watch watch;
	struct timer deadline;
	struct accepted a; /* a.fd owned */
	struct buf head;
};

/* ---- connections whose header is awaited ---- */

/* All but the watch: the listener knows it no more. */
static void waiting_leave(struct waiting *w)
{
	list_remove(&w->link);
	w->listener->waiting_n--;
	w->listener->crowded = false;
	timer_clear(&w->deadline);
	buf_end(&w->head);
	w->magic = 0;
}

static void waiting_end(struct waiting *w)
{
	waiting_leave(w);
	watch_end(&w->watch);
	mem_free(w);
}

static void refuse(const struct accepted *a, const char *why)
{
	metric_add(&net_metrics[NET_PROXY_BAD], 1);
	log_write(&net_events[NET_EV_PROXY_BAD], NULL,
	    LOG_FIELDS(LOG_ADDR("peer", a->peer), LOG_STR("why", why)));
	close(a->fd);
}

static void on_header_late(void *arg)
{
	struct waiting *w = OBJ(waiting, arg);
	struct accepted a = w->a;
	bool silent = buf_len(&w->head) == 0;
	waiting_end(w);
	refuse(&a, silent ? "no header in time" : "header incomplete in time");
}

static void hand_over(struct listener *l, struct accepted *a, const struct proxy_hdr *h)
{
	if (h->kind == PROXY_CLIENT) {
		a->client = h->client;
		a->local = h->local;
		a->proxied = true;
	} else {
		a->probe = true;
		metric_add(&net_metrics[NET_PROXY_PROBES], 1);
	}
	l->fn(l->arg, a);
}

/* What nobody has taken over. */
static void unwatch(int fd)
{
	if (handing == NULL || handing->fd != fd)
		return;
	watch_end(handing);
	handing = NULL;
}

void accepted_close(const struct accepted *a)
{
	unwatch(a->fd);
	close(a->fd);
}

/* The header is complete: the stream's own watch takes over from this one, which spares two calls of the kernel. */
static void hand_over_waiting(struct waiting *w, const struct proxy_hdr *h)
{
	struct accepted a = w->a;
	waiting_leave(w);
	handing = &w->watch;
	hand_over(w->listener, &a, h);
	unwatch(a.fd);
	mem_free(w);
}

enum look {
	LOOK_MORE,
	LOOK_DONE,
	LOOK_GONE, /* it has closed without a byte: a look whether the port answers */
	LOOK_BAD
};

static void probed(const struct accepted *a)
{
	metric_add(&net_metrics[NET_PROXY_PROBES], 1);
	close(a->fd);
}

/* Takes exactly n bytes that were peeked at. */
static bool take(int fd, size_t n)
{
	return recv(fd, wire_scratch(), n, 0) == (ssize_t)n;
}

/* head: bytes taken before, all of a header. Grows by what is taken now. */
static enum look look_at_header(int fd, struct buf *head, struct proxy_hdr *h)
{
	size_t had = buf_len(head);
	ssize_t n = recv(fd, wire_scratch(), PEEK_MAX - had, MSG_PEEK);
	h->why = "closed before the header was complete";
	if (n < 0 && wire_is_later(errno))
		return LOOK_MORE;
	if (n <= 0)
		return had == 0 ? LOOK_GONE : LOOK_BAD;
	CHECK(buf_add(head, wire_scratch(), (size_t)n));
	switch (proxy_hdr_parse(buf_span(head), h)) {
	case PROXY_MORE:
		if (buf_len(head) < PEEK_MAX && take(fd, (size_t)n))
			return LOOK_MORE;
		h->why = "header too long";
		return LOOK_BAD;
	case PROXY_DONE:
		/* A header that ends before what was taken is not possible: that was incomplete. */
		CHECK(h->len > had);
		return take(fd, h->len - had) ? LOOK_DONE : LOOK_BAD;
	case PROXY_BAD:
		break;
	}
	return LOOK_BAD;
}

static void on_header_bytes(void *arg, unsigned events)
{
	struct waiting *w = OBJ(waiting, arg);
	struct proxy_hdr h = { 0 };
	enum look seen = look_at_header(w->a.fd, &w->head, &h);
	if (seen == LOOK_MORE)
		return;
	if (seen == LOOK_DONE) {
		hand_over_waiting(w, &h);
		return;
	}
	struct accepted a = w->a;
	waiting_end(w);
	if (seen == LOOK_GONE)
		probed(&a);
	else
		refuse(&a, h.why);
}

static void await_header(struct listener *l, const struct accepted *a, struct buf *take_head)
{
	if (l->waiting_n >= l->opts.proxy_waiting_max) {
		if (!l->crowded)
			log_write(&net_events[NET_EV_PROXY_CROWD], NULL,
			    LOG_FIELDS(LOG_ADDR("peer", a->peer),
				LOG_U64("max", l->opts.proxy_waiting_max)));
		l->crowded = true;
		metric_add(&net_metrics[NET_PROXY_BAD], 1);
		close(a->fd);
		buf_end(take_head);
		return;
	}
	struct waiting *w = MEM_NEW(struct waiting);
	w->magic = waiting_MAGIC;
	w->listener = l;
	w->a = *a;
	w->head = *take_head;
	list_add_tail(&l->waiting, &w->link);
	l->waiting_n++;
	watch_init(&w->watch, l->loop, a->fd, on_header_bytes, w);
	timer_init(&w->deadline, l->loop, on_header_late, w);
	timer_set(&w->deadline, l->opts.proxy_ms);
	watch_set(&w->watch, WATCH_READ);
}

/* A balancer sends its header with the connection: most often it is there by now. */
static void take_header(struct listener *l, struct accepted *a)
{
	struct buf head = BUF_INIT(PEEK_MAX);
	struct proxy_hdr h = { 0 };
	enum look seen = look_at_header(a->fd, &head, &h);
	if (seen == LOOK_MORE) {
		await_header(l, a, &head);
		return;
	}
	buf_end(&head);
	if (seen == LOOK_DONE)
		hand_over(l, a, &h);
	else if (seen == LOOK_GONE)
		probed(a);
	else
		refuse(a, h.why);
}

/* ---- accepting ---- */

static void settle_interest(struct listener *l)
{
	watch_set(&l->watch, l->paused || timer_armed(&l->resume) ? 0 : WATCH_READ);
}

static void on_resume(void *arg)
{
	settle_interest(OBJ(listener, arg));
}

/* Those of the new connection, which accept() reports though they are the peer's or the network's. */
static bool is_peers_failure(int errnum)
{
	switch (errnum) {
	case ECONNABORTED:
	case EINTR:
	case EPROTO:
	case EPERM:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case ENETDOWN:
	case ENETUNREACH:
	case ENONET:
	case EOPNOTSUPP:
		return true;
	default:
		return false;
	}
}

/* The connection stays in the queue; without a pause the loop would spin on it. */
static void back_off(struct listener *l, int errnum)
{
	net_accept_failed(errnum, &l->failing);
	timer_set(&l->resume, NET_ACCEPT_PAUSE_MS);
	settle_interest(l);
}

static void greet(struct listener *l, int fd, const struct sockaddr_storage *peer)
{
	struct accepted a = { .fd = fd, .local = l->at };
	a.client = a.peer = ip_from_sockaddr((const struct sockaddr *)peer);
	if (peer->ss_family != AF_UNIX && ip_is_any(l->at.addr))
		a.local = wire_local(fd);
	l->failing = false;
	metric_add(&net_metrics[NET_ACCEPTED], 1);
	if (peer->ss_family != AF_UNIX && ip_in_set(a.peer.addr, l->opts.proxy_from))
		take_header(l, &a);
	else
		l->fn(l->arg, &a);
}

/* Asked once the kernel has a connection: the owner may want to leave it to another process by now. */
static bool may_accept(const struct listener *l)
{
	if (l->opts.before != NULL && !l->paused)
		l->opts.before(l->arg);
	return !l->paused;
}

static void on_connection(void *arg, unsigned events)
{
	struct listener *l = OBJ(listener, arg);
	accepting = l;
	for (int i = 0; i < ACCEPTS_A_WAKE && accepting == l && may_accept(l); i++) {
		struct sockaddr_storage peer = { 0 };
		socklen_t n = sizeof peer;
		int fd = accept4(l->fd, (struct sockaddr *)&peer, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			greet(l, fd, &peer);
			continue;
		}
		if (is_peers_failure(errno))
			continue;
		if (errno == EINVAL) /* it was shut down: a daemon drains */
			listener_pause(l, true);
		else if (errno != EAGAIN)
			back_off(l, errno);
		break;
	}
	accepting = NULL;
}

struct listener *listener_new(
    struct loop *l, int fd, const struct listener_opts *opts, accept_fn *fn, void *arg)
{
	struct listener *li = MEM_NEW(struct listener);
	li->magic = listener_MAGIC;
	li->loop = l;
	li->fd = fd;
	li->opts = *opts;
	li->fn = fn;
	li->arg = arg;
	li->at = wire_local(fd);
	int on = 1; /* connections inherit it; a unix socket refuses it, which is fine */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	list_init(&li->waiting);
	watch_init(&li->watch, l, fd, on_connection, li);
	timer_init(&li->resume, l, on_resume, li);
	settle_interest(li);
	return li;
}

void listener_pause(struct listener *l, bool pause)
{
	OBJ(listener, l)->paused = pause;
	settle_interest(l);
}

size_t listener_waiting(const struct listener *l)
{
	return l->waiting_n;
}

void listener_free(struct listener **l)
{
	struct listener *dying = *l;
	if (dying == NULL)
		return;
	OBJ(listener, dying);
	if (accepting == dying)
		accepting = NULL;
	while (!list_empty(&dying->waiting)) {
		struct waiting *w = LIST_OF(struct waiting, link, dying->waiting.next);
		int fd = w->a.fd;
		waiting_end(w);
		close(fd);
	}
	timer_clear(&dying->resume);
	watch_end(&dying->watch);
	dying->magic = 0;
	MEM_FREE(l);
}

/* ---- opening (master) ---- */

static int close_keeping_errno(int fd)
{
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

int listen_open_tcp(struct ip_port at)
{
	struct sockaddr_storage sa;
	socklen_t n = ip_to_sockaddr(at, &sa);
	int on = 1, fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (sa.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	/* The kernel cuts the backlog to net.core.somaxconn. */
	if (bind(fd, (const struct sockaddr *)&sa, n) < 0 || listen(fd, INT_MAX) < 0)
		return close_keeping_errno(fd);
	return fd;
}

/* Removes an old socket, and nothing that is not one. */
static bool remove_old_socket(const char *path)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return errno == ENOENT;
	if (!S_ISSOCK(st.st_mode)) {
		errno = EEXIST;
		return false;
	}
	return unlink(path) == 0 || errno == ENOENT;
}

int listen_open_unix(const char *path, unsigned mode)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	if (n >= sizeof sa.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(sa.sun_path, path, n);
	if (!remove_old_socket(path))
		return -1;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	/* The file must not be open to more than `mode` at any moment: it is made closed to all. */
	mode_t before = umask(0777);
	int bound = bind(fd, (const struct sockaddr *)&sa, sizeof sa);
	umask(before);
	if (bound < 0 || chmod(path, (mode_t)mode) < 0 || listen(fd, INT_MAX) < 0)
		return close_keeping_errno(fd);
	return fd;
}
