/* password.h - a secret against one stored userPassword value (RFC 2307 {SCHEME}text). Pure.
 *
 * Computed at once: {SHA} {SSHA} {SHA256} {SSHA256} {SHA512} {SSHA512} {MD5} {SMD5}, and {PLAIN} {CLEARTEXT}
 * or no scheme at all where plain text is allowed. {CRYPT} and {SCRAM-SHA-256} are
 * slow: their setting goes to crypt_pool.h. */
#ifndef DIRECTORY_PASSWORD_H
#define DIRECTORY_PASSWORD_H

#include <stdbool.h>

#include "base/span.h"

enum { SECRET_BYTES_MAX = 511 };

enum password_match {
	PASSWORD_RIGHT,
	PASSWORD_WRONG,
	PASSWORD_SLOW,    /* *setting_out is what crypt(3) needs */
	PASSWORD_UNUSABLE /* scheme unknown, malformed, or too costly to compute */
};

enum password_match password_compare(
    struct span stored, struct span secret, bool plain_allowed, struct span *setting_out);

/* Can it be anybody's secret: 1 to SECRET_BYTES_MAX bytes, no NUL? */
bool password_is_secret(struct span secret);

#endif
