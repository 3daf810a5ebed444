/* fetch.h - what a FETCH asks for, read from its arguments and put as the items of an answer.
 *
 * fetch_parse.c reads, fetch_put.c writes; neither knows sessions. fetch.c is the command. */
#ifndef STORE_IMAP_FETCH_H
#define STORE_IMAP_FETCH_H

#include "proto/imap_lex.h"
#include "store-backend/imap/message.h"
#include "store-backend/imap/selected.h"
#include "store-backend/imap/text.h"

enum {
	FETCH_ITEMS_MAX = 64,
	FETCH_NAMES_MAX = 256,           /* header field names of all items */
	FETCH_INLINE_MAX = 16 * 1024,    /* longer literals are not copied through memory */
	FETCH_TEXT_MAX = 4 * 1024 * 1024 /* one item in memory */
};

enum fetch_kind {
	FETCH_UID,
	FETCH_FLAGS,
	FETCH_INTERNALDATE,
	FETCH_SIZE,
	FETCH_MODSEQ,
	FETCH_SAVEDATE,
	FETCH_EMAILID,
	FETCH_THREADID,
	FETCH_PREVIEW,
	FETCH_ENVELOPE,
	FETCH_BODY,          /* the structure without extension data */
	FETCH_BODYSTRUCTURE, /* with it */
	FETCH_SECTION,       /* BODY[...], RFC822, RFC822.HEADER, RFC822.TEXT */
	FETCH_BINARY,        /* BINARY[...]: without its transfer encoding */
	FETCH_BINARY_SIZE
};

enum fetch_text { TEXT_WHOLE, TEXT_HEADER, TEXT_FIELDS, TEXT_FIELDS_NOT, TEXT_TEXT, TEXT_MIME };

struct fetch_item {
	enum fetch_kind kind;
	/* FETCH_SECTION; of the others FETCH_BINARY has peek, path and partial, FETCH_BINARY_SIZE path: */
	const char *alias; /* "RFC822": the answer's name when it is not BODY[...] */
	bool peek;         /* does not set \Seen */
	enum fetch_text text;
	uint8_t path_n;
	uint32_t path[MIME_DEPTH_MAX];
	size_t name_at, name_n; /* of fetch_request.names */
	bool partial;
	uint32_t from, count;
};

struct fetch_request {
	size_t n;
	struct fetch_item v[FETCH_ITEMS_MAX];
	size_t name_n;
	struct span names[FETCH_NAMES_MAX]; /* point into the command */
	bool changed; /* CHANGEDSINCE: only messages with a higher modseq than since */
	bool vanished;
	uint64_t since;
};

/* Reads the items: a macro, one item, or a list. with_uid: UID FETCH, whose answers always say the uid.
 * Failures are the cursor's. */
void fetch_parse(struct imap_cursor *c, bool with_uid, struct fetch_request *out);
/* Behind the items: [SP "(" modifiers ")"] (RFC 7162). */
void fetch_parse_modifiers(struct imap_cursor *c, struct fetch_request *out);
bool fetch_has(const struct fetch_request *req, enum fetch_kind kind);
bool fetch_sets_seen(const struct fetch_request *req);
/* Does any item need the message's entry in the index? */
bool fetch_needs_entry(const struct fetch_request *req);

/* One message of an answer. */
struct fetch_subject {
	const struct selected *box;
	size_t at; /* in box */
	struct index_entry entry;
	struct message *message;
	uint64_t object; /* with FETCH_EMAILID */
};

/* fetch_binary.c: BINARY[...] and BINARY.SIZE[...] (RFC 3516) in steps: first all is decoded to know its size,
 * then once more to be told. */
struct fetch_binary {
	const struct fetch_item *item; /* borrowed */
	struct message_range range;
	enum mime_transfer how;
	bool telling;
	struct transfer transfer;
	uint64_t at;          /* encoded bytes read in this round */
	uint64_t size, told;  /* decoded */
	uint64_t from, count; /* what is told */
	bool zeros;           /* there are NULs in it */
	uint64_t lines;       /* line ends in it */
	bool silent; /* what goes before the bytes is the caller's to say, once it is telling */
};
enum fetch_binary_start { BINARY_STARTED, BINARY_NIL, BINARY_UNKNOWN, BINARY_UNREADABLE };
/* it: also a section that is a part's text. */
enum fetch_binary_start fetch_binary_start(
    struct fetch_binary *b, struct message *m, const struct fetch_item *it);
void fetch_binary_label(const struct fetch_item *it, struct buf *out);
enum fetch_binary_step { BINARY_GOES_ON, BINARY_DONE, BINARY_FAILED };
/* Appends what comes next: nothing, "BINARY.SIZE[1] 5", or "BINARY[1] ~{5}" CRLF and some of the bytes. Failed: m->err
 * says why. before: is put in front of the label. */
enum fetch_binary_step fetch_binary_step(
    struct fetch_binary *b, struct message *m, const char *before, struct buf *out);

/* fetch_preview.c: "PREVIEW ..." (RFC 8970): the first words of its text. False: unreadable. */
bool fetch_put_preview(struct buf *out, struct message *m);

/* fetch_put.c: "1.2", the number of the part. */
void fetch_put_path(const struct fetch_item *it, struct buf *out);
/* Of the bytes those that the item asks for, if it asks for less than all. */
void fetch_cut_range(const struct fetch_item *it, struct message_range *r);

/* The part whose header or body a section is; NULL: there is none. */
const struct mime_part *fetch_section_part(const struct mime *parts, const struct fetch_item *it);
/* BODYSTRUCTURE of that part alone (RFC 5524 BODYPARTSTRUCTURE). False: unreadable, or longer than any answer. */
bool fetch_put_part_structure(struct buf *out, struct message *m, const struct fetch_item *it,
    const struct parse_decoded *decoded);

/* The bytes of a section themselves: a range of the message, or (of header fields) of text_out. */
enum fetch_section { SECTION_RANGE, SECTION_TEXT, SECTION_NONE, SECTION_UNREADABLE };
enum fetch_section fetch_section(const struct fetch_request *req, const struct fetch_item *it,
    struct message *m, struct buf *text_out, struct message_range *range_out);

enum fetch_put {
	PUT_DONE,
	PUT_RANGE, /* the literal was announced: the range's bytes come next, and do not pass here */
	PUT_UNREADABLE /* nothing was added: subject->message->err says why */
};
/* Appends `name SP value`. */
enum fetch_put fetch_put_item(struct buf *out, const struct fetch_request *req,
    const struct fetch_item *it, const struct fetch_subject *of, struct message_range *range_out);

#endif
