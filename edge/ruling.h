/* ruling.h - which access rule decides about the recipient of the mail under way? Part of step 3 (envelope.c).
 *
 * Rules are looked at in their order (access.h). One whose other conditions hold has its tables asked, one after the
 * other, and where it names channels it is found out by which ones mail for the recipient would go. What cannot be looked
 * up is never taken for "no": the recipient is answered 4xx. */
#ifndef EDGE_RULING_H
#define EDGE_RULING_H

#include "edge/session.h"

struct ruling;

/* Asks, and does what the rules say; envelope_ruled() goes on when they let the recipient pass. */
enum verdict ruling_start(struct session *s);
/* What the DNS says of the client's name is there: goes on if a rule waits for it. The session may be gone then. */
void ruling_name_known(struct session *s);
void ruling_free(struct ruling **r); /* of a mail; fine on NULL */

#endif
