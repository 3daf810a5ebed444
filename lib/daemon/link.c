/* link.c - master and worker talk: one packet a message, big payloads in a memfd. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "daemon/link.h"

struct head {
	uint32_t type, id;
	uint32_t in_memfd; /* the first descriptor holds the payload */
	uint32_t has_fd;
};

enum { FDS_MAX = 2, SEND_WAIT_MS = 1000 };

bool link_pair(int fds[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0;
}

static int memfd_of(struct span payload)
{
	int fd = memfd_create("postern-link", MFD_CLOEXEC);
	for (size_t done = 0; fd >= 0 && done < payload.n;) {
		ssize_t n = write(fd, payload.p + done, payload.n - done);
		if (n <= 0) {
			close(fd);
			return -1;
		}
		done += (size_t)n;
	}
	return fd;
}

static bool send_packet(int link, const struct head *h, struct span body, const int *fds, size_t n)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec iov[2] = { { (void *)(uintptr_t)h, sizeof *h },
		{ (void *)(uintptr_t)body.p, body.n } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = body.n > 0 ? 2 : 1 };
	if (n > 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
	}
	for (;;) {
		if (sendmsg(link, &m, MSG_NOSIGNAL) >= 0)
			return true;
		struct pollfd p = { .fd = link, .events = POLLOUT };
		if (errno != EINTR && (errno != EAGAIN || poll(&p, 1, SEND_WAIT_MS) <= 0))
			return false;
	}
}

bool link_send(int link, enum link_type type, uint32_t id, struct span payload, int fd)
{
	struct head h = {
		.type = type, .id = id, .in_memfd = payload.n > LINK_INLINE_MAX, .has_fd = fd >= 0
	};
	int fds[FDS_MAX], memfd = -1;
	size_t n = 0;
	if (h.in_memfd) {
		memfd = memfd_of(payload);
		if (memfd < 0)
			return false;
		fds[n++] = memfd;
		payload = SPAN_NONE;
	}
	if (fd >= 0)
		fds[n++] = fd;
	bool ok = send_packet(link, &h, payload, fds, n);
	if (memfd >= 0)
		close(memfd);
	return ok;
}

static void read_memfd(int fd, struct buf *out)
{
	struct stat st;
	char *room;
	if (fstat(fd, &st) != 0)
		return;
	for (size_t done = 0; done < (size_t)st.st_size;) {
		size_t want = buf_room(out, (size_t)st.st_size - done, &room);
		ssize_t n = want == 0 ? 0 : pread(fd, room, want, (off_t)done);
		if (n <= 0)
			return;
		buf_added(out, (size_t)n);
		done += (size_t)n;
	}
}

static size_t take_fds(struct msghdr *m, int fds[FDS_MAX])
{
	size_t n = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		CHECK(n <= FDS_MAX);
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	}
	return n;
}

enum link_got link_recv(int link, struct link_msg *out)
{
	static char body[LINK_INLINE_MAX];
	union {
		char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct head h;
	struct iovec iov[2] = { { &h, sizeof h }, { body, sizeof body } };
	struct msghdr m = { .msg_iov = iov,
		.msg_iovlen = 2,
		.msg_control = control.bytes,
		.msg_controllen = sizeof control.bytes };
	int fds[FDS_MAX] = { -1, -1 };
	ssize_t n;
	do {
		n = recvmsg(link, &m, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return LINK_NOTHING;
	if (n < (ssize_t)sizeof h)
		return LINK_CLOSED;
	size_t count = take_fds(&m, fds), used = 0;
	*out = (struct link_msg){ .type = (enum link_type)h.type,
		.id = h.id,
		.fd = -1,
		.payload = BUF_INIT(LINK_PAYLOAD_MAX) };
	if (h.in_memfd && used < count) {
		read_memfd(fds[used], &out->payload);
		close(fds[used++]);
	} else {
		buf_add(&out->payload, body, (size_t)n - sizeof h);
	}
	if (h.has_fd && used < count)
		out->fd = fds[used];
	return LINK_MSG;
}
