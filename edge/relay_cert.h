/* relay_cert.h - who may relay by the certificate that it shows (part of step 2; RFC 3207 section 6).
 *
 * A key is as good as its pin, whoever signed its certificate; a name counts only when relay_ca vouches for it. The
 * handshake has proved that the client holds the key. */
#ifndef EDGE_RELAY_CERT_H
#define EDGE_RELAY_CERT_H

#include "edge/session.h"

/* Does the listener let anybody relay so? Then it asks clients for certificates. */
bool relay_cert_wanted(const struct edge_listener_conf *l);
/* After the handshake: is it one of them? */
bool relay_cert_matches(const struct session *s);

/* Makes setup->tls_relay if a listener wants it. False: a sentence is in why. */
bool relay_cert_setup(struct edge_setup *s, const struct conf *c, struct buf *why);
/* For edge_conf_check(). */
void relay_cert_check(const struct edge_conf *e, struct conf_diag *d);

#endif
