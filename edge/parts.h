/* parts.h - one mail of a client as one transaction or several: who gets it with another return path, with
 * a mark of its way, or held in the queue, gets it in a transaction of its own (between steps 4 and 5; before: content.c; after:
 * commit.c).
 *
 * Members found twice get the mail once, with the client's own return path where there is the choice. A member
 * elsewhere gets it with Delivered-To in front (RFC 9228) and, when the sender is a stranger, with a return
 * path of ours (srs.h). Mail that comes back with the mark of a recipient goes round in a loop, and is refused
 * for that recipient with 5.4.6. Members of a group that changes what it gets (shape.h) have a message of their own.
 *
 * Several transactions go to the spool, past no store, and together (commit_unit.h): when the client is told to come back nobody
 * has anything of the mail. More than UNIT_PARTS_MAX (unit.h) of them: REFUSED for all, 552 5.5.3. */
#ifndef EDGE_PARTS_H
#define EDGE_PARTS_H

#include "directory/directory.h"
#include "edge/commit.h"
#include "edge/srs.h"

struct parts_opts {
	struct loop *loop;
	struct committer *committer;
	struct directory *directory;
	const struct edge_conf *edge; /* both live until the answer */
	const struct srs *srs;
};

/* As commit_start(), which it is when no recipient has members or is to be held. Outcomes of recipients with members: LATER if a
 * member has it, else DELIVERED or SPOOLED if one has, else REFUSED as the first. */
struct ticket *parts_commit(
    const struct parts_opts *opts, struct transaction *t, void (*fn)(void *arg), void *arg);

#endif
