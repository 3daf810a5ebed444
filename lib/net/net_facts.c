/* net_facts.c - the tables of log events and metrics of lib/net. */
#include "net/net_facts.h"

#include <string.h>

#include "base/err.h"

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

void net_accept_failed(int errnum, bool *told)
{
	metric_add(&net_metrics[NET_ACCEPT_FAILURES], 1);
	if (!*told)
		log_write(&net_events[NET_EV_ACCEPT_FAILED], NULL,
		    LOG_FIELDS(
			LOG_ERR("err", err_from_errno(errnum)), LOG_STR("text", strerror(errnum))));
	*told = true;
}
