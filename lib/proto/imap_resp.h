/* imap_resp.h - what an IMAP server says, as far as a client needs it to log in.
 *
 * Frame with imap_frame_init(f, limits, false) and imap_frame_scan(); then one response in, one struct
 * out. For sending a command's strings see imap_put_quoted() and imap_put_literal() in imap_lex.h. */
#ifndef PROTO_IMAP_RESP_H
#define PROTO_IMAP_RESP_H

#include "base/err.h"
#include "proto/imap_lex.h"

enum imap_resp_kind {
	IMAP_RESP_UNTAGGED, /* "* ..." */
	IMAP_RESP_CONTINUE, /* "+ ..." : text is the rest (base64 of a SASL challenge) */
	IMAP_RESP_TAGGED    /* "tag OK ..." */
};

enum imap_cond {
	IMAP_COND_NONE, /* untagged data: name and data */
	IMAP_COND_OK,
	IMAP_COND_NO,
	IMAP_COND_BAD,
	IMAP_COND_PREAUTH,
	IMAP_COND_BYE
};

struct imap_resp {
	enum imap_resp_kind kind;
	struct span tag;
	enum imap_cond cond;
	struct span code;      /* "[UNAVAILABLE]": its first word, without brackets; empty: none */
	struct span code_args; /* "[CAPABILITY IMAP4rev1 ...]": the words behind it */
	struct span text;      /* human text; not clean: use fmt_line_text() */
	bool has_number;       /* "* 12 EXISTS" */
	uint32_t number;
	struct span name; /* untagged data: "CAPABILITY", "EXISTS" */
	struct span data; /* what follows the name */
};

/* ERR_PROTOCOL: this is no IMAP response. A tagged response always has OK, NO or BAD. Spans point into
 * the bytes given (with or without CRLF). */
err_t imap_resp_parse(struct span response, struct imap_resp *out);

/* The capabilities of "* CAPABILITY ..." or of a [CAPABILITY ...] code, in any kind of response; empty
 * when it carries none. */
struct span imap_resp_capabilities(const struct imap_resp *r);

/* "tag LOGIN user secret CRLF". False: something cannot be quoted and the peer has no LITERAL+ (plus false),
 * or out is full; then use AUTHENTICATE PLAIN. */
bool imap_put_login(
    struct buf *out, struct span tag, struct span user, struct span secret, bool plus);

#endif
