/* run_wire.h - what the queue process asks of the runner, and what that answers: one frame each over a connection of
 * its own (RUN_DIR/edge-run.sock), with the message as an open file beside the question.
 *
 * The runner may have the rights of root and the queue has not: it takes nothing from a question but names, and those
 * only as template.h lets them through. What runs, as whom and within which limits its own configuration says.
 *
 *	question	length u32, version u8, kind u8, channel, id, recipient u16, address, user, detail, sender,
 *			arrived u64 (us), again u8, ours u8, to
 *	descriptors	the message; when it is to become another one: a second file that gets it
 *	answer		length u32, version u8, end u8, code u8, text */
#ifndef EDGE_RUN_WIRE_H
#define EDGE_RUN_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/ident.h"
#include "base/span.h"

enum {
	RUN_ASK_MAX = 16 * 1024, /* a whole question */
	RUN_TEXT_MAX = 1000,     /* of an answer */
	RUN_ANSWER_MAX = RUN_TEXT_MAX + 16,
	RUN_STRING_MAX = 1024,
	RUN_FDS = 2
};
enum { RUN_PATH_SIZE = 108 };

enum run_kind {
	RUN_DELIVER, /* to a program or a mailbox: one descriptor */
	RUN_CONVERT, /* two descriptors */
	RUN_KINDS
};

struct run_ask {
	enum run_kind kind;
	struct span channel;
	struct ident id;                   /* of the delivery */
	unsigned recipient;                /* the how manieth of the message */
	struct span address, user, detail; /* user empty: the directory was not asked */
	struct span sender;
	uint64_t arrived_us;
	bool again;     /* it may have been tried before */
	bool ours;      /* RUN_CONVERT: its client is one of ours */
	struct span to; /* RUN_CONVERT: the channel that the mail goes to */
};

enum run_end {
	RUN_EXITED,  /* code: the exit status */
	RUN_KILLED,  /* code: the signal */
	RUN_LATE,    /* its time was over */
	RUN_REFUSED, /* it was not begun: text says why; to be tried again */
	RUN_ENDS
};

struct run_answer {
	enum run_end end;
	unsigned code;
	struct span text; /* what it wrote, cut */
};

bool run_ask_put(struct buf *out, const struct run_ask *a);
bool run_answer_put(struct buf *out, const struct run_answer *a);

enum run_got { RUN_MORE, RUN_WHOLE, RUN_BAD };
/* The one frame that these bytes are, or begin. Spans point into them. */
enum run_got run_ask_get(struct span bytes, struct run_ask *out);
enum run_got run_answer_get(struct span bytes, struct run_answer *out);

const char *run_socket_path(const char *run_dir, char path[RUN_PATH_SIZE]);

#endif
