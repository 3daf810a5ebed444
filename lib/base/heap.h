/* heap.h - intrusive min-heap of due times: timers and queue schedules.
 *
 * A node knows its place, so moving or removing it is O(log n). Embed struct heap_node. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
	uint64_t due;
	size_t place; /* 1-based; 0 = in no heap */
};

struct heap {
	struct heap_node **v; /* owned */
	size_t n, cap;
};

void heap_end(struct heap *h);                                    /* nodes are not touched */
void heap_put(struct heap *h, struct heap_node *n, uint64_t due); /* insert, or move */
void heap_remove(struct heap *h, struct heap_node *n);            /* fine when in no heap */
struct heap_node *heap_first(const struct heap *h);               /* NULL when empty */

#endif
