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
};

struct doors {
	struct doors_opts opts;
	struct list_node list;
	bool paused, retired;
	void (*left)(void *arg); /* until the last header has come or failed */
	void *left_arg;
	struct timer look;
};

static void on_accept(void *arg, const struct accepted *a)
{
	struct door *p = OBJ(door, arg);
	const struct doors_opts *o = &p->doors->opts;
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

static void door_open(struct door *p)
{
	struct door_settings s;
	if (!ask(p, &s))
		return;
	p->settings = s;
	p->settings.proxy_from.v = NULL;
	if (s.proxy_from.n > 0) {
		size_t bytes = s.proxy_from.n * sizeof *s.proxy_from.v;
		p->settings.proxy_from.v = mem_array(s.proxy_from.n, sizeof *s.proxy_from.v);
		memcpy(p->settings.proxy_from.v, s.proxy_from.v, bytes);
	}
	struct listener_opts opts = {
		.proxy_from = s.proxy_from.n > 0 ? &p->settings.proxy_from : NULL,
		.proxy_ms = s.proxy_ms,
		.proxy_waiting_max = PROXY_WAITING_MAX,
		.before = p->doors->opts.before != NULL ? on_before : NULL,
	};
	p->listener = listener_new(p->doors->opts.loop, p->fd, &opts, on_accept, p);
	listener_pause(p->listener, p->doors->paused || p->doors->retired);
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
static bool same_settings(const struct door *p)
{
	const struct ip_prefixes *old = &p->settings.proxy_from;
	struct door_settings s;
	bool named = ask(p, &s);
	if (!named || p->listener == NULL)
		return named == (p->listener != NULL);
	if (s.proxy_ms != p->settings.proxy_ms || s.proxy_from.n != old->n)
		return false;
	for (size_t i = 0; i < old->n; i++)
		if (old->v[i].bits != s.proxy_from.v[i].bits ||
		    !ip_eq(old->v[i].addr, s.proxy_from.v[i].addr))
			return false;
	return true;
}

static void settle_pause(struct doors *d)
{
	for (struct list_node *n = d->list.next; n != &d->list; n = n->next) {
		struct door *p = LIST_OF(struct door, link, n);
		if (p->listener != NULL)
			listener_pause(p->listener, d->paused || d->retired);
	}
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
	list_add_tail(&d->list, &p->link);
	door_open(p);
}

void doors_reload(struct doors *d)
{
	for (struct list_node *n = d->list.next; n != &d->list; n = n->next) {
		struct door *p = LIST_OF(struct door, link, n);
		if (same_settings(p))
			continue;
		door_shut(p);
		door_open(p);
	}
}

void doors_pause(struct doors *d, bool pause)
{
	if (d->paused == pause)
		return;
	d->paused = pause;
	settle_pause(d);
}

void doors_retire(struct doors *d, void (*fn)(void *arg), void *arg)
{
	d->retired = true;
	d->left = fn;
	d->left_arg = arg;
	settle_pause(d);
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
