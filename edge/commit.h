/* commit.h - step 5 of 6: who now owns the message, durably? The only code that may cause a 250.
 *
 * Local recipients are grouped by store; LMTP to every store in parallel, connections kept for the next
 * message; replies are per recipient. What a store cannot take now, and all mail that is to be relayed,
 * goes to the spool with one question to the queue process, which answers when it is durable. The whole
 * has one deadline; a store that is slower is left to the spool (the delivery id makes that harmless).
 * A transaction with a unit (commit_unit.h) asks no store: the spool gets all of it, with the mail's other parts. When one of
 * them is cancelled all have to be. */
#ifndef EDGE_COMMIT_H
#define EDGE_COMMIT_H

#include "conf/conf.h"
#include "directory/directory.h"
#include "edge/transaction.h"
#include "net/dns.h"
#include "net/ticket.h"

struct committer; /* per worker: pools of LMTP connections, link to the queue */

struct committer *committer_new(
    struct loop *l, struct dns *dns, struct directory *d, const struct conf *conf);
void committer_reload(struct committer *c, const struct conf *fresh);
void committer_free(struct committer **c);

/* t stays the caller's and must live until the answer or ticket_cancel(). When fn comes every
 * recipient's outcome is final: DELIVERED, SPOOLED, REFUSED, or LATER when even the spool failed (then
 * the client must be told 4xx: nothing was promised for that recipient). */
struct ticket *commit_start(
    struct committer *c, struct transaction *t, void (*fn)(void *arg), void *arg);

/* The queue process starts what waits for this node (queue_kick.h), or says that it cannot, within 10 s. */
enum { ETRN_NODE_MAX = 256 };
struct etrn_answer {
	struct span node; /* for the callback only */
	err_t err;
	size_t recipients;
	bool more;
};
struct ticket *committer_kick(struct committer *c, struct span node,
    void (*fn)(void *arg, const struct etrn_answer *a), void *arg);

/* The one SMTP reply for a transaction: 250 when at least one recipient is DELIVERED or SPOOLED and none
 * is LATER; refused ones then get a DSN if the sender may have one; all REFUSED: the first's 5xx; any
 * LATER with nothing delivered: 451. Text always names the transaction id. */
void commit_reply(const struct transaction *t, struct outcome *out);

#endif
