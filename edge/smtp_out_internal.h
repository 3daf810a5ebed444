/* smtp_out_internal.h - the object behind smtp_out.h; for smtp_out.c and smtp_out_talk.c only. */
#ifndef EDGE_SMTP_OUT_INTERNAL_H
#define EDGE_SMTP_OUT_INTERNAL_H

#include "base/span.h"
#include "edge/smtp_out.h"
#include "net/stream.h"
#include "proto/smtp_body.h"
#include "proto/smtp_reply.h"

#define smtp_out_MAGIC 0x50070071u

enum {
	IN_MAX = 64 * 1024,
	OUT_MAX = 256 * 1024,
	COMMAND_MAX = 1200, /* longest line: MAIL with all parameters */
	CHUNK = 16 * 1024,  /* body bytes per read */
	ENCODED_MAX = CHUNK + CHUNK / 2,
	LINGER_MS = 2000,
	OUT_WHY_SIZE = 200,
};

enum out_state {
	ST_NEW, /* not connected */
	ST_DIAL,
	ST_GREETING,
	ST_EHLO,
	ST_HELO,
	ST_STARTTLS,
	ST_TLS,
	ST_IDLE,     /* kept for the next mail */
	ST_ENVELOPE, /* RSET MAIL RCPT... DATA */
	ST_BODY,
	ST_FINAL, /* after the final dot: one reply, or one per accepted recipient */
	ST_DEAD,  /* only smtp_out_free() is left */
	ST_COUNT
};

enum out_verdict {
	V_READ,  /* next reply */
	V_WAIT,  /* something else goes on */
	V_DONE,  /* the mail is answered; the connection is good */
	V_CLOSE, /* the mail is answered; the connection is not to be used again */
	V_FAIL   /* o->why says it */
};

enum out_clock { CLOCK_NONE, CLOCK_CONNECT, CLOCK_REPLY, CLOCK_FINAL, CLOCK_IDLE };

struct send {
	struct ticket ticket;
	struct smtp_out *out;
};

struct smtp_out {
	uint32_t magic;
	struct out_opts opts;
	char *host, *helo;    /* owned; opts points here */
	struct tls_ctx *tls;  /* owned reference */
	struct out_dane dane; /* owned strings */
	bool tls_counted;     /* what became of TLS on this connection is noted */
	struct out_session sessions[OUT_ADDRESSES_MAX]; /* until they are told with an answer */
	size_t session_n;
	void (*gone)(void *arg, struct smtp_out *o);
	void *gone_arg;

	enum out_state state; /* only set_state() writes this */
	struct timer deadline;
	struct soon begin;
	struct ticket *dialing;
	struct stream *io; /* owned from ST_GREETING on */
	struct smtp_reply_reader reader;
	unsigned features; /* SMTP_HAS_* of the last EHLO */
	uint64_t size_max;
	struct ip_port peer;
	struct ip_addr local;
	size_t skip, tried; /* addresses that have failed; with the one that is connected */
	bool more;          /* the host has others */
	enum out_tls tls_wanted;
	bool kept; /* has carried a mail before */
	bool needs_rset;
	char why[OUT_WHY_SIZE]; /* after V_FAIL */

	struct send *send; /* owned while a mail is being sent */
	struct out_mail *mail;
	out_done_fn *done;
	void *done_arg;
	size_t *order; /* owned: recipients that get a RCPT */
	size_t order_count;
	size_t cmd_next, cmd_answered; /* places in the list of commands: see cmd_data() */
	size_t replies;                /* to this mail */
	uint64_t envelope_ms;          /* loop's time when its envelope began; 0: not yet */
	bool mail_refused;
	bool unfit, absent; /* see out_result */
	uint64_t body_at;
	size_t final_at; /* recipient whose LMTP answer comes next */
	struct smtp_body_encoder encoder;
};

typedef enum out_verdict out_reply_fn(struct smtp_out *o, const struct smtp_reply *r);

/* What a reply means in each state (smtp_out_talk.c). */
out_reply_fn out_on_greeting, out_on_ehlo, out_on_helo, out_on_starttls, out_on_envelope,
    out_on_body, out_on_final, out_on_early;

enum out_verdict out_start_envelope(struct smtp_out *o);
enum out_verdict out_send_ehlo(struct smtp_out *o);
void out_pump_envelope(struct smtp_out *o); /* sends what may be sent now */
enum out_verdict out_pump_body(struct smtp_out *o);

/* Once a connection, for those who are told of it. False: what became of TLS was known. */
bool out_note_session(struct smtp_out *o, enum out_tls_fate fate);
void out_count_tls(struct smtp_out *o, enum out_tls_fate fate); /* the same, and the metrics */
enum out_tls_fate out_last_fate(const struct smtp_out *o);

/* smtp_out.c: the only writer of the state, and the keeper of reasons. */
void out_set_state(struct smtp_out *o, enum out_state to);
enum out_verdict out_fail(struct smtp_out *o, const char *why);
enum out_verdict out_fail_reply(struct smtp_out *o, const char *what, const struct smtp_reply *r);

#endif
