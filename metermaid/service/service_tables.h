/* service_tables.h - postern-meter's log events and metrics: the .def rows as enums. */
#ifndef METERMAID_SERVICE_SERVICE_TABLES_H
#define METERMAID_SERVICE_SERVICE_TABLES_H

#include "base/log.h"
#include "base/metric.h"

enum service_event {
#define EVENT(id, name, level, fields, prose) SERVICE_EV_##id,
#include "metermaid/service/service.events.def"
#undef EVENT
	SERVICE_EV_COUNT
};
extern const struct log_event service_events[SERVICE_EV_COUNT];

enum service_metric {
#define METRIC(id, name, kind, help) SERVICE_M_##id,
#include "metermaid/service/service.metrics.def"
#undef METRIC
	SERVICE_M_COUNT
};
extern struct metric service_metrics[SERVICE_M_COUNT];

#endif
