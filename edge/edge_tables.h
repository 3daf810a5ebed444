/* edge_tables.h - the edge's log events, reasons and metrics: the .def rows as enums. */
#ifndef EDGE_EDGE_TABLES_H
#define EDGE_EDGE_TABLES_H

#include <stdint.h>

#include "base/log.h"
#include "base/metric.h"

enum edge_event {
#define EVENT(id, name, level, fields, prose) EDGE_EV_##id,
#include "edge/edge.events.def"
#undef EVENT
	EDGE_EV_COUNT
};
extern const struct log_event edge_events[EDGE_EV_COUNT];

enum edge_metric {
#define METRIC(id, name, kind, help) EDGE_M_##id,
#include "edge/edge.metrics.def"
#undef METRIC
	EDGE_M_COUNT
};
extern struct metric edge_metrics[EDGE_M_COUNT];

enum reason {
#define REASON(id, word, fault, code, enhanced, text, prose) WHY_##id,
#include "edge/edge.reasons.def"
#undef REASON
	WHY_COUNT
};

struct reason_row {
	const char *word;  /* for logs */
	const char *fault; /* "none", "client", "edge" */
	uint16_t code;     /* the last reply; 0: none */
	const char *enhanced, *text;
	const char *prose;
};
extern const struct reason_row reasons[WHY_COUNT];

#endif
