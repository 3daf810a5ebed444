/* passed.h - which tests of step 2 a client has passed lately, at any host of the tier, and which it passes now.
 *
 * Asked at connect beside MeterMaid. The DNS is asked when the answer is there, or when it has not come within
 * PASSED_HEAD_MS: who is known costs it nothing, who is not waits no longer than that. A pass is noted when its
 * client has got a mail taken, and once in its lifetime; a listing or misbehaviour takes all of a network's away.
 * On mx listeners only. */
#ifndef EDGE_PASSED_H
#define EDGE_PASSED_H

#include "metermaid/passes.h"

#include "edge/session.h"

enum { PASSED_HEAD_MS = 2 };

/* Asks; screen_ask() comes from here, or later from the loop. */
void passed_start(struct session *s);
void passed_free(struct passed **p);

/* Is the answer still worth waiting for? */
bool passed_pending(const struct session *s);
bool passed_has(const struct session *s, enum meter_pass kind);
const char *passed_name(const struct session *s); /* NULL: none is remembered */
/* The greeting is held back, for no other reason than its delay: a pass that comes late ends that. */
void passed_cuts_delay(struct session *s);

/* The client has just passed this test; name: with PASS_NAME. */
void passed_earn(struct session *s, enum meter_pass kind, const char *name);
/* A mail of it was taken: what it has earned is noted. */
void passed_keep(struct session *s);
/* It is listed. */
void passed_revoke(struct session *s);
/* The session ends: has it behaved? */
void passed_settle(struct session *s);

#endif
