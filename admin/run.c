/* run.c - postern run: starts the programs of a host, starts again what dies, ends all of them in order.
 *
 * Stores are started first and stopped last, so that what delivers to them can finish. Each program
 * is a child in a process group of its own (a Ctrl-C reaches only this process, which ends them
 * in order) and is told by the kernel when this process dies. Owns the children and the sockets for
 * /metrics and /healthz. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/notify.h"
#include "net/http.h"
#include "net/listen.h"
#include "net/loop.h"

#include "admin/check.h"
#include "admin/gather.h"
#include "admin/tool.h"

enum {
	BACKOFF_FIRST_MS = 100,
	BACKOFF_MAX_MS = 5000,
	YOUNG_MS = 10000,      /* who lives longer is started again at once */
	STOP_EXTRA_MS = 20000, /* on top of drain_timeout, until SIGKILL */
	READY_POLL_MS = 100,
	HTTP_MAX = 8
};

enum admin_event {
#define EVENT(id, name, level, fields, prose) ADMIN_EV_##id,
#include "admin/admin.events.def"
#undef EVENT
	ADMIN_EV_COUNT
};

static const struct log_event admin_events[ADMIN_EV_COUNT] = {
#define EVENT LOG_TABLE_ROW
#include "admin/admin.events.def"
#undef EVENT
};

#define child_MAGIC 0xad317c01u
#define run_MAGIC 0xad317c02u

enum child_state { CHILD_DOWN, CHILD_UP, CHILD_STOPPING };

struct child {
	uint32_t magic;
	struct run *run;
	const struct program *program;
	enum child_state state;
	pid_t pid;            /* 0 when down */
	struct timer restart; /* armed while down and wanted */
	uint64_t started_ms, backoff_ms;
};

enum run_phase { RUN_STARTING, RUN_SERVING, RUN_STOP_FRONTS, RUN_STOP_STORES };

struct run {
	uint32_t magic;
	const struct admin_args *args;
	struct tier tier;
	struct loop *loop;
	enum run_phase phase;
	struct child v[TIER_PROGRAMS_MAX];
	struct timer deadline;   /* of a stop phase */
	struct timer ready_poll; /* while starting */
	struct loop_signal *signals[6];
	int http_fds[HTTP_MAX];
	struct http_admin *http[HTTP_MAX];
	size_t http_count;
	int status;
};

static void step_stop(struct run *r);

static void report(enum admin_event e, const struct child *c, int status)
{
	log_write(&admin_events[e], NULL,
	    LOG_FIELDS(LOG_STR("program", c->program->label), LOG_I64("pid", c->pid),
		LOG_I64("status", status)));
}

/* ---- a child ----------------------------------------------------------------------------------- */

static _Noreturn void exec_child(const char *const *argv, pid_t parent)
{
	static const int reset[] = { SIGHUP, SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD,
		SIGPIPE };
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;
	for (size_t i = 0; i < COUNT_OF(reset); i++)
		sigaction(reset[i], &dfl, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	unsetenv("NOTIFY_SOCKET");
	if (getppid() == parent)
		execv(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

/* Handlers must not run in the child before it has reset them: they would write to our loop. */
static pid_t spawn(const char *const *argv)
{
	sigset_t all, before;
	pid_t parent = getpid();
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	pid_t pid = fork();
	if (pid == 0)
		exec_child(argv, parent);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

static void child_start(struct child *c)
{
	const char *argv[TOOL_ARGS_MAX];
	struct buf binary = BUF_INIT(8192);
	c->pid = -1;
	if (tier_binary(c->program->name, &binary)) {
		check_argv(c->run->args, c->program, buf_cstr(&binary), argv);
		c->pid = spawn(argv);
	}
	buf_end(&binary);
	c->started_ms = loop_now_ms(c->run->loop);
	if (c->pid > 0) {
		c->state = CHILD_UP;
		report(ADMIN_EV_STARTED, c, 0);
		return;
	}
	log_write(&admin_events[ADMIN_EV_START_FAILED], NULL,
	    LOG_FIELDS(LOG_STR("program", c->program->label), LOG_STR("error", strerror(errno))));
	c->pid = 0;
	c->state = CHILD_DOWN;
	timer_set(&c->restart, BACKOFF_MAX_MS);
}

static void on_restart(void *arg)
{
	child_start(OBJ(child, arg));
}

/* The first time at once; later and later while it keeps dying young. */
static uint64_t next_delay(struct child *c, uint64_t lived_ms)
{
	uint64_t delay = lived_ms >= YOUNG_MS ? 0 : c->backoff_ms;
	c->backoff_ms = delay == 0 ? BACKOFF_FIRST_MS : delay * 2;
	if (c->backoff_ms > BACKOFF_MAX_MS)
		c->backoff_ms = BACKOFF_MAX_MS;
	return delay;
}

static void child_died(struct child *c, int wait_status)
{
	uint64_t lived_ms = loop_now_ms(c->run->loop) - c->started_ms;
	uint64_t delay = next_delay(c, lived_ms);
	log_write(&admin_events[ADMIN_EV_DIED], NULL,
	    LOG_FIELDS(LOG_STR("program", c->program->label), LOG_I64("pid", c->pid),
		LOG_I64("status", WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1),
		LOG_I64("signal", WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0),
		LOG_U64("lived_ms", lived_ms), LOG_U64("restart_ms", delay)));
	c->state = CHILD_DOWN;
	c->pid = 0;
	timer_set(&c->restart, delay);
}

/* A program that was told to end before it could take a signal dies of it: that is an end as asked for. */
static bool ended_well(int wait_status)
{
	return wait_status == 0 || (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGTERM);
}

static void child_ended(struct child *c, int wait_status)
{
	int status =
	    WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
	report(ADMIN_EV_ENDED, c, status);
	if (!ended_well(wait_status) && c->run->status == ADMIN_OK)
		c->run->status = ADMIN_BUG;
	c->state = CHILD_DOWN;
	c->pid = 0;
}

static void on_sigchld(void *arg)
{
	struct run *r = OBJ(run, arg);
	for (size_t i = 0; i < r->tier.n; i++) {
		struct child *c = &r->v[i];
		int status;
		if (c->pid <= 0 || waitpid(c->pid, &status, WNOHANG) != c->pid)
			continue;
		if (c->state == CHILD_STOPPING)
			child_ended(c, status);
		else
			child_died(c, status);
	}
	if (r->phase >= RUN_STOP_FRONTS)
		step_stop(r);
}

static void send_all(struct run *r, int signo)
{
	for (size_t i = 0; i < r->tier.n; i++)
		if (r->v[i].pid > 0)
			kill(r->v[i].pid, signo);
}

/* ---- stopping ----------------------------------------------------------------------------------- */

static bool is_store(const struct child *c)
{
	return strcmp(c->program->name, "store") == 0;
}

/* Tells the programs of this phase to end. How many still live. */
static size_t stop_some(struct run *r, bool stores)
{
	size_t alive = 0;
	for (size_t i = 0; i < r->tier.n; i++) {
		struct child *c = &r->v[i];
		if (is_store(c) != stores)
			continue;
		timer_clear(&c->restart);
		if (c->state == CHILD_UP) {
			c->state = CHILD_STOPPING;
			kill(c->pid, SIGTERM);
		}
		alive += c->pid > 0;
	}
	return alive;
}

static void step_stop(struct run *r)
{
	if (r->phase == RUN_STOP_FRONTS) {
		if (stop_some(r, false) > 0)
			return;
		r->phase = RUN_STOP_STORES;
		timer_set(&r->deadline, r->tier.drain_ms + STOP_EXTRA_MS);
	}
	if (stop_some(r, true) == 0)
		loop_stop(r->loop);
}

static void on_stop_deadline(void *arg)
{
	struct run *r = OBJ(run, arg);
	for (size_t i = 0; i < r->tier.n; i++)
		if (r->v[i].state == CHILD_STOPPING) {
			report(ADMIN_EV_KILLED, &r->v[i], 0);
			kill(r->v[i].pid, SIGKILL);
		}
}

static void on_stop(void *arg)
{
	struct run *r = OBJ(run, arg);
	if (r->phase >= RUN_STOP_FRONTS) {
		send_all(r, SIGQUIT); /* asked twice: no more waiting for sessions */
		for (size_t i = 0; i < r->tier.n; i++)
			if (r->v[i].state == CHILD_UP)
				r->v[i].state = CHILD_STOPPING;
		return;
	}
	log_write(&admin_events[ADMIN_EV_STOPPING], NULL, NULL);
	daemon_notify("STOPPING=1");
	timer_clear(&r->ready_poll);
	r->phase = RUN_STOP_FRONTS;
	timer_set(&r->deadline, r->tier.drain_ms + STOP_EXTRA_MS);
	step_stop(r);
}

/* ---- the other signals, readiness, HTTP --------------------------------------------------------- */

static void on_reload(void *arg)
{
	struct run *r = OBJ(run, arg);
	log_write(&admin_events[ADMIN_EV_RELOADING], NULL, NULL);
	send_all(r, SIGHUP);
}

static void on_drain(void *arg)
{
	send_all(OBJ(run, arg), SIGUSR1);
}

static void on_ready_poll(void *arg)
{
	struct run *r = OBJ(run, arg);
	struct buf why = BUF_INIT(4096);
	if (gather_ready(&r->tier, &why)) {
		r->phase = RUN_SERVING;
		log_write(&admin_events[ADMIN_EV_READY], NULL,
		    LOG_FIELDS(LOG_U64("programs", r->tier.n)));
		daemon_notify("READY=1");
	} else {
		timer_set(&r->ready_poll, READY_POLL_MS);
	}
	buf_end(&why);
}

static int on_http(void *arg, struct span path, struct buf *out, const char **content_type_out)
{
	struct run *r = OBJ(run, arg);
	if (span_eq(path, SPAN("/metrics"))) {
		*content_type_out = "text/plain; version=0.0.4; charset=utf-8";
		return gather_metrics(&r->tier, out) ? 200 : 500;
	}
	if (span_eq(path, SPAN("/healthz/live"))) {
		buf_add_str(out, "live\n");
		return 200;
	}
	if (span_eq(path, SPAN("/healthz/ready"))) {
		bool ready = r->phase < RUN_STOP_FRONTS && gather_ready(&r->tier, out);
		buf_add_str(out, ready ? "ready\n" : "not ready\n");
		return ready ? 200 : 503;
	}
	return 404;
}

static bool http_open(struct run *r)
{
	for (size_t i = 0; i < r->tier.http_count && i < HTTP_MAX; i++) {
		const struct conf_address *a = &r->tier.http[i];
		int fd = a->unix_path != NULL ? listen_open_unix(a->unix_path, 0600)
					      : listen_open_tcp(a->at);
		const char *why = fd < 0 ? strerror(errno) : "not a loopback address";
		struct http_admin *h = fd < 0 ? NULL : http_admin_new(r->loop, fd, on_http, r);
		if (h == NULL) {
			char text[IP_TEXT_SIZE];
			log_write(&admin_events[ADMIN_EV_LISTEN_FAILED], NULL,
			    LOG_FIELDS(LOG_STR("address", a->unix_path != NULL
							      ? a->unix_path
							      : ip_port_text(a->at, text)),
				LOG_STR("error", why)));
			if (fd >= 0)
				close(fd);
			return false;
		}
		r->http_fds[r->http_count] = fd;
		r->http[r->http_count++] = h;
	}
	return true;
}

/* ---- the whole ---------------------------------------------------------------------------------- */

static void run_open(struct run *r)
{
	static const struct {
		int signo;
		void (*fn)(void *arg);
	} rows[] = { { SIGCHLD, on_sigchld }, { SIGTERM, on_stop }, { SIGINT, on_stop },
		{ SIGHUP, on_reload }, { SIGUSR1, on_drain } };
	r->loop = loop_new();
	timer_init(&r->deadline, r->loop, on_stop_deadline, r);
	timer_init(&r->ready_poll, r->loop, on_ready_poll, r);
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		r->signals[i] = loop_signal_new(r->loop, rows[i].signo, rows[i].fn, r);
	for (size_t i = 0; i < r->tier.n; i++) {
		struct child *c = &r->v[i];
		*c = (struct child){ .magic = child_MAGIC, .run = r, .program = &r->tier.v[i] };
		timer_init(&c->restart, r->loop, on_restart, c);
	}
}

static void run_close(struct run *r)
{
	for (size_t i = 0; i < r->http_count; i++) {
		http_admin_free(&r->http[i]);
		close(r->http_fds[i]);
	}
	for (size_t i = 0; i < r->tier.n; i++)
		timer_clear(&r->v[i].restart);
	timer_clear(&r->deadline);
	timer_clear(&r->ready_poll);
	for (size_t i = 0; i < COUNT_OF(r->signals); i++)
		if (r->signals[i] != NULL)
			loop_signal_free(&r->signals[i]);
	loop_free(&r->loop);
}

static int serve(struct run *r)
{
	run_open(r);
	if (http_open(r)) {
		for (size_t i = 0; i < r->tier.n; i++)
			child_start(&r->v[i]);
		timer_set(&r->ready_poll, READY_POLL_MS);
		loop_run(r->loop);
	} else {
		r->status = ADMIN_UNAVAILABLE;
	}
	run_close(r);
	return r->status;
}

/* A configuration that a program refuses is told at once, not by programs that die again and again. */
static bool is_good(const struct run *r)
{
	json_t *errors = check_tier(r->args, &r->tier);
	size_t n = json_array_size(errors);
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "%s\n", json_string_value(json_array_get(errors, i)));
	json_decref(errors);
	return n == 0;
}

int admin_run(const struct admin_args *a)
{
	struct run *r = MEM_NEW(struct run);
	*r = (struct run){ .magic = run_MAGIC, .args = a, .status = ADMIN_OK };
	int status = tier_load_or_say(a, &r->tier);
	if (status == ADMIN_OK && a->config_count == 0)
		status = ADMIN_USAGE;
	if (status == ADMIN_OK && !is_good(r))
		status = ADMIN_CONFIG;
	log_setup("run", (enum log_level)r->tier.log_level, r->tier.log_json);
	if (status == ADMIN_OK)
		status = serve(r);
	tier_end(&r->tier);
	MEM_FREE(&r);
	return status;
}
