/* crowd.h - the sessions before login of one worker: how many they are, what memory they hold, who goes when
 * it is too much, and when the worker takes no more connections. */
#ifndef MMP_CROWD_H
#define MMP_CROWD_H

#include <stdbool.h>

struct mmp;
struct session;

void crowd_enter(struct session *s); /* as the one that was active last */
void crowd_leave(struct session *s);
void crowd_touch(struct session *s); /* it was active */

/* What it holds may have changed. Past the worker's share those that were idle longest end, s perhaps among them:
 * last statement of whoever calls it. */
void crowd_weigh(struct session *s);

/* May one more be let in? Ends the one that was idle longest when there are too many. */
bool crowd_make_room(struct mmp *m);

/* A worker that has all it may have leaves connections to the others, or in the kernel's queue, until there is
 * room again. After each one that came or went, and when one of them begins to wait for its client. */
void crowd_settle(struct mmp *m);

#endif
