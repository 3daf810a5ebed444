/* queue_tables.c - instances of queue.events.def and queue.metrics.def. */
#include "edge/queue_tables.h"

const struct log_event queue_events[QUEUE_EV_COUNT] = {
#define EVENT LOG_TABLE_ROW
#include "edge/queue.events.def"
#undef EVENT
};

struct metric queue_metrics[QUEUE_M_COUNT] = {
#define METRIC METRIC_TABLE_ROW
#include "edge/queue.metrics.def"
#undef METRIC
};
