/* worker.h - the worker's side of the daemon; private to lib/daemon. */
#ifndef DAEMON_WORKER_H
#define DAEMON_WORKER_H

#include <sys/types.h>

#include "daemon/daemon.h"

struct open_listener {
	struct daemon_listener at;
	int fd;
};

/* What a forked child needs to become a worker. Everything is inherited; link is the child's own. */
struct worker_birth {
	const struct daemon_spec *spec;
	const struct conf_schema *schema; /* with the common sections */
	const struct conf_strings *overrides;
	const struct daemon_role *role;
	unsigned index;
	size_t slot;
	struct conf *conf;
	const struct open_listener *listeners;
	size_t listener_count;
	pid_t master;
	int link;
	bool shut; /* does not accept before LINK_OPEN */
};

/* Runs the worker until it is told to stop; the exit status of the process. */
int worker_run(const struct worker_birth *birth);

/* "mmp/worker/0" for the log; log settings of the configuration. */
void daemon_log_setup(const struct conf *c, const char *program, const char *role, unsigned index);

#endif
