/* list.h - intrusive doubly linked list with a head node. O(1) insert and remove.
 *
 *	struct item { struct list_node link; ... };
 *	struct list_node head;  list_init(&head);
 *	list_add_tail(&head, &it->link);
 *	for (struct list_node *n = head.next; n != &head; n = n->next)
 *		struct item *it = LIST_OF(struct item, link, n);
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
	struct list_node *prev, *next; /* both NULL: in no list */
};

#define LIST_OF(type, member, node) ((type *)(void *)((char *)(node)-offsetof(type, member)))

static inline void list_init(struct list_node *head)
{
	head->prev = head->next = head;
}

static inline bool list_empty(const struct list_node *head)
{
	return head->next == head;
}

static inline void list_insert(struct list_node *after, struct list_node *n)
{
	n->prev = after;
	n->next = after->next;
	after->next->prev = n;
	after->next = n;
}

static inline void list_add_tail(struct list_node *head, struct list_node *n)
{
	list_insert(head->prev, n);
}

static inline void list_add_head(struct list_node *head, struct list_node *n)
{
	list_insert(head, n);
}

/* Fine for a node that is in no list. */
static inline void list_remove(struct list_node *n)
{
	if (n->next != NULL) {
		n->prev->next = n->next;
		n->next->prev = n->prev;
		n->prev = n->next = NULL;
	}
}

/* First node, removed; NULL when empty. */
static inline struct list_node *list_pop(struct list_node *head)
{
	struct list_node *n = head->next;
	if (n == head)
		return NULL;
	list_remove(n);
	return n;
}

#endif
