/* shared.h - mailboxes of others in a session's names (RFC 2342): "Other Users/USER/NAME" is NAME of USER, and "Shared
 * Folders/NAME" is NAME of public_user. Whatever does not begin so is the session's own. */
#ifndef STORE_IMAP_SHARED_H
#define STORE_IMAP_SHARED_H

#include "store-backend/acl.h"
#include "store-backend/index.h"

struct imap_session;
struct store_partition;

/* owner.n 0: there can be no such mailbox. Spans point into the name and the session. */
struct shared_name {
	struct span owner, name;
};
struct shared_name shared_parse(const struct imap_session *s, struct span name);
/* Where the mailbox of that name is or would be: the partition of its owner. */
struct store_partition *shared_partition(struct imap_session *s, struct span name);
/* As the session's user writes it; false: out is full. */
bool shared_put(const struct imap_session *s, const struct index_mailbox *m, struct buf *out);

/* The mailbox of the command's name, if the user has all these rights. OPR_NO_MAILBOX: there is none, or the user
 * may not even know of it; OPR_DENIED; OPR_MENDING: it is being repaired, so that nobody reads it or
 * adds to it now. */
enum operation_result shared_find(struct imap_session *s, struct index_view *v, struct span name,
    uint32_t rights, struct index_mailbox *out);

/* Mailboxes of others that the user may see and that are in the view's partition, each at least once. */
void shared_each(struct imap_session *s, struct index_view *v,
    bool (*fn)(void *arg, const struct index_mailbox *m), void *arg);

/* On whose behalf: the owner as the operation's user, the session's as the one who acts. */
void shared_act(const struct imap_session *s, struct operation *op, struct span owner);

#endif
