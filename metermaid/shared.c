/* shared.c - anonymous maps and robust locks; see shared.h. */
#include <errno.h>
#include <sys/mman.h>

#include "base/check.h"
#include "metermaid/shared.h"

void *shared_map(size_t bytes, bool shared)
{
	int how = shared ? MAP_SHARED : MAP_PRIVATE;
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, how | MAP_ANONYMOUS, 0, 0);
	CHECK(p != MAP_FAILED);
	return p;
}

void shared_lock_init(pthread_mutex_t *l, bool shared)
{
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, shared ? PTHREAD_PROCESS_SHARED : PTHREAD_PROCESS_PRIVATE);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	CHECK(pthread_mutex_init(l, &a) == 0);
	pthread_mutexattr_destroy(&a);
}

void shared_lock(pthread_mutex_t *l)
{
	int e = pthread_mutex_lock(l);
	CHECK(e == 0 || (e == EOWNERDEAD && pthread_mutex_consistent(l) == 0));
}
