/* meter_conf.c - instances of the section's tables. */
#include "metermaid/meter_conf.h"

#define CONF_BLOCK meter_rule
#define CONF_DEF "metermaid/meter_rule.params.def"
#define CONF_PROSE "A limit: when it is asked, what it counts together, how much passes."
#include "conf/params_table.h"

#define CONF_BLOCK metermaid
#define CONF_DEF "metermaid/metermaid.params.def"
#define CONF_PROSE "Limits of the whole tier."
#include "conf/params_table.h"

const struct log_event meter_events[METER_EV_COUNT] = {
#define EVENT LOG_TABLE_ROW
#include "metermaid/metermaid.events.def"
#undef EVENT
};

struct metric meter_metrics[METER_M_COUNT] = {
#define METRIC METRIC_TABLE_ROW
#include "metermaid/metermaid.metrics.def"
#undef METRIC
};
