/* mend.h - one mailbox of a living store is put right again: the steps of a change of kind OP_MEND.
 *
 * `postern store reconstruct USER FOLDER` (tool_mend.c) compares the mailbox with a copy of the index that it makes of
 * snapshot and log, and asks for what differs, some hundred steps a change, between which the committer serves everybody
 * else. From MEND_HOLD to MEND_RELEASE (or until the time of the hold is over, should the tool die) nobody else changes the
 * mailbox: OPR_MENDING. Each step says what is to be there afterwards, so it may be made again, and at a start that replays
 * the log on an index without the damage it changes nothing that matters. */
#ifndef STORE_MEND_H
#define STORE_MEND_H

#include "store-backend/operation.h"

enum mend_kind {
	MEND_HOLD = 1, /* size: seconds */
	MEND_ROW, /* the mailbox's own row, as the operation's name, uses, set.keywords and adopted say; its
	                  counters come with MEND_COUNTS */
	MEND_PUT, /* the message uid is as given; it gets a new modseq, as clients may have seen another */
	MEND_LOST,     /* the message uid is not there (any more): it has vanished */
	MEND_MARK,     /* (modseq, uid) is in the list of changes */
	MEND_UNMARK,   /* and the run that begins there is not */
	MEND_VANISHED, /* the list of what has vanished is not whole: it begins now */
	MEND_BLOB, /* the message at `blob`, of `size`, has `refs` references, if it says `seen` now */
	MEND_TYPE, /* of kind `type` there are `refs` messages of `size` in the mailbox */
	MEND_COUNTS, /* refs messages of size, `unseen` and `deleted` ones, `vanished` rows; a UIDNEXT of at least uid;
	                  and the user has what all mailboxes say together */
	MEND_RELEASE,
	MEND_KIND_COUNT
};

struct mend {
	enum mend_kind kind;
	uint32_t uid;
	uint32_t flags;
	uint64_t keywords, modseq, size;
	int64_t date_s, saved_s;
	int16_t date_zone;
	uint16_t type; /* enum message_type */
	log_pos blob;
	uint64_t refs, seen; /* seen UINT64_MAX: there is no row */
	uint32_t unseen, deleted, vanished;
};

enum {
	MEND_BYTES = 90,             /* of each, encoded */
	MENDS_MAX = 500,             /* of one change */
	MEND_HOLD_MAX_S = 24 * 3600, /* of one hold */
	MEND_HOLD_S = 1800 /* what the tool asks for; it asks again when it has come further */
};

/* False: out is full. */
bool mend_put(const struct mend *m, struct buf *out);
/* Takes the first off *rest. False: there is none, or it is none. */
bool mend_take(struct span *rest, struct mend *out);
/* At most MENDS_MAX, at least one, each with numbers that can be. */
bool mends_sound(struct span all);

#endif
