/* meter_conf.h - the section metermaid and the tables of its events and metrics. */
#ifndef METERMAID_METER_CONF_H
#define METERMAID_METER_CONF_H

#include "base/log.h"
#include "base/metric.h"

#define CONF_BLOCK meter_rule
#define CONF_DEF "metermaid/meter_rule.params.def"
#include "conf/params_struct.h"

#define CONF_BLOCK metermaid
#define CONF_DEF "metermaid/metermaid.params.def"
#include "conf/params_struct.h"

enum meter_event {
#define EVENT(id, name, level, fields, prose) METER_EV_##id,
#include "metermaid/metermaid.events.def"
#undef EVENT
	METER_EV_COUNT
};
extern const struct log_event meter_events[METER_EV_COUNT];

enum meter_metric {
#define METRIC(id, name, kind, help) METER_M_##id,
#include "metermaid/metermaid.metrics.def"
#undef METRIC
	METER_M_COUNT
};
extern struct metric meter_metrics[METER_M_COUNT];

#endif
