/* witness.h - every decision of a worker, told to those who record it (record.h) and look on (watch.h).
 * Costs a test when there is nobody. */
#ifndef METERMAID_WITNESS_H
#define METERMAID_WITNESS_H

#include "metermaid/decision.h"

struct asking;
struct witness;
struct witness *witness_new(struct metermaid *m);
void witness_free(struct witness **w);
/* The rules or rows record* may be others now. */
void witness_reload(struct witness *w);

/* What judge() has said of a question. */
void witness_decided(struct witness *w, const struct asking *a, const struct op_answer *got,
    enum decision_how how, const struct meter_answer *said);
/* local_judge() has decided. */
void witness_decided_here(
    struct witness *w, const struct asking *a, const struct meter_answer *said);
/* The answer to a question that was given up: what it took is taken. */
void witness_late(struct witness *w, const struct asking *a, const struct op_answer *got);
/* The user logged in well, and the rules of these keys grow. */
void witness_learned(struct witness *w, const struct asking *a, const struct op_answer *got);
/* The lease that the decision told last has given; NULL: none after all. */
void witness_lease(struct witness *w, struct meter_lease *l);
void witness_lease_ended(struct witness *w, uint64_t id);
/* rule NULL: all. */
void witness_reset(struct witness *w, const char *key, const char *rule);
/* As watchers_ask(). */
bool witness_watch(struct witness *w, const char *const *words, size_t n, struct buf *out);

#endif
