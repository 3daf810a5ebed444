/* message.c - the pieces of one message, read when they are first needed; see message.h.
 *
 * Before: fetch.c and search.c, which know its place. After: fetch_put.c, search_match.c. Owns the tree
 * of parts, the header, and for a short time the whole message. */
#include "base/check.h"

#include "store-backend/imap/message.h"

enum { MESSAGE_MAX = 1u << 30 }; /* more than a record of the log can hold */

void message_init(struct message *m, const struct message_bytes *bytes)
{
	*m = (struct message){ .bytes = *bytes };
}

void message_end(struct message *m)
{
	mime_end(&m->parts);
	buf_end(&m->header);
	buf_end(&m->whole);
	*m = (struct message){ 0 };
}

void message_set_cache(struct message *m, struct span cache)
{
	m->has_cache = parse_cache_open(cache, &m->cache);
}

void message_rest(struct message *m)
{
	m->cache = (struct parse_cache){ 0 };
	m->has_cache = false;
	buf_end(&m->whole);
	m->whole.max = 0;
}

static bool fail(struct message *m, err_t err)
{
	if (m->err == ERR_OK)
		m->err = err;
	return false;
}

bool message_read(struct message *m, struct message_range r, struct buf *out)
{
	while (r.n > 0) {
		char *room;
		size_t n = buf_room(out, (size_t)r.n, &room);
		if (n == 0)
			return fail(m, ERR_TOO_LONG);
		n = n < r.n ? n : (size_t)r.n;
		err_t err = m->bytes.read(m->bytes.arg, r.at, room, n);
		if (err)
			return fail(m, err);
		buf_added(out, n);
		r.at += n;
		r.n -= n;
	}
	return true;
}

/* Into a buffer of its own, once. */
static bool read_once(struct message *m, struct message_range r, struct buf *b, struct span *out)
{
	if (b->max == 0) {
		struct buf fresh = BUF_INIT((size_t)r.n + 1);
		if (!message_read(m, r, &fresh)) {
			buf_end(&fresh);
			return false;
		}
		*b = fresh;
	}
	*out = buf_span(b);
	return true;
}

bool message_whole(struct message *m, struct span *out)
{
	if (m->bytes.size > MESSAGE_MAX)
		return fail(m, ERR_TOO_LONG);
	return read_once(m, (struct message_range){ 0, m->bytes.size }, &m->whole, out);
}

const struct mime *message_parts(struct message *m)
{
	struct span whole;
	if (m->parts.n > 0 || parse_cache_parts(&m->cache, m->bytes.size, &m->parts))
		return &m->parts;
	if (!message_whole(m, &whole))
		return NULL;
	mime_parse(&m->parts, whole);
	return &m->parts;
}

bool message_header(struct message *m, struct span *out)
{
	const struct mime *parts = message_parts(m);
	if (parts == NULL)
		return false;
	uint64_t n = parts->v[0].body_at;
	return read_once(m, (struct message_range){ 0, n < MIME_HEADER_MAX ? n : MIME_HEADER_MAX },
	    &m->header, out);
}

bool message_part_header(struct message *m, const struct mime_part *p, struct buf *out)
{
	uint64_t n = p->body_at - p->header_at;
	return message_read(m,
	    (struct message_range){ p->header_at, n < MIME_HEADER_MAX ? n : MIME_HEADER_MAX }, out);
}

bool message_fields(struct message *m, const struct span *names, size_t name_n, struct span *out)
{
	bool kept = m->cache.has_fields;
	for (size_t i = 0; kept && i < name_n; i++)
		kept = parse_field_kept(names[i]);
	*out = m->cache.fields;
	return kept || message_header(m, out);
}
