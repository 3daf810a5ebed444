/* handover_fault.c - preloaded into the multiplexor: a worker ends by SIGKILL at a point of a hand-over (mmp/handover.h).
 *
 * HANDOVER_FAULT is POINT:NUMBER:FILE. POINT is one of
 *	offer     a new worker has just received the OFFER of this number (the first is 1), and knows nothing of it yet
 *	accept    a new worker has just sent this ACCEPT
 *	commit    a new worker has just received this COMMIT
 *	committed an old worker has just sent this COMMIT
 * FILE is made by who dies, so that nobody else does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OFFER = 1, ACCEPT = 2, COMMIT = 4, HEAD_LEN = 8 };

static const struct {
	const char *name;
	int type, sent;
} points[] = { { "offer", OFFER, 0 }, { "accept", ACCEPT, 1 }, { "commit", COMMIT, 0 },
	{ "committed", COMMIT, 1 } };

static void look(const struct msghdr *m, ssize_t n, int sent)
{
	static unsigned seen;
	char name[32], file[512];
	unsigned number;
	const char *head = m->msg_iovlen > 0 ? m->msg_iov[0].iov_base : NULL;
	const char *fault = getenv("HANDOVER_FAULT");
	if (fault == NULL || n < HEAD_LEN || head[0] != 'P' || head[1] != 'H' ||
	    sscanf(fault, "%31[^:]:%u:%511s", name, &number, file) != 3)
		return;
	for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
		if (strcmp(name, points[i].name) == 0 && head[3] == points[i].type &&
		    sent == points[i].sent && ++seen == number &&
		    open(file, O_WRONLY | O_CREAT | O_EXCL, 0600) >= 0)
			kill(getpid(), SIGKILL);
}

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	ssize_t (*real)(int, struct msghdr *, int) =
	    (ssize_t(*)(int, struct msghdr *, int))dlsym(RTLD_NEXT, "recvmsg");
	ssize_t n = real(fd, m, flags);
	look(m, n, 0);
	return n;
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	ssize_t (*real)(int, const struct msghdr *, int) =
	    (ssize_t(*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
	ssize_t n = real(fd, m, flags);
	look(m, n, 1);
	return n;
}
