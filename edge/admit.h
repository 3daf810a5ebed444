/* admit.h - step 2: may this peer go on? Asked before the greeting. */
#ifndef EDGE_ADMIT_H
#define EDGE_ADMIT_H

#include "edge/session.h"

/* A new session: MeterMaid is asked, then TLS or the greeting. */
enum verdict admit_start(struct session *s);
/* The time before the greeting is over, and the client has kept still. */
enum verdict admit_waited(struct session *s);
/* The greeting is due: the peer was admitted, and TLS is there if it comes first. */
enum verdict admit_greet(struct session *s);
/* TLS is wanted and offered: MeterMaid is asked, then the handshake begins. */
enum verdict admit_secure(struct session *s);

#endif
