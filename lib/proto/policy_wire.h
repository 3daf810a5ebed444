/* policy_wire.h - Postfix's policy delegation (SMTPD_POLICY_README), the service's side: requests in, answers
 * out. The mail server's side is policy_action.h.
 *
 * A request is lines `name=value` ended by LF, then an empty line; the answer is `action=TEXT` and an empty line.
 * Names that are not known here are passed over, as the protocol wants; those that are known stand once. */
#ifndef PROTO_POLICY_WIRE_H
#define PROTO_POLICY_WIRE_H

#include <stddef.h>

#include "base/buf.h"
#include "base/span.h"

enum {
	POLICY_REQUEST_MAX = 16384, /* bytes of one request */
	POLICY_LINES_MAX = 128,
	POLICY_NAME_MAX = 64,
	POLICY_ANSWER_MAX = 1024 /* bytes of one answer */
};

/* What is looked at. The rows of policy_wire.c have their names and the most bytes of a value. */
enum policy_attr {
	POLICY_REQUEST,
	POLICY_STATE,
	POLICY_CLIENT,
	POLICY_HELO,
	POLICY_SENDER,
	POLICY_RECIPIENT,
	POLICY_RECIPIENTS,
	POLICY_SIZE,
	POLICY_USER,
	POLICY_INSTANCE,
	POLICY_QUEUE_ID,
	POLICY_CONTEXT,
	POLICY_ATTRS
};

struct policy_request {
	struct span v[POLICY_ATTRS]; /* into the input; empty: not said */
};

enum policy_rx { POLICY_MORE, POLICY_READY, POLICY_BAD };

/* input: what was received and not eaten, from a request's first byte on. *at: how far it has been looked at,
 * 0 for each new request. READY: *eat_out bytes are the request. BAD: a sentence is in *why_out, and nothing
 * that follows can be trusted. */
enum policy_rx policy_take(size_t *at, struct span input, struct policy_request *out,
    size_t *eat_out, const char **why_out);

/* An answer; text is of our own making, without LF. */
void policy_answer_put(struct buf *out, struct span text);

#endif
