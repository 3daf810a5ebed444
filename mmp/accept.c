/* accept.c - connections come in (step 1 of 5; after: admit.c).
 *
 * Owns: one struct port for each listening socket of the worker. The limits of the worker are kept
 * here: more connections than connections_max are closed at once; more than
 * connections_prelogin_max before login end the one that was idle longest. */
#include "mmp/accept.h"

#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "net/listen.h"

#include "mmp/mmp_tables.h"
#include "mmp/session.h"

#define port_MAGIC 0x6d6d7032u

enum {
	PROXY_WAITING_MAX = 4096,
	EVICT_LOOK_MAX = 64 /* sessions looked at to find one that waits for its client */
};

struct port {
	uint32_t magic;
	struct list_node link; /* in mmp->ports */
	struct mmp *mmp;
	char *name;                /* owned: finds the settings again after a reload */
	int fd;                    /* the daemon's */
	struct mmp_setup *setup;   /* referenced: holds proxy_from for the listener */
	struct listener *listener; /* owned; NULL while the settings do not name it */
};

static void shed(const struct port *p, const struct accepted *a, enum reason why)
{
	metric_add(&mmp_metrics[MMP_M_SHED], 1);
	log_write(&mmp_events[MMP_EV_SESSION_SHED], NULL,
	    LOG_FIELDS(LOG_ADDR("client", a->client), LOG_STR("listener", p->name),
		LOG_STR("why", reasons[why].word)));
	close(a->fd);
}

/* True: one of the sessions before login, idle longest as far as can be told cheaply, has gone. */
static bool evict_one(struct mmp *m)
{
	struct list_node *n = m->prelogin.next;
	for (size_t i = 0; i < EVICT_LOOK_MAX && n != &m->prelogin; i++, n = n->next) {
		struct session *s = LIST_OF(struct session, link, n);
		if (session_is_idle(s)) {
			metric_add(&mmp_metrics[MMP_M_SHED], 1);
			session_end_now(s, WHY_EVICTED);
			return true;
		}
	}
	return false;
}

static void on_accept(void *arg, const struct accepted *a)
{
	struct port *p = OBJ(port, arg);
	struct mmp *m = p->mmp;
	const struct mmp_conf *c = m->setup->mmp;
	const struct mmp_listener_conf *listener = mmp_setup_listener(m->setup, p->name);
	metric_add(&mmp_metrics[MMP_M_CONNECTIONS], 1);
	if (listener == NULL || m->prelogin_n + m->piped_n >= (size_t)c->connections_max) {
		shed(p, a, WHY_TOO_BUSY);
		return;
	}
	if (m->prelogin_n >= (size_t)c->connections_prelogin_max && !evict_one(m)) {
		shed(p, a, WHY_EVICTED);
		return;
	}
	session_start(m, listener, a);
}

static void port_open(struct port *p)
{
	const struct mmp_listener_conf *c = mmp_setup_listener(p->setup, p->name);
	if (c == NULL)
		return;
	struct listener_opts opts = {
		.proxy_from = c->proxy_from.n > 0 ? &c->proxy_from : NULL,
		.proxy_ms = c->proxy_timeout,
		.proxy_waiting_max = PROXY_WAITING_MAX,
	};
	p->listener = listener_new(p->mmp->loop, p->fd, &opts, on_accept, p);
}

static void port_free(struct port *p)
{
	listener_free(&p->listener);
	mmp_setup_unref(&p->setup);
	list_remove(&p->link);
	mem_free(p->name);
	p->magic = 0;
	mem_free(p);
}

/* May the listener made with the old settings go on under the new ones? */
static bool same_listening(const struct mmp_listener_conf *a, const struct mmp_listener_conf *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	if (a->proxy_timeout != b->proxy_timeout || a->proxy_from.n != b->proxy_from.n)
		return false;
	for (size_t i = 0; i < a->proxy_from.n; i++)
		if (a->proxy_from.v[i].bits != b->proxy_from.v[i].bits ||
		    !ip_eq(a->proxy_from.v[i].addr, b->proxy_from.v[i].addr))
			return false;
	return true;
}

void accept_listeners(const struct conf *c, struct daemon_listeners *out)
{
	const struct mmp_conf *m = conf_section(c, &mmp_block);
	for (size_t i = 0; i < m->listener_n; i++) {
		const struct conf_addresses *list = &m->listener[i]->address;
		for (size_t j = 0; j < list->n && out->n < COUNT_OF(out->v); j++)
			out->v[out->n++] = (struct daemon_listener){
				.role = "worker",
				.name = m->listener[i]->head.title,
				.at = list->v[j].at,
				.unix_path = list->v[j].unix_path,
				.unix_mode = 0666,
			};
	}
}

void accept_add(struct mmp *m, const char *name, int fd)
{
	struct port *p = MEM_NEW(struct port);
	p->magic = port_MAGIC;
	p->mmp = m;
	p->name = mem_str(name);
	p->fd = fd;
	p->setup = mmp_setup_ref(m->setup);
	list_add_tail(&m->ports, &p->link);
	port_open(p);
}

void accept_reload(struct mmp *m)
{
	for (struct list_node *n = m->ports.next; n != &m->ports; n = n->next) {
		struct port *p = LIST_OF(struct port, link, n);
		if (same_listening(mmp_setup_listener(p->setup, p->name),
			mmp_setup_listener(m->setup, p->name)))
			continue;
		listener_free(&p->listener);
		mmp_setup_unref(&p->setup);
		p->setup = mmp_setup_ref(m->setup);
		port_open(p);
	}
}

void accept_stop(struct mmp *m)
{
	for (struct list_node *n = m->ports.next, *next; n != &m->ports; n = next) {
		next = n->next;
		port_free(LIST_OF(struct port, link, n));
	}
}
