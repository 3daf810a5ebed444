/* accept.c - connections come in (step 1 of 5; after: admit.c).
 *
 * The limits of the worker are kept here: more connections than connections_max are closed at once; more than
 * connections_prelogin_max before login end the one that was idle longest. */
#include "mmp/accept.h"

#include <unistd.h>

#include "mmp/mmp_tables.h"
#include "mmp/session.h"

enum { EVICT_LOOK_MAX = 64 }; /* sessions looked at to find one that waits for its client */

static void shed(const char *name, const struct accepted *a, enum reason why)
{
	metric_add(&mmp_metrics[MMP_M_SHED], 1);
	log_write(&mmp_events[MMP_EV_SESSION_SHED], NULL,
	    LOG_FIELDS(LOG_ADDR("client", a->client), LOG_STR("listener", name),
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

static void on_accepted(void *arg, const char *name, const struct accepted *a)
{
	struct mmp *m = arg;
	const struct mmp_conf *c = m->setup->mmp;
	const struct mmp_listener_conf *listener = mmp_setup_listener(m->setup, name);
	metric_add(&mmp_metrics[MMP_M_CONNECTIONS], 1);
	if (listener == NULL || m->prelogin_n + m->piped_n >= (size_t)c->connections_max) {
		shed(name, a, WHY_TOO_BUSY);
		return;
	}
	if (m->prelogin_n >= (size_t)c->connections_prelogin_max && !evict_one(m)) {
		shed(name, a, WHY_EVICTED);
		return;
	}
	session_start(m, listener, a);
}

static bool settings_of(void *arg, const char *name, struct door_settings *out)
{
	const struct mmp *m = arg;
	const struct mmp_listener_conf *c = mmp_setup_listener(m->setup, name);
	if (c != NULL)
		*out = (struct door_settings){ c->proxy_from, c->proxy_timeout };
	return c != NULL;
}

struct doors *accept_doors_new(struct mmp *m)
{
	return doors_new(&(struct doors_opts){
	    .loop = m->loop, .settings = settings_of, .accepted = on_accepted, .arg = m });
}

void accept_listeners(const struct conf *c, struct daemon_listeners *out)
{
	const struct mmp_conf *m = conf_section(c, &mmp_block);
	for (size_t i = 0; i < m->listener_n; i++)
		daemon_listeners_add(
		    out, "worker", m->listener[i]->head.title, &m->listener[i]->address, 0666);
}
