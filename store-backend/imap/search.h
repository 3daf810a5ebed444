/* search.h - what a SEARCH asks, as a tree of keys; and whether a message answers it.
 *
 * search_parse.c builds the tree, search_match.c asks it what it can say with what is known of a message,
 * search_scan.c looks through one message's text; none of them knows sessions. search.c is the command. */
#ifndef STORE_IMAP_SEARCH_H
#define STORE_IMAP_SEARCH_H

#include "proto/imap_lex.h"
#include "store-backend/imap/message.h"
#include "store-backend/imap/selected.h"
#include "store-backend/imap/text.h"
#include "store-backend/text_grams.h"

enum { SEARCH_KEYS_MAX = 1000, SEARCH_DEPTH_MAX = 32, SEARCH_NONE = UINT16_MAX };

enum search_key {
	KEY_ALL,
	KEY_FLAGS, /* any of bits */
	KEY_KEYWORD,
	KEY_NUMBERS,
	KEY_UIDS,
	KEY_BEFORE, /* INTERNALDATE */
	KEY_ON,
	KEY_SINCE,
	KEY_LARGER,
	KEY_SMALLER,
	KEY_MODSEQ,
	KEY_OLDER, /* INTERNALDATE, seconds before now */
	KEY_YOUNGER,
	KEY_SAVED_BEFORE, /* when it came into the mailbox */
	KEY_SAVED_ON,
	KEY_SAVED_SINCE,
	KEY_EMAILID,
	KEY_SENT_BEFORE, /* Date field */
	KEY_SENT_ON,
	KEY_SENT_SINCE,
	KEY_HEADER,
	KEY_BODY,
	KEY_TEXT, /* body and header */
	KEY_AND,
	KEY_OR
};

enum search_answer { ANSWER_UNKNOWN, ANSWER_NO, ANSWER_YES };

struct search_node {
	enum search_key key;
	bool negate;
	uint8_t cost;         /* of the dearest key below; cheap neighbours are asked first */
	uint16_t first, next; /* children, SEARCH_NONE */
	uint32_t bits;        /* KEY_FLAGS */
	int32_t day;          /* dates: since 1970 */
	uint64_t size;        /* KEY_LARGER, KEY_SMALLER, KEY_MODSEQ, KEY_OLDER, KEY_YOUNGER */
	struct span name;     /* KEY_HEADER, KEY_KEYWORD: points into the command */
	struct buf text;      /* owned: folded */
	struct imap_set set;  /* owned */
	/* About the present message, of what is dear to ask; before negate. */
	enum search_answer learned;
};

struct search_request {
	struct search_node *v; /* owned; [0] is the root */
	size_t n, cap;
	int64_t now_s; /* for KEY_OLDER and KEY_YOUNGER: the caller's */
	bool charset_said;
	bool bad_charset;
	bool emailid; /* KEY_EMAILID is among them */
	/* KEY_MODSEQ is among them: the answer ends with the highest of what it found. */
	bool modseq;
};

/* What is to be told of what was found (RFC 4731, RFC 5182). */
enum search_result {
	RESULT_MIN = 1,
	RESULT_MAX = 2,
	RESULT_ALL = 4,
	RESULT_COUNT = 8,
	RESULT_SAVE = 16,
	RESULT_EACH = RESULT_ALL | RESULT_COUNT /* with one of these every message counts */
};
/* Reads ["RETURN" SP "(" options ")" SP]. 0: not there. */
unsigned search_parse_return(struct imap_cursor *c);
/* Reads [CHARSET name SP] keys. A charset that is not known sets bad_charset and ends the reading. */
void search_parse(struct imap_cursor *c, struct search_request *out);
void search_end(struct search_request *r);
/* Keys that are written in that charset. */
void search_parse_in(struct imap_cursor *c, struct span charset, struct search_request *out);
/* Makes the sets ready; keywords that the mailbox does not know match nothing. */
/* Does a key name messages by number? */
bool search_has_numbers(const struct search_request *r);
void search_resolve(struct search_request *r, const struct selected *box);

/* ---- one message --------------------------------------------------------------------------------- */

struct search_subject {
	const struct selected *box;
	size_t at;
	/* Entry and message are there; without them only flags and numbers are known. */
	bool has_entry;
	struct index_entry entry;
	uint64_t object; /* with KEY_EMAILID */
	struct message message;
};

/* A new message: nothing is learned. */
void search_forget(struct search_request *r);
/* Unknown with has_entry: *scan_out is the key that must be scanned for; then its `learned` is to be set. What
 * cannot be read does not match, and message.err says so; the caller then takes it for no match. */
enum search_answer search_match(
    struct search_request *r, struct search_subject *of, struct search_node **scan_out);

/* ---- looking through a message ------------------------------------------------------------------- */

struct search_scan {
	struct span text;         /* folded, borrowed */
	struct text_grams *grams; /* borrowed; or NULL: it looks for text */
	bool header;              /* the message's own header too */
	uint16_t part;
	bool in_body;
	struct message_range left; /* of the body in work */
	struct text_body body;     /* owned */
	/* Owned: folded text that was not found in, as much as may match still. */
	struct buf window;
};
void search_scan_begin(struct search_scan *s, const struct search_node *key);
/* For all that any key may be looked for in: each step adds the grams it meets, and the end is a NO. */
void search_scan_begin_grams(struct search_scan *s, struct text_grams *grams);
/* Looks at one header or some KiB of a body. UNKNOWN: call again. */
enum search_answer search_scan_step(struct search_scan *s, struct message *m);
void search_scan_end(struct search_scan *s); /* fine on a zeroed one */

#endif
