/* handover.h - at a binary upgrade sessions after their login move from a worker of the old binary to one of the new.
 *
 *	old worker (give.c)                              new worker (take.c)
 *	the session stops: no byte of it moves
 *	OFFER: its record, both descriptors ......... -> builds the session, which does not move either
 *	                                             <-  ACCEPT, or REFUSE: it stays where it is, and goes on
 *	COMMIT: it is the other's from here on ...... -> the session goes on
 *	forgets it, without a word to its ends
 *
 * Until a COMMIT has been sent the session is the old worker's, which may take it back (an order, an end): then ABORT
 * is said instead. When the connection between the two closes, or the new worker does not answer in time, whatever was
 * not committed goes on in the old one: there is no moment with two owners, and none without. A session under an OpenSSL
 * object, one side of which has closed, or whose login goes on cannot move: it is tried again every second, and may
 * run its course in the old worker.
 *
 * Messages go over a SOCK_SEQPACKET pair. Of another version nothing is understood: the connection is closed, and all
 * sessions stay. Records have the secrets of parked TLS: they are wiped on both sides. */
#ifndef MMP_HANDOVER_H
#define MMP_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/ident.h"
#include "base/ip.h"
#include "base/span.h"

struct mmp;

/* ---- for main.c: the ends of the connection; both take it. */
void give_begin(struct mmp *m, int take_fd);
void give_end(struct mmp *m); /* what was not committed goes on here; fine when there is none */
void take_begin(struct mmp *m, int take_fd);
void take_end_all(
    struct mmp *m); /* what was not committed is dropped: it goes on where it came from */

/* ---- what give.c and take.c share: handover.c */

enum {
	HANDOVER_VERSION = 1, /* of messages, of the card and of net/pipe_leave.c's record */
	HANDOVER_WINDOW = 64, /* offers that are not settled */
	HANDOVER_RECORD_MAX = 128 * 1024
};

enum handover_type {
	HANDOVER_OFFER = 1, /* with a record and two descriptors */
	HANDOVER_ACCEPT,
	HANDOVER_REFUSE,
	HANDOVER_COMMIT,
	HANDOVER_ABORT,
	HANDOVER_TYPES
};

struct handover_msg {
	enum handover_type type;
	uint32_t seq; /* of the offer */
	struct span record;
	int fds[2]; /* of an offer: of a message that has come the receiver's, else the sender's */
};

enum handover_io {
	HANDOVER_DONE,
	HANDOVER_LATER, /* when the socket is ready */
	HANDOVER_NEVER, /* sending: this message does not fit */
	HANDOVER_GONE   /* the other side, or what it says cannot be understood */
};
enum handover_io handover_send(int fd, const struct handover_msg *msg);
/* The record is borrowed until the next call or handover_wipe(). */
enum handover_io handover_recv(int fd, struct handover_msg *out);
void handover_wipe(void); /* what came last is forgotten */
void handover_close(
    const struct handover_msg *came); /* the descriptors that came with it, if there are any */

/* What a record begins with; the pipe's own follows. Words without NUL. */
struct session_card {
	struct ident id;
	struct ip_port client;
	uint64_t since_us, since_ms; /* wall clock; of the connection, clock_mono_ms() */
	bool tls;
	bool verified;              /* the directory has accepted the secret */
	struct span protocol;       /* front->name */
	struct span listener, user; /* borrowed, as the store */
	struct span store;
};
void session_card_put(struct buf *out, const struct session_card *c);
bool session_card_get(struct bytes_reader *in, struct session_card *out);

#endif
