/* index.h - step 5 of 6: what is where. The read side used by all workers (LMDB, the only home of it).
 *
 * A view is one consistent state. It lives within one callback: begin, read, copy out what is to be
 * kept, end. Never keep one across a return to the loop: a long reader stops page reuse. All spans
 * and pointers that come out of a view die with it. The writing side is index_write.h, for the
 * committer alone. */
#ifndef STORE_INDEX_H
#define STORE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"
#include "commitlog/commitlog.h"
#include "store-backend/message_type.h"
#include "store-backend/operation.h"

struct index;
struct index_view;

/* dir: the partition's index folder. NULL with *err_out: ERR_NOT_FOUND while the committer has not
 * made it yet, ERR_CORRUPT, ERR_IO. */
struct index *index_open(const char *dir, err_t *err_out);
void index_close(struct index **x);

/* NULL when the index is not open (x NULL: no committer yet) or cannot be read now: answer "try later". */
struct index_view *index_view_begin(struct index *x);
void index_view_end(struct index_view **v);

struct index_user {
	uint64_t bytes, messages;             /* in use, copies counted each */
	uint64_t quota_bytes, quota_messages; /* 0 = no limit */
	uint64_t inbox;                       /* mailbox id */
};
bool index_user(struct index_view *v, struct span user, struct index_user *out);

/* The user has been told of as out of room (RFC 5423 QuotaExceed), and not yet as with room again. */
struct index_quota_mark {
	uint64_t since_s; /* when it was told last */
	uint64_t first_s; /* and first */
	uint64_t mailbox; /* whose limit it is; 0: of no mailbox alone */
	/* Empty: the user's own limits; a rule's name; "@example.org": of the domain. */
	struct span root;
};
bool index_quota_mark(struct index_view *v, struct span user, struct index_quota_mark *out);

/* Where the user's mail is: another answer than STAY_HERE means that nobody may log in or deliver here now. */
enum store_stay index_stay(struct index_view *v, struct span user);
/* Is somebody putting the mailbox right (mend.h), so that nobody is to look at it at that time? */
bool index_mending(struct index_view *v, uint64_t mailbox, uint64_t wall_s);
/* The view has every change of the log before it. */
log_pos index_covered(struct index_view *v);
/* What to watch (mailbox_watch_start()) to hear that a user's mailboxes, subscriptions, rights or annotations have changed, or
 * what somebody in this partition lets the user do; "anyone": what is let everybody do. No mailbox has such an id. */
uint64_t index_user_watch(struct span user);
/* Delivery ids that are remembered for a user: those of the last days, of all that there are; folder_hash tells
 * the folders apart that were asked for. */
void index_deliveries(struct index_view *v, struct span user,
    bool (*fn)(void *arg, struct span id, uint64_t folder_hash), void *arg);

/* Was a delivery with this id, to no folder, made to the user? */
bool index_delivered(struct index_view *v, struct span id, struct span user);

/* Of a domain, in this partition alone: what its users have, and the limits that the directory had for it when one of them
 * logged in. Of several partitions that have limits, those of the highest version are the newest. */
struct index_domain {
	uint64_t bytes, messages, users;
	uint64_t quota_bytes, quota_messages; /* 0 = no limit */
	uint64_t version;                     /* 0: no limits have ever come */
};
void index_domain(struct index_view *v, struct span domain, struct index_domain *out);
/* All that have users or limits here, in byte order; fn false stops. */
void index_domains(struct index_view *v, bool (*fn)(void *arg, struct span domain), void *arg);

struct index_mailbox {
	uint64_t id; /* 1 .. 2^63; never reused */
	struct span user, name;
	uint32_t uidvalidity, uidnext; /* both > 0 */
	uint64_t modseq;               /* HIGHESTMODSEQ, at least 1 */
	uint32_t messages, unseen, deleted;
	uint32_t recent_from; /* uids >= it are \Recent to whoever asks OP_TAKE_RECENT first */
	uint64_t bytes;
	uint32_t uses;          /* enum store_use */
	uint64_t vanished_from; /* index_vanished() is complete for since >= this modseq */
	size_t keyword_n;
	struct span keywords[STORE_KEYWORDS_MAX]; /* bit i of index_entry.keywords is keywords[i] */
};
bool index_mailbox_find(
    struct index_view *v, struct span user, struct span name, struct index_mailbox *out);
bool index_mailbox_get(struct index_view *v, uint64_t id, struct index_mailbox *out);
/* The mailbox with the least id from `id` on, of anybody. */
bool index_mailbox_from(struct index_view *v, uint64_t id, struct index_mailbox *out);

/* How much of each kind is in the mailbox, and in all mailboxes of its owner. */
void index_types(struct index_view *v, const struct index_mailbox *m, struct type_uses *mailbox_out,
    struct type_uses *user_out);

/* All mailboxes of a user by name in byte order (INBOX among them); fn false stops. A superior that was
 * deleted is not among them though its inferiors are. */
void index_mailboxes(struct index_view *v, struct span user,
    bool (*fn)(void *arg, const struct index_mailbox *m), void *arg);
/* What somebody may do with it (enum acl_right); the owner everything. */
uint32_t index_rights(struct index_view *v, const struct index_mailbox *m, struct span who);
/* The rows of its ACL, in byte order of the identifiers. */
void index_acl(struct index_view *v, uint64_t mailbox,
    bool (*fn)(void *arg, struct span who, uint32_t rights), void *arg);
/* Annotations (RFC 5464) of a mailbox, or with mailbox 0 of users at this server: those of `whose` (empty: shared) in
 * byte order of their names, the store's own ("!name") among them. */
void index_metadata(struct index_view *v, uint64_t mailbox, struct span whose,
    bool (*fn)(void *arg, struct span name, struct span value), void *arg);
/* False: there is none of that name. */
bool index_metadata_get(struct index_view *v, uint64_t mailbox, struct span whose, struct span name,
    struct span *value_out);
/* All of a mailbox, of anybody. */
void index_metadata_all(struct index_view *v, uint64_t mailbox,
    bool (*fn)(void *arg, struct span whose, struct span name, struct span value), void *arg);
/* Mailboxes whose ACL has a row for exactly this identifier, in order of their ids. */
void index_granted(struct index_view *v, struct span who,
    bool (*fn)(void *arg, const struct index_mailbox *m), void *arg);
/* Names subscribed, in byte order; there may be no mailbox of that name. */
void index_subscriptions(
    struct index_view *v, struct span user, bool (*fn)(void *arg, struct span name), void *arg);

struct index_entry {
	uint32_t uid;
	uint32_t flags;    /* enum store_flag */
	uint64_t keywords; /* bits into the mailbox's keywords */
	uint64_t modseq;
	uint64_t size;   /* octets of the message */
	int64_t date_s;  /* INTERNALDATE */
	int64_t saved_s; /* when it came into this mailbox (RFC 8514 SAVEDATE) */
	int16_t date_zone;
	enum message_type type; /* TYPE_ANY: not known, which counts as mail */
	log_pos blob; /* the bytes: commitlog_reader_*; the same for each copy of a message */
};
bool index_entry(struct index_view *v, uint64_t mailbox, uint32_t uid, struct index_entry *out);
/* Entries with first <= uid <= last in order of uid. */
void index_entries(struct index_view *v, uint64_t mailbox, struct uid_range uids,
    bool (*fn)(void *arg, const struct index_entry *e), void *arg);
/* Entries with a modseq > since, in order of modseq: new messages and changed flags. */
void index_changes(struct index_view *v, uint64_t mailbox, uint64_t since,
    bool (*fn)(void *arg, const struct index_entry *e), void *arg);
/* Uids expunged with a modseq > since, in order of modseq. */
void index_vanished(struct index_view *v, uint64_t mailbox, uint64_t since,
    bool (*fn)(void *arg, uint32_t uid, uint64_t modseq), void *arg);
/* Of everything in a mailbox that a client can see but the messages' text, its name and keywords among it: the
 * same at two stores for the same content. 0: there is none. */
uint64_t index_mailbox_digest(struct index_view *v, uint64_t mailbox);
/* The parse cache made at delivery; an empty span when there is none (then parse the bytes). */
struct span index_cache(struct index_view *v, log_pos blob);

/* Object ids (RFC 8474): of a message's content, the same for all its copies, and of a mailbox whatever it is called; both
 * come along when the user moves to another store. */
uint64_t index_object(struct index_view *v, log_pos blob);
uint64_t index_mailbox_object(struct index_view *v, uint64_t mailbox);

#endif
