/* tool.c - fork, exec, collect standard output and standard error, wait: with a deadline. Owns the
 * child and the pipes for the length of the call. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#include "admin/tool.h"

enum { END_MS = 2000 }; /* from the end of its output to its own end */

/* One read into b. False: nothing more will come. */
static bool take_some(int fd, struct buf *b)
{
	char *p, spill[4096];
	size_t room = buf_room(b, 64 * 1024, &p);
	ssize_t n = read(fd, room > 0 ? p : spill, room > 0 ? room : sizeof spill);
	if (n > 0 && room > 0)
		buf_added(b, (size_t)n);
	return (n > 0 && room > 0) || (n < 0 && errno == EINTR);
}

static void collect(int out_fd, int err_fd, uint64_t ms, struct tool_output *o)
{
	struct pollfd v[] = { { .fd = out_fd, .events = POLLIN },
		{ .fd = err_fd, .events = POLLIN } };
	uint64_t now = clock_mono_ms(), end = now + ms;
	while ((v[0].fd >= 0 || v[1].fd >= 0) && now < end) {
		uint64_t left = end - now;
		if (poll(v, 2, left < INT_MAX ? (int)left : INT_MAX) > 0) {
			if (v[0].revents != 0 && !take_some(out_fd, &o->out))
				v[0].fd = -1;
			if (v[1].revents != 0 && !take_some(err_fd, &o->err))
				v[1].fd = -1;
		}
		now = clock_mono_ms();
	}
}

/* What becomes 0, 1 and 2; -1: as it is. */
struct ends {
	int in, out, err;
};

static void run_child(const char *const *argv, const struct ends *e)
{
	dup2(e->in, 0);
	dup2(e->out, 1);
	if (e->err >= 0)
		dup2(e->err, 2);
	execv(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

/* It ends with us: what nobody waits for any more shall not go on changing things. */
static pid_t start(const char *const *argv, struct ends e)
{
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() == parent)
			run_child(argv, &e);
		_exit(127);
	}
	return pid;
}

static void close_pipe(int v[2])
{
	for (int i = 0; i < 2; i++) {
		if (v[i] >= 0)
			close(v[i]);
		v[i] = -1;
	}
}

/* Its output is at its end, or the time is over: whatever is left of it goes. */
static int end_child(pid_t pid)
{
	struct pollfd ended = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	int status = 0;
	if (ended.fd < 0 || poll(&ended, 1, END_MS) <= 0)
		kill(pid, SIGKILL);
	if (ended.fd >= 0)
		close(ended.fd);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void output_init(struct tool_output *o)
{
	*o = (struct tool_output){ BUF_INIT(TOOL_OUTPUT_MAX), BUF_INIT(TOOL_OUTPUT_MAX), -1 };
}

void tool_run_for(const char *const *argv, uint64_t ms, struct tool_output *o)
{
	int out[2] = { -1, -1 }, err[2] = { -1, -1 };
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	output_init(o);
	pid_t pid = pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0
			? -1
			: start(argv, (struct ends){ null, out[1], err[1] });
	if (pid < 0)
		buf_printf(&o->err, "cannot start %s: %s\n", argv[0], strerror(errno));
	for (int i = 1; i >= 0; i--) {
		if (i == 0 && pid > 0)
			collect(out[0], err[0], ms, o);
		if (out[i] >= 0)
			close(out[i]);
		if (err[i] >= 0)
			close(err[i]);
	}
	if (null >= 0)
		close(null);
	if (pid > 0)
		o->status = end_child(pid);
}

void tool_run(const char *const *argv, struct tool_output *o)
{
	tool_run_for(argv, TOOL_MS, o);
}

/* The pipes between the two, and the second's standard error. */
struct pair {
	int there[2], back[2], err[2];
};

void tool_run_pair(
    const char *const *first, const char *const *second, uint64_t ms, struct tool_output *o)
{
	struct pair p = { { -1, -1 }, { -1, -1 }, { -1, -1 } };
	pid_t one = -1, two = -1;
	output_init(o);
	if (pipe2(p.there, O_CLOEXEC) == 0 && pipe2(p.back, O_CLOEXEC) == 0 &&
	    pipe2(p.err, O_CLOEXEC) == 0)
		one = start(first, (struct ends){ p.back[0], p.there[1], -1 });
	if (one > 0)
		two = start(second, (struct ends){ p.there[0], p.back[1], p.err[1] });
	int err = two > 0 ? dup(p.err[0]) : -1;
	/* Only the two hold the pipes now: when one ends the other sees it. */
	close_pipe(p.there);
	close_pipe(p.back);
	close_pipe(p.err);
	if (two < 0)
		buf_printf(&o->err, "cannot start %s: %s\n", second[0], strerror(errno));
	if (err >= 0) {
		collect(-1, err, ms, o);
		close(err);
	}
	int status = two > 0 ? end_child(two) : -1;
	int other = one > 0 ? end_child(one) : -1;
	o->status = status != 0 ? status : other;
}

void tool_output_end(struct tool_output *o)
{
	buf_end(&o->out);
	buf_end(&o->err);
}
