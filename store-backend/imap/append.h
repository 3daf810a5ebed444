/* append.h - the message of an APPEND while it arrives, and its commit. */
#ifndef STORE_IMAP_APPEND_H
#define STORE_IMAP_APPEND_H

#include "store-backend/imap/session.h"

/* More bytes of the literal. */
void imap_append_data(struct imap_session *s, struct span bytes);
/* An APPEND to cmd.name whose messages come from another store or partition (remote.h, across.h); s->cmd.args has the first one's options. */
enum verdict imap_append_begin(struct imap_session *s);
/* What stands behind a large literal is framed: s->cmd.args reads it. */
enum verdict imap_append_more(struct imap_session *s);
void imap_append_free(struct imap_append **a);
/* Nothing comes of the append in work, if there is one. */
void imap_append_drop(struct imap_session *s);

#endif
