/* mailbox.h - a message into a mailbox of this host: a maildir or an mbox. For a process of its own that has become
 * the mailbox's user (run_child.c): everything here waits.
 *
 * Both answer with a status of sysexits.h: EX_OK: the message is durable there; EX_TEMPFAIL: try again, nothing of it
 * is left (an mbox has its old size again); else never. why: an enhanced status code (RFC 3463) and a sentence.
 *
 * A delivery that is asked for again after a crash makes no second copy in a maildir: the file's name says which
 * delivery it is. It does so in an mbox only when the crash came between the last byte and the answer, while the lock
 * was still there (mbox.c); beyond that an mbox gets every message at least once. */
#ifndef EDGE_MAILBOX_H
#define EDGE_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/ident.h"

struct mailbox_ask {
	const char *path;
	int message; /* open for reading, lines end with LF */
	struct ident id;
	/* The how manieth of the message: with id and arrived_s it names the delivery. */
	unsigned recipient;
	uint64_t arrived_s;
	bool again;           /* it may be there already */
	uint64_t quota;       /* bytes; 0: any */
	const char *hostname; /* maildir: of this host */
	struct span sender;   /* mbox: for the From line */
	uint64_t lock_ms;     /* mbox: how long to wait for its locks */
};

/* "From sender Thu Nov 26 22:19:41 2026" and end: the line that begins a message. Times are UTC; what may not stand in
 * such a sender is "_", and an empty one MAILER-DAEMON. */
bool mbox_put_from(struct buf *out, struct span sender, uint64_t arrived_s, const char *end);

int maildir_put(const struct mailbox_ask *a, struct buf *why);
int mbox_put(const struct mailbox_ask *a, struct buf *why);

#endif
