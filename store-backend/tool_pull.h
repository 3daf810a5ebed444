/* tool_pull.h - shared by tool_pull.c and tool_pull_box.c (nobody else). */
#ifndef STORE_TOOL_PULL_H
#define STORE_TOOL_PULL_H

#include "store-backend/acl.h"
#include "store-backend/tool_internal.h"
#include "store-backend/tool_link.h"
#include "store-backend/tool_move.h"

/* A mailbox of the other store. */
struct pull_box {
	uint64_t there; /* its id there */
	uint64_t here;  /* its id here; 0 until it is made */
	char *name;     /* owned */
	uint32_t uses;
	struct op_adopted numbers;
	uint64_t digest;
	char *words[STORE_KEYWORDS_MAX]; /* owned */
	size_t word_n;
	struct pull_acl {
		char *who; /* owned */
		uint32_t rights;
	} acl[ACL_ROWS_MAX];
	size_t acl_n;
};

struct pull {
	const struct store_conf *conf;
	FILE *in, *out;
	struct tool_partition p;
	struct tool_link link;
	struct span user;
	uint64_t move;    /* as operation.unchanged_since says it */
	struct buf frame; /* read last */
	struct buf ask;   /* written next */
	const char *why;  /* it failed; NULL: not yet */

	struct pull_box *boxes; /* owned, of this pass */
	size_t box_n, box_cap;
	bool differs; /* this pass found something to do */

	uint64_t messages, bytes, marks, vanished, mailboxes; /* of all passes */
};

/* False, and the first reason is kept. */
bool pull_fail(struct pull *x, const char *why);
/* Sends x->ask as a question. */
bool pull_ask(struct pull *x, enum move_frame kind);
/* The next frame of an answer; false: the other store failed. */
bool pull_next(struct pull *x, enum move_frame *kind_out, struct wire_in *w_out);

/* A change of this pull's user, by its move; all the rest is to be filled in. */
struct operation pull_operation(const struct pull *x, enum operation_kind kind);
const char *pull_why_refused(enum operation_result r);

/* tool_pull_box.c: brings the mailbox to what it is at the other store. */
bool pull_box(struct pull *x, struct pull_box *b);

/* tool_pull_metadata.c: annotations of a mailbox, there and here by its ids; 0 and 0: of the user at the server. */
bool pull_metadata(struct pull *x, uint64_t there, uint64_t here);

#endif
