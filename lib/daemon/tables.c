/* tables.c - instances of daemon.events.def and daemon.metrics.def. */
#include "daemon/tables.h"

const struct log_event daemon_events[DAEMON_EV_COUNT] = {
#define EVENT LOG_TABLE_ROW
#include "daemon/daemon.events.def"
#undef EVENT
};

struct metric daemon_metrics[DAEMON_M_COUNT] = {
#define METRIC METRIC_TABLE_ROW
#include "daemon/daemon.metrics.def"
#undef METRIC
};
