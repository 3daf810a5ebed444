/* stream_internal.h - the stream's inside, shared by stream.c, stream_out.c, stream_tls.c and pipe.c. */
#ifndef NET_STREAM_INTERNAL_H
#define NET_STREAM_INTERNAL_H

#include "base/buf.h"
#include "net/compress.h"
#include "net/loop_internal.h"
#include "net/stream.h"
#include "net/wire.h"

#define stream_MAGIC 0x57e4a301u

enum { STREAM_PACKED_MAX = 256 * 1024 }; /* more than becomes of one piece */

enum stream_state {
	ST_OPEN,      /* bytes flow, plain or under TLS */
	ST_STARTTLS,  /* what was queued in plaintext leaves first */
	ST_HANDSHAKE, /* TLS handshake under way */
	ST_FAILED,    /* only stream_free() is left to do */
	ST_FLUSH,     /* let go by its owner: the rest of the output leaves */
	ST_FINISH,    /* close_notify and shutdown of writing */
	ST_SWALLOW,   /* input is dropped until EOF, so that no reset eats the last reply */
	ST_COUNT
};

/* Output waits as a queue of pieces: bytes, or a range of a file. */
struct out_piece {
	struct out_piece *next;
	struct file_ref *file; /* owned; NULL: bytes */
	off_t at;              /* file: where the range begins */
	size_t left;           /* file: how much of it is left */
	bool plain;            /* queued before STARTTLS or compression: leaves as it is */
	struct buf bytes;
};
struct out_queue {
	struct out_piece *first, *last; /* owned */
	size_t bytes;                   /* in memory, pieces of files as OUT_FILE_COST */
	uint64_t file_bytes;            /* in ranges of files */
	bool secret;                    /* pieces are wiped when they have left */
	bool sealed;                    /* the last piece takes no more: TLS begins behind it */
};

struct stream {
	uint32_t magic;
	enum stream_state state; /* only set_state() writes this */
	struct loop *loop;
	struct wire wire;        /* owned */
	struct ssl_st *next_ssl; /* owned in ST_STARTTLS: the wire's from the handshake on */
	struct watch watch;
	stream_fn *fn; /* NULL when the owner has let go */
	void *arg;
	struct stream_limits limits;
	struct buf in;    /* unread input; no memory while empty */
	struct span lent; /* unread input that still is in the scratch buffer, during a callback */
	struct out_queue out;
	struct compress *compress; /* owned; NULL: bytes are as they are */
	struct buf packed;         /* with compress: on its way into the wire */
	struct soon settle;        /* at the end of the round */
	struct orphan orphan;
	struct timer linger;
	char *fault_text; /* owned; with fault */
	err_t fault;
	unsigned due; /* events not delivered yet: bits of 1 << enum stream_event */
	bool paused;
	bool eof;
	bool read_wants_write, write_wants_read; /* TLS: what the last attempt asked for */
	bool secret;                             /* input is wiped when it has been eaten */
	uint64_t bytes_in, bytes_out;
};

/* stream.c */
void stream_set_state(struct stream *s, enum stream_state to);
void stream_fail(struct stream *s, err_t err, const char *text);
void stream_wake(struct stream *s); /* settle at the end of the round */
/* A stream around a connected wire, and the wire out of a stream, which is gone then. */
struct stream *stream_of_wire(
    struct loop *l, struct wire take, struct stream_limits limits, stream_fn *fn, void *arg);
struct wire stream_take_wire(struct stream **s);

/* stream_out.c */
bool out_empty(const struct out_queue *q);
bool stream_out_empty(const struct stream *s); /* nothing waits, packed or not */
void out_end(struct out_queue *q);
void out_mark_plain(struct out_queue *q);  /* what is queued leaves before TLS begins */
void out_drop_secret(struct out_queue *q); /* what was queued for under TLS is dropped */
/* Hands pieces to the kernel until they are gone or it takes no more. False: it failed. */
bool stream_flush(struct stream *s);
/* Copies out what is queued as bytes; a range of a file must not be among it. */
void out_copy(const struct out_queue *q, struct buf *to);

#endif
