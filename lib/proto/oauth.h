/* oauth.h - bearer tokens in SASL: OAUTHBEARER (RFC 7628) and XOAUTH2; compact signed tokens (RFC 7515). */
#ifndef PROTO_OAUTH_H
#define PROTO_OAUTH_H

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

enum { OAUTH_NAME_MAX = 255, OAUTH_TOKEN_MAX = 8192 };

/* Spans point into the message, which is raw bytes. */
struct oauth_message {
	struct span user;  /* whom the client names; may be empty (OAUTHBEARER) */
	struct span token; /* never empty */
};

err_t oauth_bearer_parse(struct oauth_message *m, struct span message);
err_t oauth_xoauth2_parse(struct oauth_message *m, struct span message);

struct jws {
	struct span signing_input;             /* into the token */
	struct buf header, payload, signature; /* owned, decoded */
};

/* ERR_SYNTAX: not three parts of strict base64url. Call jws_end() in every case. */
err_t jws_parse(struct jws *j, struct span token);
void jws_end(struct jws *j);

#endif
