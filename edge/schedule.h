/* schedule.h - when a channel tries a recipient again, when its sender is told that it waits, and when it is given up:
 * for each class of priority, from the options of block `channel` over the general ones of section edge.
 *
 * backoff names the waits one by one, and notices the ages of a message; where they say nothing, waits double from
 * retry_first to retry_max (urgent mail waits half as long, other twice), and delay_notice and lifetime count. */
#ifndef EDGE_SCHEDULE_H
#define EDGE_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

#include "edge/edge_conf.h"
#include "proto/priority.h"

enum { BACKOFFS_MAX = 8, NOTICES_MAX = 5, REPEATED_NOTICES_MAX = 255 };

struct schedule {
	uint64_t first, most;          /* ms; of waits that double */
	uint64_t lifetime;             /* ms; where no notices say */
	uint64_t notice, notice_every; /* ms; the latter 0: once */
	struct schedule_class {
		uint64_t backoff[BACKOFFS_MAX]; /* ms; the last one goes on */
		size_t backoff_n;               /* 0: they double */
		/* In ms of age, rising; at the last one it is given up. */
		uint64_t notices[NOTICES_MAX];
		size_t notice_n; /* 0: delay_notice and lifetime */
	} by[PRIORITY_CLASSES];
};

/* own: all zero where no block says anything. */
void schedule_init(
    struct schedule *s, const struct edge_conf *c, const struct edge_channel_conf *own);

/* The wait after so many attempts (at least 1), without the part that is left to chance. */
uint64_t schedule_wait(const struct schedule *s, enum priority_class class, uint32_t attempts);
/* No wait is longer. */
uint64_t schedule_wait_max(const struct schedule *s);
/* The age at which a recipient is given up. */
uint64_t schedule_lifetime(const struct schedule *s, enum priority_class class);
/* How many notices of delay there are by this age; at most REPEATED_NOTICES_MAX. */
unsigned schedule_notices(const struct schedule *s, enum priority_class class, uint64_t age_ms);
/* The age of the next one after so many; UINT64_MAX: there is none. */
uint64_t schedule_notice(const struct schedule *s, enum priority_class class, unsigned sent);

/* What is wrong with a block's tables. */
void schedule_check(const struct edge_channel_conf *own, struct conf_diag *d);

#endif
