/* oauth_check.h - is this bearer token good, and whose is it? Local checks only: signature by one of the provider's
 * keys, issuer, audience, time. */
#ifndef DIRECTORY_OAUTH_CHECK_H
#define DIRECTORY_OAUTH_CHECK_H

#include "base/buf.h"
#include "base/span.h"

struct oauth_settings {
	struct span keys_pem; /* public keys of the provider */
	const char *issuer;   /* `iss` must be this */
	const char *audience; /* `aud` must be this, or have it among others; NULL: any */
	const char *user;     /* the claim that names the user: "email" */
	const char *scope;    /* told to clients whose token is refused; NULL: none */
};

struct oauth_check;

/* Strings are copied. NULL: no usable key; a sentence is in why (may be NULL). */
struct oauth_check *oauth_check_new(const struct oauth_settings *s, struct buf *why);
void oauth_check_free(struct oauth_check **c); /* fine on NULL */

/* NULL: it is good, and user_out has the name. Else what is wrong, for the log. */
const char *oauth_check_token(const struct oauth_check *c, struct span token, struct buf *user_out);

/* What a client is told whose token is refused (RFC 7628 section 3.2.2). */
void oauth_check_put_error(const struct oauth_check *c, struct buf *out);

#endif
