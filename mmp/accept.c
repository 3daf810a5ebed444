/* accept.c - connections come in (step 1 of 5; after: admit.c).
 *
 * crowd.c keeps the limits of the worker: it evicts who is idle before login, and stops accepting. */
#include "mmp/accept.h"

#include <unistd.h>

#include "mmp/crowd.h"
#include "mmp/mmp_tables.h"
#include "mmp/session.h"

static void shed(const char *name, const struct accepted *a, enum reason why)
{
	metric_add(&mmp_metrics[MMP_M_SHED], 1);
	log_write(&mmp_events[MMP_EV_SESSION_SHED], NULL,
	    LOG_FIELDS(LOG_ADDR("client", a->client), LOG_STR("listener", name),
		LOG_STR("why", reasons[why].word)));
	accepted_close(a);
}

static void on_accepted(void *arg, const char *name, const struct accepted *a)
{
	struct mmp *m = arg;
	const struct mmp_listener_conf *listener = mmp_setup_listener(m->setup, name);
	metric_add(&mmp_metrics[MMP_M_CONNECTIONS], 1);
	if (listener == NULL)
		shed(name, a, WHY_TOO_BUSY); /* its block has just gone */
	else if (!crowd_make_room(m))
		shed(name, a, WHY_EVICTED);
	else
		session_start(m, listener, a);
	crowd_settle(m);
}

static bool settings_of(void *arg, const char *name, struct door_settings *out)
{
	const struct mmp *m = arg;
	const struct mmp_listener_conf *c = mmp_setup_listener(m->setup, name);
	if (c != NULL)
		*out = (struct door_settings){ .proxy_from = c->proxy_from,
			.proxy_ms = c->proxy_timeout };
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
