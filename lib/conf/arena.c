/* arena.c - chunks of memory that live and die with one snapshot; owns the chunks. */
#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"

#include "conf/arena.h"

enum { ARENA_CHUNK = 8192 };

struct chunk {
	struct chunk *next;
	size_t size, used;
	alignas(max_align_t) char bytes[];
};

struct arena {
	struct chunk *first; /* owned; the one being filled */
};

struct arena *arena_new(void)
{
	return MEM_NEW(struct arena);
}

void arena_free(struct arena **a)
{
	if (*a == NULL)
		return;
	for (struct chunk *c = (*a)->first, *next; c != NULL; c = next) {
		next = c->next;
		mem_wipe(c->bytes, c->used);
		mem_free(c);
	}
	MEM_FREE(a);
}

void *arena_alloc(struct arena *a, size_t n)
{
	struct chunk *c = a->first;
	CHECK(n < SIZE_MAX / 2);
	n = (n + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	if (c == NULL || c->size - c->used < n) {
		size_t size = n > ARENA_CHUNK ? n : ARENA_CHUNK;
		c = mem_alloc(sizeof *c + size);
		c->size = size;
		c->next = a->first;
		a->first = c;
	}
	void *p = c->bytes + c->used;
	c->used += n;
	return p;
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
	CHECK(size == 0 || count < SIZE_MAX / 2 / size);
	return arena_alloc(a, count * size);
}

struct span arena_span(struct arena *a, struct span s)
{
	char *p = arena_alloc(a, s.n + 1);
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	return span_of(p, s.n);
}

const char *arena_str(struct arena *a, struct span s)
{
	return arena_span(a, s).p;
}
