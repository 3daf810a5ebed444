/* filter_conf.h - settings of filters and scanners: checks, and what they mean. */
#ifndef EDGE_FILTER_CONF_H
#define EDGE_FILTER_CONF_H

#include "edge/edge_conf.h"
#include "edge/transaction.h"

/* Names, addresses without a port, listeners that are not there. */
void filter_conf_check(const struct edge_conf *e, struct conf_diag *d);

/* recipient_domains (patterns, see pattern.h): is it for the address, or for any recipient? Yes when none is named. */
bool filter_conf_in(const struct conf_strings *domains, struct span address);
bool filter_conf_any_in(const struct conf_strings *domains, const struct transaction *t);

/* Has a listener of this name milters or scanners? */
bool filter_conf_has_any(const struct edge_conf *c, const char *listener);

#endif
