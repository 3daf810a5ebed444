/* sasl.h - SASL PLAIN (RFC 4616) and LOGIN as text lines of any protocol carry them: base64.
 *
 * Decoded secrets live in buffers of this module and are wiped by sasl_*_end(). */
#ifndef PROTO_SASL_H
#define PROTO_SASL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

enum { SASL_NAME_MAX = 255, SASL_SECRET_MAX = 1024, SASL_TEXT_MAX = 12288 };

enum sasl_mech {
	SASL_UNKNOWN,
	SASL_PLAIN,
	SASL_LOGIN,
	SASL_CRAM_MD5,
	SASL_SCRAM_SHA_1,
	SASL_SCRAM_SHA_256,
	SASL_SCRAM_SHA_1_PLUS,
	SASL_SCRAM_SHA_256_PLUS,
	SASL_OAUTHBEARER,
	SASL_XOAUTH2,
	SASL_EXTERNAL,
	SASL_ANONYMOUS,
	SASL_APOP, /* POP3's own command, not of SASL: no name finds it */
	SASL_MECH_COUNT
};

/* Names are compared without case. A name that is not a mechanism's, or not one we know: UNKNOWN. */
enum sasl_mech sasl_mech_find(struct span name);
const char *sasl_mech_name(enum sasl_mech m);

/* The client's cancel line in every protocol (RFC 4954 section 4). */
static inline bool sasl_is_cancel(struct span line)
{
	return span_eq(line, SPAN("*"));
}

struct sasl_plain {
	struct span authzid; /* empty: the same as authcid */
	struct span authcid; /* never empty */
	struct span secret;  /* never empty */
	struct buf raw;      /* owned; the spans point here */
};

/* base64: one line. ERR_SYNTAX: not base64 or not "authzid NUL authcid NUL secret"; ERR_TOO_LONG. Call
 * sasl_plain_end() in every case. Names must be UTF-8 without controls. */
err_t sasl_plain_parse(struct sasl_plain *p, struct span base64);
void sasl_plain_end(struct sasl_plain *p);
/* The same as base64 text for a server; out should be wiped by its owner. False: out is full, or a value
 * is longer than its limit or holds NUL. */
bool sasl_plain_put(struct buf *out, struct span authzid, struct span authcid, struct span secret);

/* LOGIN: the server sends sasl_login_prompt(), the client answers; twice. */
enum sasl_login_step { SASL_LOGIN_NAME, SASL_LOGIN_SECRET, SASL_LOGIN_DONE };

struct sasl_login {
	enum sasl_login_step step;
	struct buf name, secret; /* owned */
};

void sasl_login_init(struct sasl_login *s);
void sasl_login_end(struct sasl_login *s); /* wipes */
/* base64 of "Username:" or "Password:"; NULL when done. */
const char *sasl_login_prompt(const struct sasl_login *s);
/* One line of the client; moves to the next step. ERR_SYNTAX, ERR_TOO_LONG: the exchange failed. */
err_t sasl_login_take(struct sasl_login *s, struct span base64);

#endif
