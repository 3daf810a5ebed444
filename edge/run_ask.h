/* run_ask.h - asks the runner for one run (queue process; after: runner.c): the message becomes a file without a name,
 * piece by piece so that nothing else waits for it, and goes over with the question. */
#ifndef EDGE_RUN_ASK_H
#define EDGE_RUN_ASK_H

#include "edge/run_wire.h"
#include "edge/smtp_out.h"
#include "net/loop.h"
#include "net/ticket.h"

enum { RUN_PREFIX_MAX = 8 * 1024 };

struct run_opts {
	struct loop *loop;
	const char *run_dir, *temp_dir;
	const struct run_ask *ask; /* copied */
	/* Lines in front of the message, with CRLF; copied; at most RUN_PREFIX_MAX. */
	struct span prefix;
	struct mail_source body; /* lives until the answer */
	bool lf;                 /* lines end with LF: a CR before it goes */
	const char
	    *marked; /* not NULL: Delivered-To with this in the header ends it: looped. Copied */
	bool wants_result; /* the run changes the message */
	uint64_t time_ms;  /* for the run: a little more is waited for it */
};

struct run_result {
	bool looped;
	struct run_answer answer; /* RUN_REFUSED also when the runner cannot be reached */
	int fd; /* wants_result: the file with what came out; else -1. Closed behind the callback */
};

typedef void run_fn(void *arg, const struct run_result *r);
struct ticket *run_start(const struct run_opts *opts, run_fn *fn, void *arg);

#endif
