/* notify_parse.h - what NOTIFY asks to be told of (RFC 5465 section 8). */
#ifndef STORE_IMAP_NOTIFY_PARSE_H
#define STORE_IMAP_NOTIFY_PARSE_H

#include "proto/imap_lex.h"
#include "store-backend/imap/fetch.h"

enum { NOTIFY_GROUPS_MAX = 16, NOTIFY_NAMES_MAX = 256 };

enum notify_filter {
	NOTIFY_SELECTED,
	NOTIFY_SELECTED_DELAYED,
	NOTIFY_INBOXES,
	NOTIFY_PERSONAL,
	NOTIFY_SUBSCRIBED,
	NOTIFY_SUBTREE,
	NOTIFY_MAILBOXES
};

enum notify_event {
	NOTIFY_NEW = 1,
	NOTIFY_EXPUNGE = 2,
	NOTIFY_FLAGS = 4,
	NOTIFY_NAME = 8,
	NOTIFY_SUBSCRIPTION = 16,
	NOTIFY_METADATA = 32,
	NOTIFY_SERVER_METADATA = 64,
	NOTIFY_MESSAGES = NOTIFY_NEW | NOTIFY_EXPUNGE | NOTIFY_FLAGS
};

struct notify_group {
	enum notify_filter filter;
	unsigned events;        /* enum notify_event; 0: nothing is told of these */
	size_t name_at, name_n; /* of SUBTREE and MAILBOXES, in names */
};

struct notify_request {
	bool none;      /* NOTIFY NONE */
	bool status;    /* how things are, at once */
	bool bad_event; /* there is one that is not known */
	size_t n;
	struct notify_group v[NOTIFY_GROUPS_MAX];
	size_t name_n;
	struct span names[NOTIFY_NAMES_MAX]; /* as sent; point into the command */
	struct span fetch;                   /* "(UID ...)" of MessageNew; empty: none */
};

/* Failures are the cursor's. scratch: a request of FETCH to read into. */
void notify_parse(struct imap_cursor *c, struct notify_request *out, struct fetch_request *scratch);

#endif
