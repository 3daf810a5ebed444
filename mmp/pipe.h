/* pipe.h - step 5: a session after its login. */
#ifndef MMP_PIPE_H
#define MMP_PIPE_H

#include "base/buf.h"
#include "net/stream.h"

struct session;
struct mmp;

/* The session's login is done and the client has been told: its client stream and the store's become
 * a pipe with a small record; the caller ends the session. */
void pipe_session(struct session *s, struct stream **take_store);

void pipe_who(const struct mmp *m, struct buf *out); /* a JSON array */
void pipe_end_all(struct mmp *m); /* without a word to either end: the worker goes */

#endif
