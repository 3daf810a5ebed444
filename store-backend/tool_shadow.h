/* tool_shadow.h - a second index of a partition, made of its newest good snapshot (or of rows that the log holds) and its log
 * beside the committer that works: what the index would be if nothing had damaged it. In the folder PARTITION/repair, by one process at a time. */
#ifndef STORE_TOOL_SHADOW_H
#define STORE_TOOL_SHADOW_H

#include "store-backend/index.h"
#include "store-backend/tool_internal.h"

struct shadow;

/* live: what the committer works on; borrowed for the shadow's life. NULL: it cannot be made, and why was told.
 * ERR_NOT_FOUND: nothing is there that it could be made of. Any other *err_out may be another one the next time; ERR_BUSY:
 * another process makes one now. */
struct shadow *shadow_new(
    const struct store_partition_conf *pc, const struct tool_partition *live, err_t *err_out);
void shadow_free(struct shadow **s); /* its files go */

/* Brings it to what covers the log before `to`, which must be durable. Anything but ERR_OK: it was told why not, and the shadow
 * is of no use any more. ERR_CORRUPT: nor would another one be. */
err_t shadow_follow(struct shadow *s, log_pos to);
/* To read; lives as long as the shadow. */
struct index *shadow_index(struct shadow *s);

#endif
