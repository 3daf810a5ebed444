/* sieve_cmd.h - ManageSieve (RFC 5804) as a proxy must understand it: commands before login, and what a
 * server says until then.
 *
 * Strings and framing are IMAP's: frame with imap_frame_scan() (imap_lex.h). A client's literals are all
 * "{n+}", so IMAP_RX_CONTINUE is an error of the client's here; a server's are "{n}". A client's answer in
 * a SASL exchange is framed as a command is. */
#ifndef PROTO_SIEVE_CMD_H
#define PROTO_SIEVE_CMD_H

#include "base/err.h"
#include "proto/imap_lex.h"

enum sieve_verb {
	SIEVE_VERB_UNKNOWN,
	SIEVE_VERB_AUTHENTICATE,
	SIEVE_VERB_STARTTLS,
	SIEVE_VERB_LOGOUT,
	SIEVE_VERB_CAPABILITY,
	SIEVE_VERB_NOOP,
	SIEVE_VERB_LATER, /* one that needs a login: UNAUTHENTICATE, PUTSCRIPT ... */
	SIEVE_VERB_COUNT
};

struct sieve_cmd {
	enum sieve_verb verb;
	struct span mechanism; /* AUTHENTICATE, as sent (compare case-blind) */
	bool has_initial;      /* AUTHENTICATE with an initial response ... */
	struct span initial;   /* ... in base64; may be empty */
	bool has_tag;          /* NOOP with a string ... */
	struct span tag;       /* ... to be answered as (TAG "..."); may hold anything but NUL */
	const char *why;       /* after ERR_SYNTAX: a sentence for NO */
	struct buf scratch;    /* unescaped strings; the spans above may point here */
};

/* One framed command. The spans live until sieve_cmd_end() and as long as the command's bytes. ERR_OK, also
 * for an unknown verb, whose arguments are not read, nor are those of SIEVE_VERB_LATER; ERR_SYNTAX: see why;
 * the verb is set. Call sieve_cmd_end() in every case: it wipes. */
err_t sieve_cmd_parse(struct sieve_cmd *cmd, struct span command);
/* The client's next line of a SASL exchange: one string, in `initial`. */
err_t sieve_answer_parse(struct sieve_cmd *cmd, struct span command);
void sieve_cmd_end(struct sieve_cmd *cmd);

enum sieve_resp_kind {
	SIEVE_RESP_OK,
	SIEVE_RESP_NO,
	SIEVE_RESP_BYE,
	SIEVE_RESP_DATA /* a capability, or a challenge: name alone */
};

struct sieve_resp {
	enum sieve_resp_kind kind;
	struct span code;      /* "TRYLATER", "QUOTA/MAXSIZE"; empty: none */
	struct span code_text; /* its string, as of (REFERRAL "sieve://...") */
	struct span text;      /* human text; not clean: use fmt_line_text() */
	struct span name;      /* DATA: the capability, or the base64 of a challenge */
	struct span value;     /* of the capability; value.p NULL: it has none */
	struct buf scratch;    /* the spans may point here */
};

/* One framed response line. ERR_PROTOCOL: it is none. Call sieve_resp_end() in every case. */
err_t sieve_resp_parse(struct sieve_resp *r, struct span response);
void sieve_resp_end(struct sieve_resp *r);

#endif
