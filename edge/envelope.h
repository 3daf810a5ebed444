/* envelope.h - step 3: who sends, and to whom? */
#ifndef EDGE_ENVELOPE_H
#define EDGE_ENVELOPE_H

#include "edge/session.h"

enum verdict envelope_mail(struct session *s, const struct smtp_cmd *cmd);
/* Our own checks let the sender pass: filters are asked, MAIL is answered. */
enum verdict envelope_sender_ok(struct session *s);
enum verdict envelope_rcpt(struct session *s, const struct smtp_cmd *cmd);
/* May this client ask for delivery reports (RFC 3461)? */
bool envelope_offers_dsn(const struct session *s);

#endif
