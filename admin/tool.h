/* tool.h - running a program to its end and keeping what it says. */
#ifndef ADMIN_TOOL_H
#define ADMIN_TOOL_H

#include "base/buf.h"

enum { TOOL_OUTPUT_MAX = 16 * 1024 * 1024, TOOL_MS = 30000, TOOL_ARGS_MAX = 160 };

struct tool_output {
	struct buf out, err; /* ended by tool_output_end() */
	int status;          /* exit status; 128 + signal; -1: could not be run, err says why */
};

/* argv is NULL-terminated; argv[0] the path. Killed after TOOL_MS, when it says too much, or when we are. */
void tool_run(const char *const *argv, struct tool_output *out);
void tool_run_for(const char *const *argv, uint64_t ms, struct tool_output *out);
/* Two programs, each one's standard output the other's standard input, to the end of both. out and err stay as
 * they are for the first; of the second only err is kept. Its status is in out, or the first's if that failed. */
void tool_run_pair(
    const char *const *first, const char *const *second, uint64_t ms, struct tool_output *out);
void tool_output_end(struct tool_output *out);

#endif
