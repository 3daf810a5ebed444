/* imap_cmd.h - IMAP commands before login, as a proxy must understand them.
 *
 * Everything that a client may say until a user is known; one framed command in, one struct out. */
#ifndef PROTO_IMAP_CMD_H
#define PROTO_IMAP_CMD_H

#include "base/err.h"
#include "proto/imap_lex.h"

enum imap_verb {
	IMAP_VERB_UNKNOWN, /* any other word: BAD before login */
	IMAP_VERB_CAPABILITY,
	IMAP_VERB_NOOP,
	IMAP_VERB_LOGOUT,
	IMAP_VERB_ID,
	IMAP_VERB_STARTTLS,
	IMAP_VERB_LOGIN,
	IMAP_VERB_AUTHENTICATE,
	IMAP_VERB_ENABLE
};

enum {
	IMAP_ID_MAX = 30,
	IMAP_ID_KEY_MAX = 30,
	IMAP_ID_VALUE_MAX = 1024
}; /* RFC 2971 section 3.3 */

struct imap_id {
	size_t count; /* 0: "ID NIL" or "ID ()" */
	struct {
		struct span key, value; /* value.p NULL: NIL */
	} v[IMAP_ID_MAX];
};

/* Also for the store: the argument of ID. */
void imap_read_id(struct imap_cursor *c, struct imap_id *out);
/* "(k v ...)" or NIL; a value that cannot be quoted is left out. */
void imap_put_id(struct buf *out, const struct imap_id *id);

struct imap_cmd {
	struct span tag; /* empty: not even a tag could be read; answer "* BAD" */
	enum imap_verb verb;
	struct span verb_text; /* as sent */
	struct span user;      /* LOGIN */
	struct span secret;    /* LOGIN; never log it */
	struct span mechanism; /* AUTHENTICATE, as sent (compare case-blind) */
	bool has_initial;      /* AUTHENTICATE with an initial response ... */
	struct span initial;   /* ... in base64; "=" as sent means empty: here "" */
	struct imap_id id;     /* ID */
	struct span arguments; /* ENABLE: its words */
	const char *why;       /* after ERR_SYNTAX: a sentence for "BAD" */
	struct buf scratch;    /* unescaped strings; the spans above may point here */
};

/* The spans live until imap_cmd_end() and as long as the command's bytes. ERR_SYNTAX: see why; tag and
 * verb are set as far as they could be read. Call imap_cmd_end() in every case: it wipes. */
err_t imap_cmd_parse(struct imap_cmd *cmd, struct span command);
void imap_cmd_end(struct imap_cmd *cmd);

#endif
