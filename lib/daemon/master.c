/* master.c - keeps the workers of every role running, and ends them in order.
 *
 * Owns processes, links and phases. Before: daemon.c read the configuration; reload.c opened the
 * listeners. Beside: control.c and admin_http.c answer people, worker.c is the other end. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "daemon/link.h"
#include "daemon/master.h"
#include "daemon/notify.h"
#include "daemon/slots.h"
#include "daemon/standing.h"
#include "daemon/tables.h"
#include "daemon/tickets.h"

enum {
	YOUNG_MS = 5000, /* a worker that died before this age is restarted later and later */
	BACKOFF_FIRST_MS = 100,
	BACKOFF_MAX_MS = 5000,
	STOP_ROLE_MS = 15000, /* from LINK_STOP to SIGKILL */
};

static void proc_start(struct proc *p);

static const struct log_event *event(enum daemon_event e)
{
	return &daemon_events[e];
}

/* ---- one process ---- */

bool proc_is_serving(const struct proc *p)
{
	return p->state == PROC_UP || p->state == PROC_DRAINED;
}

bool proc_is_needed(const struct proc *p)
{
	return p->role->needed == NULL || p->role->needed(p->master->conf);
}

static uint64_t count_workers(struct master *m)
{
	uint64_t n = 0;
	for (size_t i = 0; i < m->proc_count; i++)
		n += m->procs[i].pid != 0;
	metric_set(&daemon_metrics[DAEMON_M_WORKERS], n);
	return n;
}

void master_announce(struct master *m)
{
	for (size_t i = 0; i < m->proc_count; i++)
		if (!proc_is_serving(&m->procs[i]) && proc_is_needed(&m->procs[i]))
			return;
	if (m->phase != MASTER_STARTING || inherit_waits(m))
		return;
	m->phase = MASTER_RUNNING;
	pid_file_write(m);
	log_write(event(DAEMON_EV_READY), NULL,
	    LOG_FIELDS(
		LOG_U64("workers", count_workers(m)), LOG_U64("revision", conf_revision(m->conf))));
	daemon_notify("READY=1\n");
}

static void on_proc_ready(struct proc *p)
{
	struct master *m = p->master;
	p->state = PROC_UP;
	inherit_step(m);
	master_announce(m);
	if (m->phase == MASTER_DRAINED || m->phase == MASTER_DRAINING)
		link_send(p->link, LINK_DRAIN, 0, SPAN_NONE, -1);
	else if (m->phase == MASTER_REPLACED)
		link_send(p->link, LINK_RETIRE, 0, SPAN_NONE, -1);
}

static void on_proc_message(struct proc *p, struct link_msg *msg)
{
	switch (msg->type) {
	case LINK_READY:
		on_proc_ready(p);
		break;
	case LINK_ANSWER:
		control_answer(p->master, p, msg->id, buf_span(&msg->payload));
		break;
	case LINK_DRAINED:
		if (p->state == PROC_UP)
			p->state = PROC_DRAINED;
		if (p->leaves)
			proc_stop(p);
		master_step(p->master);
		break;
	default:
		break;
	}
}

static void on_proc_link(void *arg, unsigned events)
{
	struct proc *p = OBJ(proc, arg);
	struct link_msg msg;
	switch (link_recv(p->link, &msg)) {
	case LINK_CLOSED:
		watch_set(p->link_watch, 0); /* SIGCHLD says the rest */
		break;
	case LINK_MSG:
		on_proc_message(p, &msg);
		if (msg.fd >= 0)
			close(msg.fd);
		buf_end(&msg.payload);
		break;
	case LINK_NOTHING:
		break;
	}
}

/* In the child: everything but standard streams, the link and the role's listeners. */
static void close_others(const struct proc *p, int link)
{
	int last = (int)sysconf(_SC_OPEN_MAX) - 1;
	bool keep[4096] = { [0] = true, [1] = true, [2] = true };
	CHECK(link < (int)COUNT_OF(keep));
	keep[link] = true;
	for (size_t i = 0; i < p->master->listener_count; i++)
		if (strcmp(p->master->listeners[i].at.role, p->role->name) == 0)
			keep[p->master->listeners[i].fd % (int)COUNT_OF(keep)] = true;
	for (int fd = 3; fd < (int)COUNT_OF(keep); fd++)
		if (!keep[fd])
			close(fd);
	if (last >= (int)COUNT_OF(keep))
		close_range(COUNT_OF(keep), (unsigned)last, 0);
}

static noreturn void proc_child(struct proc *p, int link)
{
	struct master *m = p->master;
	close_others(p, link);
	struct worker_birth birth = {
		.spec = m->spec,
		.schema = &m->schema.schema,
		.overrides = &m->overrides,
		.role = p->role,
		.index = p->index,
		.slot = p->slot,
		.conf = m->conf,
		.listeners = m->listeners,
		.listener_count = m->listener_count,
		.master = getppid(),
		.link = link,
		.shut = inherit_waits(m) && !p->role->exclusive,
	};
	exit(worker_run(&birth));
}

static void say_orders(const struct proc *p)
{
	struct buf b = BUF_INIT(LINK_PAYLOAD_MAX);
	if (p->role->stands != NULL &&
	    standing_pack(p->master->standing, loop_now_ms(p->master->loop), &b))
		link_send(p->link, LINK_ORDERS, 0, buf_span(&b), -1);
	buf_end(&b);
}

static void proc_restart_later(struct proc *p)
{
	timer_set(&p->restart, p->backoff_ms);
	p->backoff_ms = p->backoff_ms == 0 ? BACKOFF_FIRST_MS : p->backoff_ms * 2;
	if (p->backoff_ms > BACKOFF_MAX_MS)
		p->backoff_ms = BACKOFF_MAX_MS;
}

static void proc_start(struct proc *p)
{
	int fds[2];
	pid_t pid = -1;
	if (link_pair(fds)) {
		pid = fork();
		if (pid == 0) {
			close(fds[0]);
			proc_child(p, fds[1]);
		}
		close(fds[1]);
		if (pid < 0)
			close(fds[0]);
	}
	if (pid < 0) {
		log_write(event(DAEMON_EV_SETUP_FAILED), NULL,
		    LOG_FIELDS(LOG_STR("what", "fork"), LOG_STR("error", strerror(errno))));
		proc_restart_later(p);
		return;
	}
	p->pid = pid;
	p->link = fds[0];
	p->state = PROC_STARTING;
	p->started_ms = loop_now_ms(p->master->loop);
	p->link_watch = watch_new(p->master->loop, p->link, on_proc_link, p);
	watch_set(p->link_watch, WATCH_READ);
	say_orders(p);
	count_workers(p->master);
	log_write(event(DAEMON_EV_WORKER_STARTED), NULL,
	    LOG_FIELDS(
		LOG_STR("role", p->role->name), LOG_U64("index", p->index), LOG_I64("pid", pid)));
}

/* Is a process wanted here? */
static bool is_wanted(const struct proc *p)
{
	const struct master *m = p->master;
	return m->phase < MASTER_REPLACED && !upgrade_keeps_down(p) &&
	       !inherit_holds_back(m, p->role) && proc_is_needed(p);
}

static void on_restart(void *arg)
{
	struct proc *p = OBJ(proc, arg);
	if (is_wanted(p))
		proc_start(p);
}

void proc_revive(struct proc *p)
{
	if (p->pid == 0 && is_wanted(p) && !timer_armed(&p->restart))
		proc_start(p);
}

void proc_stop(struct proc *p)
{
	p->state = PROC_ENDING;
	link_send(p->link, LINK_STOP, 0, SPAN_NONE, -1);
}

static void log_death(const struct proc *p, pid_t pid, int status, uint64_t lived_ms)
{
	int signo = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
	if (p->state == PROC_ENDING && signo == 0 && code == 0)
		log_write(event(DAEMON_EV_WORKER_ENDED), NULL,
		    LOG_FIELDS(LOG_STR("role", p->role->name), LOG_U64("index", p->index),
			LOG_I64("pid", pid)));
	else
		log_write(event(DAEMON_EV_WORKER_DIED), NULL,
		    LOG_FIELDS(LOG_STR("role", p->role->name), LOG_U64("index", p->index),
			LOG_I64("pid", pid), LOG_I64("status", code), LOG_I64("signal", signo),
			LOG_U64("lived_ms", lived_ms), LOG_U64("restart_ms", p->backoff_ms)));
}

static void proc_ended(struct proc *p, int status)
{
	struct master *m = p->master;
	uint64_t lived_ms = loop_now_ms(m->loop) - p->started_ms;
	if (lived_ms > YOUNG_MS)
		p->backoff_ms = 0;
	log_death(p, p->pid, status, lived_ms);
	watch_free(&p->link_watch);
	close(p->link);
	p->link = -1;
	p->pid = 0;
	p->state = PROC_DOWN;
	slots_reset_gauges(p->slot);
	count_workers(m);
	control_proc_gone(m, p);
	if (p->leaves) { /* needed again, perhaps, since it was asked to */
		p->leaves = false;
		proc_revive(p);
	} else if (is_wanted(p)) {
		p->restarts++;
		metric_add(&daemon_metrics[DAEMON_M_RESTARTS], 1);
		proc_restart_later(p);
	}
}

static struct proc *find_proc(struct master *m, pid_t pid)
{
	for (size_t i = 0; i < m->proc_count; i++)
		if (m->procs[i].pid == pid)
			return &m->procs[i];
	return NULL;
}

void master_reap(struct master *m)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct proc *p = find_proc(m, pid);
		if (p != NULL)
			proc_ended(p, status);
		else
			upgrade_child_ended(m, pid, status);
	}
	if (m->phase == MASTER_KEEPING && pid < 0)
		loop_stop(m->loop); /* the last of those that came after us */
	master_step(m);
}

/* ---- phases ---- */

void master_send_all(struct master *m, enum link_type type, struct span payload)
{
	for (size_t i = 0; i < m->proc_count; i++)
		if (m->procs[i].pid != 0)
			link_send(m->procs[i].link, type, 0, payload, -1);
}

void master_say_orders(struct master *m)
{
	for (size_t i = 0; i < m->proc_count; i++)
		if (m->procs[i].pid != 0)
			say_orders(&m->procs[i]);
}

static bool role_has_process(const struct master *m, const struct daemon_role *role)
{
	for (size_t i = 0; i < m->proc_count; i++)
		if (m->procs[i].role == role && m->procs[i].pid != 0)
			return true;
	return false;
}

static void stop_role(struct master *m)
{
	const struct daemon_role *role = &m->spec->roles[m->stopping_role];
	master_refuse_clients(m, role);
	for (size_t i = 0; i < m->proc_count; i++)
		if (m->procs[i].role == role && m->procs[i].pid != 0)
			proc_stop(&m->procs[i]);
	timer_set(&m->deadline, STOP_ROLE_MS);
}

static bool all_drained(const struct master *m)
{
	for (size_t i = 0; i < m->proc_count; i++)
		if (m->procs[i].state == PROC_UP || m->procs[i].state == PROC_STARTING)
			return false;
	return true;
}

/* Those before us that still serve end first: they answer to nobody else. */
static void all_ended(struct master *m)
{
	timer_clear(&m->deadline);
	if (m->inherit.link >= 0)
		return;
	if (upgrade_stays(m))
		m->phase = MASTER_KEEPING;
	else
		loop_stop(m->loop);
}

/* Roles end in the reverse order of their table. */
void master_step(struct master *m)
{
	upgrade_step(m);
	bool empty = m->phase == MASTER_REPLACED && m->inherit.link < 0 && all_drained(m);
	if (empty || (m->phase == MASTER_DRAINING && (m->force || all_drained(m)))) {
		m->phase = MASTER_STOPPING;
		m->stopping_role = m->spec->role_count - 1;
		stop_role(m);
	}
	while (m->phase == MASTER_STOPPING &&
	       !role_has_process(m, &m->spec->roles[m->stopping_role])) {
		if (m->stopping_role == 0) {
			all_ended(m);
			return;
		}
		m->stopping_role--;
		stop_role(m);
	}
}

static void on_phase_deadline(void *arg)
{
	struct master *m = OBJ(master, arg);
	if (m->phase == MASTER_REPLACED) {
		master_begin_stop(m, false);
		return;
	}
	if (m->phase == MASTER_DRAINING) {
		m->force = true;
		master_step(m);
		return;
	}
	for (size_t i = 0; i < m->proc_count; i++) {
		struct proc *p = &m->procs[i];
		if (p->role != &m->spec->roles[m->stopping_role] || p->pid == 0)
			continue;
		log_write(event(DAEMON_EV_WORKER_KILLED), NULL,
		    LOG_FIELDS(LOG_STR("role", p->role->name), LOG_U64("index", p->index),
			LOG_I64("pid", p->pid)));
		kill(p->pid, SIGKILL);
	}
}

void master_begin_stop(struct master *m, bool force)
{
	const struct root_conf *root = conf_section(m->conf, &root_block);
	if (m->phase < MASTER_DRAINING) {
		log_write(event(DAEMON_EV_DRAINING), NULL,
		    LOG_FIELDS(LOG_U64("timeout_ms", root->drain_timeout)));
		if (m->phase != MASTER_REPLACED)
			daemon_notify("STOPPING=1\n");
		for (size_t i = 0; i < m->proc_count; i++)
			if (m->procs[i].pid != 0)
				link_send(m->procs[i].link, LINK_DRAIN,
				    (uint32_t)root->drain_timeout, SPAN_NONE, -1);
		if (m->inherit.link >= 0)
			link_send(m->inherit.link, LINK_STOP, 0, SPAN_NONE, -1);
		master_refuse_early(m);
		m->phase = MASTER_DRAINING;
		upgrade_abandon(m, "the daemon stops");
		timer_set(&m->deadline, root->drain_timeout);
	}
	m->force = m->force || force;
	master_step(m);
}

void master_retire(struct master *m, uint64_t linger_ms)
{
	for (size_t i = 0; i < m->proc_count; i++)
		timer_clear(&m->procs[i].restart);
	timer_set(&m->deadline, linger_ms);
	master_send_all(m, LINK_RETIRE, SPAN_NONE);
	master_step(m);
}

void master_drain_all(struct master *m)
{
	master_send_all(m, LINK_DRAIN, SPAN_NONE);
	if (m->inherit.link >= 0)
		link_send(m->inherit.link, LINK_DRAIN, 0, SPAN_NONE, -1);
}

void master_begin_drain(struct master *m)
{
	if (m->phase != MASTER_RUNNING)
		return;
	log_write(event(DAEMON_EV_DRAINING), NULL, LOG_FIELDS(LOG_U64("timeout_ms", 0)));
	m->phase = MASTER_DRAINED;
	master_drain_all(m);
	master_refuse_early(m);
}

/* ---- keys of session tickets ---- */

static void ticket_key_later(struct master *m)
{
	const struct tls_conf *t = conf_section(m->conf, &tls_block);
	timer_set(&m->ticket_age, t->ticket_rotate);
}

static void on_ticket_age(void *arg)
{
	struct master *m = OBJ(master, arg);
	const struct tls_conf *t = conf_section(m->conf, &tls_block);
	if (t->ticket_key.bytes.n == 0) {
		master_send_all(m, LINK_TICKETS, tickets_rotate(m->conf));
		metric_add(&daemon_metrics[DAEMON_M_TICKET_KEYS], 1);
	}
	ticket_key_later(m);
}

/* ---- beginning and end ---- */

static void raise_descriptor_limit(void)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) != 0)
		return;
	struct rlimit wanted = { .rlim_cur = 1024 * 1024, .rlim_max = 1024 * 1024 };
	if (r.rlim_max < wanted.rlim_max && geteuid() == 0 &&
	    setrlimit(RLIMIT_NOFILE, &wanted) == 0)
		return;
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

static unsigned role_size(const struct master *m, const struct daemon_role *role)
{
	return role->count != NULL ? role->count(m->conf) : daemon_workers(m->conf);
}

static void make_procs(struct master *m)
{
	m->procs = mem_array(PROCS_MAX, sizeof *m->procs);
	for (size_t r = 0; r < m->spec->role_count; r++) {
		const struct daemon_role *role = &m->spec->roles[r];
		unsigned n = role_size(m, role);
		for (unsigned i = 0; i < n && m->proc_count < PROCS_MAX; i++) {
			struct proc *p = &m->procs[m->proc_count];
			*p = (struct proc){ .magic = proc_MAGIC,
				.master = m,
				.role = role,
				.index = i,
				.slot = m->proc_count + 1,
				.link = -1 };
			timer_init(&p->restart, m->loop, on_restart, p);
			m->proc_count++;
		}
	}
}

static bool make_run_dir(const char *path)
{
	struct stat st;
	if (mkdir(path, 0755) == 0 ||
	    (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
		return true;
	log_write(event(DAEMON_EV_SETUP_FAILED), NULL,
	    LOG_FIELDS(LOG_STR("what", path), LOG_STR("error", strerror(errno))));
	return false;
}

void master_forget_listeners(struct master *m)
{
	for (size_t i = 0; i < m->listener_count; i++) {
		close(m->listeners[i].fd);
		mem_free((void *)(uintptr_t)m->listeners[i].at.role);
		mem_free((void *)(uintptr_t)m->listeners[i].at.name);
		mem_free((void *)(uintptr_t)m->listeners[i].at.unix_path);
	}
	m->listener_count = 0;
}

static void close_listeners(struct master *m)
{
	for (size_t i = 0; i < m->listener_count; i++)
		if (m->listeners[i].at.unix_path != NULL)
			unlink(m->listeners[i].at.unix_path);
	master_forget_listeners(m);
}

static void master_end(struct master *m)
{
	pid_file_remove(m);
	control_close(m);
	admin_http_close(m);
	upgrade_end(m);
	inherit_end(m);
	for (size_t i = 0; i < m->proc_count; i++)
		timer_clear(&m->procs[i].restart);
	timer_clear(&m->deadline);
	timer_clear(&m->ticket_age);
	files_end(m);
	signals_end(m);
	close_listeners(m);
	mem_free(m->procs);
	standing_free(&m->standing);
	slots_destroy();
	loop_free(&m->loop);
	log_write(event(DAEMON_EV_STOPPED), NULL, NULL);
}

int master_run(struct master *m)
{
	struct buf why = BUF_INIT(1024);
	raise_descriptor_limit();
	m->loop = loop_new();
	m->started_ms = loop_now_ms(m->loop);
	timer_init(&m->deadline, m->loop, on_phase_deadline, m);
	timer_init(&m->ticket_age, m->loop, on_ticket_age, m);
	make_procs(m);
	m->former_slot = m->proc_count + 1;
	m->standing = standing_new();
	slots_create(m->proc_count + 2);
	slots_attach(0);
	signals_watch(m);
	upgrade_init(m);
	list_init(&m->control_conns);
	m->control_fd = -1;
	bool ok = inherit_receive(m) && make_run_dir(daemon_run_dir(m->conf)) &&
		  (inherit_waits(m) || (control_open(m) && admin_http_open(m))) &&
		  master_open_listeners(m, m->conf, &why);
	for (size_t i = 0; ok && i < m->proc_count; i++)
		proc_revive(&m->procs[i]);
	if (ok) {
		inherit_begin(m);
		ticket_key_later(m);
		files_watch(m);
		loop_run(m->loop);
	}
	buf_end(&why);
	master_end(m);
	return ok ? m->exit_status : 78;
}
