/* doors.c - the listening sockets of one worker. Before: worker.c hands out the descriptors; after: the
 * program's accept step. Owns one struct door for each, with a copy of its PROXY networks. */
#include "daemon/doors.h"

#include <string.h>

#include "base/check.h"
#include "base/list.h"
#include "base/mem.h"

#define door_MAGIC 0xd0020001u

enum { PROXY_WAITING_MAX = 4096, RETIRE_LOOK_MS = 100 };

struct door {
	uint32_t magic;
	struct list_node link; /* in doors->list */
	struct doors *doors;
	char *name;                    /* owned: finds the settings again after a reload */
	int fd;                        /* the daemon's */
	struct listener *listener;     /* owned; NULL: the settings do not know the name. Else: */
	struct door_settings settings; /* proxy_from.v is owned */
	size_t sessions;               /* of the name: all its doors count all of them */
};

struct doors {
	struct doors_opts opts;
	struct list_node list;
	bool paused, drains, retired;
	void (*left)(void *arg); /* until the last header has come or failed */
	void *left_arg;
	struct timer look;
};

static bool is_full(const struct door *p)
{
	return p->settings.sessions_max > 0 && p->sessions >= p->settings.sessions_max;
}

static void on_accept(void *arg, const struct accepted *a)
{
	struct door *p = OBJ(door, arg);
	const struct doors_opts *o = &p->doors->opts;
	if (p->doors->drains && is_full(p))
		accepted_close(a);
	else
		o->accepted(o->arg, p->name, a);
}

static void on_before(void *arg)
{
	const struct doors_opts *o = &OBJ(door, arg)->doors->opts;
	o->before(o->arg);
}

static bool ask(const struct door *p, struct door_settings *out)
{
	const struct doors_opts *o = &p->doors->opts;
	*out = (struct door_settings){ 0 };
	return o->settings(o->arg, p->name, out);
}

static void door_settle(struct door *p)
{
	const struct doors *d = p->doors;
	bool waits = !d->drains && (d->paused || is_full(p));
	if (p->listener != NULL)
		listener_pause(p->listener, d->retired || waits);
}

static void settle_all(const struct doors *d)
{
	for (struct list_node *n = d->list.next; n != &d->list; n = n->next)
		door_settle(LIST_OF(struct door, link, n));
}

static void door_open(struct door *p, const struct door_settings *s)
{
	size_t n = s->proxy_from.n, bytes = n * sizeof *s->proxy_from.v;
	p->settings = *s;
	p->settings.proxy_from.v = NULL;
	if (n > 0) {
		p->settings.proxy_from.v = mem_array(n, sizeof *s->proxy_from.v);
		memcpy(p->settings.proxy_from.v, s->proxy_from.v, bytes);
	}
	struct listener_opts opts = {
		.proxy_from = n > 0 ? &p->settings.proxy_from : NULL,
		.proxy_ms = s->proxy_ms,
		.proxy_waiting_max = PROXY_WAITING_MAX,
		.before = p->doors->opts.before != NULL ? on_before : NULL,
	};
	p->listener = listener_new(p->doors->opts.loop, p->fd, &opts, on_accept, p);
}

static void door_shut(struct door *p)
{
	listener_free(&p->listener);
	MEM_FREE(&p->settings.proxy_from.v);
	p->settings = (struct door_settings){ 0 };
}

static void door_free(struct door *p)
{
	door_shut(p);
	list_remove(&p->link);
	mem_free(p->name);
	p->magic = 0;
	mem_free(p);
}

/* May the listener made with the old settings go on? */
static bool same_settings(const struct door_settings *old, const struct door_settings *s)
{
	if (s->proxy_ms != old->proxy_ms || s->proxy_from.n != old->proxy_from.n)
		return false;
	for (size_t i = 0; i < s->proxy_from.n; i++)
		if (old->proxy_from.v[i].bits != s->proxy_from.v[i].bits ||
		    !ip_eq(old->proxy_from.v[i].addr, s->proxy_from.v[i].addr))
			return false;
	return true;
}

static void door_follow(struct door *p)
{
	struct door_settings s;
	bool named = ask(p, &s);
	if (p->listener != NULL && !(named && same_settings(&p->settings, &s)))
		door_shut(p);
	if (named && p->listener == NULL)
		door_open(p, &s);
	p->settings.sessions_max = s.sessions_max;
	door_settle(p);
}

static void count(struct doors *d, const char *name, bool begins)
{
	for (struct list_node *n = d->list.next; n != &d->list; n = n->next) {
		struct door *p = LIST_OF(struct door, link, n);
		if (strcmp(p->name, name) != 0)
			continue;
		if (begins)
			p->sessions++;
		else if (p->sessions > 0)
			p->sessions--;
		door_settle(p);
	}
}

static size_t sessions_of(const struct doors *d, const char *name)
{
	for (const struct list_node *n = d->list.next; n != &d->list; n = n->next) {
		const struct door *p = LIST_OF(const struct door, link, n);
		if (strcmp(p->name, name) == 0)
			return p->sessions;
	}
	return 0;
}

static size_t waiting(const struct doors *d)
{
	size_t all = 0;
	for (const struct list_node *n = d->list.next; n != &d->list; n = n->next) {
		const struct door *p = LIST_OF(const struct door, link, n);
		all += p->listener != NULL ? listener_waiting(p->listener) : 0;
	}
	return all;
}

static void on_look(void *arg)
{
	struct doors *d = arg;
	if (waiting(d) == 0)
		d->left(d->left_arg);
	else
		timer_set(&d->look, RETIRE_LOOK_MS);
}

/* ---- public ------------------------------------------------------------------------------------ */

struct doors *doors_new(const struct doors_opts *opts)
{
	struct doors *d = MEM_NEW(struct doors);
	d->opts = *opts;
	list_init(&d->list);
	timer_init(&d->look, opts->loop, on_look, d);
	return d;
}

void doors_add(struct doors *d, const char *name, int fd)
{
	struct door *p = MEM_NEW(struct door);
	p->magic = door_MAGIC;
	p->doors = d;
	p->name = mem_str(name);
	p->fd = fd;
	p->sessions = sessions_of(d, name);
	list_add_tail(&d->list, &p->link);
	door_follow(p);
}

void doors_reload(struct doors *d)
{
	for (struct list_node *n = d->list.next; n != &d->list; n = n->next)
		door_follow(LIST_OF(struct door, link, n));
}

void doors_pause(struct doors *d, bool pause)
{
	if (d->paused == pause)
		return;
	d->paused = pause;
	settle_all(d);
}

void doors_enter(struct doors *d, const char *name)
{
	count(d, name, true);
}

void doors_leave(struct doors *d, const char *name)
{
	count(d, name, false);
}

void doors_drain(struct doors *d)
{
	d->drains = true;
	settle_all(d);
}

void doors_retire(struct doors *d, void (*fn)(void *arg), void *arg)
{
	d->retired = true;
	d->left = fn;
	d->left_arg = arg;
	settle_all(d);
	on_look(d);
}

void doors_close(struct doors *d)
{
	timer_clear(&d->look);
	while (!list_empty(&d->list))
		door_free(LIST_OF(struct door, link, d->list.next));
}

void doors_free(struct doors **d)
{
	if (*d == NULL)
		return;
	doors_close(*d);
	MEM_FREE(d);
}
