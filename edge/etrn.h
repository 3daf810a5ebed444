/* etrn.h - ETRN (RFC 1985): a host asks that what waits for a node is sent now. It goes the node's usual way, not to
 * the one who asks. Beside greet.c. */
#ifndef EDGE_ETRN_H
#define EDGE_ETRN_H

#include "edge/session.h"

/* May this client ask? By its network (etrn_from), or as a user who has logged in (etrn_users). */
bool etrn_offered(const struct session *s);
enum verdict etrn_command(struct session *s, const struct smtp_cmd *cmd);

/* For edge_conf_check(). */
void etrn_check(const struct edge_conf *c, struct conf_diag *d);

#endif
