/* auth.h - logging in: what the session keeps while an AUTHENTICATE is in work. */
#ifndef STORE_IMAP_AUTH_H
#define STORE_IMAP_AUTH_H

#include "store-backend/imap/session.h"

/* The client's next line in ST_SASL, or the initial response. */
enum verdict imap_sasl_line(struct imap_session *s, struct span line);
void imap_auth_free(struct imap_auth **a);

#endif
