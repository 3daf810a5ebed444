/* queue_scan.h - something is done with every message of the queue, some of them in each round of the loop;
 * for queue_control.c and queue_list.c. */
#ifndef EDGE_QUEUE_SCAN_H
#define EDGE_QUEUE_SCAN_H

#include "edge/queue_internal.h"

struct order;

enum { SCAN_WORDS_MAX = 16 };

/* What is done: begin(), visit() for each message, end(). */
struct scan_job {
	void (*begin)(struct scan_job *j, struct buf *out);
	/* A row that needs no visit, because nothing is meant there or everything has been done here. */
	bool (*skim)(struct scan_job *j, struct queue *q, uint32_t row);
	void (*visit)(struct scan_job *j, struct q_entry *e, struct buf *out); /* may free e */
	bool (*is_full)(const struct scan_job *j);                             /* no more visits */
	void (*end)(struct scan_job *j, struct buf *out);
	struct queue_filter filter;
	const struct order *order; /* NULL: a list or a summary */
	struct queue_sums *sums;   /* queue_census.c */
	size_t n;                  /* recipients met */
	bool more;                 /* it ended before the end ... */
	struct ident at;           /* ... behind this message; "": from the beginning */
};

struct scan_words {
	const char *const
	    *v; /* the command and its filter, which has been parsed once without a mistake */
	size_t n;
};

/* The answer is appended to out when it is ready soon, else given by late (NULL: there is time). */
void queue_scan_start(struct queue *q, const struct scan_words *said, struct scan_job *job,
    const struct queue_late *late, struct buf *out);
/* queue_list.c: rows of JSON, 5000 and the rest of the last message; when it is not all, {"more","after"} is the last. */
struct scan_job queue_list_job(void);
bool queue_scan_skims(const struct scan_job *j, const struct queue *q, uint32_t row);
/* queue_control.c: an order `retry` for a node, see queue_kick.h. Appended or given late: how many recipients, and "+"
 * when there are more; nothing when the spool cannot be used. */
void queue_control_kick(
    struct queue *q, struct span node, const struct queue_late *late, struct buf *out);
void queue_scans_end(struct queue *q); /* all answer with what they have */

#endif
