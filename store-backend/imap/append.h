/* append.h - the message of an APPEND while it arrives, and its commit. */
#ifndef STORE_IMAP_APPEND_H
#define STORE_IMAP_APPEND_H

#include "store-backend/imap/session.h"

/* More bytes of the literal. */
void imap_append_data(struct imap_session *s, struct span bytes);
/* What stands behind a large literal is framed: s->cmd.args reads it. */
enum verdict imap_append_more(struct imap_session *s);
void imap_append_free(struct imap_append **a);

#endif
