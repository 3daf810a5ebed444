/* url_part.h - the message, or part of one, that a URL names: found in an index, and its bytes in pieces. */
#ifndef STORE_IMAP_URL_PART_H
#define STORE_IMAP_URL_PART_H

#include "proto/imap_url.h"
#include "store-backend/imap/blob.h"
#include "store-backend/imap/fetch.h"
#include "store-backend/store.h"

struct url_part {
	struct blob blob; /* does not move while the part is open */
	struct buf text;  /* owned: of header fields; else empty */
	bool in_text;
	struct message_range range; /* what is left, of text or of the message */
	struct fetch_item section;
	struct message message;     /* owned: of the same bytes */
	struct fetch_binary binary; /* with URL_DECODED */
};

enum { URL_PIECE_MAX = 256 * 1024 };

/* The part of the message with that uid of mailbox m. False: there is none now, or it cannot be read. */
bool url_part_open(struct url_part *p, const struct imap_url *u, const struct store_partition *in,
    struct index_view *v, const struct index_mailbox *m);
/* The same for a URL of a command: of a mailbox that the session's user may read, or, without one, of the selected one. */
bool url_part_open_ours(struct url_part *p, const struct imap_url *u, struct imap_session *s);
/* The next bytes, at most URL_PIECE_MAX of them; none are left when *out is empty. */
err_t url_part_read(struct url_part *p, struct buf *out);
/* Without a transfer encoding (RFC 5524): only if it is the body of a part that has one are the bytes not those of url_part_read(). */
enum url_binary { URL_AS_IS, URL_DECODED, URL_UNKNOWN, URL_UNREADABLE };
enum url_binary url_part_decode(struct url_part *p);
void url_part_end(struct url_part *p);

#endif
