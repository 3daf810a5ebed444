/* session.h - one SMTP connection: the object that walks steps 2 to 5.
 *
 * State table, driver and destructor are in session.c; each step's handlers are in the file of the
 * step. Handlers return a verdict and never end the session. The mail under way is an object of its
 * own (struct mail), there only between MAIL and its answer. */
#ifndef EDGE_SESSION_H
#define EDGE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ident.h"
#include "base/ip.h"
#include "base/list.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/stream.h"
#include "net/ticket.h"
#include "proto/line.h"
#include "proto/smtp_cmd.h"

#include "edge/edge_conf.h"
#include "edge/edge_tables.h"
#include "edge/record.h"
#include "edge/worker.h"

#define session_MAGIC 0xed6e0001u

enum verdict {
	V_READ,  /* go on with the input that is there */
	V_MORE,  /* more bytes of the client are needed */
	V_WAIT,  /* a ticket, a timer or the output resumes us */
	V_CLOSE, /* the last words are said */
};

enum session_state {
	ST_ADMIT,       /* MeterMaid is asked about the connection */
	ST_BANNER,      /* the greeting is held back */
	ST_SCREEN,      /* the greeting waits for the DNS lists */
	ST_SECURE,      /* TLS handshake */
	ST_FIRST,       /* the first bytes: is it SMTP at all? */
	ST_COMMAND,     /* commands */
	ST_ERROR,       /* too many of them were in error: the next one waits */
	ST_AUTH,        /* the client's next line of an AUTH exchange */
	ST_AUTH_FIND,   /* directory: who is it? */
	ST_AUTH_METER,  /* MeterMaid is asked about the login */
	ST_AUTH_VERIFY, /* directory: is it their password? */
	ST_PENALTY,     /* a failure's answer is held back */
	ST_SENDER,      /* DNS: what of the client and the sender? */
	ST_ACCESS,      /* tables, and the directory about channels: which access rule holds? */
	ST_RECIPIENT,   /* directory: who is behind the recipient? */
	ST_METER_MAIL,  /* MeterMaid is asked about the sender, or a limit holds it back */
	ST_METER_RCPT,  /* ... about a recipient */
	ST_AT_STORE,    /* the recipient's store is asked whether it takes the mail */
	ST_POLICY,      /* policy services are asked */
	ST_FILTER_MAIL, /* filters are asked about the sender */
	ST_FILTER_RCPT, /* ... about a recipient */
	ST_FILTER_DATA, /* ... whether they want the message at all */
	ST_DATA,        /* bytes of the message */
	ST_CHUNK,       /* bytes of a chunk (BDAT) */
	ST_ETRN,        /* the queue process starts what waits for a node */
	ST_METER,       /* MeterMaid is asked about the message */
	ST_TARPIT,      /* the message is held back */
	ST_FILTER,      /* filters look at the message */
	ST_COMMIT,      /* stores and spool take it */
	ST_COUNT
};

struct attempt;
struct dry;
struct passed;
struct screen;
struct filters;
struct mail;

struct session {
	uint32_t magic;
	enum session_state state; /* only set_state() of session.c writes this */
	struct list_node link;    /* in edge->sessions */
	struct edge *edge;
	struct edge_setup *setup;                  /* referenced */
	const struct edge_listener_conf *listener; /* of setup */
	struct stream *io;                         /* owned */
	struct timer deadline;                     /* of the state */
	struct ticket *ask;                        /* owned; what the state waits for, or NULL */
	struct passed *passed;                     /* owned; what it has passed before, or NULL */
	struct screen *screen;         /* owned; what the DNS says of the client, or NULL */
	struct record record;          /* of the connection */
	struct attempt *attempt;       /* owned; from AUTH to its answer */
	struct mail *mail;             /* owned; from MAIL to its end */
	struct filters *filters;       /* owned; from the first MAIL on, or NULL */
	struct meter_lease *held;      /* owned; what limits of concurrency count, or NULL */
	struct meter_lease *user_held; /* owned; the same of the user's session */
	struct buf tags;               /* marks of rules, for X-Postern-Tag of each mail */
	struct line_scan scan;
	char *helo;                  /* owned; what EHLO or HELO said, NULL: neither yet */
	char *user;                  /* owned; after AUTH, else NULL */
	char *origin;                /* owned; what XFORWARD said of the next mail, or NULL */
	const char *mechanism;       /* by which user was authenticated */
	bool esmtp;                  /* it was EHLO */
	bool relay_cert;             /* it has shown a certificate that lets it relay */
	bool may_xclient;            /* it is a host of our own in front of the client */
	bool probe;                  /* a balancer's health check, or a dry run */
	struct dry *dry;             /* a dry run's client (dry.h), or NULL */
	bool chunk_last;             /* the chunk under way is the last of its mail */
	size_t chunk_left, chunk_at; /* bytes to come; the same when the clock was restarted */
	const char *chunk_refused;   /* why its bytes go nowhere, or NULL */
	enum smtp_verb verb;         /* of the command being handled, for logs */
	struct ident id;
	struct ip_port from, peer; /* the client; the socket's peer */
	uint64_t begun_ms, begun_us;
	bool owes_delay;                    /* before the next command */
	unsigned errors, unknown, failures; /* in a row: a taken message forgives errors */
	unsigned messages, refused;         /* answered with 250; refused commands */
	enum reason why;                    /* first writer wins */
	const char *detail; /* words for the log, alive until the session ends, or NULL */
};

/* Makes a session out of an accepted connection that edge_client_enter() has counted. Takes a->fd. */
void session_start(
    struct edge *e, const struct edge_listener_conf *listener, const struct accepted *a);

/* The same for a dry run; user: taken for one who has authenticated, or NULL. */
void session_start_dry(struct edge *e, const struct edge_listener_conf *listener,
    const struct accepted *a, struct dry *dry, const char *user);

/* Goes on with a verdict: the only driver; the session may be gone when it returns. For callbacks of
 * tickets and timers, as their last statement. */
void session_step(struct session *s, enum verdict v);

/* Enters a state (again: restarts its clock); drops the ticket of the state it leaves. */
void session_enter(struct session *s, enum session_state to);
/* The same with a time of its own. */
void session_hold(struct session *s, enum session_state to, uint64_t ms);

/* A reply that is not a refusal. */
enum verdict session_say(struct session *s, unsigned code, const char *enhanced, const char *text);
/* A refusal: the reply with the id behind it, a log line, and an error counted if it is a 5xx. The
 * session goes on unless it made too many. */
enum verdict session_refuse(
    struct session *s, unsigned code, const char *enhanced, const char *text);
/* The same without the log line, for whoever has a better one. */
enum verdict session_refuse_quietly(
    struct session *s, unsigned code, const char *enhanced, const char *text);

/* Are its line ends to be normalised? */
bool session_normalizes(const struct session *s);

/* For the decision record of the mail under way, or of the connection. */
void session_note(struct session *s, const char *check, struct span answer);
void session_notef(struct session *s, const char *check, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Notes why the session ends: for  return session_close(...);  detail: NULL or words for the log. */
enum verdict session_close(struct session *s, enum reason why, const char *detail);
/* The same after the reason's last words. */
enum verdict session_bye(struct session *s, enum reason why, const char *detail);

/* Ends one from outside, with a goodbye (drain) or without a word (the worker goes). */
void session_end_now(struct session *s, enum reason why);
void session_drop(struct session *s, enum reason why);
bool session_is_idle(const struct session *s); /* a 421 does no harm now */

/* Its record, or that of its mail, if it has this id; else empty. */
struct span session_record(const struct session *s, struct span id);

uint64_t session_now_ms(const struct session *s);
void session_put_json(const struct session *s, struct buf *out);

#endif
