/* tables.h - the events and metrics of this folder (directory.events.def, directory.metrics.def). */
#ifndef DIRECTORY_TABLES_H
#define DIRECTORY_TABLES_H

#include "base/log.h"
#include "base/metric.h"

enum directory_event {
#define EVENT(id, name, level, fields, prose) DIRECTORY_EV_##id,
#include "directory/directory.events.def"
#undef EVENT
	DIRECTORY_EV_COUNT
};
extern const struct log_event directory_events[DIRECTORY_EV_COUNT];

enum directory_metric {
#define METRIC(id, name, kind, help) DIRECTORY_M_##id,
#include "directory/directory.metrics.def"
#undef METRIC
	DIRECTORY_M_COUNT
};
extern struct metric directory_metrics[DIRECTORY_M_COUNT];

/* directory_log(AMBIGUOUS, LOG_STR("what", "user"), ...): these lines belong to no session. */
#define directory_log(id, ...)                                                                     \
	log_write(&directory_events[DIRECTORY_EV_##id], NULL, LOG_FIELDS(__VA_ARGS__))
#define directory_count(id) metric_add(&directory_metrics[DIRECTORY_M_##id], 1)

#endif
