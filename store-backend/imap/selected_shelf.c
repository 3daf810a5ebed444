/* selected_shelf.c - what sessions leave behind of their mailboxes for those that come; see selected_shelf.h.
 * Before and after: selected.c. Owns the arrays. */
#include "store-backend/imap/selected_shelf.h"

#include "base/list.h"
#include "base/mem.h"

#include "store-backend/imap/selected.h"

enum { BOXES_MAX = 16, MESSAGES_MAX = 1 << 20, WORTH_MESSAGES = 256 };

struct shelved {
	struct list_node place;
	uint64_t id, modseq;
	struct selected_message *v; /* owned */
	size_t n, cap;
	uint32_t recent_floor;
	size_t gone, dirty; /* marked so */
};

struct selected_shelf {
	struct list_node boxes; /* the one that came last is last */
	size_t box_n, messages; /* messages: that there is memory for */
};

struct selected_shelf *selected_shelf_new(void)
{
	struct selected_shelf *f = MEM_NEW(struct selected_shelf);
	list_init(&f->boxes);
	return f;
}

static void drop(struct selected_shelf *f, struct shelved *b)
{
	list_remove(&b->place);
	f->box_n--;
	f->messages -= b->cap;
	mem_free(b->v);
	mem_free(b);
}

void selected_shelf_free(struct selected_shelf **fp)
{
	struct selected_shelf *f = *fp;
	if (f == NULL)
		return;
	while (!list_empty(&f->boxes))
		drop(f, LIST_OF(struct shelved, place, f->boxes.next));
	MEM_FREE(fp);
}

static struct shelved *find(struct selected_shelf *f, uint64_t id)
{
	for (struct list_node *n = f->boxes.next; n != &f->boxes; n = n->next) {
		struct shelved *b = LIST_OF(struct shelved, place, n);
		if (b->id == id)
			return b;
	}
	return NULL;
}

void selected_shelf_put(struct selected_shelf *f, struct selected *box)
{
	if (box->deleted || box->modseq == 0 || box->n < WORTH_MESSAGES || box->cap > MESSAGES_MAX)
		return;
	struct shelved *b = find(f, box->id);
	if (b != NULL && b->modseq > box->modseq)
		return; /* another session left it later */
	if (b != NULL)
		drop(f, b);
	while (f->box_n == BOXES_MAX || f->messages + box->cap > MESSAGES_MAX)
		drop(f, LIST_OF(struct shelved, place, f->boxes.next));
	b = MEM_NEW(struct shelved);
	b->id = box->id;
	b->modseq = box->modseq;
	b->v = box->v;
	b->n = box->n;
	b->cap = box->cap;
	b->recent_floor = box->recent_floor;
	b->gone = box->gone;
	b->dirty = box->dirty;
	list_add_tail(&f->boxes, &b->place);
	f->box_n++;
	f->messages += b->cap;
	box->v = NULL;
	box->n = box->cap = 0;
}

void selected_shelf_take(struct selected_shelf *f, struct selected *box, uint64_t from)
{
	struct shelved *b = find(f, box->id);
	if (b != NULL && b->modseq < from) {
		drop(f, b);
		return;
	}
	if (b == NULL)
		return;
	box->v = b->v;
	box->n = b->n;
	box->cap = b->cap;
	box->modseq = b->modseq;
	box->recent_floor = b->recent_floor;
	box->gone = b->gone;
	box->dirty = b->dirty;
	box->untold = true;
	b->v = NULL;
	drop(f, b);
}
