/* runner.h - the runner process: runs programs and writes mailboxes for the queue process, as users of this host.
 *
 * When the edge is started as root this process stays root, and nothing else of the edge does: it reads no mail and
 * no network, only questions (run_wire.h) from the socket that the edge's own user may connect to. Each question is one
 * child process (run_child.c), whose time, output and end it watches. A connection that ends ends its run. */
#ifndef EDGE_RUNNER_H
#define EDGE_RUNNER_H

#include <stdbool.h>

#include "conf/conf.h"
#include "net/loop.h"

struct runner;

struct runner *runner_new(struct loop *l, const struct conf *conf);
void runner_reload(struct runner *r, const struct conf *fresh);
void runner_listen(struct runner *r, int fd);
/* Nothing new is begun; fn comes once from the loop when nothing runs. */
void runner_drain(struct runner *r, void (*fn)(void *arg), void *arg);
void runner_free(struct runner **r); /* ends what runs */
/* Does this configuration need one? */
bool runner_is_needed(const struct conf *conf);

#endif
