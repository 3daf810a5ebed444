/* policy_action.h - Postfix's policy delegation protocol (SMTPD_POLICY_README): attributes out, an action in; and what
 * the words of an action mean (access(5)). */
#ifndef PROTO_POLICY_ACTION_H
#define PROTO_POLICY_ACTION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/span.h"

enum {
	POLICY_REPLY_MAX = 4096,
	POLICY_TEXT_MAX = 512, /* of an action */
	POLICY_ENHANCED_SIZE = 12
};

/* One attribute of a request. What could end its line leaves as "?". A request ends with policy_attr_end(). */
bool policy_attr_put(struct buf *out, const char *name, struct span value);
bool policy_attr_end(struct buf *out);

enum policy_reply_rx { POLICY_REPLY_MORE, POLICY_REPLY_READY, POLICY_REPLY_BAD };

/* input: a reply from its first byte on. READY: *action_out points into it, *eat_out bytes are the reply. BAD: no
 * action in it, or more than POLICY_REPLY_MAX. */
enum policy_reply_rx policy_reply_take(struct span input, struct span *action_out, size_t *eat_out);

enum policy_word {
	POLICY_DUNNO,
	POLICY_OK,
	POLICY_REFUSE, /* code, enhanced ("": none) and text */
	POLICY_DEFER_IF_PERMIT,
	POLICY_DEFER_IF_REJECT,
	POLICY_DISCARD,
	POLICY_HOLD,
	POLICY_PREPEND,  /* text: a header field */
	POLICY_REDIRECT, /* text: an address */
	POLICY_BCC,      /* ditto */
	POLICY_WARN      /* WARN, INFO: text for the log */
};

struct policy_action {
	enum policy_word word;
	unsigned code; /* 421 and 521: the connection is closed behind it */
	char enhanced[POLICY_ENHANCED_SIZE];
	char text[POLICY_TEXT_MAX + 1]; /* printable, one line, cut */
};

/* False: no such word, or its argument is missing or bad. */
bool policy_action_parse(struct span action, struct policy_action *out);

#endif
