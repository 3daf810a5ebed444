/* index_check.h - is the index right in itself, and what does it need of the log? For `postern store check`. */
#ifndef STORE_INDEX_CHECK_H
#define STORE_INDEX_CHECK_H

#include "base/buf.h"
#include "store-backend/index.h"

struct index_check {
	void (*on_fault)(void *arg, const char *what); /* a line about one thing that is wrong */
	void (*on_blob)(void *arg, log_pos blob);      /* a message that somebody has */
	void (*on_rows)(
	    void *arg, log_pos at); /* where rows in the log end, if there are any; or NULL */
	void *arg;
	uint64_t users, mailboxes, messages, blobs; /* out: how many were looked at */
};

/* Goes over one consistent state, which may be read while the committer works. 8 bytes of memory for a
 * message. False: it cannot be read. */
bool index_check_run(struct index *x, struct index_check *c);

#endif
