/* expire.h - which messages are to go by the rules `expire NAME { }`: a look at the index in steps, for the committer,
 * which carries it out, and for a tool that only tells.
 *
 * A pass goes over all mailboxes in the order of their ids, and over the rules of each; a step looks at a bounded
 * number of messages. */
#ifndef STORE_EXPIRE_H
#define STORE_EXPIRE_H

#include "store-backend/index.h"
#include "store-backend/message_type.h"
#include "store-backend/store_conf.h"

enum { EXPIRE_UIDS_MAX = 500 }; /* found in one step */

/* In the order of the words in store_expire.params.def. */
enum { EXPIRE_DELETE, EXPIRE_MOVE, EXPIRE_ARCHIVE };

/* Where a pass is. All zero: at the beginning. */
struct expire_cursor {
	uint64_t mailbox;
	size_t rule;
	uint32_t uid;                /* the last that was looked at */
	uint64_t over_n, over_bytes; /* of the oldest that are still to go */
};

/* Bytes of the message from its beginning, for headers that are not in the cache. */
typedef err_t expire_read_fn(void *arg, log_pos blob, uint64_t at, void *out, size_t n);

struct expire {
	const struct store_conf *conf;
	uint64_t now_s;
	expire_read_fn *read;
	void *arg;
};

struct expire_found {
	const struct store_expire_conf *rule;
	struct index_mailbox mailbox; /* spans live as long as the view */
	size_t n;
	struct uid_range uids[EXPIRE_UIDS_MAX]; /* one uid each, ascending */
	struct index_entry entries[EXPIRE_UIDS_MAX];
};

enum expire_step { EXPIRE_MORE, EXPIRE_FOUND, EXPIRE_END };
/* EXPIRE_FOUND: these are to go, and the pass goes on behind them. EXPIRE_END: the pass is over. */
enum expire_step expire_step(const struct expire *x, struct index_view *v, struct expire_cursor *at,
    struct expire_found *out);

/* The least number of days after which a rule may take a message out of an INBOX of the user (empty: of anybody); at least 1, as
 * POP3 has another meaning for 0. False: no rule does. */
bool expire_least_days(const struct store_conf *s, struct span user, uint64_t *days_out);

/* Errors that no single row can see. */
void expire_check(const struct store_conf *s, struct conf_diag *d);

#endif
