/* filter_conf.h - settings of filters and scanners: checks, and what they mean. */
#ifndef EDGE_FILTER_CONF_H
#define EDGE_FILTER_CONF_H

#include "edge/edge_conf.h"
#include "edge/transaction.h"

/* Names, addresses without a port, listeners that are not there. */
void filter_conf_check(const struct edge_conf *e, struct conf_diag *d);

/* Is the address one that the patterns mean (pattern.h), with or without its +detail? Yes when there are none. */
bool filter_conf_in(const struct conf_strings *patterns, struct span address);

/* Who wants a filter: recipient_domains, and wanted_by (NULL: it has none). */
struct filter_wish {
	const struct conf_strings *domains, *words;
};
bool filter_wish_of_all(const struct filter_wish *w); /* neither names anybody */
/* Does the recipient, or one of its members, or any of the mail? */
bool filter_wanted_by(const struct filter_wish *w, const struct recipient *r);
bool filter_wanted(const struct filter_wish *w, const struct transaction *t);

/* Does the recipient that RCPT names? It is the last one, or known by another name already. */
struct mail;
bool filter_wanted_at_rcpt(const struct filter_wish *w, const struct mail *m);

/* Has a listener of this name milters or scanners? */
bool filter_conf_has_any(const struct edge_conf *c, const char *listener);

#endif
