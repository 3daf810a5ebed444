/* route.h - step 4: from the account to a logged-in connection to its store, then the pipe. */
#ifndef MMP_ROUTE_H
#define MMP_ROUTE_H

#include "mmp/front.h"

/* The session's attempt has its account: tries the account's stores in order. Ends in the pipe or in
 * authenticate_refuse(). */
enum verdict route_start(struct session *s);

/* Deadline of ST_QUEUE: the line did not move. */
enum verdict route_queue_late(struct session *s);
/* ... at a store that returns has come. */
enum verdict route_turn(struct session *s);

#endif
