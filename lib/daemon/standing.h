/* standing.h - orders that outlast the process they were given to: the master keeps them, says them to every process
 * that starts, and at an upgrade hands them on before the new processes accept; private to lib/daemon. */
#ifndef DAEMON_STANDING_H
#define DAEMON_STANDING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "daemon/daemon.h"

enum { STANDING_MAX = 512, STANDING_WORDS = 4 };

struct standing;

struct standing *standing_new(void);
void standing_free(struct standing **s);

/* Of the same word, kind and value (without case) the newest stands; of 0 seconds it stands no longer. One more
 * than STANDING_MAX is not kept: it is known to those who have heard it. */
void standing_note(struct standing *s, const struct standing_order *order, uint64_t now_ms);

/* All that stand, with what is left of their time. False: none does, or there is no room. */
bool standing_pack(const struct standing *s, uint64_t now_ms, struct buf *out);
/* The next of them as words of an order, cut off; false: that was all. The words end with the packed bytes, which
 * are those of standing_pack(), so that each ends with a NUL. */
bool standing_next(struct span *packed, const char *words_out[STANDING_WORDS]);
void standing_take(struct standing *s, struct span packed, uint64_t now_ms);

#endif
