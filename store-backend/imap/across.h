/* across.h - COPY and MOVE of messages of the selected mailbox into one of another partition: one change is of one
 * partition, so they are appended there, all or none, with their flags and dates, and of a MOVE then expunged. One that
 * is cut in between leaves them in both places. */
#ifndef STORE_IMAP_ACROSS_H
#define STORE_IMAP_ACROSS_H

#include "store-backend/imap/session.h"

struct imap_across;
void imap_across_free(struct imap_across **x);

/* The messages of s->change go to cmd.name, which may be given to: the append in work is fed from here, and not by the
 * client. */
enum verdict imap_across_start(struct imap_session *s);
/* ST_LITERAL: the next bytes. */
enum verdict imap_across_feed(struct imap_session *s);
/* They are there, under uids from `first` on. */
enum verdict imap_across_done(struct imap_session *s, uint32_t uidvalidity, uint32_t first);

/* ---- for copies to other stores as well ---- */

/* The uids of s->change one by one; owned by the caller. NULL: more than may be appended at once. */
uint32_t *across_uids(const struct imap_session *s, size_t *n_out);
/* " (\Seen word) "date" {12}" CRLF, as behind APPEND and its mailbox, of a message of the selected mailbox. False: it has
 * been expunged, or the index cannot be read now. */
bool across_put_head(
    struct imap_session *s, uint32_t uid, struct buf *out, struct index_entry *entry_out);
#define ACROSS_EXPUNGED "[EXPUNGEISSUED] Some have been expunged meanwhile: nothing was copied"

#endif
