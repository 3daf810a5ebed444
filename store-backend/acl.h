/* acl.h - rights to a mailbox (RFC 4314): letters, bits, and what an identifier may be. Pure.
 *
 * The owner has all of them. Others have what rows for their name and for "anyone" give, without what rows for
 * "-name" and "-anyone" take away. */
#ifndef STORE_ACL_H
#define STORE_ACL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

/* Bits are stored and sent, so they never change. */
enum acl_right {
	ACL_LOOKUP = 1,    /* l */
	ACL_READ = 2,      /* r */
	ACL_SEEN = 4,      /* s */
	ACL_WRITE = 8,     /* w: flags other than \Seen and \Deleted */
	ACL_INSERT = 16,   /* i */
	ACL_POST = 32,     /* p */
	ACL_CREATE = 64,   /* k */
	ACL_DELETE = 128,  /* x: the mailbox */
	ACL_TRASH = 256,   /* t: \Deleted */
	ACL_EXPUNGE = 512, /* e */
	ACL_ADMIN = 1024,  /* a */
	ACL_ALL = 2047
};
/* One of them, beside l, lets have annotations (RFC 5464 section 3.3). */
enum { ACL_METADATA = ACL_READ | ACL_SEEN | ACL_WRITE | ACL_INSERT | ACL_POST };
enum { ACL_ROWS_MAX = 64, ACL_WHO_MAX = 255 };

/* Letters; the old c is k, the old d is x, t and e. False: there is another letter. */
bool acl_parse(struct span letters, uint32_t *rights_out);
/* With the old letters as well (RFC 4314 section 2.1.1). */
bool acl_put(struct buf *out, uint32_t rights);
extern const struct acl_letter {
	char letter;
	uint32_t right;
} acl_letters[11];

/* "anyone" or a user's name, perhaps behind a "-". */
bool acl_who_ok(struct span who);

#endif
