/* sasl_server.h - the server's side of the mechanisms that send no password: one exchange, the same for IMAP,
 * POP3, SMTP and ManageSieve. Messages are raw bytes, out of their base64.
 *
 * The exchange waits for nothing by itself: when it needs to know who that is it says so, and goes on when the
 * account has been found. An unknown user gets the same challenges as a known one. */
#ifndef DIRECTORY_SASL_SERVER_H
#define DIRECTORY_SASL_SERVER_H

#include "base/buf.h"
#include "base/span.h"
#include "directory/directory.h"
#include "proto/sasl.h"

enum { SASL_MESSAGE_MAX = 9216 };

struct sasl_server;
struct oauth_check;

/* What a mechanism may need of the connection. Copied. */
struct sasl_facts {
	const char *hostname;            /* of this server */
	struct span challenge;           /* APOP: what the greeting said, with its brackets */
	bool plus_offered;               /* a mechanism with channel binding was on offer */
	const struct oauth_check *oauth; /* borrowed, longer than the exchange; NULL: no tokens */
	struct span certified; /* name in the client's certificate, verified; empty: none */
	struct span exporter, end_point; /* of the TLS session (net/stream_bind.h); empty: none */
};

enum sasl_rx {
	SASL_RX_CHALLENGE, /* send sasl_server_out(), take the next message */
	SASL_RX_ACCOUNT,   /* find sasl_server_user(), then sasl_server_account() */
	SASL_RX_DONE,      /* it is the user */
	SASL_RX_FAILED,    /* it is not */
	SASL_RX_BAD        /* not a message of this mechanism: the exchange is over */
};

/* Is it a mechanism of this module? */
bool sasl_server_knows(enum sasl_mech mech);

/* mech must be one of this module. */
struct sasl_server *sasl_server_new(enum sasl_mech mech, const struct sasl_facts *facts);
void sasl_server_free(struct sasl_server **x); /* wipes; fine on NULL */

/* CHALLENGE: the server speaks first. BAD: the client does; send an empty challenge, or take its initial
 * response. Before anything else. */
enum sasl_rx sasl_server_start(struct sasl_server *x);
enum sasl_rx sasl_server_take(struct sasl_server *x, struct span message);
/* The answer to SASL_RX_ACCOUNT; account NULL: there is no such user. */
enum sasl_rx sasl_server_account(
    struct sasl_server *x, const struct directory *d, const struct account *account);

struct span sasl_server_user(const struct sasl_server *x); /* as typed */
struct span sasl_server_out(const struct sasl_server *x);  /* until the next call */

/* The key that makes salts for those who have none: once, before workers are forked. */
void sasl_server_prepare(void);

#endif
