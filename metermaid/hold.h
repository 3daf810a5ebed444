/* hold.h - what this worker holds under rules of kind concurrency, and its renewal.
 *
 * A hold is a key with the number of leases that sessions of this worker have under it. That number is
 * the truth: where the state is, it is set to it when something ends, when a third of the lease has
 * passed, and after Redis has been away. A worker that is killed renews nothing, so what it held is
 * gone when the lease is over. */
#ifndef METERMAID_HOLD_H
#define METERMAID_HOLD_H

#include "metermaid/op.h"
#include "metermaid/metermaid.h"

struct holds;
struct hold;

enum { HOLDS_MAX = 262144, LEASE_KEYS_MAX = 8 };

struct holds *holds_new(struct metermaid *m);
void holds_free(struct holds **h); /* leases that are out stay valid for meter_release() */

/* The hold of the key, made when it is new; op: a lease's. NULL: the table is full. It stays while it
 * has something or hold_expect() is open. */
struct hold *hold_get(struct holds *h, const struct op *op, struct span key);
uint64_t holds_count(const struct holds *h, struct span key); /* held under the key */
/* A question is under way (true), or its answer has come or will not (false). */
void hold_expect(struct hold *h, bool begins);
/* What the state says may not be what is held here: it will be set. */
void hold_doubt(struct hold *h);

/* One more of each; NULL when n is 0. */
struct meter_lease *holds_lease(struct holds *h, struct hold *const *v, size_t n);

/* Its end is told by this name; 0: not told. */
void hold_lease_name(struct meter_lease *l, uint64_t id);

/* Every hold is in doubt: Redis is back. */
void holds_doubt_all(struct holds *h);

#endif
