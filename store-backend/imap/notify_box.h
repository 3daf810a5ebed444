/* notify_box.h - shared by notify.c and notify_names.c (nobody else): the mailboxes that a session has asked to be told of. */
#ifndef STORE_IMAP_NOTIFY_BOX_H
#define STORE_IMAP_NOTIFY_BOX_H

#include "store-backend/imap/notify.h"
#include "store-backend/imap/notify_parse.h"

enum {
	NOTIFY_BOXES_MAX = 1000,  /* told of in one session: each has a watch */
	NOTIFY_USERS_MAX = 128,   /* whose mailboxes they are, and the own user in each partition */
	NOTIFY_ENTRIES_MAX = 5000 /* annotations, of all of them */
};

struct notify_entry {
	char *name; /* owned */
	uint64_t hash;
};

struct notify_box {
	struct imap_notify *of;
	struct store_partition *in; /* borrowed: where it is; ids are unique there only */
	uint64_t id;                /* 0: the server, for its annotations */
	char *name;                 /* owned: as the session's user writes it */
	unsigned events;
	bool stale;
	struct mailbox_watch *watch; /* owned */
	/* as told last */
	uint64_t modseq;
	uint32_t messages, uidnext;
	struct notify_entry *entries; /* owned; with NOTIFY_METADATA */
	size_t entry_n;
};

struct imap_notify {
	struct imap_session *s; /* borrowed */
	size_t n;
	struct notify_group v[NOTIFY_GROUPS_MAX];
	char *names[NOTIFY_NAMES_MAX]; /* owned: of the groups */
	size_t name_n;
	struct buf fetch; /* owned: items of new messages of the selected mailbox */
	const struct store_partition *fetch_in;
	uint64_t fetch_box;
	uint32_t fetch_uid; /* from here on they are new */
	bool stale, names_stale;
	struct notify_box **boxes; /* owned */
	size_t box_n;
	char **subs; /* owned, in byte order */
	size_t sub_n;
	size_t entry_n; /* of all boxes */
	struct notify_user {
		char *user;                  /* owned */
		struct store_partition *in;  /* borrowed */
		struct mailbox_watch *watch; /* owned */
	} users[NOTIFY_USERS_MAX];
	size_t user_n;
};

void notify_box_free(struct notify_box *b);
/* Something is new: the session is told, now or when it may be. */
void notify_wake(struct imap_notify *n);

/* notify_names.c: brings boxes, subscriptions and annotations up to date; tell: what has changed is told. What cannot be
 * read now stays as it was, and stale. False: there are more than may be. */
bool notify_refresh_names(struct imap_notify *n, bool tell);

#endif
