/* back.h - what a store sees: the login conversation, one table of functions per protocol.
 *
 * A login is a ticket: it owns the connection until it answers. Everything that a store sends is
 * hostile. The secret is sent only after a proper greeting and, with STARTTLS, after the handshake. */
#ifndef MMP_BACK_H
#define MMP_BACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/ident.h"
#include "base/ip.h"
#include "base/span.h"
#include "directory/account.h"
#include "net/loop.h"
#include "net/stream.h"
#include "net/ticket.h"
#include "net/tls_ctx.h"
#include "proto/imap_lex.h"
#include "proto/line.h"
#include "proto/smtp_reply.h"

#include "mmp/store_policy.h"

#define talk_MAGIC 0x6d6d7033u

/* Behind the host's name in every greeting of ours: who meets it at a store knows that it is none. */
#define MULTIPLEXOR_READY "multiplexor ready"

enum { TALK_LINE_MAX = 8192, TALK_COMMAND_MAX = 8192 };

enum back_status {
	BACK_OK,           /* logged in: the stream is the callback's */
	BACK_WRONG_SECRET, /* the store says no for good */
	BACK_TEMPORARY,    /* the store says not now, or closed after it had seen the secret */
	BACK_IN_USE,       /* mailbox locked */
	BACK_TOO_SOON,     /* LOGIN-DELAY */
	BACK_LIMIT,        /* too many connections of the user */
	BACK_LOOP,         /* it is a multiplexor; nothing was said to it */
	BACK_UNREADY,      /* failed before the secret was sent: another store may be tried */
	BACK_BROKEN,       /* broke the protocol after it had seen the secret */
	BACK_STATUS_COUNT
};

struct back_done {
	enum back_status status;
	struct stream
	    *stream; /* BACK_OK only: the callback owns it and must set its owner. What the
	                           store sent behind its OK is unread in it */
	bool learnt; /* the store said what it can do: */
	struct span capability; /* its own words, between spaces; IMAP, POP3: after login */
	struct span notices;    /* IMAP: whole untagged lines for the client, such as alerts */
	const char
	    *detail; /* for the log: the store's text or what is wrong with it; may be NULL */
};
typedef void back_fn(void *arg, const struct back_done *done);

/* What a store is told of the client by a command, when it takes that. */
struct back_facts {
	bool told;
	struct ip_port client, local; /* the client's end and ours */
	struct ident session;
};

struct back_ask {
	const struct back *back;           /* the protocol */
	struct span user, secret;          /* the secret is the client's: for LOGIN_PASSWORD */
	const struct store_policy *policy; /* lives longer than the ticket */
	const char *tls_name;              /* to verify */
	struct span client_name;           /* for EHLO: the client's word ... */
	const char *own_name;              /* ... and ours, which lives longer than the ticket */
	struct back_facts facts;
	/* What the store can do, if that costs a command of its own; with probe: what it says before a login. */
	bool learn;
	/* No login, no secret: BACK_OK once it has greeted, and TLS is there where it is due. */
	bool probe;
	uint64_t deadline_ms;
};

/* next line, if there is one | wait for an event | begin TLS | talk_end() was called */
enum talk_verdict { TALK_READ, TALK_WAIT, TALK_TLS, TALK_DONE };

/* One conversation: back.c owns it, the protocol's handlers work on it. */
struct talk {
	struct ticket ticket; /* first: see net/ticket.h */
	uint32_t magic;
	int step; /* the protocol's own enum; 0 = awaiting the greeting */
	const struct back *back;
	struct stream *stream; /* owned */
	struct timer deadline;
	const struct store_policy *policy;
	const struct tls_ctx *starttls; /* of policy; NULL: plain, or TLS is there already */
	char *tls_name;                 /* owned; with starttls */
	struct buf user, secret;        /* owned, wiped: who says the secret */
	char user_room[64], secret_room[64];
	struct buf authz;  /* owned: for whom, when it is said for another: AUTHENTICATE only */
	char *client_name; /* owned; NULL: not known */
	const char *own_name;
	struct back_facts facts;
	bool facts_due; /* IMAP: the answer to ID is still to come */
	bool learn, learnt;
	bool probe;
	unsigned flags; /* the protocol's own: what the store offers */
	struct line_scan scan;
	struct imap_frame frame;          /* of protocols whose responses have literals */
	struct smtp_reply_reader replies; /* of SMTP */
	struct smtp_reply reply;
	struct buf line; /* the response that is being handled */
	struct buf capability, notices, detail;
	bool external;           /* the certificate is the proof: SASL EXTERNAL */
	bool exposed;            /* the secret may have been sent */
	enum back_status status; /* the outcome, once a handler answers TALK_DONE */
	back_fn *fn;
	void *arg;
};

struct back {
	const char *name;
	uint16_t (*port)(const struct store_place *place, bool implicit_tls);
	/* Cuts one response out of the input, as line_take() cuts a line; NULL: a response is a line. */
	enum line_rx (*take)(struct talk *t, struct span *out, size_t *eat_out);
	/* One whole response, already eaten: a line without CRLF, clean of NUL, CR, LF, or what take() gave. */
	enum talk_verdict (*on_line)(struct talk *t, struct span line);
	enum talk_verdict (*on_secured)(struct talk *t);
};

extern const struct back back_imap, back_pop3, back_sieve, back_smtp;
extern const struct stream_limits back_stream_limits; /* for dialling and for the login */

/* Logs in over a connection that dial.h made. Takes the stream. Answers once, within the deadline. */
struct ticket *back_login(struct loop *l, struct stream **take_stream, const struct back_ask *ask,
    back_fn *fn, void *arg);

/* ---- for the protocols ---- */

/* The conversation is over: text (cleaned and cut) goes to the log. */
enum talk_verdict talk_end(struct talk *t, enum back_status status, struct span text);
/* Something no server would say: UNREADY, or BROKEN once the secret is out. */
enum talk_verdict talk_broken(struct talk *t, const char *what);
/* It has greeted, and under TLS if it must: is that all that was asked? Then the next is talk_end(). */
bool talk_is_probe(const struct talk *t);
/* Is this the greeting of a multiplexor that is no store for us? Then the next is talk_end(BACK_LOOP). */
bool talk_loops(const struct talk *t, struct span greeting);
/* Next step; sends the command in out (which is ended, and wiped). */
enum talk_verdict talk_say(struct talk *t, int step, struct buf *take_out);
/* It is gone or says so: UNREADY, or TEMPORARY once the secret is out. */
enum talk_verdict talk_lost(struct talk *t, struct span text);
/* May the login be said with LOGIN or USER and PASS? Else only by AUTHENTICATE with ... */
bool talk_may_be_plain(const struct talk *t);
const char *talk_mechanism(const struct talk *t); /* "PLAIN" or "EXTERNAL" */
/* Its response in base64; from here on the secret counts as sent. False: it cannot be sent. */
bool talk_put_response(struct talk *t, struct buf *out);
/* ... and its response, sent behind what is in out (which is ended, and wiped). */
enum talk_verdict talk_respond(struct talk *t, int step, struct buf *take_out);

#endif
