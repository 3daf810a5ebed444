/* search_lookup.c - questions to the text index; see search_lookup.h. Before: search.c; after: text_index.c. Owns the open
 * index, from the first question on, and a window for each key. */
#include "store-backend/imap/search_lookup.h"

#include "base/check.h"
#include "base/mem.h"

#include "store-backend/store.h"

struct key_window {
	const struct search_node *key; /* borrowed */
	struct text_window window;
};

struct search_lookup {
	struct text_index_key of;
	struct text_index *index;              /* owned; NULL: not open yet, or there is none */
	bool away;                             /* it cannot be asked, or not any more */
	struct key_window *v[LOOKUP_KEYS_MAX]; /* owned */
	size_t n;
};

struct search_lookup *search_lookup_new(const struct text_index_key *key)
{
	struct search_lookup *l = MEM_NEW(struct search_lookup);
	l->of = *key;
	return l;
}

void search_lookup_free(struct search_lookup **pl)
{
	struct search_lookup *l = *pl;
	if (l == NULL)
		return;
	text_index_close(&l->index);
	for (size_t i = 0; i < l->n; i++)
		mem_free(l->v[i]);
	MEM_FREE(pl);
}

/* A file that is busy or cannot be read now is asked by the next search. */
static void give_up(struct search_lookup *l, err_t err)
{
	l->away = true;
	text_index_close(&l->index);
	if (err != ERR_CORRUPT)
		return;
	text_index_mark(&l->of);
	log_write(&store_events[STORE_EV_TEXT_INDEX_DAMAGED], NULL,
	    LOG_FIELDS(LOG_STR("path", l->of.path), LOG_U64("mailbox", l->of.mailbox)));
}

static bool is_open(struct search_lookup *l)
{
	err_t err = ERR_OK;
	if (l->index == NULL && !l->away)
		l->index = text_index_open(&l->of, false, &err);
	if (err)
		give_up(l, err);
	return l->index != NULL;
}

/* NULL: no place for another key. */
static struct key_window *window_of(struct search_lookup *l, const struct search_node *n)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i]->key == n)
			return l->v[i];
	if (l->n == LOOKUP_KEYS_MAX)
		return NULL;
	struct key_window *w = l->v[l->n++] = MEM_NEW(struct key_window);
	w->key = n;
	w->window.first = UINT32_MAX; /* none yet */
	return w;
}

bool search_lookup_knows(const struct search_node *n)
{
	return buf_len(&n->text) >= TEXT_GRAM;
}

bool search_lookup_may(struct search_lookup *l, const struct search_node *n, uint32_t uid)
{
	struct key_window *w;
	uint32_t first = uid - uid % TEXT_WINDOW;
	if (!search_lookup_knows(n) || !is_open(l) || (w = window_of(l, n)) == NULL)
		return true;
	if (w->window.first != first) {
		err_t err = text_index_look(l->index, buf_span(&n->text), first, &w->window);
		if (err) {
			give_up(l, err);
			return true;
		}
	}
	return text_window_may(&w->window, uid);
}
