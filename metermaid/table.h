/* table.h - a bounded table of rate keys: shared by the workers of a host, or private to one.
 *
 * Keys are held by a 128-bit keyed digest; a full set of ways drops the key whose time has passed or
 * comes first, so heavy users stay. A question over several keys is one atomic step. */
#ifndef METERMAID_TABLE_H
#define METERMAID_TABLE_H

#include "metermaid/bucket.h"
#include "metermaid/rule.h"

struct table;

/* In anonymous shared memory with a robust lock, before fork: a worker that dies while it holds the
 * lock stops nobody. */
struct table *table_new_shared(size_t keys_max);
struct table *table_new_private(size_t keys_max);
void table_free(struct table **t);

struct table_ask {
	struct span key;
	struct bucket_limit limit;
	uint64_t cost;
	bool soft; /* beyond the limit it only delays */
};
struct table_answer {
	size_t index; /* which ask decided; n = none */
	uint64_t wait_us;
	bool hard;
};
/* n at most KEYS_PER_QUESTION_MAX. */
struct table_answer table_question(struct table *t, const struct table_ask *asks, size_t n,
    enum bucket_mode mode, uint64_t now_us);

#endif
