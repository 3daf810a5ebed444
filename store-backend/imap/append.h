/* append.h - the message of an APPEND while it arrives, and its commit. */
#ifndef STORE_IMAP_APPEND_H
#define STORE_IMAP_APPEND_H

#include "store-backend/imap/session.h"

/* More bytes of the literal. */
void imap_append_data(struct imap_session *s, struct span bytes);
/* The command is whole. */
enum verdict imap_append_commit(struct imap_session *s);
/* What must stand behind a large literal. */
const char *imap_append_tail(const struct imap_session *s);
void imap_append_free(struct imap_append **a);

#endif
