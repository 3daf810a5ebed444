/* mmp_tables.h - the multiplexor's log events, reasons and metrics: the .def rows as enums. */
#ifndef MMP_MMP_TABLES_H
#define MMP_MMP_TABLES_H

#include "base/log.h"
#include "base/metric.h"

enum mmp_event {
#define EVENT(id, name, level, fields, prose) MMP_EV_##id,
#include "mmp/mmp.events.def"
#undef EVENT
	MMP_EV_COUNT
};
extern const struct log_event mmp_events[MMP_EV_COUNT];

enum mmp_metric {
#define METRIC(id, name, kind, help) MMP_M_##id,
#include "mmp/mmp.metrics.def"
#undef METRIC
	MMP_M_COUNT
};
extern struct metric mmp_metrics[MMP_M_COUNT];

/* What a client is told. Less than the truth where the truth would help an attacker: an unknown
 * user and a wrong password are one row. */
enum told {
	TOLD_NOTHING,
	TOLD_CREDENTIALS,
	TOLD_CONTACT,
	TOLD_UNAVAILABLE,
	TOLD_LATE,
	TOLD_IN_USE,
	TOLD_TOO_SOON,
	TOLD_LIMIT,
	TOLD_PRIVACY,
	TOLD_TIMEOUT,
	TOLD_FAILURES,
	TOLD_ERRORS,
	TOLD_INJECTION,
	TOLD_BUSY,
	TOLD_FOREIGN,
	TOLD_SHUTDOWN,
	TOLD_COUNT
};

enum reason {
#define REASON(id, word, fault, told, prose) WHY_##id,
#include "mmp/mmp.reasons.def"
#undef REASON
	WHY_COUNT
};

struct reason_row {
	const char *word;  /* for logs */
	const char *fault; /* "none", "client", "store", "edge" */
	enum told told;
	const char *prose;
};
extern const struct reason_row reasons[WHY_COUNT];

#endif
