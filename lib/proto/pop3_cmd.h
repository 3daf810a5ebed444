/* pop3_cmd.h - POP3 command lines and response lines (RFC 1939, 2449, 2595, 5034). */
#ifndef PROTO_POP3_CMD_H
#define PROTO_POP3_CMD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"

/* RFC 2449 section 4 says 255 for commands and 512 for responses; secrets may be longer. */
enum { POP3_LINE_MAX = 1024, POP3_AUTH_LINE_MAX = 12288, POP3_RESPONSE_MAX = 1024 };

enum pop3_verb {
	POP3_VERB_UNKNOWN,
	POP3_VERB_USER,
	POP3_VERB_PASS,
	POP3_VERB_APOP,
	POP3_VERB_AUTH,
	POP3_VERB_STLS,
	POP3_VERB_CAPA,
	POP3_VERB_STAT,
	POP3_VERB_LIST,
	POP3_VERB_RETR,
	POP3_VERB_DELE,
	POP3_VERB_NOOP,
	POP3_VERB_RSET,
	POP3_VERB_TOP,
	POP3_VERB_UIDL,
	POP3_VERB_QUIT,
	POP3_VERB_UTF8,
	POP3_VERB_LANG,
	POP3_VERB_XCLIENT,
	POP3_VERB_COUNT
};

/* Spans point into the line. */
struct pop3_cmd {
	enum pop3_verb verb;
	struct span verb_text;
	struct span
	    argument;       /* USER, APOP: the name. PASS: all behind the first space, never logged.
	                         AUTH: the mechanism, empty: list them. LANG, XCLIENT: the text */
	struct span digest; /* APOP */
	bool has_initial;   /* AUTH with an initial response ... */
	struct span initial; /* ... in base64; "=" as sent means empty: here "" */
	uint32_t message;    /* LIST, UIDL: 0 = all; RETR, DELE, TOP: 1 and up */
	uint32_t lines;      /* TOP */
	const char *why;     /* after ERR_SYNTAX: a sentence for -ERR */
};

/* line: without CRLF. ERR_OK, also for an unknown verb; ERR_SYNTAX: see why, the verb is set. */
err_t pop3_cmd_parse(struct span line, struct pop3_cmd *out);
const char *pop3_verb_name(enum pop3_verb v);

enum pop3_status { POP3_OK, POP3_ERR, POP3_CONTINUE };

struct pop3_response {
	enum pop3_status status;
	struct span code; /* "IN-USE", "SYS/TEMP" (RFC 2449 section 8); empty: none */
	struct span text; /* what follows; the base64 challenge of POP3_CONTINUE */
};

/* line: the first line of a response, without CRLF. False: it is none. */
bool pop3_response_parse(struct span line, struct pop3_response *out);

#endif
