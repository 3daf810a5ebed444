/* commit_unit.h - the parts of one mail go to the spool together, all of them or none (part of step 5 of 6; commit.c).
 *
 * Each part is committed as a transaction of its own, whose `unit` this is. Where a single one would ask the spool, a part
 * joins; when every part has joined, or has nothing for the spool, one question is asked for all of them (unit.h), and its
 * answer is everybody's. */
#ifndef EDGE_COMMIT_UNIT_H
#define EDGE_COMMIT_UNIT_H

#include "edge/spool_link.h"
#include "edge/transaction.h"

struct committer;
struct commit_unit;

/* For n parts, at most UNIT_PARTS_MAX, of this mail, which outlives it, as k does. */
struct commit_unit *commit_unit_new(struct committer *k, const struct transaction *mail, size_t n);
void commit_unit_free(struct commit_unit **u); /* none of its tickets is left */

/* m: what the part has for the spool, only for the call; its body_bytes are those of part's prefix and body. part lives
 * until the answer or ticket_cancel(). Whoever cancels one cancels all of them: nothing is asked any more. */
struct ticket *commit_unit_join(struct commit_unit *u, const struct transaction *part,
    const struct spool_message *m, spool_put_fn *fn, void *arg);
/* The spool is to get nothing of this part. */
void commit_unit_pass(struct commit_unit *u);

/* The envelope of a transaction without its recipients; strings are the transaction's. */
struct spool_message commit_envelope(const struct transaction *t);

#endif
