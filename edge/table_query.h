/* table_query.h - what is in a table? A dry run for an operator: `postern table query TABLE KEY [USE]`. */
#ifndef EDGE_TABLE_QUERY_H
#define EDGE_TABLE_QUERY_H

#include "edge/worker.h"

/* words: TABLE KEY [USE]; USE: client, name or address, whose keys are tried one after the other; none: KEY as it is.
 * json, an array with one row, comes once, from the loop. False: such words mean nothing. */
typedef void table_query_fn(void *arg, uint32_t id, struct span json);
struct table_query_opts {
	table_query_fn *fn;
	void *arg;
	uint32_t id;
};
bool table_query_start(
    struct edge *e, const char *const *words, size_t n, const struct table_query_opts *o);
void table_query_free_all(struct edge *e); /* the worker goes: no answer */

#endif
