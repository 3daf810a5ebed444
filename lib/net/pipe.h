/* pipe.h - two streams become one pipe: bytes both ways until an end closes or falls idle.
 *
 * The pipe takes both streams and frees them. What either has unread is forwarded first, in order.
 * Half-close is carried through. A side under TLS 1.3 gives up its OpenSSL object if its context says
 * that it may. While idle a pipe holds no buffer: reads go through one buffer per
 * process, bursts between two plaintext sides through splice(); a side that does not read stops the
 * other through the kernel's own back-pressure. */
#ifndef NET_PIPE_H
#define NET_PIPE_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "net/stream.h"

struct pipe;

enum pipe_end {
	PIPE_CLIENT_CLOSED,
	PIPE_STORE_CLOSED,
	PIPE_CLIENT_FAILED,
	PIPE_STORE_FAILED,
	PIPE_IDLE,
	PIPE_STOPPED
};

struct pipe_done {
	enum pipe_end end;
	uint64_t client_bytes; /* received from the client since the connection began */
	uint64_t store_bytes;  /* received from the store */
};

/* idle_ms: no byte in either direction for so long (at most 49 days) ends the pipe; 0 = never. fn comes exactly once,
 * from the loop, and the pipe is gone when it starts. keepalive_s: TCP probes an end that was silent for so long; 0 =
 * never. The kernel is told only when the pipe has lived for a moment: most are gone by then. */
struct pipe_owner {
	uint64_t idle_ms;
	void (*fn)(void *arg, const struct pipe_done *);
	void *arg;
	uint16_t keepalive_s;
};
struct pipe *pipe_start(struct loop *l, struct stream **take_client, struct stream **take_store,
    const struct pipe_owner *owner);

/* What a client hears, and when, of a store that goes away; all are asked with the arg of fn. */
struct pipe_lost {
	/* The store has closed or broken while the client was even with it, and had nothing to get: how long may the client
	 * wait to hear of that? 0: not at all. Else the store's side is let go, and the pipe ends after so
	 * long, or when the client sends or closes. */
	uint64_t (*ms)(void *arg);
	/* Are these bytes, all that came, words that a store closes behind? They are kept for the client:
	 * until it hears of the end, or goes on when the store does, at the latest a second later. */
	bool (*is_goodbye)(void *arg, struct span bytes);
	/* Do these bytes of the client end with words behind which it has no more to say? If they are its last ones and
	 * the store closes, both sides are closed, without waiting for the client's end. NULL: never. */
	bool (*is_parting)(void *arg, struct span bytes);
};
/* For right after pipe_start(); lost lives longer than the pipe. */
void pipe_on_lost(struct pipe *p, const struct pipe_lost *lost);

/* Ends it now: fn comes from the loop with PIPE_STOPPED. last_words (may be empty) are sent to the
 * client if nothing is waiting to be sent to it. */
void pipe_stop(struct pipe *p, struct span last_words);
void pipe_free(struct pipe **p);             /* ends it silently: no callback */
uint64_t pipe_idle_ms(const struct pipe *p); /* since the last byte */
void pipe_counts(const struct pipe *p, uint64_t *client_bytes, uint64_t *store_bytes);

/* ---- to another process: what the kernel and we know of it moves, and no byte is lost or doubled as long as only
 * one of the two lets bytes move. TLS must be parked (net/tls_park.h): an OpenSSL object cannot move. ---- */

/* Could it move now, or what keeps it here? */
enum pipe_stay {
	PIPE_MAY_LEAVE,
	PIPE_STAYS_TLS,         /* under OpenSSL */
	PIPE_STAYS_HALF_CLOSED, /* one side has finished sending: a minute without a byte ends it */
	PIPE_STAYS_ENDING,      /* about to end, or on its way already */
	PIPE_STAYS
};
enum pipe_stay pipe_why_stays(const struct pipe *p);
static inline bool pipe_may_leave(const struct pipe *p)
{
	return pipe_why_stays(p) == PIPE_MAY_LEAVE;
}
void pipe_freeze(
    struct pipe *p); /* no byte and no callback until pipe_thaw(), pipe_stop() or pipe_free() */
void pipe_thaw(struct pipe *p);
/* Of a frozen one: its record, with secrets, and its descriptors, client's and store's, which stay its own. False: it
 * does not fit. When the other process has it, pipe_free(). */
bool pipe_save(struct pipe *p, struct buf *out, int fds_out[2]);
/* Frozen. Takes the descriptors unless it answers NULL: that is not, to its end, what pipe_save() wrote. */
struct pipe *pipe_load(
    struct loop *l, struct bytes_reader *in, const int fds[2], const struct pipe_owner *owner);

#endif
