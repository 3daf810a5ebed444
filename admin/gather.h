/* gather.h - metrics and readiness of all programs of a host as one answer. */
#ifndef ADMIN_GATHER_H
#define ADMIN_GATHER_H

#include "admin/tier.h"

enum { GATHER_MS = 1000, GATHER_FAMILIES_MAX = 4096 };

/* Joins Prometheus texts: each family once, every sample with the label program="...". */
struct gather;
struct gather *gather_new(void);
void gather_add(struct gather *g, const char *program, struct span text);
bool gather_put(struct gather *g, struct buf *out);
void gather_free(struct gather **g);

/* Asks every program over its control socket; at most GATHER_MS for all together. One that does not
 * answer counts as postern_up 0. */
bool gather_metrics(const struct tier *t, struct buf *out);
/* True when each program is running and all of its workers serve and are healthy. Otherwise the first
 * reason is in why. */
bool gather_ready(const struct tier *t, struct buf *why);

#endif
