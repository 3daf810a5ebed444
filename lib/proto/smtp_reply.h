/* smtp_reply.h - replies: written for clients, read from servers (RFC 5321 section 4.2, RFC 2034). */
#ifndef PROTO_SMTP_REPLY_H
#define PROTO_SMTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "proto/line.h"

enum {
	SMTP_REPLY_LINE_MAX = 1024, /* that we accept; RFC 5321 says 512 */
	SMTP_REPLY_LINES_MAX = 100,
	SMTP_REPLY_TEXT_MAX = 16384, /* all lines together */
	SMTP_REPLY_PUT_MAX = 500,    /* text bytes of one line that we send; longer ones are cut */
	SMTP_ENHANCED_SIZE = 12
};

/* Appends a whole reply. code 200-599. enhanced: "2.1.0", or NULL for none (EHLO, greeting). text: "\n"
 * separates lines; other controls become '?'. False: out is full. */
bool smtp_reply_put(struct buf *out, unsigned code, const char *enhanced, struct span text);

/* ---- reading -------------------------------------------------------------------------------- */

struct smtp_reply {
	uint16_t code;                     /* 200-599, never 0 */
	char enhanced[SMTP_ENHANCED_SIZE]; /* "" when the first line has none that fits the code */
	struct span text; /* lines without code and enhanced code, joined by '\n'; as
	                                      sent otherwise: clean it before it is passed on */
	size_t lines;
};

struct smtp_reply_reader {
	struct line_scan scan;
	struct buf text; /* owned; at most SMTP_REPLY_TEXT_MAX */
	uint16_t code;   /* of the first line; 0: none yet */
	char enhanced[SMTP_ENHANCED_SIZE];
	size_t lines;
	bool done; /* what is held was handed out: the next call starts anew */
	const char *why;
};

void smtp_reply_reader_init(struct smtp_reply_reader *r);
void smtp_reply_reader_end(struct smtp_reply_reader *r);
/* Forgets a half-read reply: a new connection, or TLS has just begun. */
void smtp_reply_reader_reset(struct smtp_reply_reader *r);

enum smtp_reply_rx { SMTP_REPLY_MORE, SMTP_REPLY_READY, SMTP_REPLY_BAD };

/* input: all that was received and not eaten. In every case the caller eats *eat_out bytes. READY: *out
 * is one whole reply, its text lives until the next call on r. BAD: garbage, codes that differ between
 * lines, or more than the limits: r->why says it; the connection cannot be used any more. */
enum smtp_reply_rx smtp_reply_take(
    struct smtp_reply_reader *r, struct span input, struct smtp_reply *out, size_t *eat_out);

/* ---- what a server announced ------------------------------------------------------------------ */

enum smtp_feature {
	SMTP_HAS_PIPELINING = 1 << 0,
	SMTP_HAS_8BITMIME = 1 << 1,
	SMTP_HAS_SIZE = 1 << 2,
	SMTP_HAS_STARTTLS = 1 << 3,
	SMTP_HAS_ENHANCED = 1 << 4,
	SMTP_HAS_SMTPUTF8 = 1 << 5,
	SMTP_HAS_CHUNKING = 1 << 6,
	SMTP_HAS_DSN = 1 << 7,
	SMTP_HAS_AUTH = 1 << 8,
	SMTP_HAS_XCLIENT = 1 << 9,
	SMTP_HAS_XDELIVERYID = 1 << 10,
	SMTP_HAS_REQUIRETLS = 1 << 11,
	SMTP_HAS_MT_PRIORITY = 1 << 12
};

struct smtp_ehlo {
	unsigned features; /* SMTP_HAS_* */
	uint64_t size_max; /* of SIZE; 0: none told */
	struct span auth;  /* mechanism names, into the reply */
};

/* From the reply to EHLO or LHLO (code 250). Unknown keywords are skipped. */
void smtp_ehlo_parse(const struct smtp_reply *reply, struct smtp_ehlo *out);

#endif
