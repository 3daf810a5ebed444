/* run_outcome.h - what the end of a run means for its recipient. */
#ifndef EDGE_RUN_OUTCOME_H
#define EDGE_RUN_OUTCOME_H

#include "edge/outcome.h"
#include "edge/run_ask.h"

/* Exit statuses as sysexits.h has them, others are for good: see docs/channels.md for the table. What the program wrote
 * is the text; when it begins with an enhanced status code (RFC 3463) of the right class, that is the code. */
void run_outcome(struct outcome *o, const struct run_result *r);

#endif
