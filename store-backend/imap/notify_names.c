/* notify_names.c - which mailboxes NOTIFY is about, and what has become of their names, subscriptions and annotations; see
 * notify_box.h. Owns nothing of its own. */
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"

#include "store-backend/imap/notify_box.h"
#include "store-backend/imap/shared.h"

/* ---- filters ---------------------------------------------------------------------------------------------------- */

static bool is_below(struct span name, struct span superior)
{
	return span_eq(name, superior) ||
	       (name.n > superior.n && name.p[superior.n] == '/' && span_starts(name, superior));
}

static bool is_named(const struct imap_notify *n, const struct notify_group *g, struct span name)
{
	for (size_t i = 0; i < g->name_n; i++) {
		struct span one = span_str(n->names[g->name_at + i]);
		if (g->filter == NOTIFY_SUBTREE ? is_below(name, one) : span_eq(name, one))
			return true;
	}
	return false;
}

static int by_name(const void *a, const void *b)
{
	char *const *x = a, *const *y = b;
	return strcmp(*x, *y);
}

static bool is_subscribed(const struct imap_notify *n, const char *name)
{
	return n->sub_n > 0 &&
	       bsearch(&name, n->subs, n->sub_n, sizeof n->subs[0], by_name) != NULL;
}

/* The first filter that fits says what is told (RFC 5465 section 3.1). subscribed: it is, or just was. */
static unsigned events_of(const struct imap_notify *n, const char *name, bool own, bool subscribed)
{
	for (size_t i = 0; i < n->n; i++) {
		const struct notify_group *g = &n->v[i];
		bool fits = false;
		if (g->filter == NOTIFY_INBOXES)
			fits = strcmp(name, "INBOX") == 0;
		else if (g->filter == NOTIFY_PERSONAL)
			fits = own;
		else if (g->filter == NOTIFY_SUBSCRIBED)
			fits = subscribed;
		else if (g->filter >= NOTIFY_SUBTREE)
			fits = is_named(n, g, span_str(name));
		if (fits)
			return g->events;
	}
	return 0;
}

static bool any_event(const struct imap_notify *n, unsigned event)
{
	for (size_t i = 0; i < n->n; i++)
		if ((n->v[i].events & event) != 0)
			return true;
	return false;
}

/* ---- subscriptions --------------------------------------------------------------------------------------------------- */

struct names {
	char **v;
	size_t n, cap;
};

static bool on_subscription(void *arg, struct span name)
{
	struct names *l = arg;
	if (l->n == l->cap) {
		l->cap = l->cap == 0 ? 16 : l->cap * 2;
		l->v = mem_grow(l->v, l->cap, sizeof l->v[0]);
	}
	l->v[l->n++] = mem_span_str(name);
	return l->n < STORE_MAILBOXES_MAX;
}

static void say_list(struct imap_session *s, const char *attributes, const char *name)
{
	imap_say(s, "* LIST (%s) \"/\" ", attributes);
	imap_put_name(s, span_str(name));
	imap_say(s, "\r\n");
}

static void say_subscription(struct imap_notify *n, const char *name, bool on)
{
	bool own = span_eq_str(shared_parse(n->s, span_str(name)).owner, n->s->user);
	if ((events_of(n, name, own, true) & NOTIFY_SUBSCRIPTION) != 0)
		say_list(n->s, on ? "\\Subscribed" : "", name);
}

/* Both lists are in byte order. */
static void tell_subscriptions(struct imap_notify *n, const struct names *now)
{
	size_t a = 0, b = 0;
	while (a < n->sub_n || b < now->n) {
		int cmp = a == n->sub_n ? 1 : b == now->n ? -1 : strcmp(n->subs[a], now->v[b]);
		if (cmp != 0)
			say_subscription(n, cmp < 0 ? n->subs[a] : now->v[b], cmp > 0);
		a += cmp <= 0;
		b += cmp >= 0;
	}
}

static void refresh_subscriptions(struct imap_notify *n, struct index_view *v, bool tell)
{
	struct names now = { 0 };
	index_subscriptions(v, span_str(n->s->user), on_subscription, &now);
	if (now.n > 1)
		qsort(now.v, now.n, sizeof now.v[0], by_name);
	if (tell)
		tell_subscriptions(n, &now);
	for (size_t i = 0; i < n->sub_n; i++)
		mem_free(n->subs[i]);
	mem_free(n->subs);
	n->subs = now.v;
	n->sub_n = now.n;
}

/* ---- annotations ------------------------------------------------------------------------------------------------------- */

struct annotations {
	struct notify_entry *v;
	size_t n, cap;
	const char *scope; /* of whom */
};

static bool on_entry(void *arg, struct span name, struct span value)
{
	static const struct hash_key fixed = { 0x6e6f74696679u, 1 };
	struct annotations *l = arg;
	if (name.p[0] != '/')
		return true;
	if (l->n == l->cap) {
		l->cap = l->cap == 0 ? 8 : l->cap * 2;
		l->v = mem_grow(l->v, l->cap, sizeof l->v[0]);
	}
	l->v[l->n++] = (struct notify_entry){ mem_span_str(name), hash_sip(&fixed, value) };
	return l->n < 2 * STORE_ENTRIES_MAX;
}

static const struct notify_entry *find_entry(
    const struct notify_entry *v, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(v[i].name, name) == 0)
			return &v[i];
	return NULL;
}

static void say_entry(struct notify_box *b, const char *name, bool *any)
{
	struct imap_session *s = b->of->s;
	if (!*any)
		imap_say(s, "* METADATA ");
	if (!*any && b->id != 0)
		imap_put_name(s, span_str(b->name));
	else if (!*any)
		imap_say(s, "\"\"");
	imap_say(s, " ");
	imap_put_astring(&s->text, span_str(name));
	*any = true;
}

static void tell_entries(struct notify_box *b, const struct annotations *now)
{
	bool any = false;
	for (size_t i = 0; i < now->n; i++) {
		const struct notify_entry *was = find_entry(b->entries, b->entry_n, now->v[i].name);
		if (was == NULL || was->hash != now->v[i].hash)
			say_entry(b, now->v[i].name, &any);
	}
	for (size_t i = 0; i < b->entry_n; i++)
		if (find_entry(now->v, now->n, b->entries[i].name) == NULL)
			say_entry(b, b->entries[i].name, &any);
	if (any)
		imap_say(b->of->s, "\r\n");
}

static void refresh_entries(struct notify_box *b, struct index_view *v, bool tell)
{
	struct annotations now = { 0 };
	if ((b->events & (NOTIFY_METADATA | NOTIFY_SERVER_METADATA)) == 0)
		return;
	if (b->id != 0)
		index_metadata(v, b->id, SPAN(""), on_entry, &now);
	index_metadata(v, b->id, span_str(b->of->s->user), on_entry, &now);
	if (tell)
		tell_entries(b, &now);
	for (size_t i = 0; i < b->entry_n; i++)
		mem_free(b->entries[i].name);
	mem_free(b->entries);
	b->of->entry_n += now.n - b->entry_n;
	b->entries = now.v;
	b->entry_n = now.n;
}

/* ---- mailboxes ------------------------------------------------------------------------------------------------------------ */

static void on_watch(void *arg, const struct mailbox_news *news)
{
	struct notify_box *b = arg;
	b->stale = true;
	b->of->names_stale = b->of->names_stale || news->gone;
	notify_wake(b->of);
}

static void on_user_watch(void *arg, const struct mailbox_news *news)
{
	struct imap_notify *n = arg;
	n->names_stale = true;
	notify_wake(n);
}

static void watch_user(struct imap_notify *n, struct store_partition *in, struct span user)
{
	for (size_t i = 0; i < n->user_n; i++)
		if (span_eq_str(user, n->users[i].user) && n->users[i].in == in)
			return;
	if (n->user_n == NOTIFY_USERS_MAX)
		return; /* changes of names of so many others are told with the next one */
	n->users[n->user_n].user = mem_span_str(user);
	n->users[n->user_n].in = in;
	n->users[n->user_n++].watch =
	    mailbox_watch_start(in->link, index_user_watch(user), on_user_watch, n);
}

struct collect {
	struct imap_notify *n;
	struct store_partition *in; /* whose mailboxes are gone over, in the view */
	struct index_view *view;
	bool tell;
	struct notify_box **v; /* as they are now */
	size_t count;
	bool overflow;
};

static struct notify_box *old_box(struct collect *k, uint64_t id)
{
	struct imap_notify *n = k->n;
	for (size_t i = 0; i < n->box_n; i++) {
		struct notify_box *b = n->boxes[i];
		if (b == NULL || b->id != id || b->in != k->in)
			continue;
		n->boxes[i] = NULL;
		return b;
	}
	return NULL;
}

static void tell_name(struct collect *k, struct notify_box *b, const char *name, bool fresh)
{
	struct imap_session *s = k->n->s;
	bool told = k->tell && (b->events & NOTIFY_NAME) != 0;
	if (told && fresh) {
		say_list(s, "", name);
	} else if (told && strcmp(name, b->name) != 0) {
		imap_say(s, "* LIST () \"/\" ");
		imap_put_name(s, span_str(name));
		imap_say(s, " (\"OLDNAME\" (");
		imap_put_name(s, span_str(b->name));
		imap_say(s, "))\r\n");
	}
}

/* Another filter may say another thing of its new name. */
static void set_events(struct collect *k, struct notify_box *b, unsigned events)
{
	b->events = events;
	if ((events & NOTIFY_MESSAGES) == 0)
		mailbox_watch_stop(&b->watch);
	else if (b->watch == NULL)
		b->watch = mailbox_watch_start(b->in->link, b->id, on_watch, b);
}

static struct notify_box *new_box(struct collect *k, const struct index_mailbox *m)
{
	struct notify_box *b = MEM_NEW(struct notify_box);
	b->of = k->n;
	b->in = k->in;
	b->id = m->id;
	b->modseq = m->modseq;
	b->messages = m->messages;
	b->uidnext = m->uidnext;
	return b;
}

static bool take_box(
    struct collect *k, const struct index_mailbox *m, char *take_name, unsigned events)
{
	if (k->count == NOTIFY_BOXES_MAX || k->n->entry_n > NOTIFY_ENTRIES_MAX) {
		mem_free(take_name);
		k->overflow = true;
		return false;
	}
	struct notify_box *b = old_box(k, m->id);
	bool fresh = b == NULL;
	if (fresh)
		b = new_box(k, m);
	set_events(k, b, events);
	tell_name(k, b, take_name, fresh);
	mem_free(b->name);
	b->name = take_name;
	refresh_entries(b, k->view, k->tell && !fresh);
	k->v[k->count++] = b;
	watch_user(k->n, k->in, m->user);
	return true;
}

static bool on_mailbox(void *arg, const struct index_mailbox *m)
{
	struct collect *k = arg;
	struct buf name = BUF_INIT(IMAP_NAME_BYTES);
	bool own = span_eq_str(m->user, k->n->s->user), go_on = true;
	if (shared_put(k->n->s, m, &name)) {
		char *copy = mem_span_str(buf_span(&name));
		unsigned events = events_of(k->n, copy, own, is_subscribed(k->n, copy));
		if (events != 0)
			go_on = take_box(k, m, copy, events);
		else
			mem_free(copy);
	}
	buf_end(&name);
	return go_on;
}

/* One that others have opened may come twice. */
static bool on_shared(void *arg, const struct index_mailbox *m)
{
	struct collect *k = arg;
	for (size_t i = 0; i < k->count; i++)
		if (k->v[i]->id == m->id && k->v[i]->in == k->in)
			return true;
	return on_mailbox(arg, m);
}

/* What is left of the old ones is not there any more, as far as this session may know. */
static void drop_old(struct collect *k)
{
	struct imap_notify *n = k->n;
	for (size_t i = 0; i < n->box_n; i++) {
		struct notify_box *b = n->boxes[i];
		if (b == NULL)
			continue;
		if (k->tell && !k->overflow && (b->events & NOTIFY_NAME) != 0)
			say_list(n->s, "\\NonExistent", b->name);
		n->entry_n -= b->entry_n;
		notify_box_free(b);
	}
	mem_free(n->boxes);
	n->boxes = k->v;
	n->box_n = k->count;
}

/* Nothing is known of the mailboxes of a partition that cannot be read now: they stay. */
static void keep_boxes(struct collect *k)
{
	struct imap_notify *n = k->n;
	n->names_stale = true;
	for (size_t i = 0; i < n->box_n && k->count < NOTIFY_BOXES_MAX; i++) {
		if (n->boxes[i] == NULL || n->boxes[i]->in != k->in)
			continue;
		k->v[k->count++] = n->boxes[i];
		n->boxes[i] = NULL;
	}
}

/* Those of the session's own, which are at home, with subscriptions and the annotations of the server. */
static void collect_own(struct collect *k)
{
	struct imap_notify *n = k->n;
	struct index_mailbox server = { .user = span_str(n->s->user) };
	refresh_subscriptions(n, k->view, k->tell);
	if (any_event(n, NOTIFY_SERVER_METADATA))
		(void)take_box(k, &server, mem_str(""), NOTIFY_SERVER_METADATA);
	index_mailboxes(k->view, span_str(n->s->user), on_mailbox, k);
}

/* Whatever others grant there is told of as news of the own user. */
static void collect_in(struct collect *k, struct store_partition *in)
{
	k->in = in;
	watch_user(k->n, in, span_str(k->n->s->user));
	watch_user(k->n, in, SPAN("anyone"));
	k->view = index_view_begin(in->index);
	if (k->view == NULL) {
		keep_boxes(k);
		return;
	}
	if (in == k->n->s->home)
		collect_own(k);
	shared_each(k->n->s, k->view, on_shared, k);
	index_view_end(&k->view);
}

bool notify_refresh_names(struct imap_notify *n, bool tell)
{
	struct collect k = { .n = n, .tell = tell };
	struct store_worker *w = n->s->base.worker;
	k.v = mem_array(NOTIFY_BOXES_MAX, sizeof k.v[0]);
	n->names_stale = false;
	collect_in(&k, n->s->home); /* first: by its subscriptions the others are looked at */
	for (size_t i = 0; !k.overflow && i < store_partition_count(w); i++)
		if (store_partition_at(w, i) != n->s->home)
			collect_in(&k, store_partition_at(w, i));
	drop_old(&k);
	return !k.overflow;
}
