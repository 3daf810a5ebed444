/* name.h - names as keys: lower case, bounded, nothing in them that no name holds. Pure. */
#ifndef DIRECTORY_NAME_H
#define DIRECTORY_NAME_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/span.h"

enum { NAME_BYTES_MAX = 320, DOMAIN_BYTES_MAX = 253, DN_BYTES_MAX = 1000 };

/* UTF-8, no control characters, 1 to max bytes. */
bool name_is_clean(struct span s, size_t max);

/* A login name or address as typed, lower-cased into out (which is emptied first); a name without
 * domain gets default_domain (NULL or "": none), a final dot of the domain goes. False: it can be
 * nobody's name. */
bool name_user_key(struct buf *out, struct span typed, const char *default_domain);

/* The same for a domain or the name of a store: no '@' in it. */
bool name_host_key(struct buf *out, struct span typed);

/* A DN: lower case, without spaces around its commas and equals signs. Attribute values are not otherwise
 * made equal. */
bool name_dn_key(struct buf *out, struct span dn);
/* Is the DN (a key) `base` (as typed) or below it? */
bool name_dn_within(struct span key, struct span base);

struct span name_local(struct span key);  /* before the last '@', or all of it */
struct span name_domain(struct span key); /* behind the last '@', or SPAN_NONE */

/* "user+detail@domain" to "user@domain". False: there is no detail to strip. */
bool name_strip_detail(struct buf *out, struct span key);

#endif
