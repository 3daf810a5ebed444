/* edge_tables.c - the rows of edge.events.def, edge.reasons.def and edge.metrics.def as tables. */
#include "edge/edge_tables.h"

const struct log_event edge_events[EDGE_EV_COUNT] = {
#define EVENT LOG_TABLE_ROW
#include "edge/edge.events.def"
#undef EVENT
};

struct metric edge_metrics[EDGE_M_COUNT] = {
#define METRIC METRIC_TABLE_ROW
#include "edge/edge.metrics.def"
#undef METRIC
};

#define FAULT_NONE "none"
#define FAULT_CLIENT "client"
#define FAULT_EDGE "edge"

const struct reason_row reasons[WHY_COUNT] = {
#define REASON(id, word, fault, code, enhanced, text, prose)                                       \
	{ (word), FAULT_##fault, (code), (enhanced), (text), (prose) },
#include "edge/edge.reasons.def"
#undef REASON
};
