/* net_facts.c - the tables of log events and metrics of lib/net. */
#include "net/net_facts.h"

const struct log_event net_events[NET_EVENTS] = {
#define EVENT LOG_TABLE_ROW
#include "net/net.events.def"
#undef EVENT
};

struct metric net_metrics[NET_METRICS] = {
#define METRIC METRIC_TABLE_ROW
#include "net/net.metrics.def"
#undef METRIC
};

void net_metrics_register(void)
{
	metric_register(net_metrics, NET_METRICS);
}
