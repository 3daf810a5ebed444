/* net_facts.h - the tables of what lib/net logs and counts. */
#ifndef NET_NET_FACTS_H
#define NET_NET_FACTS_H

#include "base/log.h"
#include "base/metric.h"

enum net_event {
#define EVENT(id, name, level, fields, prose) NET_EV_##id,
#include "net/net.events.def"
#undef EVENT
	NET_EVENTS
};
enum net_metric {
#define METRIC(id, name, kind, help) NET_##id,
#include "net/net.metrics.def"
#undef METRIC
	NET_METRICS
};

extern const struct log_event net_events[NET_EVENTS];
extern struct metric net_metrics[NET_METRICS];

/* Before the master forks: adds the counters to those that workers share. */
void net_metrics_register(void);

/* accept() failed for a reason that is not the peer's: counted, and logged unless *told. Whoever accepts
 * pauses then, or the loop would spin on the connection that stays in the queue. */
enum { NET_ACCEPT_PAUSE_MS = 200 };
void net_accept_failed(int errnum, bool *told);

#endif
