/* status.h - the items of STATUS (RFC 3501 section 6.3.10 and later ones), also for LIST (RFC 5819). */
#ifndef STORE_IMAP_STATUS_H
#define STORE_IMAP_STATUS_H

#include "proto/imap_lex.h"
#include "store-backend/index.h"

struct imap_session;

/* "(" item *(SP item) ")" as bits. */
unsigned status_read_items(struct imap_cursor *c);
/* The items as a client asks for them: "(MESSAGES UNSEEN)". */
bool status_put_items(struct buf *out, unsigned items);
/* The STATUS line of a mailbox into the session's text. */
void status_say(
    struct imap_session *s, struct index_view *v, const struct index_mailbox *m, unsigned items);
/* Items that make the client one that knows of modseqs. */
void status_enable(struct imap_session *s, unsigned items);

#endif
