/* sasl_turn.h - the SASL exchange inside AUTHENTICATE and AUTH, the same for every front: what lib/directory asks
 * for becomes a login attempt. */
#ifndef MMP_SASL_TURN_H
#define MMP_SASL_TURN_H

#include "directory/sasl_exchange.h"

#include "mmp/front.h"

enum sasl_turn_rx {
	SASL_TURN_PROMPT, /* send sasl_exchange_prompt(), take the next line */
	SASL_TURN_BAD,    /* not what the mechanism needs: the exchange is over */
	SASL_TURN_CANCEL, /* the client gave up: over */
	SASL_TURN_STARTED /* the login attempt runs: return *verdict_out */
};

/* Would the mechanism be taken now? What is not on offer is not taken. */
bool sasl_turn_offers(const struct session *s, enum sasl_mech mech);
/* Appends each mechanism on offer with what stands before and behind it. */
void sasl_turn_put_mechs(
    const struct session *s, struct buf *out, const char *before, const char *behind);

/* Begins the session's exchange. False: a mechanism that is not offered. */
bool sasl_turn_begin(struct session *s, struct span mechanism);
/* One line of the client without CRLF, or the initial response. */
enum sasl_turn_rx sasl_turn_take(struct session *s, struct span line, enum verdict *verdict_out);
/* POP3's APOP: the attempt runs with "name digest"; or the client is told what is wrong with it. */
enum verdict sasl_turn_apop(struct session *s, struct span challenge, struct span message);
/* The account was found (or not): the exchange goes on with it. */
enum verdict sasl_turn_account(struct session *s);

#endif
