/* ident.h - ids of sessions and transactions.
 *
 * 13 characters of lower-case base32 (no 0, 1, l, o: safe to read out on the telephone): 41 bits of
 * milliseconds since 2020 and 24 random bits, so ids sort by time and do not collide in a tier
 * in practice (1 in 16 million for two made in the same millisecond). Made at the edge, printed in
 * every refusal and log line, carried to the store. */
#ifndef BASE_IDENT_H
#define BASE_IDENT_H

#include <stdbool.h>

#include "base/span.h"

enum { IDENT_LEN = 13 };

struct ident {
	char s[IDENT_LEN + 1]; /* NUL-terminated; "" means none */
};

struct ident ident_new(void);
bool ident_parse(struct span text, struct ident *out); /* strict; false leaves *out alone */

#endif
