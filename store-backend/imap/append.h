/* append.h - the message of an APPEND while it arrives, and its commit. */
#ifndef STORE_IMAP_APPEND_H
#define STORE_IMAP_APPEND_H

#include "store-backend/imap/session.h"

/* More bytes of the literal. */
void imap_append_data(struct imap_session *s, struct span bytes);
/* An APPEND to cmd.name whose messages come from another store or partition (remote.h, across.h). Each is announced as a
 * client would: into the room go its options and size, "() {7}", of which the second call tells the append; bytes are
 * imap_append_data's. Behind the last one the room is left empty, `more` is false, and the append is committed. */
struct buf *imap_append_room(struct imap_session *s);
enum verdict imap_append_offer(struct imap_session *s, bool more, uint64_t size);
/* What stands behind a large literal is framed: s->cmd.args reads it. */
enum verdict imap_append_more(struct imap_session *s);
void imap_append_free(struct imap_append **a);
/* Nothing comes of the append in work, if there is one. */
void imap_append_drop(struct imap_session *s);

#endif
