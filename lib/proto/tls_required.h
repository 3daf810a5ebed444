/* tls_required.h - the header field TLS-Required (RFC 8689 section 3). */
#ifndef PROTO_TLS_REQUIRED_H
#define PROTO_TLS_REQUIRED_H

#include "base/span.h"

/* Does the sender say "no": is there exactly one such field, with this value in any case, white space and comments
 * aside? There is no other value. header: the header section. */
bool tls_required_is_no(struct span header);

#endif
