/* envelope.h - step 3: who sends, and to whom? */
#ifndef EDGE_ENVELOPE_H
#define EDGE_ENVELOPE_H

#include "edge/session.h"

enum verdict envelope_mail(struct session *s, const struct smtp_cmd *cmd);
enum verdict envelope_rcpt(struct session *s, const struct smtp_cmd *cmd);
/* May this client ask for delivery reports (RFC 3461)? */
bool envelope_offers_dsn(const struct session *s);

#endif
