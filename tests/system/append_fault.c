/* append_fault.c - preloaded into postern-edge: the queue process ends by SIGKILL when so many bytes of the spool's log have been
 * written, wherever in a record that is.
 *
 * APPEND_FAULT names a file of struct fault, which every process and the test map. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ENDS_MAX = 4096 };

struct fault {
	_Atomic int64_t left;    /* bytes until then; below 0: never */
	_Atomic int64_t written; /* bytes so far */
	_Atomic int64_t deaths;
	_Atomic int64_t ends_n; /* records so far */
	int64_t ends[ENDS_MAX]; /* where each ended, in bytes */
};

static struct fault *fault;

static void __attribute__((constructor)) map_fault(void)
{
	const char *path = getenv("APPEND_FAULT");
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map = fd >= 0 ? mmap(NULL, sizeof *fault, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
			    : MAP_FAILED;
	if (map != MAP_FAILED)
		fault = map;
	if (fd >= 0)
		close(fd);
}

static void note_end(int64_t bytes)
{
	int64_t end = atomic_fetch_add(&fault->written, bytes) + bytes;
	if (atomic_load(&fault->ends_n) < ENDS_MAX)
		fault->ends[atomic_fetch_add(&fault->ends_n, 1)] = end;
}

/* Only the spool's log is written this way. */
ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	ssize_t (*real)(int, const struct iovec *, int, off_t) =
	    (ssize_t(*)(int, const struct iovec *, int, off_t))dlsym(RTLD_NEXT, "pwritev");
	int64_t left = fault != NULL ? atomic_load(&fault->left) : -1;
	for (int i = 0; i < n && left >= 0; i++) {
		size_t piece = iov[i].iov_len < (size_t)left ? iov[i].iov_len : (size_t)left;
		if (pwrite(fd, iov[i].iov_base, piece, at) != (ssize_t)piece ||
		    piece < iov[i].iov_len) {
			atomic_store(&fault->left, -1);
			atomic_fetch_add(&fault->deaths, 1);
			kill(getpid(), SIGKILL);
		}
		at += (off_t)piece;
		left -= (int64_t)piece;
	}
	ssize_t did = 0;
	if (left >= 0) {
		atomic_store(&fault->left, left);
		for (int i = 0; i < n; i++)
			did += (ssize_t)iov[i].iov_len;
	} else {
		did = real(fd, iov, n, at);
	}
	if (fault != NULL && did > 0)
		note_end(did);
	return did;
}
