/* thread_tree.h - messages put into threads by who refers to whom (REFERENCES) or by subject alone (ORDEREDSUBJECT),
 * RFC 5256 section 3. Knows neither sessions nor messages: bytes in, text out.
 *
 * All input is hostile: nodes have a bound, and no step recurses or follows a chain twice. */
#ifndef STORE_IMAP_THREAD_TREE_H
#define STORE_IMAP_THREAD_TREE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

enum { THREAD_NODES_MAX = 1000000, THREAD_REFERENCES_MAX = 64, THREAD_ID_MAX = 512 };
enum thread_how { THREAD_ORDEREDSUBJECT, THREAD_REFERENCES };

struct thread_tree;

struct thread_message {
	uint32_t name;       /* what is told, > 0 */
	int64_t sent;        /* moment */
	struct span subject; /* base subject, folded */
	bool refwd;          /* a reply or a forwarded one, by its subject */
	struct span id;      /* raw values of Message-ID, References, In-Reply-To */
	struct span references, in_reply_to;
};

struct thread_tree *thread_tree_new(enum thread_how how);
void thread_tree_free(struct thread_tree **t);
/* In the order of the mailbox. False: too many. */
bool thread_tree_add(struct thread_tree *t, const struct thread_message *m);
/* All were added: makes the threads. */
void thread_tree_close(struct thread_tree *t);
/* Appends "(1 2)(3 (4)(5))" up to about `most` bytes. True: that was all. */
bool thread_tree_put(struct thread_tree *t, struct buf *out, size_t most);

#endif
