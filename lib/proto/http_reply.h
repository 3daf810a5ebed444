/* http_reply.h - the reply to one HTTP/1.1 request, byte by byte as it comes (RFC 9110, RFC 9112): for a client that
 * wants one small body and trusts nobody.
 *
 * A body has to say how long it is (Content-Length, or chunks): one that ends with the connection may have been cut
 * by anybody. No content coding is taken. */
#ifndef PROTO_HTTP_REPLY_H
#define PROTO_HTTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
	HTTP_HEAD_MAX = 16 * 1024, /* status line, fields, chunk sizes and trailers together */
	HTTP_LINE_MAX = 4096,
	HTTP_TYPE_MAX = 100,
	HTTP_INTERIM_MAX = 4, /* replies 1xx before the real one */
};

enum http_reply_rx { HTTP_REPLY_MORE, HTTP_REPLY_READY, HTTP_REPLY_BAD };

enum http_reply_state {
	HTTP_AT_STATUS,
	HTTP_AT_FIELD,
	HTTP_AT_BODY,
	HTTP_AT_CHUNK,     /* its size */
	HTTP_AT_CHUNK_END, /* the line end behind it */
	HTTP_AT_TRAILER,
	HTTP_AT_END,
};

struct http_reply_reader {
	enum http_reply_state state;
	unsigned status;              /* 200; valid from the first field on */
	char type[HTTP_TYPE_MAX + 1]; /* Content-Type in lower case without parameters; "": none */
	bool has_length, chunked;
	uint64_t left; /* of the body, or of the chunk */
	size_t head;   /* bytes of it so far */
	unsigned interim;
	bool no_body;    /* 204, 304 */
	struct buf body; /* owned */
	const char *why; /* after BAD: a sentence of ours */
};

void http_reply_init(struct http_reply_reader *r, size_t body_max);
void http_reply_end(struct http_reply_reader *r);
/* Takes what it can of input; *eat_out bytes of it are done with. READY: status, type and body are there. */
enum http_reply_rx http_reply_take(struct http_reply_reader *r, struct span input, size_t *eat_out);

/* The line in front of a chunk, "1a;name=value": what is behind the size means nothing to us. False: at most eight
 * hexadecimal digits are not there. */
bool http_chunk_size(struct span line, uint64_t *size_out);

#endif
