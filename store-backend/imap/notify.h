/* notify.h - what a session has asked to be told of by NOTIFY (RFC 5465), and telling it. */
#ifndef STORE_IMAP_NOTIFY_H
#define STORE_IMAP_NOTIFY_H

#include "store-backend/imap/session.h"

struct imap_notify;

void imap_notify_free(struct imap_notify **n);

/* What may be told of the selected mailbox while no command is in progress. */
enum imap_news imap_notify_selected(const struct imap_session *s);
/* Are changed flags told then, too? */
bool imap_notify_flags(const struct imap_session *s);

/* A mailbox of another store is selected now: nothing is heard of it between commands. Who wants to be told of the selected one
 * hears that nothing will be told any more. */
void imap_notify_selected_away(struct imap_session *s);

/* Tells what is new of other mailboxes, and the items of new messages of the selected one. V_NEXT: everything is told and has
 * left; V_WAIT: when there is room again. */
enum verdict imap_notify_tell(struct imap_session *s);

#endif
