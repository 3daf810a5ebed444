/* count_syncs.c - preloaded into a program that is measured: counts what it asks the disk to make durable.
 * The counter is a file of 8 bytes, mapped by every process; its path is in POSTERN_SYNC_COUNT. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int msync(void *p, size_t n, int flags);

static _Atomic unsigned long long *counter;

static void __attribute__((constructor)) map_counter(void)
{
	const char *path = getenv("POSTERN_SYNC_COUNT");
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	void *map = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		counter = map;
	(void)close(fd);
}

static void count(void)
{
	if (counter != NULL)
		atomic_fetch_add(counter, 1);
}

static int (*next(const char *name))(int)
{
	int (*fn)(int);
	*(void **)&fn = dlsym(RTLD_NEXT, name);
	return fn;
}

int fsync(int fd)
{
	count();
	return next("fsync")(fd);
}

int fdatasync(int fd)
{
	count();
	return next("fdatasync")(fd);
}

int syncfs(int fd)
{
	count();
	return next("syncfs")(fd);
}

int msync(void *p, size_t n, int flags)
{
	int (*fn)(void *, size_t, int);
	*(void **)&fn = dlsym(RTLD_NEXT, "msync");
	if ((flags & MS_SYNC) != 0)
		count();
	return fn(p, n, flags);
}
