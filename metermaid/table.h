/* table.h - a bounded table of keys: shared by the workers of a host, or private to one.
 *
 * A full set of ways drops a key whose time has passed, else of the rule that has most of the set the one
 * whose time comes first: heavy users stay, and a flood under one rule takes nothing from others. A rule
 * whose keys_max is below the size uses a part of the sets. Leases have sets of their own, a cell for each
 * holder of a key. A question over several keys is one
 * atomic step. */
#ifndef METERMAID_TABLE_H
#define METERMAID_TABLE_H

#include "metermaid/op.h"

struct table;

/* In anonymous shared memory with a robust lock, before fork: a worker that dies while it holds the
 * lock stops nobody. */
struct table *table_new_shared(size_t keys_max);
struct table *table_new_private(size_t keys_max);
void table_free(struct table **t);

/* n at most OPS_MAX. */
struct op_answer table_question(struct table *t, const struct op *ops, size_t n, struct op_now now);

/* The state of the op's key; of a lease the sum of all holders. False: nothing is known of it. */
bool table_show(struct table *t, const struct op *op, uint64_t now_us, struct op_state *out);
void table_reset(struct table *t, const struct op *op);

#endif
