/* pipe_splice.c - bursts between two plaintext sockets, from one to the other in the kernel.
 *
 * Beside pipe.c. Owns a few kernel pipes for all pipes of the process: an unprivileged user has only so many
 * full-sized ones. What a side does not take at once stays where it is, in a kernel pipe that is the side's until
 * it is empty; when all are taken, bursts are copied as everything else. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/check.h"

#include "net/pipe_internal.h"

enum {
	KERNEL_PIPES = 8,
	SPLICE_MAX = 262144, /* size asked for each of them */
	BURST_LEAST = 16384  /* a splice that moves less ends the burst */
};

struct kernel_pipe {
	int in, out;
	bool open;
	size_t n; /* bytes in it: it is a side's */
};

static struct kernel_pipe pipes[KERNEL_PIPES];

/* An empty one, or NULL. The first is used again and again: its pages are warm. */
static struct kernel_pipe *empty_pipe(void)
{
	int fds[2];
	struct kernel_pipe *k = pipes;
	while (k < pipes + KERNEL_PIPES && k->n > 0)
		k++;
	if (k == pipes + KERNEL_PIPES)
		return NULL;
	if (!k->open && pipe2(fds, O_NONBLOCK | O_CLOEXEC) == 0) {
		*k = (struct kernel_pipe){ .in = fds[1], .out = fds[0], .open = true };
		fcntl(k->in, F_SETPIPE_SZ, SPLICE_MAX); /* smaller works as well */
	}
	return k->open ? k : NULL;
}

static ssize_t move(int from, int to, size_t n)
{
	return splice(from, NULL, to, NULL, n, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}

bool side_may_splice(const struct side *from, const struct side *to)
{
	return from->burst && wire_is_plain(&from->wire) && wire_is_plain(&to->wire) &&
	       empty_pipe() != NULL;
}

bool side_put_stuck(struct side *to)
{
	struct kernel_pipe *k = to->stuck;
	while (k->n > 0) {
		ssize_t sent = move(k->out, to->wire.fd, k->n);
		if (sent == 0)
			errno = EPIPE;
		if (sent <= 0)
			return errno == EAGAIN;
		k->n -= (size_t)sent;
	}
	to->stuck = NULL;
	return true;
}

size_t side_splice(struct side *from, struct side *to)
{
	struct kernel_pipe *k = empty_pipe();
	ssize_t got = move(from->wire.fd, k->in, SPLICE_MAX);
	if (got <= 0) { /* nothing there, the end, or a socket that cannot: reading tells which */
		from->burst = false;
		errno = got == 0 ? 0 : errno;
		return 0;
	}
	from->burst = got >= BURST_LEAST;
	k->n = (size_t)got;
	to->stuck = k;
	return (size_t)got;
}

struct span side_copy_stuck(struct side *s)
{
	struct kernel_pipe *k = s->stuck;
	ssize_t got = read(k->out, wire_scratch(), k->n < WIRE_SCRATCH ? k->n : WIRE_SCRATCH);
	CHECK(got > 0);
	k->n -= (size_t)got;
	if (k->n == 0)
		s->stuck = NULL;
	return span_of(wire_scratch(), (size_t)got);
}

void side_drop_stuck(struct side *s)
{
	struct kernel_pipe *k = s->stuck;
	s->stuck = NULL;
	if (k == NULL)
		return;
	close(k->in);
	close(k->out);
	*k = (struct kernel_pipe){ .open = false };
}
