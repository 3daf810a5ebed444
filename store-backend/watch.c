/* watch.c - step 6 of 6: news of a mailbox to the sessions that look at it. Before: committer.c, which tells
 * each link once a group commit. Owns the watches of a link; one entry per mailbox, many watches each. */
#include "base/check.h"
#include "base/mem.h"
#include "store-backend/operation_link.h"

struct watched {
	uint64_t mailbox;
	struct list_node watches;
	bool telling; /* watch_tell() is going over it and will clean up */
};

struct mailbox_watch {
	struct operation_link *link; /* borrowed */
	struct watched *on;          /* borrowed */
	struct list_node place;
	void (*fn)(void *arg, const struct mailbox_news *news);
	void *arg;
};

static struct span key_of(const uint64_t *mailbox)
{
	return span_of(mailbox, sizeof *mailbox);
}

void link_watches_init(struct operation_link *k)
{
	k->watched = map_new(WATCHES_MAX);
}

static void drop_if_empty(struct operation_link *k, struct watched *on)
{
	if (!list_empty(&on->watches) || on->telling)
		return;
	map_remove(k->watched, key_of(&on->mailbox));
	if (k->state == LINK_UP)
		operation_link_say(k, FRAME_UNWATCH, on->mailbox);
	mem_free(on);
}

static bool free_watched(void *arg, struct span key, void *value)
{
	struct watched *on = value;
	struct list_node *n;
	while ((n = list_pop(&on->watches)) != NULL)
		mem_free(LIST_OF(struct mailbox_watch, place, n));
	mem_free(on);
	return true;
}

void link_watches_end(struct operation_link *k)
{
	map_each(k->watched, free_watched, NULL);
	map_free(&k->watched);
}

static bool say_watch(void *arg, struct span key, void *value)
{
	const struct watched *on = value;
	operation_link_say(arg, FRAME_WATCH, on->mailbox);
	return true;
}

void watch_again(struct operation_link *k)
{
	map_each(k->watched, say_watch, k);
}

void watch_tell(struct operation_link *k, const struct mailbox_news *news)
{
	struct watched *on = map_get(k->watched, key_of(&news->mailbox));
	struct list_node todo, *n;
	if (on == NULL || on->telling)
		return;
	/* Each call may stop any of them: what is left is always reachable from one of two lists. */
	on->telling = true;
	list_init(&todo);
	while ((n = list_pop(&on->watches)) != NULL)
		list_add_tail(&todo, n);
	while ((n = list_pop(&todo)) != NULL) {
		struct mailbox_watch *w = LIST_OF(struct mailbox_watch, place, n);
		list_add_tail(&on->watches, n);
		w->fn(w->arg, news);
	}
	on->telling = false;
	drop_if_empty(k, on);
}

struct mailbox_watch *mailbox_watch_start(struct operation_link *k, uint64_t mailbox,
    void (*fn)(void *arg, const struct mailbox_news *news), void *arg)
{
	struct watched *on = map_get(k->watched, key_of(&mailbox));
	struct mailbox_watch *w = MEM_NEW(struct mailbox_watch);
	*w = (struct mailbox_watch){ .link = k, .fn = fn, .arg = arg };
	if (on == NULL) {
		on = MEM_NEW(struct watched);
		on->mailbox = mailbox;
		list_init(&on->watches);
		if (!map_set(k->watched, key_of(&mailbox), on, NULL)) {
			/* More mailboxes than one worker can have sessions: this one hears nothing. */
			MEM_FREE(&on);
			return w;
		}
		if (k->state == LINK_UP)
			operation_link_say(k, FRAME_WATCH, mailbox);
	}
	w->on = on;
	list_add_tail(&on->watches, &w->place);
	return w;
}

void mailbox_watch_stop(struct mailbox_watch **wp)
{
	struct mailbox_watch *w = *wp;
	if (w == NULL)
		return;
	list_remove(&w->place);
	if (w->on != NULL)
		drop_if_empty(w->link, w->on);
	MEM_FREE(wp);
}
