/* store_memory.h - what stores have said lately of recipients that they were asked about (store_ask.h).
 *
 * Bounded: with a new entry that does not fit the one noted first goes. Sizes have an order: who takes a message
 * takes a smaller one, who refuses one refuses a bigger one, so one entry answers for many sizes. */
#ifndef EDGE_STORE_MEMORY_H
#define EDGE_STORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "edge/transaction.h"

/* Both words about a recipient are for one sender: some may exceed a limit. */
enum store_fact {
	STORE_FACT_TAKES,   /* up to a size */
	STORE_FACT_REFUSES, /* from a size on */
	STORE_FACT_SILENT   /* the store does not answer anybody */
};

/* Of whom a fact is: what its kind does not depend on is not looked at. */
struct store_key {
	struct span store, address, sender;
	uint64_t size;
};

struct store_memory;

struct store_memory *store_memory_new(size_t entries_max); /* at least one */
void store_memory_free(struct store_memory **m);
/* In the place of an older one of the same. said: STORE_FACT_REFUSES only, copied. until_ms: of the clock of
 * store_memory_find(). Keys that are too long are not kept. */
void store_memory_put(struct store_memory *m, enum store_fact fact, const struct store_key *key,
    uint64_t until_ms, const struct outcome *said);
/* Is it known now, for this size? *said_out (may be NULL): what was said, else as it is. */
bool store_memory_find(const struct store_memory *m, enum store_fact fact,
    const struct store_key *key, uint64_t now_ms, struct outcome *said_out);
size_t store_memory_count(const struct store_memory *m);

#endif
