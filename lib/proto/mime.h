/* mime.h - the structure of a message (RFC 5322, 2045-2047): where each part begins and ends, and what
 * its header fields say. Everything is lenient as mail is: no message is refused, at worst a part is
 * opaque. Nothing is decoded.
 *
 * A line ends with LF; a CR before it belongs to the line end. Spans point into the message, or into
 * the scratch buffer that the caller gave. */
#ifndef PROTO_MIME_H
#define PROTO_MIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

/* ---- the tree of parts --------------------------------------------------------------------------- */

enum {
	MIME_DEPTH_MAX = 64,           /* deeper parts stay closed */
	MIME_PARTS_MAX = 1000,         /* what comes after them belongs to the part around it */
	MIME_HEADER_MAX = 1024 * 1024, /* fields behind are not read */
	MIME_BOUNDARY_MAX = 128        /* RFC 2046 says 70 */
};
enum { MIME_NONE = UINT16_MAX }; /* no such part */

enum mime_kind {
	MIME_LEAF,
	MIME_MULTIPART, /* at least one child */
	MIME_MESSAGE,   /* message/rfc822: exactly one child, the message inside */
	MIME_OPAQUE     /* says it is one of the two above, but cannot be opened */
};

struct mime_part {
	enum mime_kind kind;
	uint16_t parent, first_child, next; /* MIME_NONE */
	uint8_t depth;                      /* 0: the message itself */
	bool digest;                        /* its default type is message/rfc822 */
	size_t header_at, body_at, end;     /* header with its empty line, then the body */
	uint32_t lines;                     /* line ends in the body */
};

struct mime {
	struct mime_part *v; /* owned; [0] is the message; a parent stands before its children */
	size_t n, cap;
};

void mime_parse(struct mime *m, struct span message); /* m was zeroed */
void mime_end(struct mime *m);
void mime_reserve(
    struct mime *m, size_t n); /* room for n <= MIME_PARTS_MAX parts, for a tree from a cache */

/* The part of an IMAP section number such as 1.2.3; the first number counts in the message itself. NULL: there is
 * none. An empty path is the message. */
const struct mime_part *mime_find(const struct mime *m, const uint32_t *path, size_t n);

/* Its header, cut to MIME_HEADER_MAX. */
struct span mime_header(struct span message, const struct mime_part *part);

/* ---- header fields ------------------------------------------------------------------------------- */

struct mime_field {
	struct span name;  /* without the colon */
	struct span value; /* raw, folded, without white space at both ends */
	struct span whole; /* the field with its last line end */
};

/* The next field of *rest, which moves on. Lines that are no field are skipped. False: no more. */
bool mime_next_field(struct span *rest, struct mime_field *out);
/* The first field of that name (case-blind); false and an empty span: absent. */
bool mime_find_field(struct span header, const char *name, struct span *value_out);
/* Appends the value on one line: line ends gone, NUL and stray CR too. */
bool mime_unfold(struct span value, struct buf *out);

/* Content-Type, Content-Disposition: a word, for a type a second one, and parameters. */
enum { MIME_PARAMS_MAX = 32 };
struct mime_value {
	struct span type, subtype; /* empty: missing */
	size_t param_count;
	struct {
		struct span name, value;
	} params[MIME_PARAMS_MAX]; /* as written: RFC 2231 pieces are not joined */
};
/* False: there is not even a type; *out is empty then. Unescaped strings go to scratch, whose room is
 * made at once: earlier spans into it hold only if it has room for value.n more bytes. */
bool mime_parse_value(struct span value, struct buf *scratch, struct mime_value *out);
struct span mime_param(const struct mime_value *v, const char *name); /* p NULL: absent */
/* The boundary of a multipart type; false: there is none that can be used. */
bool mime_boundary(const struct mime_value *type, struct span *out);
/* Is the line (without its line end) a delimiter? *last_out: the one that closes the multipart. */
bool mime_is_delimiter(struct span boundary, struct span line, bool *last_out);
/* One token (Content-Transfer-Encoding): comments and white space removed. */
struct span mime_token(struct span value);
/* Is that all there is, and is it this word in any case? */
bool mime_is_token(struct span value, const char *word);

/* The date of a Date field. unix_s: the moment; local_day: days since 1970 on the writer's calendar. */
bool mime_parse_date(struct span value, int64_t *unix_s_out, int32_t *local_day_out);

/* ---- addresses ----------------------------------------------------------------------------------- */

enum mime_address_kind { MIME_MAILBOX, MIME_GROUP_START, MIME_GROUP_END };

struct mime_address {
	enum mime_address_kind kind;
	struct span name;    /* display name, or the comment behind; p NULL: none */
	struct span route;   /* "@a,@b" of an old source route; p NULL: none */
	struct span mailbox; /* local part, unquoted; of a group start its name */
	struct span host;    /* p NULL: there was none */
};

/* Takes the next address from *rest. Texts are built in scratch, which is cleared first: they live until the
 * next call. False: no more. What is no address is skipped up to the next comma. */
bool mime_next_address(struct span *rest, struct buf *scratch, struct mime_address *out);

#endif
