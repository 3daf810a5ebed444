/* remote_internal.h - what remote.c and remote_list.c share (nobody else). */
#ifndef STORE_IMAP_REMOTE_INTERNAL_H
#define STORE_IMAP_REMOTE_INTERNAL_H

#include "proto/imap_flow.h"
#include "proto/imap_resp.h"
#include "store-backend/imap/peer_link.h"
#include "store-backend/imap/remote.h"

/* What the session, in ST_REMOTE or in the states of a literal, waits for. */
enum remote_phase {
	REMOTE_IDLE,    /* nothing */
	REMOTE_SEND,    /* the link, and room in it, for the bytes of `out` */
	REMOTE_ANSWER,  /* its answer, handed on as it comes */
	REMOTE_LITERAL, /* the client's bytes, on their way to the link */
	REMOTE_LOST,    /* the same, but the link is gone: they are thrown away */
	REMOTE_LIST,    /* every link's list */
	REMOTE_GIVE,    /* messages go there ... */
	REMOTE_TAKE     /* ... or come from there */
};

struct remote_list; /* remote_list.c */
struct remote_give; /* remote_give.c */
struct remote_take; /* remote_take.c */

#define REMOTE_TAG "RC" /* of commands that are not the client's */

struct imap_remote {
	struct imap_session *s;
	struct peer_link
	    *links[STORE_PEERS_MAX]; /* owned; in the order of the peers of the configuration */
	struct peer_link *selected;  /* its mailbox is selected; NULL: none */
	struct peer_link *at;        /* of the command in work */
	enum remote_phase phase;
	struct buf out; /* owned: of the command, what goes there next */
	struct imap_flow flow;
	bool mid;                 /* the client has a part of a response */
	bool done_said;           /* of IDLE: DONE was handed on */
	struct remote_list *list; /* owned: of the LIST in work */
	struct remote_give *give; /* owned: of the COPY or MOVE in work, as the next */
	struct remote_take *take;
	/* Answers to REMOTE_TAG, which are looked at: */
	struct imap_frame frame;
	/* The response goes on with so many bytes that are not part of the line. */
	uint64_t literal;
	bool tail; /* what comes next is the rest of such a response */
};

struct imap_remote *remote_of(struct imap_session *s); /* made when it is missing */
/* The link to the i-th peer, new or as it is. */
struct peer_link *remote_link(struct imap_remote *r, size_t peer);
void remote_drop(struct imap_remote *r, struct peer_link *l);

/* The link is gone or cannot be trusted: what becomes of the command, or of the session. */
enum verdict remote_lost(struct imap_session *s, struct peer_link *l);

/* The next response to REMOTE_TAG, or to nothing, into *line and read; V_NEXT. With frame.limits.literal_max 0 a literal ends
 * it (literal > 0, nothing is read); the rest, when its bytes have been taken and tail is set, is not read either. V_WAIT:
 * it is not there yet; whatever remote_lost() says. */
void remote_begin_reading(struct imap_remote *r);
enum verdict remote_read(
    struct imap_remote *r, struct stream *io, struct buf *line, struct imap_resp *out);

enum verdict remote_give_start(struct imap_session *s, struct peer_link *l);
enum verdict remote_give_go(struct imap_session *s);
void remote_give_free(struct remote_give **g);
enum verdict remote_take_start(struct imap_session *s);
enum verdict remote_take_go(struct imap_session *s);
void remote_take_free(struct remote_take **t);

/* Starts to collect what others list, if the LIST in work may show any of it. */
bool remote_list_takes(struct imap_session *s, enum verdict *v_out);
/* REMOTE_LIST: V_NEXT: all is there, or will not come. */
enum verdict remote_list_go(struct imap_session *s);
void remote_list_link_gone(struct imap_remote *r, const struct peer_link *l);
void remote_list_free(struct remote_list **l);

#endif
