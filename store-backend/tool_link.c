/* tool_link.c - changes of a tool, asked of the committer of a partition that runs. Owns a loop and a link. */
#include "store-backend/tool_link.h"

#include <stdio.h>

#include "store-backend/tool_internal.h"

enum { STEP_MS = 100 };

static void on_answer(void *arg, const struct operation_answer *a)
{
	struct tool_link *l = arg;
	l->waiting--;
	l->last =
	    (struct operation_answer){ .result = a->result, .mailbox = a->mailbox, .uid = a->uid };
	if (a->result == OPR_OK)
		l->done++;
	else if (l->refused++ == 0)
		l->first_refused = a->result;
}

static void wait_below(struct tool_link *l, size_t n)
{
	while (l->waiting >= n)
		loop_step(l->loop, STEP_MS);
}

enum operation_result tool_link_ask(struct tool_link *l, const struct operation *op)
{
	wait_below(l, 1);
	l->waiting++;
	(void)operation_ask(l->link, op, on_answer, l);
	wait_below(l, 1);
	return l->last.result;
}

void tool_link_send(struct tool_link *l, const struct operation *op)
{
	wait_below(l, TOOL_WINDOW);
	l->waiting++;
	(void)operation_ask(l->link, op, on_answer, l);
}

void tool_link_drain(struct tool_link *l)
{
	wait_below(l, 1);
}

bool tool_link_open(
    const struct conf *c, const struct store_partition_conf *pc, struct tool_link *out)
{
	const struct store_conf *s = store_options(c);
	char socket[STORE_SOCKET_PATH_SIZE];
	*out = (struct tool_link){ 0 };
	if (!store_socket_path(c, pc->head.title, socket)) {
		fprintf(stderr, "postern-store: run_dir is too long\n");
		return false;
	}
	struct operation_link_opts opts = { .path = socket,
		.deadline_ms = s->commit_timeout,
		.waiting_max = TOOL_WINDOW + 1,
		.waiting_bytes_max = (size_t)TOOL_WINDOW * s->message_memory + 1 };
	out->loop = loop_new();
	out->link = operation_link_new(out->loop, &opts);
	return true;
}

void tool_link_close(struct tool_link *l)
{
	operation_link_free(&l->link);
	loop_free(&l->loop);
}
