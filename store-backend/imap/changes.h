/* changes.h - what has happened in the selected mailbox since a modseq (RFC 7162): for FETCH CHANGEDSINCE
 * and for SELECT with QRESYNC. */
#ifndef STORE_IMAP_CHANGES_H
#define STORE_IMAP_CHANGES_H

#include "store-backend/imap/selected.h"

struct changes {
	uint32_t *changed; /* owned: uids of what is there, ascending */
	size_t changed_n, changed_cap;
	struct imap_range *vanished; /* owned: uids that are not there any more, ascending */
	size_t vanished_n, vanished_cap;
	size_t put; /* ranges of it that were put */
};
void changes_end(struct changes *c);

/* After selected_refresh() in the same view. */
void changes_read(
    struct changes *c, struct index_view *v, const struct selected *box, uint64_t since);
/* Of the uids in `known` (resolved), those that were expunged after since and whose place in the mailbox the
 * client does not know. When the index does not remember that long: all that are not there. */
void changes_read_vanished(struct changes *c, struct index_view *v, const struct selected *box,
    uint64_t since, const struct imap_set *known);

/* "* VANISHED (EARLIER) ..." CRLF as often as needed. False: call again when out has been emptied. */
bool changes_put_vanished(struct changes *c, struct buf *out);

#endif
