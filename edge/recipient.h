/* recipient.h - who is behind the recipient that RCPT names? Part of step 3 (envelope.c). */
#ifndef EDGE_RECIPIENT_H
#define EDGE_RECIPIENT_H

#include "edge/expand.h"
#include "edge/session.h"
#include "proto/smtp_path.h"

/* Looks for the address on behalf of the recipient of the mail under way, whom the answer takes or refuses. */
enum verdict recipient_look_for(struct session *s, struct span address);
/* Is the recipient a return path that we have made (srs.h)? True: it is not taken, *v_out is the answer. A good
 * one is replaced by the sender it was made from, and false is returned. */
bool recipient_is_srs(struct session *s, enum verdict *v_out);
/* Has the local part a route of its own: user%host, host!user, "user@host"? Nobody follows it. */
bool recipient_has_route(const struct smtp_path *to);
/* Is its domain an address of this host (user@[192.0.2.1])? Then it is one of default_domain from now on. */
void recipient_own_literal(struct session *s);
/* How the recipients of the mail under way are looked for. */
struct expand_opts recipient_expand_opts(const struct session *s);

#endif
