/* cause.h - why a delivery did not go well, as one of a few words: for metrics and the summary of the queue, which must
 * not grow with what other hosts write. */
#ifndef EDGE_CAUSE_H
#define EDGE_CAUSE_H

enum cause {
	CAUSE_NONE,       /* not tried yet */
	CAUSE_CONNECT,    /* no connection to the next hop */
	CAUSE_CONNECTION, /* it broke, or did not answer in time */
	CAUSE_DNS,        /* names that cannot be looked up, or do not exist */
	CAUSE_TLS,        /* not offered where it is required, or not to be trusted */
	CAUSE_ADDRESS,    /* x.1.y: there is no such recipient, or sender */
	CAUSE_QUOTA,      /* x.2.2 */
	CAUSE_MAILBOX,    /* x.2.y: it is disabled, locked, on hold */
	CAUSE_SIZE,       /* x.2.3, x.3.4 */
	CAUSE_SYSTEM,     /* x.3.y: the next hop's, or this host's */
	CAUSE_ROUTE,      /* x.4.y: loops, congestion */
	CAUSE_EXPIRED,    /* x.4.7: given up */
	CAUSE_PROTOCOL,   /* x.5.y */
	CAUSE_CONTENT,    /* x.6.y */
	CAUSE_POLICY,     /* x.7.y */
	CAUSE_OTHER,
	CAUSES
};

/* By the enhanced status code (RFC 3463), "" or "4.4.1"; where that says nothing, by the reply code. */
enum cause cause_of(unsigned code, const char *enhanced);
const char *cause_word(enum cause r); /* "connect" */

#endif
