/* filter_conf.h - settings of filters and scanners: checks, and what they mean. */
#ifndef EDGE_FILTER_CONF_H
#define EDGE_FILTER_CONF_H

#include "edge/edge_conf.h"
#include "edge/transaction.h"

/* Names, addresses without a port, listeners that are not there. */
void filter_conf_check(const struct edge_conf *e, struct conf_diag *d);

/* recipient_domains: is the address, or any recipient's, in one of them? Yes when none is named. */
bool filter_conf_in(const struct conf_strings *domains, struct span address);
bool filter_conf_any_in(const struct conf_strings *domains, const struct transaction *t);

#endif
