/* operation_wire.h - operations and answers as bytes: between a worker and the committer, and in the log.
 *
 * A frame is a u32 length (of what follows), a u8 kind and its fields; numbers are little-endian.
 * Both ends are ours, yet the decoders trust nothing: every count has its bound, every string is
 * checked, and what is left over at the end is an error. */
#ifndef STORE_OPERATION_WIRE_H
#define STORE_OPERATION_WIRE_H

#include "store-backend/operation.h"

enum {
	FRAME_HEAD_BYTES = 5,
	OPERATION_HEAD_MAX = 4 * 1024 * 1024, /* an operation without its message */
	OPERATION_MESSAGE_MAX = 512 * 1024 * 1024,
	OPERATION_VANISHED_MAX = 10000,         /* uids of one ADOPT_VANISHED */
	ANSWER_RANGES_MAX = STORE_MESSAGES_MAX, /* a full mailbox, no two uids beside each other */
	ANSWER_MAX = ANSWER_RANGES_MAX * 16 + 65536,
	WATCHES_MAX = 100000 /* mailboxes watched over one link */
};

/* Log records of a partition: a message; a change with its facts; delivery ids forgotten; events sent; rows of the index
 * in place of all changes before them (partition_base.c), and their end. */
enum {
	LOG_BLOB = 1,
	LOG_OPERATION = 2,
	LOG_PRUNE = 3,
	LOG_EVENTS = 4,
	LOG_BASE_ROWS = 5,
	LOG_BASE = 6
};

enum frame_kind {
	FRAME_HELLO = 1, /* u32 version, u64 client */
	FRAME_OPERATION, /* u64 sequence, u64 answered_below, u32 head length, head, message */
	FRAME_WATCH,     /* u64 mailbox */
	FRAME_UNWATCH,   /* u64 mailbox */
	FRAME_READY,     /* u64 epoch */
	FRAME_ANSWER,    /* u64 sequence, answer */
	FRAME_NEWS,      /* u64 mailbox, u64 modseq, u8 gone */
	FRAME_KIND_COUNT
};
enum { WIRE_VERSION = 1 };

/* ---- reading with a sticky error: read all, test once ------------------------------------------------ */

struct wire_in {
	struct span rest;
	bool bad;
};
uint8_t wire_get_u8(struct wire_in *w);
uint32_t wire_get_u32(struct wire_in *w);
uint64_t wire_get_u64(struct wire_in *w);
struct span wire_get_string(struct wire_in *w, size_t max); /* u32 length and bytes */

bool wire_put_u8(struct buf *b, uint8_t v);
bool wire_put_u32(struct buf *b, uint32_t v);
bool wire_put_u64(struct buf *b, uint64_t v);
bool wire_put_string(struct buf *b, struct span s);

/* Appends a frame's head with the length still open; frame_end() fills it in. */
size_t frame_begin(struct buf *b, enum frame_kind kind);
void frame_end(struct buf *b, size_t mark, size_t more); /* more: bytes sent behind the buffer */

enum frame_result { FRAME_MORE, FRAME_OK, FRAME_BAD };
/* Cuts the first frame off *in. FRAME_MORE: not whole yet. FRAME_BAD: longer than max, or no such kind. */
enum frame_result frame_take(
    struct span in, size_t max, enum frame_kind *kind_out, struct span *body_out, size_t *used_out);

/* ---- operations and answers --------------------------------------------------------------------------- */

static inline bool operation_has_message(enum operation_kind kind)
{
	return kind == OP_DELIVER || kind == OP_APPEND || kind == OP_ADOPT_MESSAGE ||
	       kind == OP_APPEND_MANY;
}

/* Everything but the message's bytes. False: out is full. */
bool operation_encode(const struct operation *op, struct buf *out);

struct operation_arena { /* what a decoded operation or answer points to besides the input */
	void *v[6];      /* owned */
	size_t n;
};
void operation_arena_end(struct operation_arena *a);

/* Checks all that can be checked without the index: names, counts, order of the uid sets, flags. Spans
 * point into `in`. message.bytes stays empty; message.size says how many belong to it. */
bool operation_decode(struct span in, struct operation *out, struct operation_arena *a);

bool answer_encode(const struct operation_answer *ans, struct buf *out);
bool answer_decode(struct span in, struct operation_answer *out, struct operation_arena *a);

#endif
