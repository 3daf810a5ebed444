/* memory.h - the memory of one worker: when it comes near memory_max, and when it has reached it.
 *
 * What counts is all that the worker has taken through mem.h, OpenSSL's share included, beyond what it had when it was
 * ready: sessions and their buffers, bodies in memory, recipients, filters, records, caches. Near the bound (seven
 * eighths, until it is below three quarters again) others are to take the new connections and bodies go to files; who
 * has a session goes on. The last eighth is theirs: only when it is used up, too, they are told to come back. */
#ifndef EDGE_MEMORY_H
#define EDGE_MEMORY_H

#include <stdbool.h>

#include "edge/worker.h"

void memory_start(struct edge *e); /* the worker is ready: from here on it counts */
/* Looks, and remembers: the first look that finds it so is logged. */
bool memory_is_pressed(struct edge *e);
/* MAIL and RCPT are to be refused now (452); counted. */
bool memory_is_full(struct edge *e);

extern const char memory_words[]; /* for the refusal */

#endif
