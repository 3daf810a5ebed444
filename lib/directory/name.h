/* name.h - names as keys: lower case, bounded, nothing in them that no name holds. Pure. */
#ifndef DIRECTORY_NAME_H
#define DIRECTORY_NAME_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/span.h"

enum { NAME_BYTES_MAX = 320, DOMAIN_BYTES_MAX = 253 };

/* UTF-8, no control characters, 1 to max bytes. */
bool name_is_clean(struct span s, size_t max);

/* A login name or address as typed, lower-cased into out (which is emptied first); a name without
 * domain gets default_domain (NULL or "": none), a final dot of the domain goes. False: it can be
 * nobody's name. */
bool name_user_key(struct buf *out, struct span typed, const char *default_domain);

/* The same for a domain or the name of a store: no '@' in it. */
bool name_host_key(struct buf *out, struct span typed);

struct span name_local(struct span key);  /* before the last '@', or all of it */
struct span name_domain(struct span key); /* behind the last '@', or SPAN_NONE */

/* "user+detail@domain" to "user@domain". False: there is no detail to strip. */
bool name_strip_detail(struct buf *out, struct span key);

#endif
