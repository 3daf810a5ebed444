/* queue_tables.h - log events and metrics of commit and the queue: the .def rows as enums. */
#ifndef EDGE_QUEUE_TABLES_H
#define EDGE_QUEUE_TABLES_H

#include "base/log.h"
#include "base/metric.h"

enum queue_event {
#define EVENT(id, name, level, fields, prose) QUEUE_EV_##id,
#include "edge/queue.events.def"
#undef EVENT
	QUEUE_EV_COUNT
};
extern const struct log_event queue_events[QUEUE_EV_COUNT];

enum queue_metric {
#define METRIC(id, name, kind, help) QUEUE_M_##id,
#include "edge/queue.metrics.def"
#undef METRIC
	QUEUE_M_COUNT
};
extern struct metric queue_metrics[QUEUE_M_COUNT];

#endif
