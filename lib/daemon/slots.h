/* slots.h - shared memory of a daemon: one slot of counters for each worker and one for the master.
 *
 * A slot outlives its worker, so counters go on over a restart; gauges start again from zero. */
#ifndef DAEMON_SLOTS_H
#define DAEMON_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/metric.h"

/* After every metric_register(), before the first fork. count: slots, the master's included. */
void slots_create(size_t count);
void slots_destroy(void);
/* This process counts metrics and log events in slot i from now on. */
void slots_attach(size_t i);
void slots_reset_gauges(size_t i); /* its worker has ended */
void slots_set_healthy(size_t i, bool healthy);
bool slots_healthy(size_t i);
/* What a metric says over all processes of this daemon, as far as each of them has come; in a process without slots,
 * as a unit test is, what it says there. */
uint64_t slots_sum(struct metric *m);

/* The metrics and events of another process of the same program, which may be of another version: one line each,
 * "NAME VALUE" or "!EVENT VALUE". What this one does not know is left out. Slot i holds the newest. */
bool slots_put_totals(struct buf *out);
void slots_take_totals(size_t i, struct span text);

/* Prometheus text format 0.0.4: every metric and the count of every log event, summed. */
bool slots_put_metrics(struct buf *out);

#endif
