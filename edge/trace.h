/* trace.h - the header lines that reception adds, and the ones it counts. */
#ifndef EDGE_TRACE_H
#define EDGE_TRACE_H

#include "base/buf.h"
#include "base/span.h"

#include "edge/session.h"

/* Received (RFC 5321 section 4.4) for the session's mail. */
bool trace_put_received(const struct session *s, struct buf *out);
/* What a submitted message must have and lacks: Date, Message-ID (RFC 6409 section 8). */
bool trace_put_missing(const struct session *s, struct span message, struct buf *out);
/* "192.0.2.1", "IPv6:2001:db8::1": as between the brackets of an address literal. */
void trace_put_addr(struct ip_addr a, struct buf *out);
/* Can all of the header section be looked through in the message's beginning? Else fields could hide behind it. size: of
 * the whole message. */
bool trace_sees_header(struct span start, uint64_t size);
/* How many servers it went through. */
size_t trace_hops(struct span message);
/* Fields that only we may have put there: Authentication-Results that claim to be of this host (RFC 8601 section 5),
 * X-Postern-*. True: there are some, kept has the other fields, which are to stand in the place of the first *bytes_out
 * bytes. */
struct trace_forged {
	const char *hostname; /* NULL: Authentication-Results stay */
	bool marks;           /* X-Postern-* do not stay */
};
bool trace_strip_forged(
    struct span start, const struct trace_forged *what, struct buf *kept, size_t *bytes_out);
/* Does the message begin with header fields, or with its body's empty line? */
bool trace_has_header(struct span message);

#endif
