/* policy.h - questions to Postfix policy services, over connections that are kept (part of steps 3 and 4; asked by
 * policy_step.c).
 *
 * One question at a time on a connection. A kept connection that turns out to be dead is replaced once; an address that
 * fails in any other way rests for dead_time, and the next one is asked. Every question has one answer. */
#ifndef EDGE_POLICY_H
#define EDGE_POLICY_H

#include "net/dns.h"
#include "net/loop.h"
#include "net/ticket.h"
#include "proto/policy_action.h"

#include "edge/edge_conf.h"
#include "edge/milter.h"

struct policy_pool; /* one for each worker */

struct policy_pool *policy_pool_new(struct loop *l, struct dns *dns, struct milter_health *health);
void policy_pool_free(struct policy_pool **p); /* no question is open any more */

enum { POLICY_QUESTION_MAX = 32 * 1024 };

/* action: NULL: there is no answer, on_failure decides. Lives during the callback. */
typedef void policy_fn(void *arg, const struct policy_action *action);

/* conf lives until the answer; request is copied; log_id is a mail's, for the log, and lives until the answer. */
struct policy_question {
	const struct edge_policy_conf *conf;
	struct span request;
	const char *log_id;
};
struct ticket *policy_ask(
    struct policy_pool *p, const struct policy_question *q, policy_fn *fn, void *arg);

#endif
