/* queue_gauge.h - metrics with the labels channel=, reason= and phase=, whose rows get their names when a channel is
 * known. Names stand in memory that the daemon's processes share: the queue writes them, whoever answers /metrics reads. */
#ifndef EDGE_QUEUE_GAUGE_H
#define EDGE_QUEUE_GAUGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "edge/cause.h"

enum {
	GAUGES_MAX = 72
}; /* channels: the usual ones, mixed, and as many named ones as there may be */

enum gauge {
#define METRIC(id, name, kind, help) GAUGE_##id,
#include "edge/channel.metrics.def"
#undef METRIC
	GAUGE_KINDS
};
enum gauge_phase { PHASE_BEFORE, PHASE_QUEUED, PHASE_SETUP, PHASE_TALK, PHASES };

/* Before the first fork; in unit tests not needed. */
void queue_gauge_prepare(void);
/* The number of a channel, the same for the same name; SIZE_MAX: there are too many, and nothing of it is counted. */
size_t queue_gauge_slot(struct span channel);

/* The gauges and counters without a second label. */
void queue_gauge_set(size_t slot, enum gauge g, uint64_t value);
void queue_gauge_add(size_t slot, enum gauge g, uint64_t n);
/* g: GAUGE_LATER, GAUGE_FAILED */
void queue_gauge_ended(size_t slot, enum gauge g, enum cause why);
void queue_gauge_delay(size_t slot, enum gauge_phase phase, uint64_t ms);
/* As it stands: label 0 where there is no second one, else an enum cause or gauge_phase. */
uint64_t queue_gauge_get(size_t slot, enum gauge g, size_t label);

#endif
