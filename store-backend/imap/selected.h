/* selected.h - what one session knows of its selected mailbox, and what it has not told its client yet.
 *
 * Sequence numbers are the client's: a message that another session expunged keeps its number until
 * the client has been told. So changes are first marked in the array (selected_refresh) and then told
 * (selected_report) at moments when the protocol allows it; both may stop and go on later. */
#ifndef STORE_IMAP_SELECTED_H
#define STORE_IMAP_SELECTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/imap_lex.h"
#include "store-backend/index.h"
#include "store-backend/operation.h"

/* 16 bytes a message: this is what an idle session with a large mailbox costs. */
struct selected_message {
	uint32_t uid;
	uint32_t bits; /* enum store_flag, IMAP_RECENT, and the marks below */
	uint64_t keywords;
};
enum {
	MARK_GONE = 1u << 8,   /* expunged; the client has not been told */
	MARK_DIRTY = 1u << 9,  /* flags changed; the client has not been told */
	MARK_KNOWN = 1u << 10, /* with MARK_DIRTY: of its own doing, so that only MODSEQ is news */
	SELECTED_FLAG_BITS = STORE_FLAGS_ALL | IMAP_RECENT
};

enum report_step { REPORT_START, REPORT_EXPUNGES, REPORT_EXISTS, REPORT_FLAGS };

#define selected_MAGIC 0x5e1ec7edu
struct selected {
	uint32_t magic;
	uint64_t id;
	char *name;      /* owned, UTF-8 */
	char *owner;     /* owned: user */
	uint32_t rights; /* of this session's user; set by imap_select()'s caller */
	uint32_t uidvalidity;
	bool read_only;
	bool modseqs;               /* news tell MODSEQ (CONDSTORE) */
	bool vanished;              /* the expunged are told by uid (QRESYNC, UIDONLY) */
	bool uidonly;               /* messages are told by uid only (UIDONLY) */
	bool rev2;                  /* nothing is told of \Recent (RFC 9051) */
	struct selected_message *v; /* owned, by uid */
	size_t n, cap;
	uint64_t modseq;                    /* changes up to it are in the array */
	uint32_t recent_from;               /* uids from here on are \Recent for this session */
	uint32_t recent_floor;              /* below it none is \Recent */
	char *keywords[STORE_KEYWORDS_MAX]; /* owned: bit i is keywords[i] */
	size_t keyword_n;
	bool hold_flags;             /* changed flags are told another time */
	bool untold;                 /* the array is of an earlier session (selected_shelf.h) */
	bool stale;                  /* the watch has news */
	bool deleted;                /* the mailbox itself is gone, or is put right */
	size_t gone, dirty;          /* messages marked */
	size_t told_n, told_keyword; /* what the client was told: EXISTS, FLAGS */
	enum report_step report;     /* where a report goes on */
	size_t report_at;
	struct imap_set saved;       /* owned: uids, "$" of later commands */
	struct mailbox_watch *watch; /* owned */
	void (*on_news)(void *arg);
	void *arg;
};

/* on_news comes from the loop when there is something to refresh. Nothing is loaded yet. */
struct selected *selected_new(struct operation_link *link, const struct index_mailbox *m,
    bool read_only, void (*on_news)(void *arg), void *arg);
void selected_free(struct selected **box);

/* Brings the array up to the view: marks, appends, learns keywords. False: the mailbox is gone. */
bool selected_refresh(struct selected *box, struct index_view *v);
/* Only the keyword table: for flags that are applied before a refresh. */
bool selected_refresh_keywords(struct selected *box, struct index_view *v);

/* Appends to out what the client does not know, about 8 KiB at a time; expunged messages only if they
 * may be told; with box->modseqs changed flags only if there is a view. False: call again when out has
 * been emptied. */
bool selected_report(struct selected *box, struct index_view *v, bool expunges, struct buf *out);

/* Of that the FLAGS line alone, when there are keywords that the client does not know. */
void selected_report_keywords(struct selected *box, struct buf *out);

/* The MODSEQ that the client may be told with the flags in the array: those of an entry that was changed
 * after the last refresh are not its latest. */
static inline uint64_t selected_modseq(const struct selected *box, const struct index_entry *e)
{
	return e->modseq < box->modseq ? e->modseq : box->modseq;
}

/* "FLAGS (...)" as in an untagged line, with the keywords of the mailbox. */
void selected_put_mailbox_flags(const struct selected *box, struct buf *out);
/* "PERMANENTFLAGS (...)": with \* while new keywords can be made. */
void selected_put_permanent_flags(const struct selected *box, struct buf *out);
/* "* 3 FETCH (", or with UIDONLY "* 25 UIDFETCH (". */
void selected_put_fetch(const struct selected *box, size_t i, struct buf *out);
/* EXISTS and FLAGS were said in another way. */
void selected_told_all(struct selected *box);
/* "(\Seen kw)" of one message. */
void selected_put_flags(
    const struct selected *box, const struct selected_message *m, struct buf *out);

/* The client has just been told these flags in another way. */
void selected_told_flags(struct selected *box, size_t i);
/* Marks a message, so that its flags are told whether they changed or not; known: the client knows them
 * and is told the MODSEQ. */
void selected_mark_dirty(struct selected *box, size_t i, bool known);

/* What the session itself has just changed, so that a refresh finds nothing new in it. */
struct selected_flags {
	uint32_t flags;
	uint64_t keywords;
};
void selected_apply_flags(
    struct selected *box, size_t i, enum flag_how how, const struct selected_flags *f);

size_t selected_find(const struct selected *box, uint32_t uid);  /* index, or box->n */
size_t selected_lower(const struct selected *box, uint32_t uid); /* first with at least this uid */
uint32_t selected_last_uid(const struct selected *box);          /* 0: empty */
size_t selected_recent(const struct selected *box);
/* Bit of a keyword (case-blind), 0: the mailbox has none of that name. */
uint64_t selected_keyword_bit(const struct selected *box, struct span word);

/* A set of sequence numbers or uids as sent, "$" among them, made ready for a walk. */
void selected_resolve(const struct selected *box, struct imap_set *set, bool uid);

/* Indexes of the messages in a resolved set, in order. */
struct selected_walk {
	const struct selected *box;
	const struct imap_set *set;
	bool uid;
	size_t range, at;
};
void selected_walk_init(
    struct selected_walk *w, const struct selected *box, const struct imap_set *set, bool uid);
bool selected_walk_next(struct selected_walk *w, size_t *index_out);

/* The uids of the messages in the set that are not gone, as ranges; neighbours in the mailbox are joined.
 * False: more than STORE_RANGES_MAX. The array is owned by the caller. */
bool selected_uids(const struct selected *box, const struct imap_set *set, bool uid,
    struct uid_range **v_out, size_t *n_out);

#endif
