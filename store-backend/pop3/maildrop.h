/* maildrop.h - the INBOX as one POP3 session sees it: its messages at login, numbered, with marks.
 *
 * A snapshot: what comes later is for the next session. It holds twelve bytes for a message and at most
 * STORE_MESSAGES_MAX of them. It names messages by uid, and a uid is never given twice, so that deleting a
 * message that somebody else has deleted meanwhile deletes nothing else.
 *
 * Messages that an IMAP client has marked \Deleted are left out: their user has thrown them away, and
 * may still take them back there. QUIT does not remove them. */
#ifndef STORE_POP3_MAILDROP_H
#define STORE_POP3_MAILDROP_H

#include "store-backend/store.h"

struct maildrop_message {
	uint32_t uid, size;
	bool deleted;   /* DELE */
	bool unseen;    /* at login */
	bool retrieved; /* RETR has sent all of it */
};

struct maildrop {
	struct store_partition *partition; /* borrowed */
	uint64_t mailbox;
	uint32_t uidvalidity;
	uint32_t uid_next, uid_end;   /* what is still to be loaded: uid_next <= uid < uid_end */
	struct maildrop_message *all; /* owned; message number n is all[n - 1] */
	size_t n, cap;
	size_t left; /* not marked deleted */
	uint64_t left_bytes;
	int lock_fd; /* owned, or -1 */
};

enum maildrop_result {
	MAILDROP_OK,
	MAILDROP_MORE,     /* load: call again, in another round of the loop */
	MAILDROP_IN_USE,   /* another POP3 session has it */
	MAILDROP_TOO_SOON, /* the login before was less than the delay ago */
	MAILDROP_LATER     /* the index or the lock cannot be had now */
};

/* Finds the user's INBOX and, when exclusive, takes its lock: one POP3 session at a time on this host, in
 * whichever worker. IMAP and deliveries do not ask for it. MAILDROP_OK: *out is to be loaded, then freed. */
struct maildrop_how {
	bool exclusive;
	uint64_t delay_s; /* between two logins of a user at this host; 0: none */
};
enum maildrop_result maildrop_open(struct store_partition *p, struct span user,
    const struct maildrop_how *how, struct maildrop **out);
void maildrop_free(struct maildrop **d);

/* The next piece of the list: MAILDROP_OK when it is whole, MAILDROP_MORE, MAILDROP_LATER. */
enum maildrop_result maildrop_load(struct maildrop *d);

/* NULL: no such message, or it is marked deleted. */
struct maildrop_message *maildrop_message(struct maildrop *d, uint32_t number);
void maildrop_delete(struct maildrop *d, struct maildrop_message *m);
void maildrop_reset(struct maildrop *d); /* no message is marked deleted */

/* What the end of a session has to ask of the committer. */
enum maildrop_mark {
	MAILDROP_SEEN,   /* retrieved, was not \Seen, and stays */
	MAILDROP_DELETED /* marked deleted */
};
size_t maildrop_marked(
    const struct maildrop *d, enum maildrop_mark mark, size_t at); /* from at on */
/* The uids of the marked messages from *at on (0 at first) as at most `most` ranges, which hold no other
 * uids. Returns how many; 0: there are no more. */
size_t maildrop_ranges(const struct maildrop *d, enum maildrop_mark mark, size_t *at,
    struct uid_range *out, size_t most);

#endif
