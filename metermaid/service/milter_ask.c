/* milter_ask.c - a question of the milter to the policy service over a unix socket, with time limits. */
#include "metermaid/service/milter_ask.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/policy_action.h"

void milter_ask_end(struct milter_asker *a)
{
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
}

static bool ask_connect(struct milter_asker *a)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = a->wait_ms / 1000,
		.tv_usec = (suseconds_t)(a->wait_ms % 1000) * 1000 };
	if (strlen(a->path) >= sizeof at.sun_path)
		return false;
	memcpy(at.sun_path, a->path, strlen(a->path));
	a->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (a->fd < 0)
		return false;
	/* on a unix socket the limit for sending holds for connect() too */
	setsockopt(a->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(a->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	return connect(a->fd, (const struct sockaddr *)&at, sizeof at) == 0;
}

static bool ask_send(struct milter_asker *a, struct span request)
{
	while (request.n > 0) {
		ssize_t n = send(a->fd, request.p, request.n, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		request = span_from(request, (size_t)n);
	}
	return true;
}

static bool ask_receive(struct milter_asker *a, struct buf *out)
{
	char text[POLICY_REPLY_MAX + 2];
	size_t have = 0;
	struct span action;
	enum policy_reply_rx rx = POLICY_REPLY_MORE;
	size_t eat;
	while (rx == POLICY_REPLY_MORE) {
		ssize_t n = recv(a->fd, text + have, sizeof text - have, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		have += (size_t)n;
		rx = policy_reply_take(span_of(text, have), &action, &eat);
	}
	buf_clear(out);
	return rx == POLICY_REPLY_READY && buf_add_span(out, action);
}

static bool ask_once(struct milter_asker *a, struct span request, struct buf *out)
{
	if ((a->fd >= 0 || ask_connect(a)) && ask_send(a, request) && ask_receive(a, out))
		return true;
	milter_ask_end(a);
	return false;
}

/* A connection that was there before may be one of a service that has ended since. */
bool milter_ask(struct milter_asker *a, struct span request, struct buf *out)
{
	bool old = a->fd >= 0;
	return ask_once(a, request, out) || (old && ask_once(a, request, out));
}
