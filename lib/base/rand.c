/* rand.c - kernel randomness, read in blocks; a forked child starts with an empty pool. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/check.h"
#include "base/rand.h"

void rand_bytes(void *out, size_t n)
{
	char *p = out;
	while (n > 0) {
		ssize_t got = getrandom(p, n, 0);
		CHECK(got > 0 || errno == EINTR);
		if (got > 0) {
			p += got;
			n -= (size_t)got;
		}
	}
}

uint64_t rand_u64(void)
{
	static uint64_t pool[32];
	static size_t left;
	static pid_t owner;
	if (left == 0 || owner != getpid()) {
		rand_bytes(pool, sizeof pool);
		left = COUNT_OF(pool);
		owner = getpid();
	}
	uint64_t v = pool[--left];
	pool[left] = 0;
	return v;
}

uint64_t rand_below(uint64_t bound)
{
	CHECK(bound > 0);
	uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
	uint64_t v;
	do {
		v = rand_u64();
	} while (v >= limit);
	return v % bound;
}
