/* tls_tickets.h - the keys that session tickets are sealed with, shared by reference among contexts.
 *
 * The first key seals; every one of them opens, so a ticket outlives the rotation of its key by as many
 * rotations as older keys are kept. A ticket under a key that is not there (any more) costs its client a
 * full handshake, nothing else. */
#ifndef NET_TLS_TICKETS_H
#define NET_TLS_TICKETS_H

#include <stdbool.h>

#include "base/span.h"

enum { TLS_TICKET_KEY_LEN = 80, TLS_TICKET_KEYS_MAX = 16 };

struct tls_tickets;

struct tls_tickets *tls_tickets_new(void); /* with one random key; the reference is the caller's */
/* Whole keys, the newest first; contexts that are in use go on with them at their next handshake.
 * False: not 1 to 16 keys of 80 bytes, and nothing has changed. */
bool tls_tickets_set(struct tls_tickets *t, struct span keys);
struct tls_tickets *tls_tickets_ref(struct tls_tickets *t);
void tls_tickets_unref(struct tls_tickets **t); /* the last one wipes; fine on NULL */

#endif
