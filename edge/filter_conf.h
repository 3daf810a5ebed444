/* filter_conf.h - what no single row of the blocks milter and scanner can see. */
#ifndef EDGE_FILTER_CONF_H
#define EDGE_FILTER_CONF_H

#include "edge/edge_conf.h"

/* Names, addresses without a port, listeners that are not there. */
void filter_conf_check(const struct edge_conf *e, struct conf_diag *d);

#endif
