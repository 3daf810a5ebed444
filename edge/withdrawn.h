/* withdrawn.h - ids of messages that nobody was promised and that are not to be delivered, should they be in the log
 * (step 6 of 6; queue_take.c).
 *
 * Bound: the last WITHDRAWN_MAX of them, 120 bytes each. */
#ifndef EDGE_WITHDRAWN_H
#define EDGE_WITHDRAWN_H

#include <stdbool.h>

#include "base/ident.h"

struct withdrawn;

enum { WITHDRAWN_MAX = 10000 };

struct withdrawn *withdrawn_new(void);
void withdrawn_free(struct withdrawn **w);
void withdrawn_add(struct withdrawn *w, struct ident id); /* the oldest makes room */
bool withdrawn_has(const struct withdrawn *w, struct ident id);
void withdrawn_each(
    const struct withdrawn *w, void (*fn)(void *arg, struct ident id), void *arg); /* adds none */

#endif
