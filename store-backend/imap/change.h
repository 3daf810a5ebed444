/* change.h - what a STORE, COPY, MOVE or EXPUNGE keeps while the committer is asked. */
#ifndef STORE_IMAP_CHANGE_H
#define STORE_IMAP_CHANGE_H

#include "store-backend/imap/session.h"

struct imap_change;
void imap_change_free(struct imap_change **c);

/* For a COPY or MOVE to another store or partition. Reads SP and the set of messages; a failure is the cursor's. */
void imap_change_read(struct imap_session *s);
/* SP and the mailbox behind it, into cmd.name, and the end of the command. */
void imap_change_read_target(struct imap_session *s);
bool imap_is_move(const struct imap_session *s); /* else a COPY */
/* Those that are there; they last as long as the command. */
struct uid_set imap_change_uids(const struct imap_session *s);
/* Expunges them, as the end of a MOVE. */
enum verdict imap_change_take_away(struct imap_session *s);

#endif
