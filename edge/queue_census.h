/* queue_census.h - what waits in the queue, counted over every message: for the metrics of channels every 10 s, and for
 * the operator's `summary` when it is asked. */
#ifndef EDGE_QUEUE_CENSUS_H
#define EDGE_QUEUE_CENSUS_H

#include "edge/queue_scan.h"

/* The queue's own round over all rows, some of them at a time; what is at rest is not read from the log, but for the oldest of
 * each channel. */
struct queue_census;
struct queue_census *queue_census_new(struct queue *q);
void queue_census_free(struct queue_census **c);

/* `summary`: rows of JSON {"channel","destination","reason","recipients","bytes","oldest_s"}, largest number first; at most
 * 2000, the rest in one with destination "*". */
struct scan_job queue_summary_job(void);

#endif
