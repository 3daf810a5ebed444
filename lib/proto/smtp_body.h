/* smtp_body.h - the bytes behind DATA: taking the transparency dots out, and putting them in
 * (RFC 5321 section 4.5.2).
 *
 * Only CR LF "." CR LF ends the data. A bare CR, a bare LF or a NUL never does: it is reported, the data is
 * read to its true end, and the message is refused there. Whoever repairs them lets two servers see different
 * messages. For peers that are known to send them a decoder can normalise: bare LF ends a line and leaves as
 * CR LF, bare CR leaves as a space, and neither has any part in the end of the data. */
#ifndef PROTO_SMTP_BODY_H
#define PROTO_SMTP_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

enum { SMTP_BODY_LINE_MAX = 998 }; /* RFC 5322 section 2.1.1, CRLF not counted */

enum smtp_body_fault {
	SMTP_BODY_BARE_CR = 1,
	SMTP_BODY_BARE_LF = 2,
	SMTP_BODY_NUL = 4,
	SMTP_BODY_LONG_LINE = 8, /* longer than line_max: policy decides what that means */
	SMTP_BODY_8BIT = 16      /* bytes above 0x7f: no fault under 8BITMIME */
};

enum smtp_body_state {
	SMTP_BODY_ST_START,
	SMTP_BODY_ST_LINE,
	SMTP_BODY_ST_CR,
	SMTP_BODY_ST_DOT,
	SMTP_BODY_ST_DOT_CR,
	SMTP_BODY_ST_LF_START, /* behind a bare LF that was normalised */
	SMTP_BODY_ST_LF_DOT,
	SMTP_BODY_ST_END
};

struct smtp_body_decoder {
	size_t line_max;
	bool normalize; /* set behind _init() */
	enum smtp_body_state state;
	size_t line_used;  /* decoded bytes of this line */
	unsigned faults;   /* SMTP_BODY_* */
	uint64_t fault_at; /* offset of the first one but 8BIT in the bytes received */
	uint64_t taken;    /* bytes received */
};

void smtp_body_decoder_init(struct smtp_body_decoder *d, size_t line_max);

enum smtp_body_rx {
	SMTP_BODY_MORE, /* all of *input is used */
	SMTP_BODY_SPAN, /* *out_span is the next piece of the message; call again */
	SMTP_BODY_END   /* the final dot: *input is what follows (the next command) */
};

/* Takes bytes off the front of *input. Pieces point into the input or at constants, and live as long as
 * the input. */
enum smtp_body_rx smtp_body_decode(
    struct smtp_body_decoder *d, struct span *input, struct span *out_span);

struct smtp_body_encoder {
	bool in_line; /* the last byte was not a line end */
	bool cr;      /* a CR waits for its LF */
};

/* Appends as much of `in` as surely fits into out, with dots doubled; returns the bytes of `in` that were
 * used. Bare CR and bare LF leave as CRLF, so that what is sent has CRLF line ends only. */
size_t smtp_body_encode(struct smtp_body_encoder *e, struct span in, struct buf *out);
/* Ends the last line if need be, and the data. Needs 7 bytes of room. */
bool smtp_body_encode_end(struct smtp_body_encoder *e, struct buf *out);

#endif
