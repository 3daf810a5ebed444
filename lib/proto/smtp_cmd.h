/* smtp_cmd.h - one SMTP or LMTP command line in, one struct out (RFC 5321 section 4.1, RFC 2033,
 * 3030, 3207, 4954, 1985, and Postfix's XCLIENT and XFORWARD). */
#ifndef PROTO_SMTP_CMD_H
#define PROTO_SMTP_CMD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

enum {
	SMTP_LINE_MAX = 2048,      /* a command line; RFC 5321 wants 512, extensions more */
	SMTP_AUTH_LINE_MAX = 12288 /* a line of a SASL exchange (RFC 4954 section 4) */
};

enum smtp_verb {
	SMTP_VERB_UNKNOWN, /* answer 500 5.5.1 */
	SMTP_VERB_EHLO,
	SMTP_VERB_HELO,
	SMTP_VERB_LHLO,
	SMTP_VERB_MAIL,
	SMTP_VERB_RCPT,
	SMTP_VERB_DATA,
	SMTP_VERB_BDAT,
	SMTP_VERB_RSET,
	SMTP_VERB_NOOP,
	SMTP_VERB_QUIT,
	SMTP_VERB_VRFY,
	SMTP_VERB_EXPN,
	SMTP_VERB_HELP,
	SMTP_VERB_STARTTLS,
	SMTP_VERB_AUTH,
	SMTP_VERB_ETRN,
	SMTP_VERB_XCLIENT,
	SMTP_VERB_XFORWARD,
	SMTP_VERB_BURL,
	SMTP_VERB_HTTP, /* GET, POST, CONNECT ...: a browser was made to talk to us; hang up */
	SMTP_VERB_COUNT
};

/* Spans point into the line. */
struct smtp_cmd {
	enum smtp_verb verb;
	struct span verb_text; /* as sent */
	struct span
	    argument;        /* EHLO HELO LHLO: the name. VRFY EXPN HELP NOOP ETRN XCLIENT XFORWARD:
	                          the text behind the verb. AUTH: the mechanism */
	struct span path;    /* MAIL, RCPT: the path with its brackets, for smtp_path_parse() */
	struct span params;  /* MAIL, RCPT: behind the path, for smtp_ext_mail(), smtp_ext_rcpt() */
	bool has_initial;    /* AUTH with an initial response ... */
	struct span initial; /* ... in base64; "=" as sent means empty: here "" */
	uint64_t chunk_bytes; /* BDAT */
	bool chunk_last;      /* BDAT n LAST */
	const char *why;      /* after ERR_SYNTAX: a sentence for the 501 reply */
};

/* line: without CRLF. ERR_OK, also for an unknown verb (SMTP_VERB_UNKNOWN); ERR_SYNTAX: the verb is set,
 * its arguments are wrong, see why. Verbs that take no argument refuse one. */
err_t smtp_cmd_parse(struct span line, struct smtp_cmd *out);

const char *smtp_verb_name(enum smtp_verb v); /* "MAIL"; "?" for unknown ones */

#endif
