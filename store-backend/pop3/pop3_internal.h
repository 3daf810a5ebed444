/* pop3_internal.h - the POP3 session, shared by the files of this folder. */
#ifndef STORE_POP3_INTERNAL_H
#define STORE_POP3_INTERNAL_H

#include "net/stream.h"
#include "proto/line.h"
#include "proto/pop3_cmd.h"
#include "proto/sasl.h"
#include "proto/smtp_body.h"
#include "store-backend/pop3/maildrop.h"
#include "store-backend/store.h"

enum {
	POP3_IN_MAX = 16 * 1024,
	POP3_OUT_MAX = 128 * 1024,
	POP3_CHUNK = 16 * 1024,             /* bytes of a message, or of a list, at a time */
	POP3_SEND_ROOM = 3 * POP3_CHUNK,    /* output has so much room before the next chunk */
	POP3_COMMAND_ROOM = 2 * POP3_CHUNK, /* and so much before the next command is taken */
	POP3_ERRORS_MAX = 20,
	POP3_LOGIN_FAILURES_MAX = 5,
	POP3_LINGER_MS = 5000,
	POP3_KEEPALIVE_S = 120 /* a client that is gone must not hold the lock for long */
};

struct pop3_session;

enum pop3_state {
	POP3_ST_TLS,    /* handshake */
	POP3_ST_AUTH,   /* AUTHORIZATION of RFC 1939: commands */
	POP3_ST_SASL,   /* the line behind AUTH */
	POP3_ST_LOGIN,  /* a ticket decides who this is */
	POP3_ST_OPEN,   /* the list of messages is read */
	POP3_ST_BOX,    /* TRANSACTION of RFC 1939: commands */
	POP3_ST_SEND,   /* an answer of any length leaves as there is room */
	POP3_ST_UPDATE, /* QUIT: the committer works */
	POP3_ST_BYE,    /* what was said leaves, as fast as the client reads, then the end */
	POP3_ST_COUNT
};

enum verdict {
	V_NEXT, /* the state may go on at once */
	V_MORE, /* input is needed */
	V_WAIT, /* a ticket, room in the output or the next round of the loop will resume it */
	V_CLOSE /* goodbye is written */
};

/* TOP: the header, the empty line, and so many lines of the body. */
struct pop3_top {
	bool in_body;
	bool in_line; /* the line has bytes other than CR */
	bool done;
	uint32_t lines_left;
};

enum pop3_filled { FILL_MORE, FILL_DONE, FILL_FAILED };

/* What POP3_ST_SEND sends. */
struct pop3_sending {
	/* Appends the next piece: about POP3_CHUNK bytes, twice that when every line begins with a dot. */
	enum pop3_filled (*fill)(struct pop3_session *s, struct buf *out);
	uint32_t next;                    /* LIST UIDL: number of the next message */
	struct maildrop_message *message; /* RETR TOP; borrowed from the maildrop */
	log_pos blob;
	uint64_t at, size;
	struct smtp_body_encoder dots;
	bool whole;           /* RETR; else TOP */
	bool ascii;           /* the header is shown in ASCII: the client knows no more */
	bool in_line, behind; /* of the header: the line has bytes; it is over */
	struct pop3_top top;
};

#define pop3_session_MAGIC 0x90b35e55u

struct pop3_session {
	struct store_session base; /* first */
	uint32_t magic;
	const struct store_conf *opts; /* of base.conf */
	struct stream *io;             /* owned */
	struct ip_port client, local;
	bool near;             /* loopback or a local socket: as good as TLS */
	bool trusted;          /* in facts_from */
	enum pop3_state state; /* only pop3_set_state() writes it */
	const char *why;       /* why it ends: pop3_because() */
	uint64_t since_us;
	struct timer clock; /* before login: the time it may take; then: of silence */
	struct soon again;  /* the next turn of a long list, and a drain */
	struct line_scan scan;
	struct ticket *ask;          /* owned, in POP3_ST_LOGIN and POP3_ST_UPDATE */
	struct buf name;             /* USER's */
	char *user;                  /* owned; NULL before login */
	struct maildrop *drop;       /* owned; NULL before login */
	struct pop3_sending sending; /* in POP3_ST_SEND */
	enum maildrop_mark updating; /* in POP3_ST_UPDATE */
	size_t update_at, expunged;
	unsigned errors, login_failures;
	bool utf8; /* UTF8 was said (RFC 6856) */
};

/* ---- pop3_session.c ---------------------------------------------------------------------------- */

void pop3_set_state(struct pop3_session *s, enum pop3_state to); /* cancels the ticket */
/* The only driver; may free s. The last line of every callback. */
void pop3_step(struct pop3_session *s, enum verdict v);
/* Calls the state again in the next round of the loop. */
enum verdict pop3_yield(struct pop3_session *s);

void pop3_because(struct pop3_session *s, const char *why); /* it ends; the first reason stays */
/* "+OK text", "-ERR text". Formats are ours; what a peer has said never goes back to it. */
enum verdict pop3_ok(struct pop3_session *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
enum verdict pop3_err(struct pop3_session *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The same for what no client should say; too many of them end the session. */
enum verdict pop3_bad(struct pop3_session *s, const char *text);
/* -ERR and the end. code: "[SYS/TEMP] " or "". */
enum verdict pop3_refuse(
    struct pop3_session *s, const char *why, const char *code, const char *text);

bool pop3_is_secure(const struct pop3_session *s);     /* TLS, or near */
bool pop3_takes_secrets(const struct pop3_session *s); /* a password may be said now */
bool pop3_offers_tls(const struct pop3_session *s);

/* ---- pop3_command.c ---------------------------------------------------------------------------- */

enum verdict pop3_command(struct pop3_session *s, struct span line);
enum verdict pop3_update(struct pop3_session *s); /* the next step of QUIT */
/* The connection ends without QUIT: what was retrieved is \Seen if the committer is there to hear it. */
void pop3_note_seen(struct pop3_session *s);

/* ---- pop3_login.c ------------------------------------------------------------------------------ */

typedef enum verdict pop3_cmd_fn(struct pop3_session *s, const struct pop3_cmd *c);
pop3_cmd_fn pop3_cmd_user, pop3_cmd_pass, pop3_cmd_auth, pop3_cmd_stls, pop3_cmd_xclient;
enum verdict pop3_sasl_line(struct pop3_session *s, struct span line);
enum verdict pop3_open(struct pop3_session *s); /* the next piece of the list of messages */

/* ---- pop3_capa.c ------------------------------------------------------------------------------- */

pop3_cmd_fn pop3_cmd_capa, pop3_cmd_utf8, pop3_cmd_lang;

/* ---- pop3_send.c ------------------------------------------------------------------------------- */

pop3_cmd_fn pop3_cmd_list, pop3_cmd_uidl, pop3_cmd_retr, pop3_cmd_top;
enum verdict pop3_send(struct pop3_session *s); /* as much as there is room for */

/* The part of a message's next piece that TOP shows; t->done when the last line is in it. */
struct span pop3_top_cut(struct pop3_top *t, struct span in);

#endif
