/* heap.c - binary min-heap of intrusive nodes. */
#include "base/check.h"
#include "base/heap.h"
#include "base/mem.h"

enum { HEAP_FIRST = 64 };

void heap_end(struct heap *h)
{
	mem_free(h->v);
	*h = (struct heap){ 0 };
}

static void place(struct heap *h, struct heap_node *n, size_t at)
{
	h->v[at - 1] = n;
	n->place = at;
}

static void sift_up(struct heap *h, struct heap_node *n)
{
	size_t at = n->place;
	for (; at > 1 && h->v[at / 2 - 1]->due > n->due; at /= 2)
		place(h, h->v[at / 2 - 1], at);
	place(h, n, at);
}

static void sift_down(struct heap *h, struct heap_node *n)
{
	size_t at = n->place, child;
	for (; (child = at * 2) <= h->n; at = child) {
		if (child < h->n && h->v[child]->due < h->v[child - 1]->due)
			child++;
		if (h->v[child - 1]->due >= n->due)
			break;
		place(h, h->v[child - 1], at);
	}
	place(h, n, at);
}

void heap_put(struct heap *h, struct heap_node *n, uint64_t due)
{
	if (n->place == 0) {
		if (h->n == h->cap) {
			h->cap = h->cap == 0 ? HEAP_FIRST : h->cap * 2;
			h->v = mem_grow(h->v, h->cap, sizeof(struct heap_node *));
		}
		place(h, n, ++h->n);
	}
	n->due = due;
	sift_up(h, n);
	sift_down(h, n);
}

void heap_remove(struct heap *h, struct heap_node *n)
{
	if (n->place == 0)
		return;
	CHECK(n->place <= h->n && h->v[n->place - 1] == n);
	struct heap_node *last = h->v[--h->n];
	size_t at = n->place;
	n->place = 0;
	if (last == n)
		return;
	place(h, last, at);
	sift_up(h, last);
	sift_down(h, last);
}

struct heap_node *heap_first(const struct heap *h)
{
	return h->n == 0 ? NULL : h->v[0];
}
