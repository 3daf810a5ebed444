/* mem.c - allocation; see mem.h for the contract. Also the home of check_failed(). */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/single_threaded.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"

enum { SMALL_MAX = 1032 };

noreturn void check_failed(const char *file, int line, const char *what)
{
	log_flush();
	fprintf(stderr, "%s:%d: check failed: %s\n", file, line, what);
	abort();
}

static size_t in_use;

/* An atomic add costs more than the rest of a small allocation. */
static void count(size_t more)
{
	if (__libc_single_threaded)
		in_use += more;
	else
		__atomic_fetch_add(&in_use, more, __ATOMIC_RELAXED);
}

static void uncount(void *p)
{
	count((size_t)0 - malloc_usable_size(p));
}

size_t mem_in_use(void)
{
	return __atomic_load_n(&in_use, __ATOMIC_RELAXED);
}

static void *or_die(void *p, size_t n)
{
	if (p == NULL && n > 0) {
		log_flush();
		fprintf(stderr, "out of memory (%zu bytes)\n", n);
		abort();
	}
	count(malloc_usable_size(p));
	return p;
}

static size_t product(size_t count, size_t size)
{
	size_t n;
	CHECK(!__builtin_mul_overflow(count, size, &n));
	return n;
}

/* glibc's calloc() passes by the thread's cache of small chunks (up to 2.40), so that every small object would go the long
 * way; for large ones it knows which memory is zero already. */
void *mem_alloc(size_t n)
{
	if (n > SMALL_MAX)
		return or_die(calloc(1, n), n);
	void *p = or_die(malloc(n > 0 ? n : 1), n);
	if (n > 0)
		memset(p, 0, n);
	return p;
}

void *mem_resize(void *take_p, size_t n)
{
	uncount(take_p);
	return or_die(realloc(take_p, n > 0 ? n : 1), n);
}

void *mem_array(size_t count, size_t size)
{
	return mem_alloc(product(count, size));
}

void *mem_grow(void *take_p, size_t count, size_t size)
{
	return mem_resize(take_p, product(count, size));
}

void *mem_copy(const void *p, size_t n)
{
	void *q = mem_alloc(n);
	if (n > 0)
		memcpy(q, p, n);
	return q;
}

char *mem_str(const char *s)
{
	return s == NULL ? NULL : mem_copy(s, strlen(s) + 1);
}

char *mem_span_str(struct span s)
{
	char *q = mem_alloc(s.n + 1);
	if (s.n > 0)
		memcpy(q, s.p, s.n);
	return q;
}

void mem_free(void *p)
{
	if (p == NULL) /* every other time */
		return;
	uncount(p);
	free(p);
}

void mem_wipe(void *p, size_t n)
{
	if (n > 0)
		explicit_bzero(p, n);
}
