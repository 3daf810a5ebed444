/* text_grams.h - every three octets that stand beside each other in a text, each once: what a text index knows of it.
 *
 * A text that has another in it has all grams of that one, too; so a gram that is missing says no for certain, and grams that
 * are all there say perhaps. No I/O. */
#ifndef STORE_TEXT_GRAMS_H
#define STORE_TEXT_GRAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

enum {
	TEXT_GRAM = 3,           /* octets */
	TEXT_GRAMS_MAX = 200000, /* of one text; a mail of 100 KiB has some 10,000 */
};

struct text_grams {
	uint64_t *seen; /* owned: a bit for each that is possible, 2 MiB */
	uint32_t *v;    /* owned */
	size_t n;
	bool too_many; /* v has not all of them */
};

void text_grams_init(struct text_grams *g);
/* None reaches from one call to the next. */
void text_grams_put(struct text_grams *g, struct span text);
void text_grams_clear(struct text_grams *g);
void text_grams_end(struct text_grams *g); /* fine on a zeroed one */

#endif
