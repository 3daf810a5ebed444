/* tool_link.h - changes of a tool, asked of the committer of a partition that runs. Blocking: the loop is stepped
 * while there is something to wait for. Every ask has a deadline, so every wait comes to an end. */
#ifndef STORE_TOOL_LINK_H
#define STORE_TOOL_LINK_H

#include "store-backend/store.h"

enum { TOOL_WINDOW = 64 }; /* changes under way at once */

struct tool_link {
	struct loop *loop;                   /* owned */
	struct operation_link *link;         /* owned */
	size_t waiting;                      /* changes without an answer */
	uint64_t done;                       /* OPR_OK */
	uint64_t refused;                    /* anything else */
	enum operation_result first_refused; /* while refused > 0 */
	struct operation_answer last;        /* numbers only */
};

/* False: there is no such socket path; it was told. */
bool tool_link_open(
    const struct conf *c, const struct store_partition_conf *pc, struct tool_link *out);
void tool_link_close(struct tool_link *l);

/* One change, alone, to its answer. */
enum operation_result tool_link_ask(struct tool_link *l, const struct operation *op);
/* Waits only until there is room in the window. */
void tool_link_send(struct tool_link *l, const struct operation *op);
void tool_link_drain(struct tool_link *l); /* until all are answered */

#endif
