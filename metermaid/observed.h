/* observed.h - the keys a worker has lately seen most: what `postern meter top` shows.
 *
 * Bounded (OBSERVED_MAX keys); a new key takes the place of the one with the least refusals and
 * questions, and starts from its count (space-saving), so heavy hitters cannot be missed. */
#ifndef METERMAID_OBSERVED_H
#define METERMAID_OBSERVED_H

#include "metermaid/rule.h"

struct observed;

struct observed *observed_new(void);
void observed_free(struct observed **o);
struct observation {
	const struct meter_key *key;
	struct span text; /* of the key, with the rule's name before the first bar; copied */
	uint64_t seen, refused;
	uint64_t wait_us; /* until it would pass; 0: it does */
};
void observed_note(struct observed *o, const struct observation *what);
/* JSON objects {"rule","key","count","refused","limit","retry_s"}, separated by commas, most refused
 * first; only_rule NULL: all. */
bool observed_put(struct observed *o, const char *only_rule, struct buf *out);

#endif
