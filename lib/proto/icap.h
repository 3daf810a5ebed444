/* icap.h - what an ICAP server answers (RFC 3507): heads, and the chunks behind them.
 *
 * The verdict on what was scanned has no place of its own in the RFC. Servers say it in fields: X-Infection-Found,
 * X-Violations-Found, X-Virus-ID, X-Response-Info; or they answer with another HTTP reply than the one they were
 * given. The first is taken out here, the second is for the caller to see in http_status and the body. */
#ifndef PROTO_ICAP_H
#define PROTO_ICAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "proto/scan_wire.h"

enum {
	ICAP_HEAD_MAX =
	    16 * 1024,        /* of the ICAP head; the same again of the HTTP heads behind it */
	ICAP_LINE_MAX = 4096, /* of a chunk's size, and of trailers */
	ICAP_PREVIEW_MAX = 64 * 1024, /* what a server may ask for; it gets no more than this */
	ICAP_SECTIONS_MAX = 4,
};
enum { ICAP_REQMOD = 1, ICAP_RESPMOD = 2 }; /* methods */

struct icap_head {
	unsigned status; /* 100 to 599 */
	bool closes;     /* the connection ends behind this reply */
	/* of an answer to OPTIONS */
	unsigned methods;
	bool has_preview, has_ttl;
	uint32_t preview; /* at most ICAP_PREVIEW_MAX */
	uint32_t ttl_s;
	/* the verdict, where a field tells of one */
	bool found;
	char name[SCAN_NAME_MAX + 1]; /* printable ASCII, not empty when found */
	/* what stands behind the head */
	size_t http_n;        /* bytes of HTTP heads */
	unsigned http_status; /* of the HTTP reply among them; 0: there is none */
	bool has_body;        /* chunks follow */
};

/* input: what was received, from the reply's first byte on. READY: *eat_out bytes are the ICAP head and the HTTP heads
 * behind it. BAD: not a reply of ICAP/1.0, or beyond a bound. */
enum scan_rx icap_take_head(struct span input, struct icap_head *out, size_t *eat_out);

/* A body in chunks, as it comes. */
enum icap_chunk_rx { ICAP_CHUNK_MORE, ICAP_CHUNK_PIECE, ICAP_CHUNK_END, ICAP_CHUNK_BAD };
struct icap_chunks {
	enum icap_chunk_state {
		ICAP_AT_SIZE,
		ICAP_AT_BYTES,
		ICAP_AT_BYTES_END,
		ICAP_AT_TRAILER,
		ICAP_AT_END
	} state; /* zeroed: at the first size */
	uint64_t left;
	size_t trailer_n;
};
/* PIECE: *piece_out (into *in) belongs to the body. *in moves on in every case. */
enum icap_chunk_rx icap_chunk_take(struct icap_chunks *c, struct span *in, struct span *piece_out);

#endif
