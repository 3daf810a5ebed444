/* outcome.h - writing what became of a recipient. */
#ifndef EDGE_OUTCOME_H
#define EDGE_OUTCOME_H

#include "base/span.h"
#include "edge/transaction.h"
#include "proto/smtp_reply.h"

/* Our words; text is cleaned and cut. enhanced: "4.4.1", NULL or "" for the general one of the code's class. */
void outcome_set(
    struct outcome *o, enum fate fate, unsigned code, const char *enhanced, struct span text);

/* From a reply of the next hop: 2xx DELIVERED, 5xx REFUSED, everything else LATER. Of a reply that makes no sense the words
 * are ours. */
void outcome_from_reply(struct outcome *o, const struct smtp_reply *reply);

#endif
