/* list.h - what a LIST asks for (RFC 3501, RFC 5258, RFC 5819, RFC 6154). list_parse.c reads it and knows no
 * sessions; list.c is the command. */
#ifndef STORE_IMAP_LIST_H
#define STORE_IMAP_LIST_H

#include "proto/imap_lex.h"

enum { LIST_PATTERNS_MAX = 32 };

enum list_select {
	LIST_SUBSCRIBED = 1, /* subscribed names instead of mailboxes */
	LIST_REMOTE = 2,     /* there are none */
	LIST_RECURSIVE = 4,  /* also superiors of what is selected */
	LIST_SPECIAL_USE = 8
};

struct list_request {
	bool extended;   /* not the command of RFC 3501 */
	unsigned select; /* enum list_select */
	bool return_subscribed;
	bool return_myrights; /* RFC 8440 */
	unsigned status;      /* items of STATUS for each mailbox */
	struct span reference;
	size_t pattern_n;
	struct span patterns[LIST_PATTERNS_MAX]; /* point into the command */
};

/* Failures are the cursor's. */
void list_parse(struct imap_cursor *c, struct list_request *out);

#endif
