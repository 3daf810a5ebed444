/* sasl_exchange.h - a client's AUTH or AUTHENTICATE line by line, the same for every protocol and program: base64
 * in, base64 out, and in between the caller finds accounts and checks passwords.
 *
 * PLAIN and LOGIN end in a name and a password. The others (sasl_server.h) find out by themselves: in their middle
 * the account is asked for. An exchange waits for nothing. */
#ifndef DIRECTORY_SASL_EXCHANGE_H
#define DIRECTORY_SASL_EXCHANGE_H

#include "directory/sasl_offer.h"
#include "directory/sasl_server.h"

/* One zeroed struct is an exchange that does not go on. */
struct sasl_exchange {
	enum sasl_mech mech;     /* SASL_UNKNOWN: none is going on */
	struct span user;        /* PASSWORD, FOREIGN, ACCOUNT: as typed; until the next call */
	struct span secret;      /* PASSWORD; until the next call */
	struct sasl_plain plain; /* owned, as all that follows */
	struct sasl_login login;
	struct sasl_server *server; /* mechanisms that send no password */
	struct buf prompt;          /* the server's challenge in base64 */
};

enum sasl_exchange_rx {
	SASL_X_PROMPT,   /* send sasl_exchange_prompt(), take the next line */
	SASL_X_BAD,      /* not what the mechanism needs: over, no proof was tried */
	SASL_X_CANCEL,   /* the client gave up: over */
	SASL_X_PASSWORD, /* check user and secret; the exchange has said all it can: end it */
	SASL_X_FOREIGN,  /* a good message, but to act as somebody else than `user`: end it */
	SASL_X_ACCOUNT,  /* find `user`, then sasl_exchange_account() */
	SASL_X_DONE,     /* it is the user: over */
	SASL_X_FAILED    /* it is not: over */
};

static inline bool sasl_exchange_active(const struct sasl_exchange *x)
{
	return x->mech != SASL_UNKNOWN;
}

/* False: a mechanism that is not offered now. None may be going on. */
bool sasl_exchange_begin(struct sasl_exchange *x, const struct sasl_peer *p, struct span mechanism);
/* POP3's APOP, in one command: the greeting's challenge, and "name digest". ACCOUNT or BAD. Whether it is offered
 * is for the caller to know. None may be going on. */
enum sasl_exchange_rx sasl_exchange_apop(
    struct sasl_exchange *x, struct span challenge, struct span message);
void sasl_exchange_end(struct sasl_exchange *x); /* wipes; fine at any time */
/* Base64, may be "" (the client speaks first). */
const char *sasl_exchange_prompt(struct sasl_exchange *x);
/* One line of the client without CRLF, or the initial response. After an answer that says "over" the exchange has
 * been ended. */
enum sasl_exchange_rx sasl_exchange_take(struct sasl_exchange *x, struct span line);
/* The answer to SASL_X_ACCOUNT; account NULL: there is no such user. PROMPT, DONE or FAILED. */
enum sasl_exchange_rx sasl_exchange_account(
    struct sasl_exchange *x, const struct directory *d, const struct account *account);

#endif
