/* text_fill.h - fills text indexes of mailboxes in which somebody has searched, a few messages at a time, on a thread. */
#ifndef STORE_IMAP_TEXT_FILL_H
#define STORE_IMAP_TEXT_FILL_H

#include <stdint.h>

#include "net/loop.h"

enum { TEXT_FILL_WANTS_MAX = 64 }; /* mailboxes; of more, the next search tells again */

struct store_partition;
struct text_fill;

/* One for each partition of a worker; its thread begins with the first mailbox. p: borrowed. */
struct text_fill *text_fill_new(struct loop *l, const struct store_partition *p);
void text_fill_free(struct text_fill **f); /* waits for one message at the most */
/* There are messages in the mailbox that the index does not know. */
void text_fill_want(struct text_fill *f, uint64_t mailbox, uint32_t uidvalidity);

#endif
