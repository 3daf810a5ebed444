/* imap_flow.h - the responses of an IMAP server as they flow past, for one who hands them on (RFC 3501 section 7).
 *
 * Nothing is held: a line of any length and a literal of any size go by in pieces. Of each response only its
 * kind is looked at. */
#ifndef PROTO_IMAP_FLOW_H
#define PROTO_IMAP_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum imap_flow_kind {
	IMAP_FLOW_MORE,     /* not enough to see what it is */
	IMAP_FLOW_UNTAGGED, /* "* ..." */
	IMAP_FLOW_BYE,      /* "* BYE": the server goes */
	IMAP_FLOW_CONTINUE, /* "+ ..." */
	IMAP_FLOW_OK,       /* the tag's reply */
	IMAP_FLOW_NO,
	IMAP_FLOW_BAD,
	IMAP_FLOW_BROKEN /* no response of IMAP, or somebody else's tag: nothing that follows can be trusted */
};

enum { IMAP_FLOW_LINE_MAX = 16 * 1024 * 1024 };

struct imap_flow {
	enum imap_flow_kind kind; /* of the response under way; MORE: between two */
	bool literals;            /* it may hold some: status responses do not */
	uint64_t literal_left;    /* bytes of the literal under way */
	uint64_t line;            /* bytes of the line so far */
	uint64_t number;          /* of "{123" */
	int brace;                /* how much of "{n}" CRLF has been seen: enum of the .c */
};

void imap_flow_init(struct imap_flow *f);

/* The next piece of one response: *n_out bytes at the front of input, never beyond its end; ends_out: the response ends with
 * it. MORE: *n_out is 0, call again with more behind the same bytes. tag: of the command in work. A literal
 * larger than UINT64_MAX, a line beyond IMAP_FLOW_LINE_MAX, NUL in a line, or a bare CR or LF: BROKEN. */
enum imap_flow_kind imap_flow_take(
    struct imap_flow *f, struct span tag, struct span input, size_t *n_out, bool *ends_out);

#endif
