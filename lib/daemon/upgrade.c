/* upgrade.c - the old master: starts the new binary, hands the daemon over to it, serves what is left.
 *
 * See upgrade.h for the whole. Owns the link to the new one, and its life until TAKE. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "daemon/link.h"
#include "daemon/master.h"
#include "daemon/notify.h"
#include "daemon/slots.h"
#include "daemon/standing.h"
#include "daemon/tables.h"
#include "daemon/tickets.h"

enum { REPORT_MS = 1000, PATH_SIZE = 4096, TOTALS_MAX = 1024 * 1024 };

static const struct root_conf *options(const struct master *m)
{
	return conf_section(m->conf, &root_block);
}

static bool is_exclusive(const struct proc *p)
{
	return p->role->exclusive;
}

bool upgrade_keeps_down(const struct proc *p)
{
	enum upgrade_state s = p->master->upgrade.state;
	return s == UPGRADE_DONE || (s > UPGRADE_TRIAL && is_exclusive(p));
}

static void let_go(struct upgrade *u)
{
	watch_free(&u->watch);
	if (u->link >= 0)
		close(u->link);
	u->link = -1;
}

/* ---- it did not work ------------------------------------------------------------------------------- */

/* Whatever was given up is taken up again. */
static void give_up(struct master *m, const char *why)
{
	struct upgrade *u = &m->upgrade;
	metric_add(&daemon_metrics[DAEMON_M_UPGRADES_FAILED], 1);
	log_write(&daemon_events[DAEMON_EV_UPGRADE_FAILED], NULL,
	    LOG_FIELDS(LOG_I64("pid", u->pid), LOG_STR("why", why)));
	if (u->pid > 0)
		kill(u->pid, SIGKILL);
	timer_clear(&u->timer);
	let_go(u);
	u->state = UPGRADE_NONE;
	for (size_t i = 0; i < m->proc_count; i++)
		if (is_exclusive(&m->procs[i]))
			proc_revive(&m->procs[i]);
	control_upgraded(m, why);
}

void upgrade_abandon(struct master *m, const char *why)
{
	if (m->upgrade.state != UPGRADE_NONE && m->upgrade.state != UPGRADE_DONE)
		give_up(m, why);
}

void upgrade_child_ended(struct master *m, pid_t pid, int wait_status)
{
	struct upgrade *u = &m->upgrade;
	char why[128];
	int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 70;
	if (u->state == UPGRADE_DONE)
		m->exit_status = status; /* the daemon's, as far as we know */
	if (pid != u->pid)
		return;
	u->pid = 0;
	snprintf(why, sizeof why, "the new program ended with %s %d",
	    WIFSIGNALED(wait_status) ? "signal" : "status",
	    WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : WEXITSTATUS(wait_status));
	if (u->state != UPGRADE_NONE && u->state != UPGRADE_DONE) {
		give_up(m, why);
	} else if (u->state == UPGRADE_DONE && status != 0) {
		/* Nobody accepts any more: whoever watches us is to start anew. */
		log_write(&daemon_events[DAEMON_EV_SUCCESSOR_DIED], NULL,
		    LOG_FIELDS(LOG_I64("pid", pid), LOG_STR("why", why)));
		master_begin_stop(m, false);
	}
}

/* ---- handing over ---------------------------------------------------------------------------------- */

static void report(struct master *m)
{
	struct buf totals = BUF_INIT(TOTALS_MAX);
	if (m->upgrade.link >= 0 && slots_put_totals(&totals))
		link_send(m->upgrade.link, LINK_METRICS, 0, buf_span(&totals), -1);
	buf_end(&totals);
}

static void hand_on_orders(struct master *m)
{
	struct buf b = BUF_INIT(LINK_PAYLOAD_MAX);
	if (standing_pack(m->standing, loop_now_ms(m->loop), &b))
		link_send(m->upgrade.link, LINK_ORDERS, 0, buf_span(&b), -1);
	buf_end(&b);
}

/* A connection between each worker that can give sessions and one of the new master's. */
static void connect_workers(struct master *m)
{
	int fds[2];
	for (size_t i = 0; i < m->proc_count; i++) {
		const struct proc *p = &m->procs[i];
		if (p->role->give == NULL || !proc_is_serving(p) || !link_pair(fds))
			continue;
		if (link_send(m->upgrade.link, LINK_SESSIONS_OF, p->index, span_str(p->role->name),
			fds[0]))
			link_send(p->link, LINK_SESSIONS, 0, SPAN_NONE, fds[1]);
		close(fds[0]);
		close(fds[1]);
	}
}

static void hand_over(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	char text[64];
	u->state = UPGRADE_DONE;
	m->phase = MASTER_REPLACED;
	snprintf(text, sizeof text, "MAINPID=%d\n", (int)u->pid);
	daemon_notify(text);
	control_stop_listening(m);
	admin_http_close(m);
	master_forget_listeners(m);
	files_end(m);
	timer_clear(&m->ticket_age);
	report(m);
	hand_on_orders(m);
	link_send(u->link, LINK_TAKE, 0, SPAN_NONE, -1);
	log_write(&daemon_events[DAEMON_EV_UPGRADED], NULL,
	    LOG_FIELDS(LOG_I64("pid", u->pid), LOG_U64("linger_ms", options(m)->upgrade_linger)));
	control_upgraded(m, NULL);
	timer_set(&u->timer, REPORT_MS);
	master_retire(m, options(m)->upgrade_linger);
	connect_workers(m);
}

static bool exclusive_left(const struct master *m)
{
	for (size_t i = 0; i < m->proc_count; i++)
		if (is_exclusive(&m->procs[i]) && m->procs[i].pid != 0)
			return true;
	return false;
}

/* late: what has not drained is stopped; what it has begun it has written down. */
static void step_yielding(struct master *m, bool late)
{
	struct upgrade *u = &m->upgrade;
	if (u->state != UPGRADE_YIELDING)
		return;
	for (size_t i = 0; i < m->proc_count; i++)
		if (is_exclusive(&m->procs[i]) && m->procs[i].pid != 0 &&
		    (late || m->procs[i].state == PROC_DRAINED))
			proc_stop(&m->procs[i]);
	if (exclusive_left(m))
		return;
	u->state = UPGRADE_WAITING;
	timer_set(&u->timer, options(m)->upgrade_timeout);
	link_send(u->link, LINK_YIELDED, 0, SPAN_NONE, -1);
}

void upgrade_step(struct master *m)
{
	step_yielding(m, false);
}

static void yield(struct master *m)
{
	m->upgrade.state = UPGRADE_YIELDING;
	for (size_t i = 0; i < m->proc_count; i++) {
		struct proc *p = &m->procs[i];
		if (!is_exclusive(p))
			continue;
		timer_clear(&p->restart);
		if (p->pid != 0)
			link_send(p->link, LINK_DRAIN, 0, SPAN_NONE, -1);
	}
	timer_set(&m->upgrade.timer, options(m)->drain_timeout);
	upgrade_step(m);
}

static void on_message(struct master *m, const struct link_msg *msg)
{
	switch (msg->type) {
	case LINK_READY:
		if (m->upgrade.state == UPGRADE_TRIAL)
			yield(m);
		break;
	case LINK_UP:
		if (m->upgrade.state == UPGRADE_WAITING)
			hand_over(m);
		break;
	case LINK_CONTROL:
		if (m->upgrade.state == UPGRADE_DONE)
			control_relay(m, msg->id, buf_span(&msg->payload));
		break;
	case LINK_DRAIN:
		master_drain_all(m);
		break;
	case LINK_STOP:
		if (m->upgrade.state == UPGRADE_DONE)
			master_begin_stop(m, false);
		break;
	default:
		break;
	}
}

static void on_link(void *arg, unsigned events)
{
	struct master *m = OBJ(master, arg);
	struct link_msg msg;
	enum link_got got = link_recv(m->upgrade.link, &msg);
	if (got == LINK_MSG) {
		on_message(m, &msg);
		if (msg.fd >= 0)
			close(msg.fd);
		buf_end(&msg.payload);
	} else if (got == LINK_CLOSED && m->upgrade.state == UPGRADE_DONE) {
		let_go(&m->upgrade);
	} else if (got == LINK_CLOSED) {
		watch_set(m->upgrade.watch,
		    0); /* SIGCHLD says why, or the deadline that there is no end */
	}
}

/* The deadline of the hand-over's step; afterwards the clock of reports. */
static void on_timer(void *arg)
{
	struct master *m = OBJ(master, arg);
	struct upgrade *u = &m->upgrade;
	if (u->state == UPGRADE_DONE) {
		report(m);
		timer_set(&u->timer, REPORT_MS);
	} else if (u->state == UPGRADE_YIELDING && !u->late) {
		u->late = true;
		timer_set(&u->timer, options(m)->upgrade_timeout);
		step_yielding(m, true);
	} else {
		give_up(m, "the new program was not ready in time");
	}
}

/* ---- starting it ----------------------------------------------------------------------------------- */

static void new_binary(const struct master *m, char out[PATH_SIZE])
{
	const char *dir = options(m)->program_dir;
	if (dir != NULL)
		snprintf(out, PATH_SIZE, "%s/postern-%s", dir, m->spec->name);
	else
		snprintf(out, PATH_SIZE, "%s", m->program);
}

static noreturn void become(const struct master *m, int link)
{
	static const int back_to_default[] = { SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2,
		SIGCHLD };
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	char path[PATH_SIZE], number[16];
	sigset_t none;
	for (size_t i = 0; i < COUNT_OF(back_to_default); i++)
		sigaction(back_to_default[i], &dfl, NULL);
	new_binary(m, path);
	snprintf(number, sizeof number, "%d", link);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (fcntl(link, F_SETFD, 0) == 0 && setenv(INHERIT_VARIABLE, number, 1) == 0)
		execv(path, m->argv);
	log_write(&daemon_events[DAEMON_EV_SETUP_FAILED], NULL,
	    LOG_FIELDS(LOG_STR("what", path), LOG_STR("error", strerror(errno))));
	_exit(70);
}

static bool send_socket(const struct master *m, const char *const words[4], int fd)
{
	struct buf b = BUF_INIT(LINK_INLINE_MAX);
	for (size_t i = 0; i < 4; i++)
		buf_add(&b, words[i], strlen(words[i]) + 1);
	bool ok = buf_ok(&b) && link_send(m->upgrade.link, LINK_SOCKET, 0, buf_span(&b), fd);
	buf_end(&b);
	return ok;
}

static bool send_everything(const struct master *m)
{
	const char *const control[4] = { "control", "", "", "" };
	char where[LISTENER_TEXT_SIZE];
	bool ok = send_socket(m, control, m->control_fd);
	for (size_t i = 0; ok && i < m->listener_count; i++) {
		const struct daemon_listener *at = &m->listeners[i].at;
		listener_text(at, where);
		const char *const words[4] = { "listener", at->role, at->name, where };
		ok = send_socket(m, words, m->listeners[i].fd);
	}
	for (size_t i = 0; ok && i < m->http_count; i++) {
		const char *const words[4] = { "http", "", "", m->http_names[i] };
		ok = send_socket(m, words, m->http_fds[i]);
	}
	return ok && link_send(m->upgrade.link, LINK_TICKETS, 0, tickets_own(), -1);
}

const char *upgrade_begin(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	int fds[2];
	if (u->state != UPGRADE_NONE)
		return "an upgrade is under way";
	if (m->phase != MASTER_RUNNING)
		return "the daemon is not running as usual";
	if (!link_pair(fds))
		return "no socket for the new program";
	/* Our handlers must not run in the child: they would write to our loop. */
	sigset_t all, before;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	pid_t pid = fork();
	if (pid == 0) {
		close(fds[0]);
		become(m, fds[1]);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return "cannot fork";
	}
	/* A new one that was replaced itself ends before the newest: we look after it then. */
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	u->state = UPGRADE_TRIAL;
	u->late = false;
	u->pid = pid;
	u->link = fds[0];
	u->watch = watch_new(m->loop, u->link, on_link, m);
	watch_set(u->watch, WATCH_READ);
	timer_set(&u->timer, options(m)->upgrade_timeout);
	log_write(&daemon_events[DAEMON_EV_UPGRADING], NULL, LOG_FIELDS(LOG_I64("pid", pid)));
	if (!send_everything(m)) /* it has died already: SIGCHLD says why */
		watch_set(u->watch, 0);
	return NULL;
}

/* ---- afterwards ------------------------------------------------------------------------------------ */

void upgrade_forward(struct master *m, int signo)
{
	pid_t pid = pid_file_read(m);
	if (pid > 1 && pid != getpid())
		kill(pid, signo);
}

/* Reaps those that have ended: their signal may not have come yet. */
static bool has_children(struct master *m)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		m->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 70;
	return pid == 0;
}

/* A service manager that was told MAINPID watches the new one; any other watches us. */
bool upgrade_stays(struct master *m)
{
	if (m->upgrade.state != UPGRADE_DONE)
		return false;
	report(m);
	timer_clear(&m->upgrade.timer);
	let_go(&m->upgrade);
	if (m->inherit.state != INHERIT_NONE || getenv("NOTIFY_SOCKET") != NULL)
		return false;
	return has_children(m);
}

void upgrade_init(struct master *m)
{
	m->upgrade.link = -1;
	timer_init(&m->upgrade.timer, m->loop, on_timer, m);
}

void upgrade_end(struct master *m)
{
	timer_clear(&m->upgrade.timer);
	let_go(&m->upgrade);
}
