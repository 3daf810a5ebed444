/* sasl_turn.h - the SASL exchange inside AUTHENTICATE and AUTH, the same for every front. */
#ifndef MMP_SASL_TURN_H
#define MMP_SASL_TURN_H

#include "proto/sasl.h"

#include "mmp/front.h"

struct sasl_turn {
	enum sasl_mech mech; /* SASL_UNKNOWN: no exchange is going on */
	struct sasl_login login;
};

enum sasl_turn_rx {
	SASL_TURN_PROMPT, /* send sasl_turn_prompt(), take the next line */
	SASL_TURN_BAD,    /* not what the mechanism needs: the exchange is over */
	SASL_TURN_CANCEL, /* the client gave up: over */
	SASL_TURN_STARTED /* over; the login attempt runs: return *verdict_out */
};

extern const char sasl_turn_mechs[]; /* "PLAIN LOGIN": what is offered */

static inline bool sasl_turn_active(const struct sasl_turn *t)
{
	return t->mech != SASL_UNKNOWN;
}

/* False: a mechanism that is not offered. */
bool sasl_turn_begin(struct sasl_turn *t, struct span mechanism);
void sasl_turn_end(struct sasl_turn *t);                 /* wipes; fine at any time */
const char *sasl_turn_prompt(const struct sasl_turn *t); /* base64, may be "" */
/* One line of the client without CRLF, or the initial response. */
enum sasl_turn_rx sasl_turn_take(
    struct sasl_turn *t, struct session *s, struct span line, enum verdict *verdict_out);

#endif
