/* session.h - a connection before its login: the one object that walks steps 1 to 4.
 *
 * State table, driver and destructor are in session.c; each step's handlers are in the file of the
 * step. Handlers return a verdict and never end the session. When the login is done the session
 * hands its two streams to pipe.c and is gone. */
#ifndef MMP_SESSION_H
#define MMP_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ident.h"
#include "base/ip.h"
#include "base/list.h"
#include "net/listen.h"
#include "net/loop.h"
#include "net/stream.h"
#include "net/ticket.h"

#include "mmp/front.h"
#include "mmp/mmp_conf.h"
#include "mmp/mmp_tables.h"
#include "mmp/sasl_turn.h"
#include "mmp/worker.h"

#define session_MAGIC 0x6d6d7031u

enum session_state {
	ST_ADMIT,    /* MeterMaid is asked about the connection */
	ST_TARPIT,   /* the greeting is held back */
	ST_SECURE,   /* TLS handshake */
	ST_FIRST,    /* the first bytes: is it our protocol at all? */
	ST_COMMAND,  /* the front reads commands */
	ST_EXCHANGE, /* the front reads the client's next word of a SASL exchange */
	ST_FIND,     /* directory: who is it? */
	ST_METER,    /* MeterMaid is asked about the login */
	ST_VERIFY,   /* directory: is it their password? */
	ST_PENALTY,  /* a failure's answer is held back */
	ST_PLACE,    /* directory: where is the store? */
	ST_TURN,     /* it has just come back: logins go to it one after the other */
	ST_QUEUE,    /* in line for a connection to it */
	ST_DIAL,     /* connecting to it */
	ST_LOGIN,    /* the login conversation with it */
	ST_COUNT
};

struct attempt;

struct session {
	uint32_t magic;
	enum session_state state; /* only set_state() of session.c writes this */
	struct list_node link;    /* in mmp->prelogin */
	struct mmp *mmp;
	struct mmp_setup *setup;                  /* referenced */
	const struct mmp_listener_conf *listener; /* of setup */
	const struct front *front;
	void *front_data;          /* the front's own; ended by front->close() */
	struct stream *client;     /* owned; NULL once handed to the pipe */
	struct timer deadline;     /* of the state, and of the whole login */
	struct ticket *ask;        /* owned; what the state waits for, or NULL */
	struct sasl_exchange sasl; /* owned; the SASL exchange of a login command */
	struct attempt *attempt;   /* owned; from a whole login command to its answer */
	struct meter_lease
	    *held;     /* owned until the pipe has it; what limits of connections count */
	size_t weight; /* memory that crowd.c counts for it */
	struct ident id;
	struct ip_port from, peer, local; /* the client; the socket's peer; where it came to */
	uint64_t begun_ms;
	struct buf tags;           /* marks of rules with action tag, for login.ok */
	unsigned failures, errors; /* refused attempts; commands in error */
	enum reason why;           /* first writer wins */
	const char *detail;        /* static words for the log, or NULL */
	bool probe;                /* a balancer's health check */
};

/* Makes a session out of an accepted connection and lets it go its way. Takes a->fd. */
void session_start(
    struct mmp *m, const struct mmp_listener_conf *listener, const struct accepted *a);

/* Goes on with a verdict: the only driver; the session may be gone when it returns. For callbacks of
 * tickets and timers, as their last statement. */
void session_step(struct session *s, enum verdict v);

/* Enters a state (again: restarts its clock); drops the ticket of the state it leaves. */
void session_enter(struct session *s, enum session_state to);
/* The same for a state that waits for a ticket, and V_WAIT. */
enum verdict session_wait(struct session *s, enum session_state to, struct ticket *take_ask);
/* The same with a time of its own: ST_TARPIT and ST_PENALTY. */
void session_hold(struct session *s, enum session_state to, uint64_t ms);

/* Keeps the mark of a rule with action tag, if the answer has one. */
void session_mark(struct session *s, const struct meter_answer *a);

/* Notes why the session ends: for  return session_close(...);  detail: static words or NULL. */
enum verdict session_close(struct session *s, enum reason why, const char *detail);
/* The same after a goodbye in the front's words. */
enum verdict session_bye(struct session *s, enum reason why, const char *detail);

/* A whole command was handled: the clock starts anew, the session was not idle. */
void session_touch(struct session *s);

/* Ends one from outside, with a goodbye (drain, eviction) or without a word (the worker goes). */
void session_end_now(struct session *s, enum reason why);
void session_drop(struct session *s, enum reason why);
const char *session_state_name(const struct session *s); /* for logs */
bool session_is_idle(const struct session *s);           /* waits for the client, not for us */

uint64_t session_now_ms(const struct session *s);
uint64_t session_left_ms(const struct session *s); /* until login_timeout */

#endif
