/* change.h - what a STORE, COPY, MOVE or EXPUNGE keeps while the committer is asked. */
#ifndef STORE_IMAP_CHANGE_H
#define STORE_IMAP_CHANGE_H

struct imap_change;
void imap_change_free(struct imap_change **c);

#endif
