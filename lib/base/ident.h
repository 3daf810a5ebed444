/* ident.h - ids of sessions and transactions.
 *
 * 18 characters of lower-case base32 (no 0, 1, l, o: safe to read out on the telephone): 41 bits of
 * milliseconds since 2020 and 49 random bits, so ids sort by time. Stores and queue take a message whose id
 * they have seen for one they have: two ids alike lose mail. A tier that makes 1000 a second meets that
 * once in 35000 years, in the same mailbox far less. Made at the edge, printed in every refusal and log
 * line, carried to the store. */
#ifndef BASE_IDENT_H
#define BASE_IDENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum { IDENT_LEN = 18 };

struct ident {
	char s[IDENT_LEN + 1]; /* NUL-terminated; "" means none */
};

struct ident ident_new(void);
bool ident_parse(struct span text, struct ident *out); /* strict; false leaves *out alone */

/* The id of what is made of something: its time is that of `from`, the rest is 45 bits of hash. */
struct ident ident_derived(struct ident from, uint64_t hash);

#endif
