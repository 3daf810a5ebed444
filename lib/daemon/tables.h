/* tables.h - the daemon's own log events and metrics. */
#ifndef DAEMON_TABLES_H
#define DAEMON_TABLES_H

#include "base/log.h"
#include "base/metric.h"

enum daemon_event {
#define EVENT(id, name, level, fields, prose) DAEMON_EV_##id,
#include "daemon/daemon.events.def"
#undef EVENT
	DAEMON_EV_COUNT
};
extern const struct log_event daemon_events[DAEMON_EV_COUNT];

enum daemon_metric {
#define METRIC(id, name, kind, help) DAEMON_M_##id,
#include "daemon/daemon.metrics.def"
#undef METRIC
	DAEMON_M_COUNT
};
extern struct metric daemon_metrics[DAEMON_M_COUNT];

#endif
