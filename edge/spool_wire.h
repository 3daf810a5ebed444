/* spool_wire.h - frames between a worker and the queue process, on a unix socket of this host, and between the queue
 * processes of two hosts, one of which keeps copies of what the other has in its spool (copier.c, copies.c).
 *
 * Worker: PUT (a message without its bytes, as spool_message_put() writes it), then DATA frames until
 * body_bytes have come; the next PUT may follow at once. Queue: DURABLE or FAILED with the message's id,
 * in any order. KICK (ETRN, between messages): KICKED or FAILED. Asking again with the same id is harmless: the queue
 * knows what it has. WITHDRAW (between any two frames; of what was sent in full, by this link or an earlier one): it is
 * not to be delivered, for nobody waits for the answer any more. FAILED: it is gone, or will be when the spool can be read;
 * DURABLE: that came too late.
 *
 * Copies (inside TLS where copy_tls.h wants it, from the first byte): the owner says HELLO first, and then PUT and DATA as a worker does, RELEASE when a message needs no copy any
 * more, PING now and then, all of them between any two frames. The other side answers HELLO with HELD for each copy that
 * it has of this owner's, with the word whether it has adopted it, and then LISTED. */
#ifndef EDGE_SPOOL_WIRE_H
#define EDGE_SPOOL_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/ident.h"
#include "base/span.h"
#include "edge/spool_record.h"

enum spool_frame_type {
	SPOOL_FRAME_PUT = 1,
	SPOOL_FRAME_DATA = 2,
	SPOOL_FRAME_DURABLE = 3,
	SPOOL_FRAME_FAILED = 4,
	SPOOL_FRAME_KICK = 5,
	SPOOL_FRAME_KICKED = 6,
	SPOOL_FRAME_HELLO = 7,
	SPOOL_FRAME_RELEASE = 8,
	SPOOL_FRAME_PING = 9,
	SPOOL_FRAME_HELD = 10,
	SPOOL_FRAME_LISTED = 11,
	SPOOL_FRAME_WITHDRAW = 12
};

enum {
	SPOOL_FRAME_HEAD = 5, /* length of the payload (4 bytes), type (1 byte) */
	SPOOL_FRAME_DATA_MAX = 32 * 1024,
	SPOOL_FRAME_SHORT = 1024, /* longest of an answer, of HELD and LISTED */
	SPOOL_NAME_MAX = 255,
	SPOOL_SECRET_MAX = 1024,
	SPOOL_FRAME_MAX = SPOOL_RECORD_MAX
};

struct spool_frame {
	enum spool_frame_type type;
	struct span payload;
};

enum spool_frame_rx { SPOOL_FRAME_MORE, SPOOL_FRAME_READY, SPOOL_FRAME_BAD };

/* The frame at the start of input; *eat_out: its length, to be eaten when it was used. BAD: unknown type
 * or too long: close. */
enum spool_frame_rx spool_frame_take(struct span input, struct spool_frame *out, size_t *eat_out);
bool spool_frame_put(struct buf *out, enum spool_frame_type type, struct span payload);

/* An id, and with it: of FAILED a sentence, of KICK a node, of KICKED how many recipients, "+" behind it when there are
 * more. */
struct spool_answer {
	struct ident id;
	struct span why;
};
bool spool_answer_put(struct buf *out, enum spool_frame_type type, const struct spool_answer *a);
bool spool_answer_get(struct span payload, struct spool_answer *out);

struct spool_hello {
	struct span name, secret; /* whose copies they are, and what both hosts know */
	uint64_t spool;           /* identity of the owner's: one that was made anew has another */
};
bool spool_hello_put(struct buf *out, const struct spool_hello *h);
bool spool_hello_get(struct span payload, struct spool_hello *out);

/* RELEASE, WITHDRAW and HELD: an id; adopted of HELD: it belongs to the other host now, which delivers it. */
bool spool_id_put(struct buf *out, enum spool_frame_type type, struct ident id, bool adopted);
bool spool_id_get(struct span payload, struct ident *id_out, bool *adopted_out);
/* PING and LISTED say nothing more. */
bool spool_word_put(struct buf *out, enum spool_frame_type type);

/* RUN_DIR/edge-spool.sock. */
enum { SPOOL_PATH_SIZE = 108 };
const char *spool_socket_path(const char *run_dir, char out[SPOOL_PATH_SIZE]);

#endif
