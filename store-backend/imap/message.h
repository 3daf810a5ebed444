/* message.h - one stored message as FETCH and SEARCH read it: from the parse cache where that says it,
 * else from its bytes.
 *
 * Every piece is bounded: headers by MIME_HEADER_MAX, and the whole message is in memory only while what
 * the cache lacks is made anew, until message_rest(). Bytes are sent as they are stored; that no NUL is
 * among them is the care of LMTP and APPEND. */
#ifndef STORE_IMAP_MESSAGE_H
#define STORE_IMAP_MESSAGE_H

#include "base/buf.h"
#include "base/err.h"
#include "proto/mime.h"
#include "store-backend/parse.h"

/* Where the bytes come from. */
struct message_bytes {
	err_t (*read)(void *arg, uint64_t at, void *out, size_t n);
	void *arg;
	uint64_t size;
};

struct message_range {
	uint64_t at, n;
};

static inline struct message_range message_part_body(const struct mime_part *p)
{
	return (struct message_range){ p->body_at, p->end - p->body_at };
}

struct message {
	struct message_bytes bytes;
	struct parse_cache cache; /* borrowed from a view, see message_set_cache() */
	bool has_cache;
	struct mime parts;        /* owned; parts.n 0: not read yet */
	struct buf header, whole; /* owned; .max 0: not read yet */
	err_t err;                /* the first failure to read */
};

void message_init(struct message *m, const struct message_bytes *bytes);
void message_end(struct message *m);

/* The cache as the index holds it (may be empty): until message_rest(). */
void message_set_cache(struct message *m, struct span cache);
/* Lets go of what must not outlive a callback: the cache and the whole message. */
void message_rest(struct message *m);

/* The readers: false or NULL when the bytes cannot be read (m->err). Results live until message_rest(). */
const struct mime *message_parts(struct message *m);
bool message_header(
    struct message *m, struct span *out); /* of the message itself, with its empty line */
bool message_whole(struct message *m, struct span *out);
/* Appends a range of the bytes; out must have room. */
bool message_read(struct message *m, struct message_range r, struct buf *out);
/* Appends the header of a part, of a very long one the beginning. */
bool message_part_header(struct message *m, const struct mime_part *p, struct buf *out);
/* The header fields that a cache keeps, if that is enough for all of `names`; else the whole header. */
bool message_fields(struct message *m, const struct span *names, size_t name_n, struct span *out);

/* The object id of a message's content (RFC 8474). */
static inline bool imap_put_emailid(struct buf *out, uint64_t object)
{
	return buf_printf(out, "M%llu", (unsigned long long)object);
}

#endif
