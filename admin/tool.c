/* tool.c - fork, exec, collect standard output and standard error, wait: with a deadline. Owns the
 * child and the pipes for the length of the call. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
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

static void collect(int out_fd, int err_fd, struct tool_output *o)
{
	struct pollfd v[] = { { .fd = out_fd, .events = POLLIN },
		{ .fd = err_fd, .events = POLLIN } };
	uint64_t now = clock_mono_ms(), end = now + TOOL_MS;
	while ((v[0].fd >= 0 || v[1].fd >= 0) && now < end) {
		if (poll(v, 2, (int)(end - now)) > 0) {
			if (v[0].revents != 0 && !take_some(out_fd, &o->out))
				v[0].fd = -1;
			if (v[1].revents != 0 && !take_some(err_fd, &o->err))
				v[1].fd = -1;
		}
		now = clock_mono_ms();
	}
}

static void run_child(const char *const *argv, int out_fd, int err_fd)
{
	int null = open("/dev/null", O_RDONLY);
	dup2(null, 0);
	dup2(out_fd, 1);
	dup2(err_fd, 2);
	execv(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

void tool_run(const char *const *argv, struct tool_output *o)
{
	int out[2] = { -1, -1 }, err[2] = { -1, -1 }, status = 0;
	*o = (struct tool_output){ BUF_INIT(TOOL_OUTPUT_MAX), BUF_INIT(TOOL_OUTPUT_MAX), -1 };
	pid_t pid = pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 ? -1 : fork();
	if (pid == 0)
		run_child(argv, out[1], err[1]);
	if (pid < 0)
		buf_printf(&o->err, "cannot start %s: %s\n", argv[0], strerror(errno));
	for (int i = 1; i >= 0; i--) {
		if (i == 0 && pid > 0)
			collect(out[0], err[0], o);
		if (out[i] >= 0)
			close(out[i]);
		if (err[i] >= 0)
			close(err[i]);
	}
	if (pid <= 0)
		return;
	/* Both pipes are at their end, or the time is over: whatever is left of it goes. */
	struct pollfd ended = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	if (ended.fd < 0 || poll(&ended, 1, END_MS) <= 0)
		kill(pid, SIGKILL);
	if (ended.fd >= 0)
		close(ended.fd);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	o->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void tool_output_end(struct tool_output *o)
{
	buf_end(&o->out);
	buf_end(&o->err);
}
