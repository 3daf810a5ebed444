/* session.h - one IMAP connection: its states, the command in work, and what handlers may call.
 *
 * One command is worked on at a time; what is pipelined behind it waits in the stream. A handler reads its
 * arguments from s->cmd and returns a verdict; it ends by imap_finish(), which keeps the tagged line back
 * until everything untagged has left: text, then the news of the mailbox, then the reply. */
#ifndef STORE_IMAP_INTERNAL_SESSION_H
#define STORE_IMAP_INTERNAL_SESSION_H

#include "net/stream.h"
#include "proto/imap_cmd.h"
#include "store-backend/imap/cmd_table.h"
#include "store-backend/imap/imap_session.h"
#include "store-backend/imap/selected.h"
#include "store-backend/store.h"

enum imap_state {
	ST_TLS,         /* handshake */
	ST_COMMAND,     /* between commands, or inside one that has not arrived whole */
	ST_SASL,        /* a line of AUTHENTICATE */
	ST_LITERAL,     /* the bytes of a large literal: APPEND's message, or thrown away */
	ST_LITERAL_END, /* what is behind it: of APPEND more, of others thrown away */
	ST_IDLE,
	ST_REMOTE, /* another store answers */
	ST_WAIT,   /* a ticket */
	ST_JOB,    /* an answer of any length is produced as room allows */
	ST_FINISH, /* the tail of every command: text, news, reply */
	ST_COUNT
};

/* What the client has asked for by ENABLE or by using it. */
enum imap_enabled {
	ENABLED_CONDSTORE = 1,
	ENABLED_QRESYNC = 2,
	ENABLED_UTF8 = 4,
	ENABLED_REV2 = 8,
	ENABLED_UIDONLY = 16 /* RFC 9586: no message has a number any more */
};

/* What a command is allowed to tell about other sessions' changes before its reply. */
enum imap_news { NEWS_NONE, NEWS_NO_EXPUNGE, NEWS_ALL };

enum {
	IMAP_IN_MAX = 160 * 1024,
	IMAP_LITERAL_MAX = 32 * 1024, /* larger ones are APPEND's or refused */
	IMAP_TOTAL_MAX = 128 * 1024,
	IMAP_OUT_MAX = 256 * 1024,
	IMAP_OUT_RESERVE = 32 * 1024, /* a step that may write has so much room */
	IMAP_TEXT_MAX = 16 * 1024 * 1024,
	IMAP_REPLY_MAX = 4 * 1024 * 1024,
	IMAP_NAME_BYTES = 1024,
	IMAP_SWALLOW_MAX = 64 * 1024 * 1024, /* refused literals beyond it end the session */
	IMAP_ERRORS_MAX = 20,
	IMAP_LOGIN_FAILURES_MAX = 5,
	IMAP_LINGER_MS = 5000,
	IMAP_KEEPALIVE_S = 300 /* so that a client that is gone is noticed while it idles */
};

/* A command in work; its bytes are copied, so spans into them last until it is finished. */
struct imap_command {
	struct span tag;
	const struct imap_row *row; /* NULL: the line was no command */
	bool uid;                   /* UID COPY ... */
	bool pending;          /* the bytes end with the announcement of a large literal, ... */
	bool pending_sync;     /* ... which waits for our "+" or does not, ... */
	uint64_t pending_size; /* ... of so many bytes */
	struct imap_cursor args;
	struct buf bytes, scratch; /* owned */
	struct buf more;           /* owned: of APPEND, what came behind a large literal */
	struct buf name, name2;    /* owned: mailbox names of the arguments, in UTF-8 */
};

/* An answer that is produced in steps. run: V_NEXT when it is done (it has called imap_finish()), V_WAIT
 * when there is no room, or when it has asked to be called in the next round by imap_yield(). */
struct imap_job {
	enum verdict (*run)(struct imap_session *s, struct imap_job *job);
	void (*end)(struct imap_job *job); /* frees it */
	/* How far it is, of how much; NULL: its answer shows it. */
	void (*progress)(const struct imap_job *job, uint64_t *done_out, uint64_t *goal_out);
};

#define imap_session_MAGIC 0x1a9450e5u
struct imap_session {
	struct store_session base;
	uint32_t magic;
	const struct store_conf *opts;
	struct stream *io;
	struct ip_port client, local;
	bool secret_ok;        /* a password may be said here without TLS */
	bool facts_ok;         /* the peer's word about its client is believed (facts_from) */
	enum imap_state state; /* only set_state() writes it */
	const char *why;       /* first writer wins */
	struct timer deadline; /* lazily: fires, looks at active_ms, is set again */
	uint64_t active_ms;
	uint64_t out_seen;     /* stream_bytes_out() at the last look */
	struct soon again;     /* a yielding job's next turn */
	struct timer progress; /* while a command is in work: it is told how far it is (RFC 9585) */
	uint64_t commands;     /* begun so far */
	uint64_t progress_of;  /* the one that the timer was set in; 0: it is not set */
	bool mid_line;         /* what has left is not at the end of a line */
	struct ticket *ask;    /* in ST_WAIT */
	struct imap_frame frame;
	struct imap_command cmd;
	uint64_t literal_left;        /* ST_LITERAL */
	uint64_t swallowed;           /* of a refused command */
	struct buf text;              /* untagged answers on their way into the stream */
	struct buf reply;             /* the tagged line, until all else has left */
	enum imap_news news;          /* what ST_FINISH may tell */
	struct imap_job *job;         /* owned, in ST_JOB */
	struct imap_append *append;   /* owned, while an APPEND is in work */
	struct imap_auth *auth;       /* owned, while an AUTHENTICATE is in work */
	struct imap_change *change;   /* owned, while messages are changed */
	char *user;                   /* owned; NULL: not logged in */
	struct store_partition *home; /* with what is the user's own */
	struct store_partition
	    *partition;       /* of the command in work: that of what it names or is about */
	struct selected *box; /* owned; NULL: none is selected */
	struct store_partition *box_in; /* the partition of the selected mailbox */
	struct imap_across *across;     /* owned, while messages go to another partition */
	struct imap_notify *notify;     /* owned; NULL: nothing was asked for */
	struct imap_remote *remote;     /* owned; NULL: no other store was needed yet */
	bool guest;       /* another store asks for its user: mailboxes of others only */
	unsigned enabled; /* enum imap_enabled */
	unsigned errors, login_failures;
};

/* ---- for handlers --------------------------------------------------------------------------------- */

/* input.c: the mailbox that decides where a command belongs, and for RENAME the other one, read ahead; empty: a syntax
 * error, or none that can be. The arguments are unread again. */
void imap_read_ahead(struct imap_session *s, struct buf *name, struct buf *name2);

/* input.c: the arguments are read and the handler is called, whatever store was thought of before. */
enum verdict imap_run_here(struct imap_session *s);

/* The end of a command. word: "OK", "NO", "BAD"; what: text behind it, with its [CODE]. */
enum verdict imap_finish(struct imap_session *s, const char *word, const char *what);
enum verdict imap_finishf(struct imap_session *s, const char *word, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* "OK <row> completed" */
enum verdict imap_finish_done(struct imap_session *s);
/* BAD with the cursor's reason; counts as an error. */
enum verdict imap_finish_bad(struct imap_session *s, const char *why);
/* NO with the code that fits a committer's answer other than OPR_OK. */
enum verdict imap_finish_result(struct imap_session *s, enum operation_result r);
/* NO to a change of a mailbox that EXAMINE opened. */
enum verdict imap_finish_read_only(struct imap_session *s);
/* OK, but not of all messages that were named: some are gone, and that cannot be told now. */
enum verdict imap_finish_expunged(struct imap_session *s);
/* The index or the bytes cannot be read now. */
enum verdict imap_finish_later(struct imap_session *s);
/* "* BYE what", and the end. */
enum verdict imap_bye(struct imap_session *s, const char *why, const char *what);
enum verdict imap_bye_drained(struct imap_session *s);

/* Adds to the untagged text; formats are our own, hostile strings go through imap_put_*(). */
void imap_say(struct imap_session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Moves text into the stream as far as there is room; true: it is empty. */
bool imap_flush(struct imap_session *s);
/* Is there room for a step that writes some? */
bool imap_has_room(const struct imap_session *s);

/* To ST_WAIT; the asking comes next: s->ask = ...; return V_WAIT. */
void imap_wait(struct imap_session *s);
/* The first line of a ticket's callback: s is not waiting any more. */
void imap_answered(struct imap_session *s);
/* The last line of a ticket's callback; s may be gone after it. */
void imap_step(struct imap_session *s, enum verdict v);

/* Hands an answer over to ST_JOB and runs it. */
enum verdict imap_start_job(struct imap_session *s, struct imap_job *take_job);
enum verdict imap_yield(struct imap_session *s);

/* The state is ST_IDLE until DONE. */
enum verdict imap_start_idle(struct imap_session *s);
/* "+ prompt"; the next line is a SASL answer, for imap_sasl_line(). */
enum verdict imap_start_sasl(struct imap_session *s, const char *prompt);
/* The command was refused, and its reply waits: whatever of it comes without leave is thrown away. */
enum verdict imap_swallow(struct imap_session *s);
/* `left` bytes of a literal come; imap_append_data() gets them. */
enum verdict imap_start_literal(struct imap_session *s, uint64_t left);
enum verdict imap_start_tls(struct imap_session *s);
enum verdict imap_start_compress(struct imap_session *s);

/* Selects the mailbox; its messages are not loaded yet. */
struct selected *imap_select(struct imap_session *s, const struct index_mailbox *m, bool read_only);
/* From now on answers are as one of enum imap_enabled says. */
void imap_enable(struct imap_session *s, unsigned what);
/* SELECT's answer continues with what has happened since a modseq, in the view in which the mailbox was
 * selected; known: uids that the client has, resolved. */
struct imap_changes_ask {
	uint64_t since;
	const struct imap_set *known_vanished; /* of those, which may have vanished */
	const char *done;                      /* the text of the reply; lasts */
};
enum verdict imap_start_changes(struct imap_session *s, struct index_view *v,
    const struct imap_changes_ask *ask, struct imap_set *take_known);
/* There is something to tell: now, if the state allows it. s may be gone after it. */
void imap_news_came(struct imap_session *s);
/* Selects nothing. */
void imap_deselect(struct imap_session *s);

/* Words for ENABLE, with spaces between them; basic.c. */
bool imap_put_enabled(struct buf *out, unsigned what);
bool imap_is_secure(const struct imap_session *s); /* TLS, or loopback */
bool imap_may_login(const struct imap_session *s); /* a password may be said now */
void imap_put_capability(struct imap_session *s, struct buf *out);

/* Untagged; acl.c. */
void imap_say_myrights(struct imap_session *s, struct span name, uint32_t rights);

/* One committer's operation: `fn` in ST_WAIT. Whose it is: what shared_act() said, or of the owner of the selected
 * mailbox if it is of that one, or of the session's user. */
enum verdict imap_operate(struct imap_session *s, struct operation *op, operation_fn *fn);

#endif
