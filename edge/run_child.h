/* run_child.h - one run of the runner (runner.c): becomes the user, then the program, or writes the mailbox.
 *
 * For a child just forked. Whatever fails before the program runs is told like the program's own failures: an enhanced
 * status code and a sentence on standard error, and a status of sysexits.h. */
#ifndef EDGE_RUN_CHILD_H
#define EDGE_RUN_CHILD_H

#include <stdnoreturn.h>

#include "edge/channel.h"
#include "edge/run_wire.h"

struct run_child {
	const struct run_ask *ask;
	const struct edge_channel_conf *channel;
	const char *hostname;
	int message; /* open; becomes standard input */
	int result;  /* open, or -1: what a changed message goes to */
	int words;   /* open: becomes standard output and standard error */
};

noreturn void run_child(const struct run_child *c);

#endif
