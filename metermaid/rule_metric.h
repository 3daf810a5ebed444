/* rule_metric.h - counters of each rule: asked, and beyond its limit. */
#ifndef METERMAID_RULE_METRIC_H
#define METERMAID_RULE_METRIC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

/* Master, before fork: the names are in shared memory, since rules are read by the workers. */
void rule_metric_prepare(void);
/* The place of a rule's counters: the same name, the same place, in all workers and after a reload.
 * SIZE_MAX: there have been too many names. */
size_t rule_metric_slot(struct span name);
void rule_metric_add(size_t slot, bool over);

#endif
