/* operation.h - step 3 of 6: every change to the store as a typed record.
 *
 * Sessions read the index (index.h) and the message bytes themselves; whatever changes anything is an
 * operation, sent to the committer of the partition, which logs it, makes it durable together with
 * everything else that waits, applies it to the index and answers. When the answer comes the change is
 * durable AND visible: index_view_begin() after it sees it.
 *
 * An operation is sent once more when the committer died before it answered. It is named by (client,
 * sequence) and the committer remembers durably what it has answered, so a change is applied once.
 *
 * Names of users are "uid@domain", lower case. Names of mailboxes are UTF-8 with "/" between the levels
 * and INBOX in capitals (operation_name_ok() says what is legal); modified UTF-7 is IMAP's own affair. */
#ifndef STORE_OPERATION_H
#define STORE_OPERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "commitlog/commitlog.h"
#include "net/loop.h"
#include "net/stream.h"
#include "net/ticket.h"

enum {
	STORE_USER_MAX = 254,         /* bytes of a user's name */
	STORE_MAILBOX_NAME_MAX = 255, /* bytes of a mailbox's whole name */
	STORE_MAILBOX_DEPTH_MAX = 32,
	STORE_MAILBOXES_MAX = 10000, /* of one user */
	STORE_KEYWORDS_MAX = 64,     /* in one mailbox, for ever: a keyword's bit is not reused */
	STORE_KEYWORD_LEN_MAX = 64,
	STORE_RECIPIENTS_MAX = 1000,
	STORE_MESSAGES_MAX = 2000000, /* in one mailbox */
	STORE_RANGES_MAX = 65536,     /* of one uid set */
	STORE_CACHE_MAX = 256 * 1024, /* bytes of one message's parse cache */
	STORE_DELIVERY_ID_MAX = 64,
	STORE_AT_ONCE_MAX = 1000,   /* messages of one APPEND_MANY */
	STORE_ENTRY_NAME_MAX = 200, /* bytes of an annotation's name */
	STORE_ENTRY_VALUE_MAX = 32 * 1024,
	STORE_ENTRIES_MAX = 200 /* of one mailbox and user, and of one change */
};

/* System flags; bit positions are stored and sent, so they never change. \Recent is not a flag here:
 * see struct index_mailbox. */
enum store_flag {
	STORE_SEEN = 1,
	STORE_ANSWERED = 2,
	STORE_FLAGGED = 4,
	STORE_DELETED = 8,
	STORE_DRAFT = 16,
	STORE_FLAGS_ALL = 31
};

enum deliver_use {
	DELIVER_ANYWAY = 1, /* whatever the user's limits say */
	DELIVER_WARNING = 2 /* it tells of the limits: told of as QuotaWarning */
};
enum { EXPUNGE_BY_RULE = 1 }; /* not by a client: it is told of as MessageExpire */

/* RFC 6154 uses of a mailbox. */
enum store_use {
	STORE_USE_ARCHIVE = 1,
	STORE_USE_DRAFTS = 2,
	STORE_USE_JUNK = 4,
	STORE_USE_SENT = 8,
	STORE_USE_TRASH = 16,
	STORE_USE_FLAGGED = 32,
	STORE_USE_ALL = 64
};

struct uid_range {
	uint32_t first, last; /* 1 <= first <= last */
};
struct uid_set {
	const struct uid_range *v; /* ascending, not touching each other */
	size_t n;                  /* at most STORE_RANGES_MAX */
};

struct flag_set {
	uint32_t flags; /* enum store_flag */
	const struct span
	    *keywords; /* IMAP atoms, at most STORE_KEYWORDS_MAX; case is kept, not compared */
	size_t keyword_n;
};

/* The bytes of a message: from memory, or a file for a large one. Only CRLF line ends. */
struct message_source {
	struct span bytes;     /* the whole message, or empty when file is set */
	struct file_ref *file; /* borrowed for the call (the link takes its own reference) */
	uint64_t file_at;
	uint64_t size;     /* of the message in both cases */
	struct span cache; /* parse_message()'s result, at most STORE_CACHE_MAX */
};

enum operation_kind {
	OP_ENSURE_USER = 1, /* the user and INBOX exist afterwards; limits are set */
	OP_DELIVER,         /* one message to many users: a single copy */
	OP_APPEND,          /* one message to one mailbox, perhaps in place of others */
	OP_FLAGS,
	OP_COPY,
	OP_MOVE,
	OP_EXPUNGE,
	OP_CREATE, /* superior mailboxes are made as needed */
	OP_DELETE, /* inferior mailboxes stay */
	OP_RENAME, /* with inferiors; INBOX: its messages move, it stays (RFC 9051 6.3.6) */
	OP_SUBSCRIBE,
	OP_UNSUBSCRIBE,
	OP_TAKE_RECENT, /* \Recent goes to the session that asks: answer.recent_from */
	/* A user moves between stores (tool_pull.c). Only OP_STAY and OP_DELIVER may name a user whose stay
	 * is another than STAY_HERE; ADOPT kinds only one who is arriving. Each says in unchanged_since which move it is
	 * part of: LEAVING and ARRIVING make the user that move's, and whatever is still under way of another one is
	 * OPR_AWAY. UINT64_MAX: of none, by an operator's hand. */
	OP_STAY,           /* stay */
	OP_ADOPT_MAILBOX,  /* one mailbox with the numbers of another store */
	OP_ADOPT_MESSAGE,  /* one message with its uid; if it is there, its marks only */
	OP_ADOPT_MARKS,    /* flags, keywords and modseq of messages that are there */
	OP_ADOPT_VANISHED, /* uids that were expunged at that store, with the modseq of it */
	OP_ADOPT_DELIVERY, /* a delivery id that was seen at that store */
	OP_SET_ACL,        /* mailbox, name (whose), uses (enum acl_right), how */
	OP_APPEND_MANY,    /* several messages to one mailbox, all or none (RFC 3502) */
	OP_SET_METADATA,   /* annotations of a mailbox, or (mailbox 0) of the user at this server */
	OP_ADOPT_METADATA, /* the same of another store: name says whose they are, empty: shared */
	OP_MEND, /* steps that put one mailbox right again (mend.h): mailbox, mends; for MEND_ROW name, uses,
	            set.keywords and adopted as ADOPT_MAILBOX */
	OP_DOMAIN_LIMITS, /* of the user's domain, as the directory has them */
	OP_QUOTA_MARK, /* there is no room for the user (FLAGS_ADD), or is again (FLAGS_REMOVE): told of as QuotaExceed,
	                  QuotaWithin; name: by which limit, mailbox: of which, or 0 */
	OP_KIND_COUNT
};

/* Where a user's mail is, as this store knows. */
enum store_stay {
	STAY_HERE,     /* here, or nobody has heard of the user */
	STAY_LEAVING,  /* here, but nothing may change any more: the last of it is being copied */
	STAY_ARRIVING, /* being copied from another store: not to be used yet */
	STAY_GONE,     /* at another store: what still comes is to be tried again there */
	STAY_COUNT
};
const char *store_stay_name(enum store_stay s); /* "leaving" */

/* Numbers as they are at the store that the user comes from. */
struct op_adopted {
	enum store_stay stay;   /* STAY */
	uint32_t uidvalidity;   /* MAILBOX */
	uint32_t uidnext;       /* MAILBOX */
	uint32_t recent_from;   /* MAILBOX */
	uint64_t vanished_from; /* MAILBOX */
	uint32_t uid;           /* MESSAGE */
	uint64_t modseq;        /* MAILBOX MESSAGE MARKS VANISHED */
	uint64_t keywords;    /* MESSAGE MARKS: bits; ADOPT_MAILBOX says in set.keywords of what */
	int64_t saved_s;      /* MESSAGE */
	uint64_t folder_hash; /* DELIVERY */
	uint64_t object;      /* MAILBOX MESSAGE: its object id; 0: none is known */
};

enum flag_how { FLAGS_SET, FLAGS_ADD, FLAGS_REMOVE };

struct op_recipient {
	struct span user;
	struct span folder; /* empty, or a mailbox that is used when it exists, else INBOX */
};

/* One of several messages: operation.message holds their bytes, one behind the other. */
struct op_message {
	uint64_t size;
	struct span cache;
	struct flag_set set;
	int64_t date_s;
	log_pos blob; /* where it is in the log: the committer says */
};

/* An annotation (RFC 5464): "/shared/..." is everybody's, whatever else that of whoever acts; a name that begins with "!" is
 * the store's own and never shown. */
struct op_entry {
	struct span name; /* lower case */
	struct span value;
	bool nil; /* it goes */
};

/* What each kind reads; the rest is zero. Everything is borrowed for the call that takes it. */
struct operation {
	enum operation_kind kind;
	struct span user;  /* whose: all but DELIVER */
	struct span actor; /* who does it, when that is somebody else: needs rights */
	uint64_t mailbox;  /* id: APPEND APPEND_MANY FLAGS COPY MOVE EXPUNGE TAKE_RECENT */
	uint64_t target;   /* id of the mailbox of the same user copied into: COPY MOVE; of that
	                                 which uids are taken out of: APPEND with uids */
	struct span name; /* SET_ACL CREATE DELETE RENAME (from) SUBSCRIBE UNSUBSCRIBE; DELIVER as a
	                                 warning: of which limit, as in struct index_quota_mark */
	struct span new_name; /* RENAME (to) */
	uint32_t uses;        /* CREATE: enum store_use; EXPUNGE: EXPUNGE_BY_RULE, or 0;
	                                 DELIVER: enum deliver_use */
	/* FLAGS COPY MOVE EXPUNGE, and APPEND, which removes them from `target` with the same change; uids that do not
	 * exist are passed over. */
	struct uid_set uids;
	bool only_deleted; /* EXPUNGE: of these only such with \Deleted */
	/* FLAGS; SET_METADATA: FLAGS_ADD leaves alone what is there; QUOTA_MARK. */
	enum flag_how how;
	uint64_t
	    unchanged_since; /* FLAGS: messages of a higher modseq are left alone and reported in
	                                  answer.uids; UINT64_MAX (operation_init) = no condition;
	                                  STAY, and kinds for one who is arriving: the move;
	                                  DOMAIN_LIMITS: their version; QUOTA_MARK: since_s of the mark
	                                  that was there, 0: none; nothing happens if it is another */
	struct flag_set set; /* FLAGS, APPEND */
	struct message_source message; /* DELIVER APPEND APPEND_MANY */
	int64_t date_s;                /* INTERNALDATE, seconds since 1970: DELIVER APPEND */
	int16_t date_zone;             /* its zone, minutes east of UTC */
	struct span delivery_id; /* DELIVER: empty, or repeated deliveries of it are known again */
	const struct op_recipient *recipients; /* DELIVER */
	size_t recipient_n;
	uint64_t quota_bytes; /* ENSURE_USER, STAY (arriving), DOMAIN_LIMITS: 0 = no limit */
	uint64_t quota_messages;
	struct op_adopted adopted;         /* STAY and ADOPT kinds */
	const struct op_message *messages; /* APPEND_MANY */
	size_t message_n;                  /* at most STORE_AT_ONCE_MAX */
	const struct op_entry
	    *entries;      /* SET_METADATA ADOPT_METADATA; of SET quota_messages says how many
	                                      may be there afterwards, shared and private each */
	size_t entry_n;    /* at most STORE_ENTRIES_MAX */
	struct span mends; /* MEND: of mend_put() */
};

enum operation_result {
	OPR_OK,
	OPR_SEEN, /* DELIVER: this user has this delivery already: as good as OK */
	OPR_NO_USER,
	OPR_NO_MAILBOX, /* it is gone (mailbox), or was never there */
	OPR_NO_TARGET,  /* COPY MOVE: IMAP says [TRYCREATE] or NO */
	OPR_EXISTS,
	OPR_BAD_NAME,
	OPR_DENIED, /* not allowed: DELETE of INBOX, RENAME into itself */
	OPR_OVER_QUOTA,
	OPR_TOO_MANY, /* mailboxes, keywords or messages: a bound of ours */
	OPR_TOO_BIG,
	OPR_NO_SPACE, /* the disk is full: nothing was changed */
	OPR_AWAY,     /* the user is moving between stores: to be tried again, perhaps elsewhere */
	OPR_MENDING,  /* the mailbox is being put right (mend.h): to be tried again soon */
	/* Not the committer's word but the link's: no answer in time. The change may happen still. */
	OPR_LATER,
	/* Nor this, but LMTP's: OPR_OVER_QUOTA of a user who has had that for longer than quota_grace. */
	OPR_OVER_GRACE,
	OPR_COUNT
};
const char *operation_result_name(enum operation_result r); /* "over-quota": for logs */

struct op_outcome {
	enum operation_result result;
	uint64_t mailbox;
	uint32_t uid;
};

/* Valid during the callback. */
struct operation_answer {
	enum operation_result result; /* DELIVER: OPR_OK when it was carried out at all */
	uint64_t mailbox; /* CREATE: the new one's id; ENSURE_USER: of INBOX; COPY MOVE: target */
	uint32_t uidvalidity; /* of that mailbox (APPEND: of the one appended to) */
	uint32_t uid;         /* APPEND */
	uint64_t modseq;      /* highest modseq of the changed mailbox afterwards; 0: unchanged */
	uint32_t recent_from; /* TAKE_RECENT: uids from here on are \Recent for the asker */
	/* FLAGS: not touched because of unchanged_since; EXPUNGE, APPEND: removed; COPY MOVE: the sources, in the order
	 * of target_uids. */
	struct uid_set uids;
	struct uid_set target_uids; /* COPY MOVE: the n-th number of it belongs to the n-th of uids;
	                                  APPEND_MANY: of the new messages */
	const struct op_outcome *outcomes; /* DELIVER: one for each recipient, in order */
	size_t outcome_n;
};

void operation_init(struct operation *op, enum operation_kind kind);

static inline bool operation_copies(const struct operation *op)
{
	return op->kind == OP_COPY || op->kind == OP_MOVE;
}

/* The mailbox that gets something by it, or else the one that it is about. */
static inline uint64_t operation_into(const struct operation *op)
{
	return operation_copies(op) ? op->target : op->mailbox;
}

/* A legal mailbox name: UTF-8, 1-255 bytes, no control bytes, no empty level, no "*" or "%", at most 32
 * levels, INBOX only in capitals as first level. */
bool operation_name_ok(struct span name);
bool operation_user_ok(struct span user); /* local@domain, lower case, printable, no "/" */
bool operation_keyword_ok(struct span word);
/* "/private/a", "/shared/a/b" in lower case without wildcards or empty levels, or "!name". */
bool operation_entry_ok(struct span name);

/* ---- the link of an access worker to one committer ------------------------------------------------ */

struct operation_link;

struct operation_link_opts {
	const char *path;         /* the committer's socket */
	uint64_t deadline_ms;     /* from the asking to OPR_LATER */
	size_t waiting_max;       /* operations waiting at once, e.g. 10000: more get OPR_LATER */
	size_t waiting_bytes_max; /* bytes of messages held for them, e.g. 256 MiB */
	/* The committer is there (again): epoch names the index it writes. When it is another than
	 * before the index was rebuilt and must be opened anew (same content). May be NULL. */
	void (*on_ready)(void *arg, uint64_t epoch);
	void *arg;
};

struct operation_link *operation_link_new(struct loop *l, const struct operation_link_opts *opts);
void operation_link_free(struct operation_link **k); /* tickets are cancelled */
bool operation_link_up(const struct operation_link *k);

/* Everything op refers to is copied or referenced. The answer comes once, from the loop. A cancelled
 * ticket does not undo the change. */
typedef void operation_fn(void *arg, const struct operation_answer *a);
struct ticket *operation_ask(
    struct operation_link *k, const struct operation *op, operation_fn *fn, void *arg);

/* ---- watching a mailbox ---------------------------------------------------------------------------- */

struct mailbox_watch;

struct mailbox_news {
	uint64_t mailbox;
	uint64_t modseq; /* highest now: index_changes() and index_vanished() say what is new */
	bool gone;       /* the mailbox was deleted; or, if it is there, is put right (mend.h) */
};

/* fn comes from the loop after changes of others and of one's own, several changes as one call; also once
 * soon after the first watch of a mailbox (for what changed since the view was read) and when the link
 * to the committer was lost and is back (something may have been missed). It may stop any watch. Many
 * sessions may watch one mailbox: the committer is told once. */
struct mailbox_watch *mailbox_watch_start(struct operation_link *k, uint64_t mailbox,
    void (*fn)(void *arg, const struct mailbox_news *news), void *arg);
void mailbox_watch_stop(struct mailbox_watch **w);

#endif
