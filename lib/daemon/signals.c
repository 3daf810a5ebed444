/* signals.c - what signals mean to a master; after a hand-over they mean the daemon, wherever it is now.
 *
 * Beside control.c. Owns the signal handlers. */
#include <signal.h>

#include "base/check.h"
#include "daemon/master.h"
#include "daemon/notify.h"
#include "daemon/tables.h"

/* Who signals a master that was replaced means the daemon. True: and not this process. */
static bool pass_on(struct master *m, int signo)
{
	if (m->upgrade.state == UPGRADE_DONE)
		upgrade_forward(m, signo);
	return m->upgrade.state == UPGRADE_DONE;
}

static void on_sigterm(void *arg)
{
	struct master *m = OBJ(master, arg);
	pass_on(m, SIGTERM);
	master_begin_stop(m, m->phase >= MASTER_DRAINING); /* the second one is impatient */
}

static void on_sigquit(void *arg)
{
	struct master *m = OBJ(master, arg);
	pass_on(m, SIGQUIT);
	master_begin_stop(m, true);
}

static void on_sighup(void *arg)
{
	struct master *m = OBJ(master, arg);
	if (pass_on(m, SIGHUP))
		return;
	daemon_notify("RELOADING=1\n");
	master_reload(m, NULL);
	daemon_notify("READY=1\n");
}

static void on_sigusr1(void *arg)
{
	struct master *m = OBJ(master, arg);
	if (!pass_on(m, SIGUSR1)) /* the newer one tells us */
		master_begin_drain(m);
}

static void on_sigusr2(void *arg)
{
	struct master *m = OBJ(master, arg);
	const char *why = pass_on(m, SIGUSR2) ? NULL : upgrade_begin(m);
	if (why != NULL)
		log_write(&daemon_events[DAEMON_EV_UPGRADE_FAILED], NULL,
		    LOG_FIELDS(LOG_STR("why", why)));
}

static void on_sigchld(void *arg)
{
	master_reap(OBJ(master, arg));
}

void signals_watch(struct master *m)
{
	static const struct {
		int signo;
		void (*fn)(void *arg);
	} rows[] = { { SIGTERM, on_sigterm }, { SIGINT, on_sigterm }, { SIGQUIT, on_sigquit },
		{ SIGHUP, on_sighup }, { SIGUSR1, on_sigusr1 }, { SIGUSR2, on_sigusr2 },
		{ SIGCHLD, on_sigchld } };
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		m->signals[i] = loop_signal_new(m->loop, rows[i].signo, rows[i].fn, m);
}

void signals_end(struct master *m)
{
	for (size_t i = 0; i < COUNT_OF(m->signals); i++)
		loop_signal_free(&m->signals[i]);
}
