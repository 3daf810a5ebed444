/* rand.c - kernel randomness, read in blocks; a forked child starts with an empty pool. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>

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

static uint64_t pool[32];
static size_t left;

static void forget_pool(void)
{
	left = 0;
}

uint64_t rand_u64(void)
{
	static bool guarded;
	if (!guarded)
		CHECK(pthread_atfork(NULL, NULL, forget_pool) == 0);
	guarded = true;
	if (left == 0) {
		rand_bytes(pool, sizeof pool);
		left = COUNT_OF(pool);
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
