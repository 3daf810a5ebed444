/* verdict.h - what becomes of a message in which a filter or scanner has found something, recipient by recipient (part of
 * step 4; asked by filter.c and scanner.c).
 *
 * Blocks `verdict NAME { ... }` are looked at in the order of the file; without one the filter's own word holds. One reply
 * stands for all recipients: the message is refused when all of them want that; when only some do, they are refused alone,
 * and the sender is told where that does no harm (commit.h). Of a filter that only some recipients want the
 * others notice nothing. What is done to a recipient is done to all behind it. */
#ifndef EDGE_VERDICT_H
#define EDGE_VERDICT_H

#include "proto/milter_wire.h"

#include "edge/edge_conf.h"
#include "edge/filter_conf.h"
#include "edge/transaction.h"

struct verdict_hit {
	const char *filter; /* its name */
	int action;         /* enum edge_on_verdict: its own word ... */
	const char *folder; /* ... with this folder */
	const char *why;    /* in words, or NULL */
	struct filter_wish wanted;
	bool firm;                         /* its own word holds, whatever blocks say */
	const struct milter_text *refusal; /* its words, or NULL */
};

enum verdict_end {
	VERDICT_ON,     /* to those who are left, as they want it */
	VERDICT_REFUSE, /* nobody takes it */
	VERDICT_DISCARD /* nobody gets it */
};
enum verdict_end verdict_apply(
    const struct edge_conf *c, struct transaction *t, const struct verdict_hit *hit);

/* Is a recipient refused? Then the message cannot be dropped without a word. */
bool verdict_refused_any(const struct transaction *t);

/* For edge_conf_check(): folders, names of filters. */
void verdict_check(const struct edge_conf *c, struct conf_diag *d);

#endif
