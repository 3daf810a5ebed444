/* hot.h - keys this worker asks about often: tokens taken in advance, and refusals that still hold.
 *
 * Tokens were charged where the state is before they are here, so they can only be used late, never
 * twice; those left when their time is over are lost. A refusal holds until its wait is over, since
 * nothing but an operator can make the key pass earlier. */
#ifndef METERMAID_HOT_H
#define METERMAID_HOT_H

#include "metermaid/op.h"

enum {
	HOT_TOKEN_US = 200000, /* tokens are good for so long */
	HOT_DENY_US =
	    1000000,   /* a refusal is asked again after so long: an operator may have reset it */
	HOT_PART = 16, /* all workers' tokens of a key are at most this part of its burst */
	HOT_TOKENS_MAX = 65536, /* in one batch */
};

struct hot_cell {
	uint64_t h1;                           /* 0: free */
	uint64_t denied_until_us, denied_cost; /* a refusal holds for at least this cost */
	uint64_t passes_at_us;                 /* for people: when it would pass */
	uint64_t tokens, tokens_until_us;
	uint64_t wanted_until_us;      /* a question under way asks for tokens */
	uint64_t window, asks, before; /* which window, questions in it and in the one before */
	uint64_t seen, refused;        /* decided here and not yet told to `observed` */
};

struct hot;
struct hot *hot_new(void);
void hot_free(struct hot **h);
/* The key's cell, made when it is new: another one's is given away then. Counts a question. */
struct hot_cell *hot_touch(struct hot *h, struct key_id id, uint64_t now_us);
struct hot_cell *hot_find(struct hot *h, struct key_id id); /* NULL: none */
void hot_forget(struct hot *h);                             /* everything, after a reset */

/* Decides without asking when it can: all tokens are here, or one refusal holds. cells: those of the
 * ops, from hot_touch(), NULL for kinds that are always asked. */
bool hot_decide(struct hot_cell *const *cells, const struct op *ops, size_t n, struct op_now now,
    struct op_answer *out);
/* How many tokens to ask for beyond the cost. workers: that may take some of this key; 0: none. */
uint64_t hot_want(struct hot_cell *c, const struct op *op, uint64_t workers, uint64_t now_us);
/* What the answer means for the key of op i. */
struct hot_answer {
	const struct op_answer *a;
	size_t i; /* of the op */
};
void hot_learn(struct hot_cell *c, const struct op *op, struct hot_answer of, uint64_t now_us);

#endif
