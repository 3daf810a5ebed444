/* imap_url.h - URLs that name a message or a part of one (RFC 5092, RFC 4467): read into pieces, and their access part.
 *
 *	imap://user@host:port/mailbox;UIDVALIDITY=n/;UID=n/;SECTION=s/;PARTIAL=n.n;EXPIRE=t;URLAUTH=access:mechanism:token
 *
 * A relative one begins with "/" (a mailbox of the same user) or with ";UID=" or "/;UID=" (of the selected mailbox). */
#ifndef PROTO_IMAP_URL_H
#define PROTO_IMAP_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

enum { IMAP_URL_MAX = 4096, IMAP_URL_TOKEN_MAX = 128 };

struct imap_url {
	bool absolute;       /* with host, and perhaps user */
	struct span user;    /* decoded; empty: none is said */
	struct span host;    /* as sent, with its port */
	struct span mailbox; /* decoded, UTF-8; empty: the selected one */
	uint32_t uidvalidity;
	uint32_t uid;        /* never 0 */
	struct span section; /* decoded; empty: the whole message */
	bool partial;
	uint32_t from, count; /* count UINT32_MAX: to the end */
	bool expires;
	int64_t expire_s;   /* seconds since 1970 */
	struct span access; /* decoded, "user+fred", "anonymous"; empty: there is no URLAUTH */
	struct span mechanism, token; /* as sent; empty: not yet authorized */
	struct span rump;             /* the URL as far as a token speaks for it */
	struct buf decoded;           /* owned: what the spans point into */
};

/* False: it is none, or names no single message. The spans live until imap_url_end() and as long as url; call that in
 * every case. */
bool imap_url_parse(struct imap_url *u, struct span url);
void imap_url_end(struct imap_url *u);

#endif
