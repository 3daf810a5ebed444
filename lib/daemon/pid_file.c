/* pid_file.c - RUN_DIR/NAME.pid: the master that has the sockets, for scripts, and for signals that still come to
 * a master that was replaced. Owns the file while its own pid is in it. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "daemon/master.h"
#include "daemon/tables.h"

enum { PATH_SIZE = 4096 };

static void path_of(const struct master *m, const char *end, char out[PATH_SIZE])
{
	snprintf(out, PATH_SIZE, "%s/%s.pid%s", daemon_run_dir(m->conf), m->spec->name, end);
}

/* Readers see the old or the new one, never half of it. */
void pid_file_write(const struct master *m)
{
	char path[PATH_SIZE], fresh[PATH_SIZE], text[32];
	int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
	path_of(m, "", path);
	path_of(m, ".new", fresh);
	int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	bool ok = fd >= 0 && fd_write_all(fd, span_of(text, (size_t)n)) == ERR_OK;
	if (fd >= 0)
		close(fd);
	if (!ok || rename(fresh, path) != 0)
		log_write(&daemon_events[DAEMON_EV_SETUP_FAILED], NULL,
		    LOG_FIELDS(LOG_STR("what", path), LOG_STR("error", "cannot be written")));
}

pid_t pid_file_read(const struct master *m)
{
	char path[PATH_SIZE], text[32];
	uint64_t pid;
	path_of(m, "", path);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof text) : -1;
	if (fd >= 0)
		close(fd);
	struct span line = span_of(text, n > 0 ? (size_t)n : 0);
	return span_u64(span_cut(&line, '\n'), INT32_MAX, &pid) ? (pid_t)pid : 0;
}

void pid_file_remove(const struct master *m)
{
	char path[PATH_SIZE];
	path_of(m, "", path);
	if (pid_file_read(m) == getpid())
		unlink(path);
}
