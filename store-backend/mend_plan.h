/* mend_plan.h - what is wrong with one mailbox, as the steps that put it right (mend.h). Reads only: for
 * `postern store check USER` and `postern store reconstruct USER`. */
#ifndef STORE_MEND_PLAN_H
#define STORE_MEND_PLAN_H

#include "store-backend/index.h"
#include "store-backend/mend.h"

struct mend_plan {
	struct index_view *live;   /* borrowed, like all */
	struct index_view *shadow; /* of an index made of snapshot and log; NULL: there is none */
	struct commitlog_reader *reader; /* has the messages */
	uint64_t mailbox;
	bool (*emit)(void *arg, const struct mend *m); /* false: it stops */
	void *arg;
};

/* Is there a row of the mailbox, and as the shadow has it? Of the shadow's *out is filled in when not. */
bool mend_row_is_right(const struct mend_plan *p, struct index_mailbox *out);

/* Messages, the list of changes and that of what has vanished. What the shadow has and the log still holds is right; what
 * only the living index has stays, unless the shadow knows that it has vanished; a message without its bytes, or of which
 * nothing can be read, is lost. False: stopped. */
bool mend_plan_entries(const struct mend_plan *p);

/* References to the mailbox's messages in the living index, of which all entries are counted. */
bool mend_plan_blobs(const struct mend_plan *p);

/* MEND_TYPE of each kind and MEND_COUNTS, of what is there. *right_out: the rows say just that. */
bool mend_plan_counts(const struct mend_plan *p, bool *right_out);

#endif
