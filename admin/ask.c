/* ask.c - the client of control sockets. Non-blocking on all sockets together, with one deadline: a
 * daemon that hangs costs the deadline and no more. Owns descriptors and replies of struct ask. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

#include "admin/ask.h"

static void fail(struct ask *a, const char *why)
{
	snprintf(a->error, sizeof a->error, "%s", why);
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
}

static char *request_line(const char *const *words, size_t n)
{
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(words[i]));
	json_t *root = json_pack("{s:o}", "words", list);
	char *line = root == NULL ? NULL : json_dumps(root, JSON_COMPACT);
	json_decref(root);
	return line;
}

/* A request is far below the socket's buffer, so it is sent whole or not at all. */
static void ask_start(struct ask *a, const char *line)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct iovec parts[] = { { (void *)(uintptr_t)line, strlen(line) }, { "\n", 1 } };
	struct msghdr msg = { .msg_iov = parts, .msg_iovlen = 2 };
	a->fd = -1;
	a->in = BUF_INIT(ASK_REPLY_MAX);
	a->reply = NULL;
	a->error[0] = '\0';
	if (strlen(a->socket) >= sizeof un.sun_path) {
		fail(a, "the path of the socket is too long");
		return;
	}
	memcpy(un.sun_path, a->socket, strlen(a->socket));
	a->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (a->fd < 0 || connect(a->fd, (struct sockaddr *)&un, sizeof un) < 0)
		fail(a, errno == ENOENT || errno == ECONNREFUSED ? "not running" : strerror(errno));
	else if (sendmsg(a->fd, &msg, MSG_NOSIGNAL) != (ssize_t)(parts[0].iov_len + 1))
		fail(a, "it does not take the question");
}

static void on_line(struct ask *a, struct span line)
{
	json_error_t e;
	a->reply = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &e);
	if (json_is_object(a->reply)) {
		close(a->fd);
		a->fd = -1;
		return;
	}
	json_decref(a->reply);
	a->reply = NULL;
	fail(a, "the answer is not JSON");
}

static void ask_read(struct ask *a)
{
	char *p;
	size_t before = buf_len(&a->in), room = buf_room(&a->in, 64 * 1024, &p);
	ssize_t n = room > 0 ? recv(a->fd, p, room, 0) : -1;
	if (room == 0) {
		fail(a, "the answer is too long");
	} else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	} else if (n <= 0) {
		fail(a, n == 0 ? "it closed the connection without an answer" : strerror(errno));
	} else {
		buf_added(&a->in, (size_t)n);
		struct span fresh = span_from(buf_span(&a->in), before);
		size_t end = span_find(fresh, '\n');
		if (end != SIZE_MAX)
			on_line(a, span_first(buf_span(&a->in), before + end));
	}
}

/* Reads what has come until `end` at the latest. How many still have not answered. */
static size_t ask_round(struct ask *v, size_t n, struct pollfd *polls, uint64_t end)
{
	size_t waiting = 0;
	uint64_t now = clock_mono_ms();
	for (size_t i = 0; i < n; i++) {
		polls[i] = (struct pollfd){ .fd = v[i].fd, .events = POLLIN };
		waiting += v[i].fd >= 0;
	}
	if (waiting == 0 || now >= end || poll(polls, n, (int)(end - now)) <= 0)
		return waiting;
	for (size_t i = 0; i < n; i++)
		if (polls[i].fd >= 0 && polls[i].revents != 0)
			ask_read(&v[i]);
	return waiting;
}

void ask_all(
    struct ask *v, size_t n, const char *const *words, size_t word_count, uint64_t deadline_ms)
{
	struct pollfd *polls = mem_array(n, sizeof *polls);
	uint64_t end = clock_mono_ms() + deadline_ms;
	char *line = request_line(words, word_count);
	for (size_t i = 0; i < n; i++) {
		ask_start(&v[i], line != NULL ? line : "");
		if (line == NULL)
			fail(&v[i], "the words are not UTF-8");
	}
	while (ask_round(v, n, polls, end) > 0 && clock_mono_ms() < end)
		;
	for (size_t i = 0; i < n; i++)
		if (v[i].fd >= 0)
			fail(&v[i], "no answer in time");
	free(line); /* jansson's */
	mem_free(polls);
}

void ask_end(struct ask *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		json_decref(v[i].reply);
		buf_end(&v[i].in);
	}
}
