/* worker.c - what the sessions of one worker share: made, reloaded, drained, freed.
 *
 * Owns: struct mmp. */
#include "mmp/worker.h"

#include "base/mem.h"
#include "base/rand.h"
#include "daemon/daemon.h"

#include "mmp/accept.h"
#include "mmp/crowd.h"
#include "mmp/dry.h"
#include "mmp/failures.h"
#include "mmp/handover.h"
#include "mmp/mmp_tables.h"
#include "mmp/orders.h"
#include "mmp/pipe.h"
#include "mmp/session.h"
#include "mmp/store_load.h"
#include "mmp/store_watch.h"

enum { STORES_MAX = 1024, WHY_MAX = 512, ENDING_STEP_MS = 200 };

static void reset_capability(struct mmp *m)
{
	for (size_t i = 0; i < MMP_PROTOCOLS; i++)
		capability_reset(
		    m->capability[i], mmp_conf_words(m->setup->mmp, (enum mmp_protocol)i));
}

static void on_ending(void *arg)
{
	struct mmp *m = arg;
	uint64_t now = loop_now_ms(m->loop);
	uint64_t steps = now < m->ended_ms ? (m->ended_ms - now) / ENDING_STEP_MS + 1 : 1;
	pipe_end_some(m, (m->piped_n + steps - 1) / steps, steps == 1);
	if (m->piped_n > 0)
		timer_set(&m->ending, ENDING_STEP_MS / 2 + rand_below(ENDING_STEP_MS));
}

struct mmp *mmp_new(struct loop *l, const struct conf *conf, struct buf *why)
{
	struct mmp_setup *setup = mmp_setup_new(conf, why);
	if (setup == NULL)
		return NULL;
	struct mmp *m = MEM_NEW(struct mmp);
	m->loop = l;
	m->setup = setup;
	m->dns = daemon_dns(l, conf);
	m->directory = directory_new(l, m->dns, conf);
	m->meter = metermaid_new(l, m->dns, conf);
	m->health = backend_health_new(STORES_MAX);
	m->watch = store_watch_new(m, STORES_MAX);
	for (size_t i = 0; i < MMP_PROTOCOLS; i++)
		m->capability[i] = capability_new(STORES_MAX);
	reset_capability(m);
	m->failures = failures_new();
	m->orders = orders_new(m);
	m->load = store_load_new(l);
	m->doors = accept_doors_new(m);
	list_init(&m->prelogin);
	list_init(&m->piped);
	list_init(&m->takings);
	list_init(&m->dries);
	timer_init(&m->ending, l, on_ending, m);
	return m;
}

void mmp_reload(struct mmp *m, const struct conf *fresh)
{
	struct buf why = BUF_INIT(WHY_MAX);
	struct mmp_setup *setup = mmp_setup_new(fresh, &why);
	if (setup == NULL) {
		log_write(&mmp_events[MMP_EV_SETUP_FAILED], NULL,
		    LOG_FIELDS(LOG_SPAN("detail", buf_span(&why))));
	} else {
		directory_reload(m->directory, fresh);
		metermaid_reload(m->meter, fresh);
		struct mmp_setup *old = m->setup;
		m->setup = setup;
		reset_capability(m);
		store_watch_configured(m->watch);
		mmp_setup_unref(&old);
		doors_reload(m->doors);
		crowd_settle(m);
	}
	buf_end(&why);
}

void mmp_session_gone(struct mmp *m)
{
	void (*drained)(void *arg) = m->drained;
	if (m->full)
		crowd_settle(m);
	if (drained == NULL || m->retiring || m->prelogin_n + m->piped_n > 0)
		return;
	m->drained = NULL;
	drained(m->drained_arg);
}

static void on_doors_left(void *arg)
{
	struct mmp *m = arg;
	m->retiring = false;
	mmp_session_gone(m);
}

void mmp_retire(struct mmp *m, void (*drained)(void *arg), void *arg)
{
	m->retired = m->retiring = true;
	m->drained = drained;
	m->drained_arg = arg;
	doors_retire(m->doors, on_doors_left, m);
}

void mmp_drain(struct mmp *m, void (*drained)(void *arg), void *arg)
{
	m->draining = true;
	m->retiring = false;
	m->drained = drained;
	m->drained_arg = arg;
	doors_close(m->doors);
	for (struct list_node *n = m->prelogin.next, *next; n != &m->prelogin; n = next) {
		next = n->next;
		struct session *s = LIST_OF(struct session, link, n);
		if (session_is_idle(s))
			session_end_now(s, WHY_DRAINED);
	}
	mmp_session_gone(m);
}

void mmp_stopping(struct mmp *m, uint64_t ms)
{
	m->ended_ms = loop_now_ms(m->loop) + ms * 8 / 10; /* the last ones need time to leave */
	on_ending(m);
}

void mmp_who(const struct mmp *m, struct buf *out)
{
	pipe_who(m, out);
}

void mmp_free(struct mmp **m)
{
	struct mmp *gone = *m;
	*m = NULL;
	if (gone == NULL)
		return;
	gone->drained = NULL;
	dry_free_all(gone);
	take_end_all(gone);
	give_end(gone);
	timer_clear(&gone->ending);
	doors_free(&gone->doors);
	orders_free(&gone->orders);
	while (!list_empty(&gone->prelogin))
		session_drop(LIST_OF(struct session, link, gone->prelogin.next), WHY_DRAINED);
	pipe_end_all(gone);
	store_load_free(&gone->load);
	store_watch_free(&gone->watch);
	failures_free(&gone->failures);
	directory_free(&gone->directory);
	metermaid_free(&gone->meter);
	backend_health_free(&gone->health);
	for (size_t i = 0; i < MMP_PROTOCOLS; i++)
		capability_free(&gone->capability[i]);
	dns_free(&gone->dns);
	mmp_setup_unref(&gone->setup);
	mem_free(gone);
}
