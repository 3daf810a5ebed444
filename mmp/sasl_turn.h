/* sasl_turn.h - the SASL exchange inside AUTHENTICATE and AUTH, the same for every front. */
#ifndef MMP_SASL_TURN_H
#define MMP_SASL_TURN_H

#include "directory/sasl_server.h"
#include "proto/sasl.h"

#include "mmp/front.h"

struct sasl_turn {
	enum sasl_mech mech; /* SASL_UNKNOWN: no exchange is going on */
	struct sasl_login login;
	struct sasl_server *server; /* owned; mechanisms that send no password */
	struct buf prompt;          /* owned; its challenge in base64 */
};

enum sasl_turn_rx {
	SASL_TURN_PROMPT, /* send sasl_turn_prompt(), take the next line */
	SASL_TURN_BAD,    /* not what the mechanism needs: the exchange is over */
	SASL_TURN_CANCEL, /* the client gave up: over */
	SASL_TURN_STARTED /* the login attempt runs: return *verdict_out */
};

/* Would the mechanism be taken now? What is not on offer is not taken. */
bool sasl_turn_offers(const struct session *s, enum sasl_mech mech);
/* Appends each mechanism on offer with what stands before and behind it. */
void sasl_turn_put_mechs(
    const struct session *s, struct buf *out, const char *before, const char *behind);

static inline bool sasl_turn_active(const struct sasl_turn *t)
{
	return t->mech != SASL_UNKNOWN;
}

/* Begins the session's exchange. False: a mechanism that is not offered. */
bool sasl_turn_begin(struct session *s, struct span mechanism);
void sasl_turn_end(struct sasl_turn *t);           /* wipes; fine at any time */
const char *sasl_turn_prompt(struct sasl_turn *t); /* base64, may be "" */
/* One line of the client without CRLF, or the initial response. */
enum sasl_turn_rx sasl_turn_take(struct session *s, struct span line, enum verdict *verdict_out);
/* The account was found (or not): the exchange goes on with it. */
enum verdict sasl_turn_account(struct session *s);

#endif
