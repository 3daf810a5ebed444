/* mmp_tables.c - the rows of mmp.events.def, mmp.reasons.def and mmp.metrics.def as tables. */
#include "mmp/mmp_tables.h"

const struct log_event mmp_events[MMP_EV_COUNT] = {
#define EVENT LOG_TABLE_ROW
#include "mmp/mmp.events.def"
#undef EVENT
};

struct metric mmp_metrics[MMP_M_COUNT] = {
#define METRIC METRIC_TABLE_ROW
#include "mmp/mmp.metrics.def"
#undef METRIC
};

#define FAULT_NONE "none"
#define FAULT_CLIENT "client"
#define FAULT_STORE "store"
#define FAULT_EDGE "edge"

const struct reason_row reasons[WHY_COUNT] = {
#define REASON(id, word, fault, told, prose) { (word), FAULT_##fault, TOLD_##told, (prose) },
#include "mmp/mmp.reasons.def"
#undef REASON
};
