/* runner.c - see runner.h (part of step 6; before: run_ask.c of the queue process; after: run_child.c).
 *
 * Owns one struct job for each connection: its question and descriptors, then its child with the pipe that has its
 * words. A job whose asker has gone is kept until its child is, so that nothing is done twice at a time. */
#include "edge/runner.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/fd.h"
#include "base/mem.h"
#include "daemon/daemon.h"
#include "edge/channel.h"
#include "edge/queue_tables.h"
#include "edge/run_child.h"
#include "edge/run_wire.h"
#include "net/listen.h"

#define runner_MAGIC 0x4a11e401u
#define job_MAGIC 0x4a11e402u

enum {
	LISTENERS_MAX = 4,
	JOBS_MAX = 1000,
	CLEAN_MS = 5000,
	ASK_MS = 5000, /* until the whole question is here */
	WORDS_BLOCK = 4096,
};

enum job_state {
	JOB_ASK,  /* the question comes */
	JOB_RUN,  /* the child runs */
	JOB_GONE, /* it runs still, but nobody waits for it */
};

struct job {
	uint32_t magic;
	struct runner *runner;
	struct list_node link; /* in runner.jobs */
	enum job_state state;
	int asker; /* owned; -1 in JOB_GONE */
	struct watch *asker_watch;
	int fds[RUN_FDS]; /* owned; -1: none */
	size_t fd_n;
	struct buf in; /* the question */
	pid_t pid;
	int words; /* owned: read end of the pipe; -1: it has ended */
	struct watch *words_watch;
	struct buf text; /* the first of them */
	struct timer deadline;
	bool late;
	uint64_t begun_ms;
};

struct runner {
	uint32_t magic;
	struct loop *loop;
	struct conf *conf;
	const struct edge_conf *edge;
	struct listener *listeners[LISTENERS_MAX];
	size_t listener_n;
	struct loop_signal *child_signal;
	struct list_node jobs;
	size_t job_n, running;
	bool draining;
	void (*on_drained)(void *arg);
	void *on_drained_arg;
	struct soon drained;
};

/* ---- the end ------------------------------------------------------------------------------------ */

static void close_words(struct job *j)
{
	watch_free(&j->words_watch);
	if (j->words >= 0)
		close(j->words);
	j->words = -1;
}

static void close_fds(struct job *j)
{
	for (size_t i = 0; i < j->fd_n; i++)
		close(j->fds[i]);
	j->fd_n = 0;
}

static void close_asker(struct job *j)
{
	watch_free(&j->asker_watch);
	if (j->asker >= 0)
		close(j->asker);
	j->asker = -1;
}

static void check_drained(struct runner *r)
{
	if (r->draining && r->job_n == 0 && r->on_drained != NULL)
		soon_set(r->loop, &r->drained);
}

static void job_free(struct job *j)
{
	struct runner *r = j->runner;
	CHECK(j->pid == 0);
	close_words(j);
	close_fds(j);
	close_asker(j);
	timer_clear(&j->deadline);
	list_remove(&j->link);
	buf_end(&j->in);
	buf_end(&j->text);
	j->magic = 0;
	mem_free(j);
	r->job_n--;
	check_drained(r);
}

/* The whole group: what a program leaves behind has no business here. */
static void kill_child(const struct job *j)
{
	if (kill(-j->pid, SIGKILL) != 0)
		kill(j->pid, SIGKILL);
}

static bool is_conversion(const struct job *j)
{
	struct run_ask a;
	return run_ask_get(buf_span(&j->in), &a) == RUN_WHOLE && a.kind == RUN_CONVERT;
}

/* A conversion ends the group of its program, which is not its own, and removes its files: it has CLEAN_MS for that. */
static void give_up(struct job *j)
{
	if (is_conversion(j)) {
		kill(j->pid, SIGTERM);
		timer_set(&j->deadline, CLEAN_MS);
	} else {
		kill_child(j);
	}
}

/* A frame fits into an empty socket at once. Frees j. */
static void answer(struct job *j, enum run_end end, unsigned code, struct span text)
{
	struct buf out = BUF_INIT(RUN_ANSWER_MAX);
	if (j->asker >= 0 &&
	    run_answer_put(&out, &(struct run_answer){ .end = end, .code = code, .text = text }))
		(void)send(j->asker, buf_span(&out).p, buf_len(&out), MSG_NOSIGNAL);
	buf_end(&out);
	job_free(j);
}

static void refuse(struct job *j, const char *why)
{
	answer(j, RUN_REFUSED, 0, span_str(why));
}

/* ---- the child ---------------------------------------------------------------------------------- */

static void on_words(void *arg, unsigned events)
{
	struct job *j = OBJ(job, arg);
	char block[WORDS_BLOCK];
	ssize_t n = read(j->words, block, sizeof block);
	if (n > 0)
		buf_add_span(&j->text,
		    span_first(span_of(block, (size_t)n), RUN_TEXT_MAX - buf_len(&j->text)));
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		close_words(j);
}

/* What it has written before its end is in the pipe. */
static void drink_words(struct job *j)
{
	for (int i = 0; i < 64 && j->words >= 0; i++) {
		size_t before = buf_len(&j->text);
		on_words(j, 0);
		if (buf_len(&j->text) == before)
			break;
	}
}

static void log_end(const struct job *j, const struct run_ask *a, int status)
{
	struct runner *r = j->runner;
	metric_add(&queue_metrics[QUEUE_M_RUNS], 1);
	if (j->late)
		metric_add(&queue_metrics[QUEUE_M_RUNS_LATE], 1);
	log_write(&queue_events[QUEUE_EV_RUN_ENDED], a->id.s,
	    LOG_FIELDS(LOG_SPAN("channel", a->channel), LOG_SPAN("recipient", a->address),
		LOG_U64("pid", (uint64_t)j->pid),
		LOG_U64("status", WIFEXITED(status) ? (unsigned)WEXITSTATUS(status) : 0),
		LOG_U64("signal", WIFSIGNALED(status) ? (unsigned)WTERMSIG(status) : 0),
		LOG_STR("late", j->late ? "yes" : "no"),
		LOG_U64("ms", loop_now_ms(r->loop) - j->begun_ms),
		LOG_SPAN("text", buf_span(&j->text))));
}

static void child_ended(struct job *j, int status)
{
	struct run_ask a;
	drink_words(j);
	kill(-j->pid, SIGKILL);
	CHECK(run_ask_get(buf_span(&j->in), &a) == RUN_WHOLE);
	log_end(j, &a, status);
	j->pid = 0;
	metric_set(&queue_metrics[QUEUE_M_RUNNING], --j->runner->running);
	struct buf text = j->text;
	j->text = BUF_INIT(RUN_TEXT_MAX);
	if (j->late)
		answer(j, RUN_LATE, 0, buf_span(&text));
	else if (WIFSIGNALED(status))
		answer(j, RUN_KILLED, (unsigned)WTERMSIG(status), buf_span(&text));
	else
		answer(j, RUN_EXITED, (unsigned)WEXITSTATUS(status), buf_span(&text));
	buf_end(&text);
}

static struct job *find_child(struct runner *r, pid_t pid)
{
	for (struct list_node *n = r->jobs.next; n != &r->jobs; n = n->next) {
		struct job *j = LIST_OF(struct job, link, n);
		if (j->pid == pid)
			return j;
	}
	return NULL;
}

static void on_child_signal(void *arg)
{
	struct runner *r = OBJ(runner, arg);
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct job *j = find_child(r, pid);
		if (j != NULL)
			child_ended(j, status);
	}
}

static void on_deadline(void *arg)
{
	struct job *j = OBJ(job, arg);
	if (j->state == JOB_ASK) {
		job_free(j);
		return;
	}
	j->late = true;
	kill_child(j);
}

/* ---- the question ------------------------------------------------------------------------------- */

/* The same delivery by another run, whose asker has gone: that one must end first. */
static bool is_running(const struct job *mine, const struct run_ask *a)
{
	const struct runner *r = mine->runner;
	for (const struct list_node *n = r->jobs.next; n != &r->jobs; n = n->next) {
		const struct job *j = LIST_OF(const struct job, link, n);
		struct run_ask other;
		if (j == mine || j->pid == 0 || run_ask_get(buf_span(&j->in), &other) != RUN_WHOLE)
			continue;
		if (span_eq_str(span_str(a->id.s), other.id.s) && a->recipient == other.recipient &&
		    span_eq(a->channel, other.channel))
			return true;
	}
	return false;
}

static const char *mistake_of(
    const struct job *j, const struct run_ask *a, const struct edge_channel_conf *c)
{
	bool fits = c != NULL &&
		    (a->kind == RUN_DELIVER ? channel_is_end(c) : c->type == CHANNEL_CONVERSION);
	if (!fits)
		return "4.3.5 the runner knows no such channel";
	if (j->fd_n != (a->kind == RUN_DELIVER ? 1 : RUN_FDS))
		return "4.3.0 the message did not come along";
	if (j->runner->draining)
		return "4.3.2 the host is about to stop";
	if (is_running(j, a))
		return "4.3.0 the same delivery has not ended yet";
	return NULL;
}

static noreturn void in_child(
    const struct job *j, const struct run_ask *a, const struct edge_channel_conf *c, int words)
{
	run_child(&(struct run_child){ .ask = a,
	    .channel = c,
	    .hostname = daemon_hostname(j->runner->conf),
	    .message = j->fds[0],
	    .result = j->fd_n > 1 ? j->fds[1] : -1,
	    .words = words });
}

static void start(struct job *j, const struct run_ask *a)
{
	struct runner *r = j->runner;
	const struct edge_channel_conf *c = channel_named(r->edge, a->channel);
	const char *mistake = mistake_of(j, a, c);
	int pipes[2];
	if (mistake != NULL || pipe2(pipes, O_CLOEXEC) != 0) {
		refuse(j, mistake != NULL ? mistake : "4.3.0 no pipe for the program's words");
		return;
	}
	pid_t pid = fork();
	if (pid == 0)
		in_child(j, a, c, pipes[1]);
	close(pipes[1]);
	if (pid < 0) {
		close(pipes[0]);
		refuse(j, "4.3.0 no process for the program");
		return;
	}
	close_fds(j);
	j->state = JOB_RUN;
	j->pid = pid;
	j->begun_ms = loop_now_ms(r->loop);
	j->words = pipes[0];
	fcntl(j->words, F_SETFL, O_NONBLOCK);
	j->words_watch = watch_new(r->loop, j->words, on_words, j);
	watch_set(j->words_watch, WATCH_READ);
	/* A conversion watches its time itself, to clean up behind its programs. */
	timer_set(&j->deadline, c->time + (c->type == CHANNEL_CONVERSION ? CLEAN_MS : 0));
	metric_set(&queue_metrics[QUEUE_M_RUNNING], ++r->running);
}

/* ---- the connection ----------------------------------------------------------------------------- */

static ssize_t receive(struct job *j)
{
	char block[4096];
	union {
		char bytes[CMSG_SPACE(sizeof(int) * RUN_FDS)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { block, sizeof block };
	struct msghdr m = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof control.bytes };
	ssize_t n = recvmsg(j->asker, &m, MSG_CMSG_CLOEXEC);
	if (n >= 0)
		j->fd_n += fd_take_passed(&m, j->fds + j->fd_n, RUN_FDS - j->fd_n);
	if (n > 0)
		buf_add(&j->in, block, (size_t)n);
	return n;
}

/* Whoever asked has gone: nobody hears how it ends. */
static void asker_gone(struct job *j)
{
	if (j->state == JOB_ASK) {
		job_free(j);
		return;
	}
	close_asker(j);
	j->state = JOB_GONE;
	give_up(j);
}

static void on_asker(void *arg, unsigned events)
{
	struct job *j = OBJ(job, arg);
	struct run_ask a;
	ssize_t n = receive(j);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || j->state != JOB_ASK) { /* nobody says more than one question */
		asker_gone(j);
		return;
	}
	enum run_got got = buf_ok(&j->in) ? run_ask_get(buf_span(&j->in), &a) : RUN_BAD;
	if (got == RUN_BAD)
		job_free(j);
	else if (got == RUN_WHOLE)
		start(j, &a);
}

/* The socket's file lets in the edge's user and root; this says it once more. */
static bool may_ask(const struct runner *r, int fd)
{
	struct ucred who;
	socklen_t n = sizeof who;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) != 0)
		return false;
	if (who.uid == 0 || who.uid == geteuid())
		return true;
	const char *user = daemon_user(r->conf);
	const struct passwd *pw = user != NULL ? getpwnam(user) : NULL;
	return pw != NULL && pw->pw_uid == who.uid;
}

static void on_accept(void *arg, const struct accepted *a)
{
	struct runner *r = OBJ(runner, arg);
	if (r->job_n >= JOBS_MAX || !may_ask(r, a->fd)) {
		accepted_close(a);
		return;
	}
	struct job *j = MEM_NEW(struct job);
	j->magic = job_MAGIC;
	j->runner = r;
	j->asker = a->fd;
	j->words = -1;
	j->in = BUF_INIT(RUN_ASK_MAX);
	j->text = BUF_INIT(RUN_TEXT_MAX);
	list_add_tail(&r->jobs, &j->link);
	r->job_n++;
	timer_init(&j->deadline, r->loop, on_deadline, j);
	timer_set(&j->deadline, ASK_MS);
	j->asker_watch = watch_new(r->loop, j->asker, on_asker, j);
	watch_set(j->asker_watch, WATCH_READ);
}

/* ---- life --------------------------------------------------------------------------------------- */

bool runner_is_needed(const struct conf *conf)
{
	const struct edge_conf *e = conf_section(conf, &edge_block);
	for (size_t i = 0; i < e->channel_n; i++)
		if (channel_runs(e->channel[i]))
			return true;
	return false;
}

static void on_drained(void *arg)
{
	struct runner *r = OBJ(runner, arg);
	void (*fn)(void *arg) = r->on_drained;
	r->on_drained = NULL;
	if (fn != NULL)
		fn(r->on_drained_arg);
}

struct runner *runner_new(struct loop *l, const struct conf *conf)
{
	struct runner *r = MEM_NEW(struct runner);
	r->magic = runner_MAGIC;
	r->loop = l;
	r->conf = conf_ref(conf);
	r->edge = conf_section(conf, &edge_block);
	list_init(&r->jobs);
	soon_init(&r->drained, on_drained, r);
	r->child_signal = loop_signal_new(l, SIGCHLD, on_child_signal, r);
	return r;
}

void runner_reload(struct runner *r, const struct conf *fresh)
{
	conf_unref(&r->conf);
	r->conf = conf_ref(fresh);
	r->edge = conf_section(fresh, &edge_block);
}

void runner_listen(struct runner *r, int fd)
{
	struct listener_opts opts = { .proxy_ms = 1000 };
	CHECK(r->listener_n < LISTENERS_MAX);
	r->listeners[r->listener_n++] = listener_new(r->loop, fd, &opts, on_accept, r);
}

void runner_drain(struct runner *r, void (*fn)(void *arg), void *arg)
{
	r->draining = true;
	r->on_drained = fn;
	r->on_drained_arg = arg;
	for (size_t i = 0; i < r->listener_n; i++)
		listener_free(&r->listeners[i]);
	r->listener_n = 0;
	check_drained(r);
}

void runner_free(struct runner **pr)
{
	struct runner *r = *pr;
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->listener_n; i++)
		listener_free(&r->listeners[i]);
	while (!list_empty(&r->jobs)) {
		struct job *j = LIST_OF(struct job, link, r->jobs.next);
		if (j->pid != 0 && is_conversion(j)) {
			kill(j->pid, SIGTERM); /* as our end would do: see confine() */
		} else if (j->pid != 0) {
			kill_child(j);
			waitpid(j->pid, NULL, 0);
		}
		j->pid = 0;
		job_free(j);
	}
	loop_signal_free(&r->child_signal);
	soon_clear(&r->drained);
	conf_unref(&r->conf);
	r->magic = 0;
	MEM_FREE(pr);
}
