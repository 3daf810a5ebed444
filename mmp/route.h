/* route.h - step 4: from the account to a logged-in connection to its store, then the pipe. */
#ifndef MMP_ROUTE_H
#define MMP_ROUTE_H

#include "directory/account.h"

#include "mmp/front.h"
#include "mmp/store_policy.h"

struct mmp;

/* The session's attempt has its account: tries the account's stores in order. Ends in the pipe or in
 * authenticate_refuse(). */
enum verdict route_start(struct session *s);

/* Deadline of ST_QUEUE: the line did not move. */
enum verdict route_queue_late(struct session *s);
/* ... at a store that returns has come. */
enum verdict route_turn(struct session *s);

/* ---- for dry.c, too */

/* The account's store that is tried as number i, or the relay; NULL: there are not so many. */
const char *route_candidate(
    const struct mmp_conf *c, int protocol, const struct account *a, size_t i);
/* Do so many logins wait for a store which answers none that more are not sent there? */
bool route_is_silent(const struct mmp *m, const char *store);
/* Why a store is passed over whatever its state is; NULL: it is not. */
const char *route_unfit(const struct store_policy *p, int protocol, uint16_t port);

#endif
