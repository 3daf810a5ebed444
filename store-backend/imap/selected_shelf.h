/* selected_shelf.h - the arrays of mailboxes that no session of this worker has selected any more, kept for the
 * next one: clients come back to the same mailbox, and what has changed since is less than all.
 *
 * Bounded: 16 mailboxes, 16 MiB, for each partition; the one that was left first goes first. */
#ifndef STORE_IMAP_SELECTED_SHELF_H
#define STORE_IMAP_SELECTED_SHELF_H

#include <stdint.h>

struct selected;
struct selected_shelf;

struct selected_shelf *selected_shelf_new(void);
void selected_shelf_free(struct selected_shelf **shelf);

/* Takes box's array, unless it is too small to be worth it or does not fit; box is to be freed next. */
void selected_shelf_put(struct selected_shelf *shelf, struct selected *box);
/* A new box gets the array of its mailbox if there is one; selected_refresh() brings it up to date. One of before modseq
 * `from` is thrown away: it may have no place for a message that is there again (mend.h). */
void selected_shelf_take(struct selected_shelf *shelf, struct selected *box, uint64_t from);

#endif
