/* select_parse.h - the parameters of SELECT and EXAMINE (RFC 4466, RFC 7162). Knows no sessions. */
#ifndef STORE_IMAP_SELECT_PARSE_H
#define STORE_IMAP_SELECT_PARSE_H

#include "store-backend/imap/selected.h"

struct select_params {
	bool condstore, qresync;
	/* QRESYNC: what the client says it knows */
	uint32_t uidvalidity;
	uint64_t since;
	struct imap_set known;      /* owned: uids; all when it says none */
	struct imap_set seqs, uids; /* owned: places of messages, in ascending order */
};
/* [SP "(" parameter *(SP parameter) ")"]; failures are the cursor's. */
void select_parse(struct imap_cursor *c, struct select_params *out);
void select_params_end(struct select_params *p);

/* The last uid whose place the client still knows: up to it nothing can have been expunged. 0: none. */
uint32_t select_settled_uid(const struct selected *box, const struct select_params *p);
/* The numbers of a set above one, into an empty set. */
void select_above(const struct imap_set *from, uint32_t above, struct imap_set *out);

#endif
