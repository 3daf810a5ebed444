/* spool_fault.c - preloaded into postern-edge: the disk below the spool fails, or the process that writes to it ends by
 * SIGKILL, at the n-th call of a kind; the clock jumps.
 *
 * What is to happen stands in the file that SPOOL_FAULT names, five numbers of 32 bits that the test writes: the point (a row of
 * points[] from 1 on, 0: none), calls left until it is met, whether it stays so, how often it was met, and by how many seconds
 * the system's clock is ahead. Only calls on segments of the log in a folder "spool" count. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum call { APPEND, SYNC };
enum what { ERROR_BEFORE, DIE_BEFORE, DIE_HALF, DIE_AFTER, STANDS };

static const struct {
	const char *name; /* as the test has it */
	enum call call;
	enum what what;
	int error;
} points[] = {
	{ "full at append", APPEND, ERROR_BEFORE, ENOSPC },
	{ "EIO at append", APPEND, ERROR_BEFORE, EIO },
	{ "EIO at sync", SYNC, ERROR_BEFORE, EIO },
	{ "killed at append", APPEND, DIE_BEFORE, 0 },
	{ "killed in append", APPEND, DIE_HALF, 0 },
	{ "killed after append", APPEND, DIE_AFTER, 0 },
	{ "killed at sync", SYNC, DIE_BEFORE, 0 },
	{ "killed after sync", SYNC, DIE_AFTER, 0 },
	{ "stands at sync", SYNC, STANDS, 0 }, /* until another point is named */
	{ "read-only at append", APPEND, ERROR_BEFORE, EROFS },
};
enum { POINTS = sizeof points / sizeof points[0] };

struct fault {
	_Atomic int32_t point, left, stays, hits, ahead_s;
};

static struct fault *fault(void)
{
	static struct fault *f;
	const char *path = getenv("SPOOL_FAULT");
	if (f != NULL || path == NULL)
		return f;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *p =
	    fd >= 0 ? mmap(NULL, sizeof *f, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
	if (fd >= 0)
		close(fd);
	f = p != MAP_FAILED ? p : NULL;
	return f;
}

/* Before a process locks itself in. */
__attribute__((constructor)) static void begin(void)
{
	(void)fault();
}

static int is_segment(int fd)
{
	char link[64], path[512];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof path - 1);
	if (n <= 4)
		return 0;
	path[n] = '\0';
	return strstr(path, "/spool/") != NULL && strcmp(path + n - 4, ".seg") == 0;
}

/* The point that this call meets, 0: none. */
static int met(enum call call, int fd)
{
	struct fault *f = fault();
	int point = f != NULL ? atomic_load(&f->point) : 0;
	if (point <= 0 || point > POINTS || points[point - 1].call != call || !is_segment(fd))
		return 0;
	int left = atomic_fetch_sub(&f->left, 1);
	if (left == 1 || (left < 1 && atomic_load(&f->stays))) {
		atomic_fetch_add(&f->hits, 1);
		return point;
	}
	return 0;
}

static void die_if(int point, enum what what)
{
	if (point != 0 && points[point - 1].what == what)
		kill(getpid(), SIGKILL);
}

static void stand_if(int point)
{
	while (
	    point != 0 && points[point - 1].what == STANDS && atomic_load(&fault()->point) == point)
		poll(NULL, 0, 1);
}

static int fails(int point)
{
	if (point == 0 || points[point - 1].what != ERROR_BEFORE)
		return 0;
	errno = points[point - 1].error;
	return 1;
}

#define REAL(type, name, ...)                                                                      \
	type (*real)(__VA_ARGS__);                                                                 \
	*(void **)&real = dlsym(RTLD_NEXT, name)

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
	int point = met(APPEND, fd);
	if (fails(point))
		return -1;
	die_if(point, DIE_BEFORE);
	if (point != 0 && points[point - 1].what == DIE_HALF) {
		struct iovec half = { iov[0].iov_base, iov[0].iov_len / 2 };
		(void)!real(fd, n > 1 ? iov : &half, 1, at);
		kill(getpid(), SIGKILL);
	}
	ssize_t did = real(fd, iov, n, at);
	die_if(point, DIE_AFTER);
	return did;
}

int fdatasync(int fd)
{
	REAL(int, "fdatasync", int);
	int point = met(SYNC, fd);
	if (fails(point))
		return -1;
	die_if(point, DIE_BEFORE);
	stand_if(point);
	int rc = real(fd);
	die_if(point, DIE_AFTER);
	return rc;
}

int clock_gettime(clockid_t which, struct timespec *out)
{
	REAL(int, "clock_gettime", clockid_t, struct timespec *);
	int rc = real(which, out);
	struct fault *f = which == CLOCK_REALTIME ? fault() : NULL;
	if (rc == 0 && f != NULL)
		out->tv_sec += atomic_load(&f->ahead_s);
	return rc;
}
