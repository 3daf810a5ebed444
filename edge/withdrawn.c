/* withdrawn.c - a ring of ids and a table of what is in it. */
#include "edge/withdrawn.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"

struct withdrawn {
	struct map *by_id;  /* of pointers into ring */
	struct ident *ring; /* owned; NULL: none was added yet */
	size_t n, next;
};

struct withdrawn *withdrawn_new(void)
{
	struct withdrawn *w = MEM_NEW(struct withdrawn);
	w->by_id = map_new(WITHDRAWN_MAX);
	return w;
}

void withdrawn_free(struct withdrawn **pw)
{
	struct withdrawn *w = *pw;
	if (w == NULL)
		return;
	map_free(&w->by_id);
	mem_free(w->ring);
	MEM_FREE(pw);
}

bool withdrawn_has(const struct withdrawn *w, struct ident id)
{
	return map_get(w->by_id, span_str(id.s)) != NULL;
}

void withdrawn_add(struct withdrawn *w, struct ident id)
{
	if (withdrawn_has(w, id))
		return;
	if (w->ring == NULL)
		w->ring = mem_array(WITHDRAWN_MAX, sizeof(*w->ring));
	struct ident *room = &w->ring[w->next];
	if (w->n == WITHDRAWN_MAX)
		map_remove(w->by_id, span_str(room->s));
	else
		w->n++;
	*room = id;
	CHECK(map_set(w->by_id, span_str(room->s), room, NULL));
	w->next = (w->next + 1) % WITHDRAWN_MAX;
}

void withdrawn_each(const struct withdrawn *w, void (*fn)(void *arg, struct ident id), void *arg)
{
	for (size_t i = 0; i < w->n; i++)
		fn(arg, w->ring[i]);
}
