/* message_type.h - what kind of message it is: voice, fax, video or mail, by its Content-Type, and how much of each
 * kind there is. For limits (quota.h), which the index counts for, and for expiry (expire.h). */
#ifndef STORE_MESSAGE_TYPE_H
#define STORE_MESSAGE_TYPE_H

#include <stdint.h>

#include "base/span.h"

/* In the order of the words of `type` in store_expire.params.def and store_quota.params.def; the index keeps the
 * numbers. TYPE_ANY of a message: it was stored before kinds were kept, and counts as mail. */
enum message_type { TYPE_ANY, TYPE_MAIL, TYPE_VOICE, TYPE_FAX, TYPE_VIDEO, TYPE_COUNT };

/* Of a row of the index; a number that is none of them, in a row that is damaged, counts as mail. */
static inline enum message_type message_type_from(unsigned number)
{
	return number < TYPE_COUNT ? (enum message_type)number : TYPE_ANY;
}
/* By the value of a Content-Type field; SPAN_NONE is mail. */
enum message_type message_type_of(struct span content_type);
/* By the cache of parse_message(); without one, or when its fields were too large for it, it is mail. */
enum message_type message_type_in(struct span cache);

/* Copies counted each. */
struct type_use {
	uint64_t bytes, messages;
};
struct type_uses {
	struct type_use of[TYPE_COUNT]; /* [TYPE_ANY]: of all kinds together */
};
/* One kind and the sum. */
void type_uses_add(struct type_uses *u, enum message_type type, uint64_t bytes, uint64_t messages);

#endif
