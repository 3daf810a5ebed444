/* parse.h - what is read out of a message once, when it arrives, and kept beside it in the index:
 * ENVELOPE, BODY and BODYSTRUCTURE as IMAP sends them, the header fields that clients list, where the
 * parts are, and the date it was written.
 *
 * The cache is derived: whatever is missing in it, because it was too large or was never made, is read
 * from the message again. It is bounded by STORE_CACHE_MAX, each piece by a bound of its own. */
#ifndef STORE_PARSE_H
#define STORE_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "proto/mime.h"

/* Appends the cache of a whole message (at most STORE_CACHE_MAX bytes). Never fails: any bytes are a
 * message. */
void parse_message(struct span message, struct buf *cache_out);

/* The cache, opened; spans point into it. An empty span: not there, read the message. */
struct parse_cache {
	struct span envelope;      /* "(...)" */
	struct span body;          /* without extension data */
	struct span bodystructure; /* with it */
	struct span fields; /* whole header fields, in order, of the names of parse_field_kept() */
	bool has_fields;
	struct span parts; /* for parse_cache_parts() */
	bool has_date;
	int32_t sent_day; /* SENTBEFORE, SENTON, SENTSINCE: days since 1970 */
};
/* False: bytes is empty or no cache of this version; *out is empty then. */
bool parse_cache_open(struct span bytes, struct parse_cache *out);
/* The tree of parts of a message of that size; m was zeroed. False: not there, or it does not fit the message. */
bool parse_cache_parts(const struct parse_cache *c, uint64_t message_size, struct mime *m);

/* Is this one of the fields that a cache holds if the message has them? Case-blind. */
bool parse_field_kept(struct span name);

/* The same pieces without a cache. False: out is full. */
bool parse_put_envelope(struct buf *out, struct span header);
bool parse_put_structure(
    struct buf *out, struct span message, const struct mime *m, bool with_extensions);
/* With extensions, of one part alone; of it decoded, if the part has a transfer encoding and is shown without (RFC 5524). */
struct parse_decoded {
	bool is;
	uint64_t size, lines;
};
bool parse_put_part(struct buf *out, struct span message, const struct mime *m, size_t part,
    const struct parse_decoded *decoded);

#endif
